-- As insert_jobs, for one job of which nothing more is given: it is to run at once, and is told so with few words.
-- params: id uuid, queue text, type text, priority int, payload json, max_attempts int
-- returns: id, created_at, run_at, expires_at; as texts, the times in UTC, a row if it was inserted
-- transition: new -> queued
WITH started AS MATERIALIZED (
    SELECT pg_current_xact_id() AS xid, clock_timestamp() AS now
), bounds AS MATERIALIZED (
    SELECT now, taskhub_id_floor(now + interval '1 s') AS newest,
        greatest(taskhub_id_floor(now - interval '5 s'), (SELECT mark FROM walk)) AS oldest
    FROM started
)
INSERT INTO jobs (id, created_at, updated_at, run_at, max_attempts, priority, status, queue, type, payload)
SELECT :id, b.now, b.now, CASE WHEN :id NOT BETWEEN b.oldest AND b.newest THEN b.now END,
    :max_attempts, :priority, 'queued', :queue, :type, :payload
FROM bounds b
ON CONFLICT (id) DO NOTHING
RETURNING id, created_at::text, run_at::text, expires_at::text
