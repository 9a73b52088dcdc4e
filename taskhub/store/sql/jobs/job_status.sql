-- The status of one job: what a wait for its end asks again and again.
-- params: id uuid
-- returns: status; if there is such a job
SELECT status FROM jobs WHERE id = :id
