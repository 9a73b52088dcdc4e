-- Let an idempotency key stand for the job that holds the unique key, when that was found out too late.
-- params: idempotency_key text, job_id uuid, holder uuid
-- returns: nothing
UPDATE idempotency_keys SET job_id = :holder WHERE key = :idempotency_key AND job_id = :job_id
