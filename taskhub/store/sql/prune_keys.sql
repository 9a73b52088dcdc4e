-- Forget idempotency keys that ran out, unique keys and cancellations of jobs that are over.
-- params: amount int
-- returns: nothing
WITH idempotency AS (
    DELETE FROM idempotency_keys WHERE key IN (
        SELECT k.key FROM idempotency_keys k
        WHERE k.expires_at < clock_timestamp()
            AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = k.job_id AND j.status IN ('queued', 'running'))
        ORDER BY k.expires_at LIMIT :amount)
), uniqueness AS (
    DELETE FROM unique_keys WHERE unique_key IN (
        SELECT u.unique_key FROM unique_keys u
        WHERE NOT EXISTS (SELECT FROM jobs j WHERE j.id = u.job_id AND j.status IN ('queued', 'running'))
        LIMIT :amount FOR UPDATE SKIP LOCKED)
)
DELETE FROM cancellations c
WHERE NOT EXISTS (SELECT FROM jobs j WHERE j.id = c.job_id AND j.status IN ('queued', 'running'))
