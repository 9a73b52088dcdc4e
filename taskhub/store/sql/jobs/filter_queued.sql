-- Of some ids, those that wait to be run, and where.
-- params: ids uuid[]
-- returns: id, queue, priority, due_s
SELECT id, queue, priority, extract(epoch FROM coalesce(run_at, created_at))::float8 AS due_s
FROM jobs
WHERE id = ANY (:ids) AND status = 'queued' AND (run_at IS NULL OR run_at <= clock_timestamp())
