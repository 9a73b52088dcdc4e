-- Of some jobs, those that somebody wants cancelled.
-- params: ids uuid[]
-- returns: id
SELECT id FROM jobs WHERE id = ANY (:ids) AND cancel_requested_at IS NOT NULL
