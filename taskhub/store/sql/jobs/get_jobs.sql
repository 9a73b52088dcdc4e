-- Jobs as they are shown; times are texts, UTC.
-- params: ids uuid[]
-- returns: id, type, queue, priority, status, payload, result, attempts, max_attempts, crashes, interruptions,
--     replays, timeout_s, tags, unique_key, run_at, expires_at, failure_reason, error, worker, slot, created_at,
--     updated_at, started_at, finished_at, cancel_requested_at; per job that there is
SELECT id, type, queue, priority, status, payload::text, result::text, attempts, max_attempts, crashes, interruptions,
    replays, timeout_s, to_json(tags)::text AS tags, unique_key, CASE WHEN status = 'queued' THEN run_at END::text AS run_at,
    expires_at::text, failure_reason, error::text, CASE WHEN status = 'running' THEN worker END AS worker, slot,
    created_at::text, updated_at::text, started_at::text, finished_at::text, cancel_requested_at::text
FROM jobs WHERE id = ANY (:ids)
