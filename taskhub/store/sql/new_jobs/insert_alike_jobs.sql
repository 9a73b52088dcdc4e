-- As insert_jobs, for jobs that differ in nothing but their ids and payloads: one row tells of all.
-- params: ids uuid[], payloads text[], queue text, type text, priority int, max_attempts int, timeout_s float8, delay_s float8, run_at timestamptz, expires_at timestamptz, tags text[]
-- returns: number, are_alike, created_at, run_at, expires_at; of those that were inserted: how many, whether their times are
--     the same, and these as texts in UTC
-- transition: new -> queued
WITH started AS MATERIALIZED (
    SELECT pg_current_xact_id() AS xid, clock_timestamp() AS now
), bounds AS MATERIALIZED (
    SELECT now, taskhub_id_floor(now + interval '1 s') AS newest,
        greatest(taskhub_id_floor(now - interval '5 s'), (SELECT mark FROM walk)) AS oldest,
        CASE WHEN :run_at IS NOT NULL THEN :run_at ELSE now + :delay_s * interval '1 s' END AS run_at
    FROM started
), inserted AS (
    INSERT INTO jobs (id, created_at, updated_at, run_at, expires_at, timeout_s, max_attempts, priority, status,
        queue, type, tags, payload)
    SELECT d.id, b.now, b.now,
        CASE WHEN b.run_at IS NOT NULL THEN b.run_at WHEN d.id NOT BETWEEN b.oldest AND b.newest THEN b.now END,
        :expires_at, :timeout_s, :max_attempts, :priority, 'queued', :queue, :type, :tags, d.payload::json
    FROM bounds b, unnest(:ids, :payloads) AS d (id, payload)
    ON CONFLICT (id) DO NOTHING
    RETURNING created_at, run_at, expires_at
)
SELECT count(*) AS number, count(run_at) IN (0, count(*)) AS are_alike, min(created_at)::text AS created_at,
    min(run_at)::text AS run_at, min(expires_at)::text AS expires_at
FROM inserted
