-- The child's one round trip: complete what it has finished of its last batch, and claim its next.
-- params: ids uuid[], results text[], started_us_ago bigint[], finished_us_ago bigint[], lease uuid, worker uuid, slot int, generation int, queue text, claim uuid[], claim_lease uuid, most_bytes bigint
-- returns: settled, slot_open, paused, id, type, attempt, max_attempts, interruptions, crashes, timeout_s, payload; one
--     row of the first three, then one of the others for each claimed job; its payload is null if those before it take most_bytes
-- transition: running -> completed, queued -> running
--
-- The slot's row is written first and guards the claim: a rescuer closes it before it reads `ids`, so
-- a claim either is seen by the rescue or does not happen. It must still bear the lease of this child's
-- last claim, so a statement that was delayed on its way cannot overwrite a later one. `claim_lease` in
-- the slot, or in a running row, means that an earlier sending of this very claim was carried out and its
-- answer lost: then it has got what it got, also if the queue was paused meanwhile.
WITH moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now
), settled AS (
    UPDATE jobs j
    SET status = 'completed', result = d.result::json, updated_at = m.now,
        started_at = least(m.now, m.now - d.started_us_ago * interval '1 microsecond'),
        finished_at = least(m.now, m.now - d.finished_us_ago * interval '1 microsecond')
    FROM moment m, unnest(:ids, :results, :started_us_ago, :finished_us_ago) AS d (id, result, started_us_ago, finished_us_ago)
    WHERE j.id = d.id AND j.status = 'running' AND j.lease = :lease
    RETURNING 1
), paused AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM queues WHERE name = :queue AND paused) AS yes
), open_slot AS (
    UPDATE slots s
    SET ids = CASE WHEN p.yes AND s.lease IS DISTINCT FROM :claim_lease THEN s.ids ELSE :claim END,
        lease = CASE WHEN p.yes THEN s.lease ELSE :claim_lease END
    FROM paused p
    WHERE s.worker = :worker AND s.slot = :slot AND s.generation = :generation AND NOT s.closed
        AND (s.lease IS NOT DISTINCT FROM :lease OR s.lease = :claim_lease)
    RETURNING s.lease IS DISTINCT FROM :claim_lease AS paused
), claimed AS (
    UPDATE jobs j
    SET status = 'running', lease = :claim_lease, worker = :worker, slot = :slot, run_at = NULL,
        attempts = j.attempts + (j.status = 'queued')::int, started_at = m.now, updated_at = m.now
    FROM open_slot o, moment m
    WHERE NOT o.paused AND j.id = ANY (:claim)
        AND (j.status = 'queued' AND (j.run_at IS NULL OR j.run_at <= m.now)
                AND (j.expires_at IS NULL OR j.attempts > 0 OR j.expires_at > m.now)
            OR j.status = 'running' AND j.lease = :claim_lease)
    RETURNING j.id, j.type, j.attempts, j.max_attempts, j.interruptions, j.crashes, j.timeout_s, j.payload::text AS payload
), so_far AS NOT MATERIALIZED (
    SELECT id, sum(octet_length(payload)) OVER (ROWS UNBOUNDED PRECEDING) - octet_length(payload) AS before FROM claimed
)
SELECT (SELECT count(*)::int FROM settled) AS settled, EXISTS (SELECT FROM open_slot) AS slot_open,
    coalesce((SELECT paused FROM open_slot), false) AS paused, NULL::uuid AS id, NULL::text AS type, NULL::int AS attempt, NULL::int AS max_attempts,
    NULL::int AS interruptions, NULL::int AS crashes, NULL::float8 AS timeout_s, NULL::text AS payload
UNION ALL
SELECT NULL, NULL, NULL, id, type, attempts, max_attempts, interruptions, crashes, timeout_s,
    CASE WHEN (SELECT sum(octet_length(payload)) FROM claimed) <= :most_bytes THEN payload
        WHEN id IN (SELECT id FROM so_far WHERE before < :most_bytes) THEN payload END  -- looked at in need only
FROM claimed
