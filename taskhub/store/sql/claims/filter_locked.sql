-- Which of some jobs are locked by others' transactions, so that a claim would have to wait.
-- params: ids uuid[]
-- returns: id
WITH free AS MATERIALIZED (
    SELECT id FROM jobs WHERE id = ANY (:ids) FOR NO KEY UPDATE SKIP LOCKED
)
SELECT id FROM jobs WHERE id = ANY (:ids) AND id NOT IN (SELECT id FROM free)
