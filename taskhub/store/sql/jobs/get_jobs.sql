-- Jobs as they are shown; times are texts, UTC.
-- params: ids uuid[]
-- returns: the columns below, per job that there is
SELECT id, type, queue, priority, status, payload::text, result::text, attempts, max_attempts, crashes, interruptions,
    replays, timeout_s, to_json(tags)::text, unique_key, CASE WHEN status = 'queued' THEN run_at END::text,
    expires_at::text, failure_reason, error::text, CASE WHEN status = 'running' THEN worker END, slot,
    created_at::text, updated_at::text, started_at::text, finished_at::text, cancel_requested_at::text
FROM jobs WHERE id = ANY (:ids)
