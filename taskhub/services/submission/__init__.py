"""Submit jobs: validated, committed in PostgreSQL in groups, then rung in Redis."""
