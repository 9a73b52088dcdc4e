-- Delete queues that have lain idle for long: no row met, none waiting or scheduled, not paused.
-- params: idle_s float8, amount int
-- returns: name; per queue that is forgotten
--
-- One that is used again is made known again, by the submission or by the walk.
WITH idle AS MATERIALIZED (
    SELECT q.name FROM queues q
    WHERE q.active_at < (SELECT clock_timestamp() - :idle_s * interval '1 s') AND NOT q.paused
        AND NOT EXISTS (SELECT FROM lagging l WHERE l.queue = q.name)
        AND NOT EXISTS (SELECT FROM jobs j WHERE j.queue = q.name AND j.run_at IS NOT NULL)
    ORDER BY q.active_at LIMIT :amount
    FOR UPDATE OF q SKIP LOCKED
), marks_gone AS (
    DELETE FROM marks m USING idle i WHERE m.queue = i.name
)
DELETE FROM queues q USING idle i WHERE q.name = i.name
RETURNING q.name
