-- PostgreSQL's clock was set back: what has a run_at of before waits from now on for as long as it was to wait then.
-- params: after_queue text, after_priority int, after text, skip int, amount int
-- returns: queue, priority, run_at, same, read, revived; one row, none if none was read: the last that was read, rows
--     of its run_at that are left, rows read, jobs revived
--
-- Such a row was written at a moment that lies ahead. Only what we have given a time ourselves: a retry, a release, a
-- rescue, an INSERT out of step; a later time of a job that has never run may be one that its sender named. Reads on
-- by the index, from behind `skip` rows of the run_at `after` of a place.
WITH moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now
), looked AS MATERIALIZED (
    SELECT j.id, j.queue, j.priority, j.run_at, j.status = 'queued' AND j.run_at > m.now
        AND j.updated_at > m.now + interval '1 s'
        AND (j.attempts > 0 OR j.run_at <= j.updated_at + interval '1 min') AS is_ahead
    FROM moment m, (
        SELECT id, queue, priority, run_at, updated_at, status, attempts FROM jobs
        WHERE run_at IS NOT NULL AND (queue, priority, run_at) >= (:after_queue, :after_priority, :after::timestamptz)
        ORDER BY queue, priority, run_at OFFSET :skip LIMIT :amount
    ) AS j
), held AS MATERIALIZED (
    SELECT j.id FROM looked l JOIN jobs j ON j.id = l.id WHERE l.is_ahead FOR UPDATE OF j SKIP LOCKED
), revived AS (
    UPDATE jobs j
    SET run_at = m.now + greatest(j.run_at - j.updated_at, interval '0'), updated_at = m.now
    FROM moment m, held h
    WHERE j.id = h.id AND j.status = 'queued' AND j.run_at IS NOT NULL
    RETURNING j.id
), last AS MATERIALIZED (
    SELECT queue, priority, run_at FROM looked ORDER BY queue DESC, priority DESC, run_at DESC LIMIT 1
)
SELECT l.queue, l.priority::int AS priority, l.run_at::text AS run_at, (
        SELECT count(*)::int FROM looked k
        WHERE (k.queue, k.priority, k.run_at) = (l.queue, l.priority, l.run_at) AND k.id NOT IN (SELECT id FROM revived)
    ) AS same, (SELECT count(*)::int FROM looked) AS read, (SELECT count(*)::int FROM revived) AS revived
FROM last l
