-- Settle executions that failed: each retries, fails or (if somebody asked) is cancelled, and leaves a row of history.
-- params: ids uuid[], started_us_ago bigint[], types text[], messages text[], causes text[], retry_in float8[], reasons text[], peaks float8[], raised_in text[], tracebacks text[], lease uuid
-- returns: id, status; per row that was still this lease's
-- transition: running -> queued, running -> failed, running -> cancelled
--
-- `retry_in` null means do not retry, for `reason`; attempts that were interrupted by a drain or by the loss of
-- our own connection (the first ten) do not count against max_attempts, unless that is 1. A retry that would come after
-- expires_at is none: the job fails (expired). What was interrupted runs again whenever that is.
WITH moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now
), decided AS MATERIALIZED (
    SELECT d.*, j.attempts, j.worker, j.slot,
        CASE WHEN d.retry_in IS NULL THEN 'failed'
            WHEN j.cancel_requested_at IS NOT NULL THEN 'cancelled'
            WHEN j.attempts - least(j.interruptions + (d.cause = 'interrupted')::int, 10) >= j.max_attempts THEN 'failed'
            WHEN d.cause = 'interrupted' AND j.max_attempts = 1 THEN 'failed'
            WHEN d.cause <> 'interrupted' AND j.expires_at <= m.now + d.retry_in * interval '1 s' THEN 'failed'
            ELSE 'queued' END AS status,
        CASE WHEN d.retry_in IS NULL OR d.cause = 'interrupted'
                OR j.attempts - least(j.interruptions, 10) >= j.max_attempts
            THEN coalesce(d.reason, 'attempts_exhausted') ELSE 'expired' END AS failed_for
    FROM moment m, unnest(:ids, :started_us_ago, :types, :messages, :causes, :retry_in, :reasons, :peaks, :raised_in, :tracebacks)
        AS d (id, started_us_ago, type, message, cause, retry_in, reason, peak_rss_mb, raised_in, traceback)
    JOIN jobs j ON j.id = d.id AND j.status = 'running' AND j.lease = :lease
    FOR UPDATE OF j
), settled AS (
    UPDATE jobs j
    SET status = d.status, updated_at = m.now, unknown_since = NULL, interruptions = j.interruptions + (d.cause = 'interrupted')::int,
        started_at = least(m.now, m.now - d.started_us_ago * interval '1 microsecond'),
        run_at = CASE WHEN d.status = 'queued' THEN m.now + d.retry_in * interval '1 s' END,
        finished_at = CASE WHEN d.status <> 'queued' THEN m.now END,
        failed_at = CASE WHEN d.status <> 'queued' THEN m.now END,
        failure_reason = CASE WHEN d.status = 'failed' THEN d.failed_for END,
        error = json_build_object('type', d.type, 'message', d.message, 'cause', d.cause)
    FROM decided d, moment m
    WHERE j.id = d.id AND j.status = 'running' AND j.lease = :lease
    RETURNING j.id, j.status, j.started_at
), history AS (
    INSERT INTO job_errors (job_id, worker, started_at, failed_at, attempt, slot, type, message, cause, peak_rss_mb, raised_in,
        traceback)
    SELECT d.id, d.worker, s.started_at, m.now, d.attempts, d.slot, d.type, d.message, d.cause,
        d.peak_rss_mb, d.raised_in, d.traceback
    FROM decided d JOIN settled s ON s.id = d.id, moment m
)
SELECT id, status FROM settled
