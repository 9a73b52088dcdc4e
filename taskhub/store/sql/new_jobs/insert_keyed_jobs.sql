-- As insert_jobs, for jobs with an Idempotency-Key or a unique_key; a key and its job are committed together or not at all.
-- params: ids uuid[], queues text[], types text[], priorities int[], payloads text[], max_attempts int[], timeouts float8[], run_in float8[], unique_keys text[], tags text[], run_at timestamptz[], expires_at timestamptz[], idempotency_keys text[], fingerprints text[], kept_s float8
-- returns: id, is_first, created_at, run_at, expires_at; for each: was its idempotency key new, times as texts
--     in UTC (null: not inserted, see keyed_jobs)
-- transition: new -> queued
--
-- No key twice in one call. Keys are taken in one order everywhere, all idempotency keys and then all
-- unique keys, each sorted, so that two of these never wait for each other. A unique key changes hands only
-- if its holder is seen to have finished: a holder that committed after this statement's snapshot is not seen,
-- and keeps it. A call that is repeated under the same ids goes on where the first one stood.
WITH started AS MATERIALIZED (
    SELECT pg_current_xact_id() AS xid, clock_timestamp() AS now
), bounds AS MATERIALIZED (
    SELECT now, taskhub_id_floor(now + interval '1 s') AS newest,
        greatest(taskhub_id_floor(now - interval '5 s'), (SELECT mark FROM walk)) AS oldest
    FROM started
), given AS MATERIALIZED (
    SELECT d.*, (
        SELECT u.job_id FROM unique_keys u JOIN jobs j ON j.id = u.job_id
        WHERE u.unique_key = d.unique_key AND j.status IN ('queued', 'running')
    ) AS holder
    FROM unnest(:ids, :queues, :types, :priorities, :payloads, :max_attempts, :timeouts, :run_in,
        :unique_keys, :tags, :run_at, :expires_at, :idempotency_keys, :fingerprints)
        AS d (id, queue, type, priority, payload, max_attempts, timeout_s, run_in, unique_key, tags, run_at,
            expires_at, idempotency_key, fingerprint)
), first_sent AS (
    INSERT INTO idempotency_keys (key, fingerprint, job_id, expires_at)
    SELECT g.idempotency_key, g.fingerprint, coalesce(g.holder, g.id), b.now + :kept_s * interval '1 s'
    FROM given g, bounds b
    WHERE g.idempotency_key IS NOT NULL
    ORDER BY g.idempotency_key
    ON CONFLICT (key) DO NOTHING
    RETURNING key
), wanted AS MATERIALIZED (
    SELECT g.* FROM given g
    WHERE g.holder IS NULL AND (
        g.idempotency_key IS NULL
        OR g.idempotency_key IN (SELECT key FROM first_sent)
        OR EXISTS (SELECT FROM idempotency_keys k WHERE k.key = g.idempotency_key AND k.job_id = g.id))
), taken AS (
    INSERT INTO unique_keys AS u (unique_key, job_id)
    SELECT w.unique_key, w.id FROM wanted w
    WHERE w.unique_key IS NOT NULL
    ORDER BY w.unique_key
    ON CONFLICT (unique_key) DO UPDATE SET job_id = excluded.job_id
    WHERE EXISTS (SELECT FROM jobs j WHERE j.id = u.job_id AND j.status NOT IN ('queued', 'running'))
    RETURNING unique_key
), inserted AS (
    INSERT INTO jobs (id, created_at, updated_at, run_at, expires_at, timeout_s, max_attempts, priority, status, queue,
        type, unique_key, tags, payload)
    SELECT w.id, b.now, b.now,
        CASE WHEN w.run_at IS NOT NULL THEN w.run_at
            WHEN w.run_in IS NOT NULL THEN b.now + w.run_in * interval '1 s'
            WHEN w.id NOT BETWEEN b.oldest AND b.newest THEN b.now END,
        w.expires_at, w.timeout_s, w.max_attempts, w.priority,
        'queued', w.queue, w.type, w.unique_key, w.tags::text[], w.payload::json
    FROM bounds b, wanted w
    WHERE w.unique_key IS NULL OR w.unique_key IN (SELECT unique_key FROM taken)
    ON CONFLICT (id) DO NOTHING
    RETURNING id, created_at, run_at, expires_at
)
SELECT g.id, g.idempotency_key IN (SELECT key FROM first_sent) AS is_first, i.created_at::text, i.run_at::text,
    i.expires_at::text
FROM given g LEFT JOIN inserted i ON i.id = g.id
