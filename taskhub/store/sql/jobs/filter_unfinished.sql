-- Which of some jobs have not ended: asked again and again for all requests of a process that wait for one.
-- params: ids uuid[]
-- returns: id
SELECT id FROM jobs WHERE id = ANY (:ids) AND status IN ('queued', 'running')
