-- Forget unique keys whose job is over; walks the keys from the one given on.
-- params: after text, amount int
-- returns: last, read; one row: the last key read (null: none is left to read), how many were read
--
-- What is deleted is the very pair of key and job that was read: a key that has changed hands since, while this
-- statement waited for somebody's lock, names another job and stays.
WITH looked AS MATERIALIZED (
    SELECT unique_key, job_id FROM unique_keys WHERE unique_key > :after ORDER BY unique_key LIMIT :amount
), over AS MATERIALIZED (
    SELECT l.* FROM looked l
    WHERE NOT EXISTS (SELECT FROM jobs j WHERE j.id = l.job_id AND j.status IN ('queued', 'running'))
), gone AS (
    DELETE FROM unique_keys u USING over o
    WHERE u.unique_key = o.unique_key AND u.job_id = o.job_id
)
SELECT max(unique_key) AS last, count(*)::int AS read FROM looked
