-- Take the turn of walking: of all workers, one at a time does. Sets right what a clock that went back has left ahead.
-- params: every_s float8, lag_s float8
-- returns: number, mark, seen, late_from, was_set_back; one row if it is this worker's turn, with where late rows may
--     be
--
-- Commits alone, before the work: an answer that its reader is too slow for would keep the row locked. The mark is
-- never nearer than `lag_s` to now: one that is was set by a clock that has gone back since, or by another server's
-- (its transactions' numbers mean nothing here); then the horizon is taken again as well. An INSERT of ours that is slow
-- to commit lies at most 10 s before what was seen.
WITH moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now
), due AS MATERIALIZED (
    SELECT w.one, least(w.mark, taskhub_id_floor(m.now - :lag_s * interval '1 s')) AS mark,
        least(w.seen, taskhub_id_floor(m.now)) AS seen,
        w.horizon_id > taskhub_id_floor(m.now - interval '4 s')
            OR w.horizon_xid > pg_snapshot_xmax(pg_current_snapshot()) AS is_from_elsewhere,
        w.walked_at > m.now + interval '1 s' AS was_set_back
    FROM walk w, moment m
    WHERE w.walked_at < m.now - :every_s * interval '1 s' OR w.walked_at > m.now + interval '1 s'
    FOR UPDATE OF w SKIP LOCKED
)
UPDATE walk w
SET turn = w.turn + 1, walked_at = m.now, mark = d.mark, seen = d.seen,
    horizon_id = CASE WHEN d.is_from_elsewhere THEN taskhub_id_floor(m.now - interval '5 s') ELSE w.horizon_id END,
    horizon_xid = CASE WHEN d.is_from_elsewhere THEN pg_current_xact_id() ELSE w.horizon_xid END
FROM due d, moment m
WHERE w.one = d.one
RETURNING w.turn AS number, w.mark, w.seen,
    greatest(w.mark, least(w.seen, taskhub_id_floor(taskhub_id_moment(w.seen) - interval '10 s'))) AS late_from,
    d.was_set_back
