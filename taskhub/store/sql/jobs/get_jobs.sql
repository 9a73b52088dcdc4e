-- Jobs as they are shown; times are texts, UTC.
-- params: ids uuid[]
-- returns: id, type, queue, priority, payload, max_attempts, timeout_s, tags, unique_key, run_at, expires_at, created_at,
--     updated_at, status, result, attempts, crashes, interruptions, replays, failure_reason, error, worker, slot,
--     started_at, finished_at, cancel_requested_at; per job that there is
SELECT id, type, queue, priority, payload::text, max_attempts, timeout_s, to_json(tags)::text AS tags, unique_key,
    CASE WHEN status = 'queued' THEN run_at END::text AS run_at, expires_at::text, created_at::text, updated_at::text,
    status, result::text, attempts, crashes, interruptions, replays, failure_reason, error::text,
    CASE WHEN status = 'running' THEN worker END AS worker, slot,
    started_at::text, finished_at::text, cancel_requested_at::text
FROM jobs WHERE id = ANY (:ids)
