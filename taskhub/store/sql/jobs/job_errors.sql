-- A job's failed executions, oldest first.
-- params: id uuid
-- returns: attempt, worker, slot, started_at, failed_at, type, message, raised_in, traceback, cause, peak_rss_mb; no
--     row if there is no such job; else one per failure, or one of nulls
SELECT e.attempt, e.worker, e.slot, e.started_at::text, e.failed_at::text, e.type, e.message, e.raised_in, e.traceback,
    e.cause, e.peak_rss_mb
FROM jobs j LEFT JOIN job_errors e ON e.job_id = j.id
WHERE j.id = :id
ORDER BY e.seq
