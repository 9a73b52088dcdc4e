-- Write down what a reading has found: the places that lag, then how far was seen, and the mark.
-- params: turn bigint, seen uuid, mark uuid, horizon uuid, lag_s float8, queues text[], priorities int[], marks uuid[]
-- returns: mark; one row while the turn is still this worker's
--
-- `mark` null leaves it. It never comes nearer than `lag_s` to now, nor passes a row that an open transaction may still
-- insert: `horizon`, of that same reading. A new horizon is read in this order: the statement's time, then its own
-- transaction's number (the snapshot's xmax will not do: open transactions may be numbered from it on). So a
-- transaction numbered above horizon_xid got its number, and then read the clock, after that time.
WITH mine AS MATERIALIZED (
    SELECT one, horizon_id FROM walk WHERE turn = :turn FOR UPDATE
), behind AS (
    INSERT INTO lagging AS l (queue, priority, mark)
    SELECT d.queue, d.priority, d.mark
    FROM mine, unnest(:queues, :priorities, :marks) AS d (queue, priority, mark)
    ON CONFLICT (queue, priority) DO UPDATE SET mark = excluded.mark WHERE excluded.mark < l.mark
)
UPDATE walk w
SET seen = greatest(w.seen, least(:seen, taskhub_id_floor(clock_timestamp() - interval '5 s'))),
    mark = greatest(w.mark, least(coalesce(:mark, w.mark), coalesce(:horizon, w.mark),
        taskhub_id_floor(clock_timestamp() - :lag_s * interval '1 s'))),
    horizon_id = CASE WHEN m.horizon_id = :horizon AND :mark >= :horizon
        THEN taskhub_id_floor(statement_timestamp() - interval '5 s') ELSE w.horizon_id END,
    horizon_xid = CASE WHEN m.horizon_id = :horizon AND :mark >= :horizon
        THEN pg_current_xact_id() ELSE w.horizon_xid END
FROM mine m
WHERE w.one = m.one
RETURNING w.mark
