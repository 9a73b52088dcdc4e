-- Claim without Redis: the next fresh rows from where the walk stands, or due rows by run_at, in one queue and priority.
-- params: worker uuid, slot int, generation int, queue text, priority int, amount int, lease uuid, claim_lease uuid, most_bytes bigint
-- returns: settled, slot_open, paused, id, type, attempt, max_attempts, interruptions, crashes, timeout_s, payload; as
--     settle_and_claim
-- transition: queued -> running
--
-- Half comes from each kind while both last, so that neither can starve the other. Of the fresh, at most 20,000 rows are
-- looked at, of whatever queue: the walk moves on from there. The slot must still bear `lease`, that of this child's last
-- claim: see settle_and_claim.
WITH moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now
), paused AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM queues WHERE name = :queue AND paused) AS yes
), due AS MATERIALIZED (
    SELECT j.id FROM jobs j, paused p
    WHERE NOT p.yes AND j.queue = :queue AND j.priority = :priority AND j.run_at <= (SELECT now FROM moment)
        AND j.status = 'queued' AND (j.expires_at IS NULL OR j.attempts > 0 OR j.expires_at > (SELECT now FROM moment))
    ORDER BY j.run_at LIMIT :amount
    FOR UPDATE OF j SKIP LOCKED
), start AS MATERIALIZED (
    SELECT coalesce((SELECT mark FROM lagging WHERE queue = :queue AND priority = :priority),
        (SELECT least(seen, taskhub_id_floor(taskhub_id_moment(seen) - interval '10 s')) FROM walk)) AS id
), near AS MATERIALIZED (
    SELECT id FROM (
        SELECT j.id, j.queue, j.priority, j.status, j.run_at FROM jobs j
        WHERE j.id >= (SELECT id FROM start) ORDER BY j.id LIMIT 20000
    ) AS rows
    WHERE queue = :queue AND priority = :priority AND run_at IS NULL AND status = 'queued'
    LIMIT 4 * :amount
), fresh AS MATERIALIZED (
    SELECT j.id FROM jobs j, paused p, near n
    WHERE NOT p.yes AND j.id = n.id AND j.run_at IS NULL AND j.status = 'queued'
        AND (j.expires_at IS NULL OR j.attempts > 0 OR j.expires_at > (SELECT now FROM moment))
    ORDER BY j.id LIMIT :amount
    FOR UPDATE OF j SKIP LOCKED
), chosen AS MATERIALIZED (
    SELECT id FROM (
        SELECT id, row_number() OVER () AS place FROM due
        UNION ALL
        SELECT id, row_number() OVER () FROM fresh
    ) AS both_kinds
    ORDER BY place, random() LIMIT :amount
), open_slot AS (
    UPDATE slots s
    SET ids = ARRAY(SELECT id FROM chosen), lease = :claim_lease
    WHERE s.worker = :worker AND s.slot = :slot AND s.generation = :generation AND NOT s.closed
        AND s.lease IS NOT DISTINCT FROM :lease
    RETURNING 1
), claimed AS (
    UPDATE jobs j
    SET status = 'running', lease = :claim_lease, worker = :worker, slot = :slot, run_at = NULL,
        attempts = j.attempts + 1, started_at = m.now, updated_at = m.now
    FROM open_slot, moment m, chosen c
    WHERE j.id = c.id AND j.status = 'queued'
    RETURNING j.id, j.type, j.attempts, j.max_attempts, j.interruptions, j.crashes, j.timeout_s, j.payload::text AS payload
), so_far AS NOT MATERIALIZED (
    SELECT id, sum(octet_length(payload)) OVER (ROWS UNBOUNDED PRECEDING) - octet_length(payload) AS before FROM claimed
)
SELECT 0 AS settled, EXISTS (SELECT FROM open_slot) AS slot_open,
    (SELECT yes FROM paused) AS paused, NULL::uuid AS id, NULL::text AS type, NULL::int AS attempt, NULL::int AS max_attempts,
    NULL::int AS interruptions, NULL::int AS crashes, NULL::float8 AS timeout_s, NULL::text AS payload
UNION ALL
SELECT NULL, NULL, NULL, id, type, attempts, max_attempts, interruptions, crashes, timeout_s,
    CASE WHEN (SELECT sum(octet_length(payload)) FROM claimed) <= :most_bytes THEN payload
        WHEN id IN (SELECT id FROM so_far WHERE before < :most_bytes) THEN payload END  -- looked at in need only
FROM claimed
