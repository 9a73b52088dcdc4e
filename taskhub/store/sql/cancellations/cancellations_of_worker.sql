-- Cancellations asked for of jobs that this worker runs.
-- params: worker uuid
-- returns: job_id, slot, lease
SELECT c.job_id, j.slot, j.lease
FROM cancellations c JOIN jobs j ON j.id = c.job_id
WHERE c.worker = :worker AND j.status = 'running' AND j.worker = :worker AND j.cancel_requested_at IS NOT NULL
