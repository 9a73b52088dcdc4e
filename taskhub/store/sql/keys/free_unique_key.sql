-- Free a unique key whose holder is not there any more.
-- params: unique_key text, holder uuid
-- returns: nothing
--
-- The holder is the one that was read in an earlier statement: its key and its row are committed together, so a
-- row that is missing now was deleted. A key that has changed hands since names another job, and stays.
DELETE FROM unique_keys u
WHERE u.unique_key = :unique_key AND u.job_id = :holder AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = :holder)
