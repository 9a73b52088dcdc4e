-- Complete a job inside its handler's own transaction.
-- params: id uuid, lease uuid
-- returns: nothing; one row is changed if the lease still holds the job
UPDATE jobs SET status = 'completed', finished_at = clock_timestamp(), updated_at = clock_timestamp()
WHERE id = :id AND status = 'running' AND lease = :lease
