-- The present state of some jobs, for those who must tell what a settlement or a rescue came upon.
-- params: ids uuid[]
-- returns: id, status, lease, queue, type, attempts
SELECT id, status, lease, queue, type, attempts FROM jobs WHERE id = ANY (:ids)
