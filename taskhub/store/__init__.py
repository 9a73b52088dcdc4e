"""PostgreSQL, the truth: one connection type, named statements in sql/, the migrations."""
