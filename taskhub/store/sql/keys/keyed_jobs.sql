-- What became of submissions with keys that inserted no row: who holds their keys.
-- params: ids uuid[], idempotency_keys text[], unique_keys text[]
-- returns: id, fingerprint, idempotent_id, unique_id; for each: the idempotency key's fingerprint and job, the unique key's job
SELECT d.id, k.fingerprint, k.job_id AS idempotent_id, u.job_id AS unique_id
FROM unnest(:ids, :idempotency_keys, :unique_keys) AS d (id, idempotency_key, unique_key)
LEFT JOIN idempotency_keys k ON k.key = d.idempotency_key
LEFT JOIN unique_keys u ON u.unique_key = d.unique_key
