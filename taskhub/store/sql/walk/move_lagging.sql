-- Move the marks of places that lag, and drop those behind which nothing waits.
-- params: turn bigint, queues text[], priorities int[], marks uuid[]
-- returns: nothing
--
-- A mark of null: the place was read up to the walk's own mark, or to where every pass begins, and nothing waits.
WITH mine AS MATERIALIZED (
    SELECT one FROM walk WHERE turn = :turn FOR UPDATE
), moved AS (
    UPDATE lagging l SET mark = d.mark
    FROM mine, unnest(:queues, :priorities, :marks) AS d (queue, priority, mark)
    WHERE l.queue = d.queue AND l.priority = d.priority AND d.mark > l.mark
)
DELETE FROM lagging l
USING mine, unnest(:queues, :priorities, :marks) AS d (queue, priority, mark)
WHERE l.queue = d.queue AND l.priority = d.priority AND d.mark IS NULL
