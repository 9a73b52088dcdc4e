-- Cancel a job: at once if it is queued, by a request to its worker if it is running.
-- params: id uuid
-- returns: status; before, if there is such a job
-- transition: queued -> cancelled
--
-- The row is locked first, so its status is decided here and nowhere else; whoever claims or settles it
-- comes before or after. A row that somebody holds is refused at once (55P03), so that no connection waits for it.
WITH found AS MATERIALIZED (
    SELECT id, status, worker FROM jobs WHERE id = :id FOR UPDATE NOWAIT
), moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now FROM found
), changed AS (
    UPDATE jobs j
    SET status = CASE WHEN f.status = 'queued' THEN 'cancelled' ELSE j.status END,
        run_at = NULL,
        failed_at = CASE WHEN f.status = 'queued' THEN m.now END,
        finished_at = CASE WHEN f.status = 'queued' THEN m.now END,
        cancel_requested_at = coalesce(j.cancel_requested_at, m.now),
        updated_at = CASE WHEN j.cancel_requested_at IS NULL THEN m.now ELSE j.updated_at END
    FROM found f, moment m
    WHERE j.id = f.id AND f.status IN ('queued', 'running')
), requested AS (
    INSERT INTO cancellations (job_id, worker, requested_at)
    SELECT f.id, f.worker, m.now FROM found f, moment m
    WHERE f.status = 'running'
    ON CONFLICT (job_id) DO UPDATE SET worker = excluded.worker
)
SELECT status FROM found
