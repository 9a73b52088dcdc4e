-- Complete a job inside its handler's own transaction.
-- params: id uuid, lease uuid
-- returns: nothing; one row is changed if the lease still holds the job
-- transition: running -> completed
WITH moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now
)
UPDATE jobs j SET status = 'completed', finished_at = m.now, updated_at = m.now
FROM moment m
WHERE j.id = :id AND j.status = 'running' AND j.lease = :lease
