"""Real PostgreSQL and Redis servers in a folder, for a laptop and for tests."""
