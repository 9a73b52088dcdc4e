-- Take back what a closed slot still holds. The started jobs are charged a crash, the others are released.
-- params: worker uuid, slot int, generation int, started uuid[], all_started bool, error_type text, message text, cause text, peak_rss_mb float8, interrupted bool
-- returns: id, status, queue, type, priority, started
-- transition: running -> queued, running -> failed, running -> cancelled
--
-- `all_started` is for a worker that left no record of which job was running. `interrupted` is for an
-- operator's deadline: no crash, no error, an interruption instead. A job fails at its third crash
-- (crash_limit), or when it has no attempt left. The first ten interruptions are free, but where there is only one
-- attempt: that job never starts twice.
WITH moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now
), held AS MATERIALIZED (
    SELECT j.id, j.lease, j.attempts, j.started_at, h.charged, h.started AS has_started,
        CASE WHEN j.cancel_requested_at IS NOT NULL THEN 'cancelled'
            WHEN h.charged AND j.crashes + 1 >= 3 THEN 'failed'
            WHEN h.charged AND j.attempts - least(j.interruptions, 10) >= j.max_attempts THEN 'failed'
            WHEN h.started AND NOT h.charged AND (j.max_attempts = 1
                OR j.attempts - least(j.interruptions + 1, 10) >= j.max_attempts) THEN 'failed'
            ELSE 'queued' END AS status,
        CASE WHEN h.charged AND j.crashes + 1 >= 3 THEN 'crash_limit' ELSE 'attempts_exhausted' END AS reason,
        CASE WHEN h.charged THEN :error_type::text ELSE 'Interrupted' END AS error_type,
        CASE WHEN h.charged THEN :cause::text ELSE 'interrupted' END AS cause
    FROM slots s
    JOIN jobs j ON j.id = ANY (s.ids) AND j.status = 'running' AND j.lease = s.lease
    CROSS JOIN LATERAL (
        SELECT :all_started OR j.id = ANY (:started) AS started,
            (:all_started OR j.id = ANY (:started)) AND NOT :interrupted AS charged
    ) AS h
    WHERE s.worker = :worker AND s.slot = :slot AND s.generation = :generation AND s.closed
    FOR UPDATE OF j
), rescued AS (
    UPDATE jobs j
    SET status = h.status, lease = NULL, updated_at = m.now,
        run_at = CASE WHEN h.status = 'queued' THEN m.now END,
        finished_at = CASE WHEN h.status <> 'queued' THEN m.now END,
        failed_at = CASE WHEN h.status <> 'queued' THEN m.now END,
        failure_reason = CASE WHEN h.status = 'failed' THEN h.reason END,
        attempts = j.attempts - (NOT h.has_started)::int,
        crashes = j.crashes + h.charged::int,
        interruptions = j.interruptions + (h.has_started AND :interrupted)::int,
        error = CASE WHEN h.charged OR h.status = 'failed'
            THEN json_build_object('type', h.error_type, 'message', :message::text, 'cause', h.cause)
            ELSE j.error END
    FROM held h, moment m
    WHERE j.id = h.id AND j.status = 'running' AND j.lease = h.lease
    RETURNING j.id, j.status, j.queue, j.type, j.priority, h.charged OR h.status = 'failed' AS has_failed, h.attempts,
        h.started_at, h.has_started AS started, h.error_type, h.cause
), history AS (
    INSERT INTO job_errors (job_id, worker, started_at, failed_at, attempt, slot, type, message, cause, peak_rss_mb)
    SELECT r.id, :worker, r.started_at, m.now, r.attempts, :slot, r.error_type, :message, r.cause, :peak_rss_mb
    FROM rescued r, moment m WHERE r.has_failed
)
SELECT id, status, queue, type, priority, started FROM rescued
