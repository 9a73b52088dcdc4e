-- PostgreSQL's clock, and when it was started.
-- params:
-- returns: now as seconds, start as seconds
SELECT extract(epoch FROM clock_timestamp())::float8, extract(epoch FROM pg_postmaster_start_time())::float8
