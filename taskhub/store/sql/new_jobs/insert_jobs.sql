-- Commit new jobs. An id that is there already is left as it is, so an INSERT of unknown outcome may be repeated.
-- params: ids uuid[], queues text[], types text[], priorities int[], payloads text[], max_attempts int[], timeouts float8[], run_in float8[], unique_keys text[], tags text[], run_at timestamptz[], expires_at timestamptz[]
-- returns: id, created_at, run_at, expires_at; times as texts in UTC, a row for each that was inserted
-- transition: new -> queued
--
-- The transaction gets its number before the clock is read: so whoever sees all transactions ended
-- that were open at a moment knows that no row with an older id is still to come. An id out of step
-- with this clock, or below the walk's mark, gets a run_at, and is found by that instead. Each element of `tags` is an array literal.
WITH started AS MATERIALIZED (
    SELECT pg_current_xact_id() AS xid, clock_timestamp() AS now
), bounds AS MATERIALIZED (
    SELECT now, taskhub_id_floor(now + interval '1 s') AS newest,
        greatest(taskhub_id_floor(now - interval '5 s'), (SELECT mark FROM walk)) AS oldest
    FROM started
)
INSERT INTO jobs (id, created_at, updated_at, run_at, expires_at, timeout_s, max_attempts, priority, status, queue,
    type, unique_key, tags, payload)
SELECT d.id, b.now, b.now,
    CASE WHEN d.run_at IS NOT NULL THEN d.run_at
        WHEN d.run_in IS NOT NULL THEN b.now + d.run_in * interval '1 s'
        WHEN d.id NOT BETWEEN b.oldest AND b.newest THEN b.now END,
    d.expires_at, d.timeout_s, d.max_attempts, d.priority, 'queued',
    d.queue, d.type, d.unique_key, d.tags::text[], d.payload::json
FROM bounds b,
    unnest(:ids, :queues, :types, :priorities, :payloads, :max_attempts, :timeouts, :run_in,
        :unique_keys, :tags, :run_at, :expires_at)
    AS d (id, queue, type, priority, payload, max_attempts, timeout_s, run_in, unique_key, tags, run_at,
        expires_at)
ON CONFLICT (id) DO NOTHING
RETURNING id, created_at::text, run_at::text, expires_at::text
