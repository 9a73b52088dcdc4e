-- Free a unique key whose holder is not there any more.
-- params: unique_key text, holder uuid
-- returns: nothing
DELETE FROM unique_keys u
WHERE u.unique_key = :unique_key AND u.job_id = :holder AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = :holder)
