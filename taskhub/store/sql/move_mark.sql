-- Move a mark forward: never nearer to now than `lag_s`, never past a row that an open transaction may still insert.
-- params: queue text, priority int, upto uuid, horizon uuid, lag_s float8
-- returns: mark
--
-- `upto` and `horizon` are of one walk: another walker's newer horizon says nothing about what this one
-- has seen. The new horizon is read in this order: the statement's time, then its own transaction's number
-- (the snapshot's xmax will not do: open transactions may be numbered from it on). So a transaction
-- numbered above horizon_xid got its number, and then read the clock, after that time.
UPDATE marks
SET mark = greatest(mark, least(:upto, taskhub_id_floor(clock_timestamp() - :lag_s * interval '1 s'),
        coalesce(:horizon, mark))),
    horizon_id = CASE WHEN horizon_id = :horizon
        THEN taskhub_id_floor(statement_timestamp() - interval '5 s') ELSE horizon_id END,
    horizon_xid = CASE WHEN horizon_id = :horizon
        THEN pg_current_xact_id() ELSE horizon_xid END
WHERE queue = :queue AND priority = :priority
RETURNING mark
