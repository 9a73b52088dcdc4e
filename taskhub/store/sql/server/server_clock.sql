-- PostgreSQL's clock, and when it was started.
-- params:
-- returns: now_s, start_s
SELECT extract(epoch FROM clock_timestamp())::float8 AS now_s, extract(epoch FROM pg_postmaster_start_time())::float8 AS start_s
