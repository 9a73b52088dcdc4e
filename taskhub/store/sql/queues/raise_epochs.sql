-- Remember the epochs that Redis has just been given, and which of these queues are in use now.
-- params: queues text[], epochs bigint[], in_use text[]
-- returns: nothing
INSERT INTO queues AS q (name, epoch, active_at)
SELECT d.queue, d.epoch, clock_timestamp() FROM unnest(:queues, :epochs) AS d (queue, epoch)
ORDER BY d.queue
ON CONFLICT (name) DO UPDATE
SET epoch = greatest(q.epoch, excluded.epoch),
    active_at = CASE WHEN q.active_at BETWEEN excluded.active_at - interval '5 s' AND excluded.active_at
            OR NOT q.name = ANY (:in_use)
        THEN q.active_at ELSE excluded.active_at END
