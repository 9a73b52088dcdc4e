-- Does the server answer?
-- params:
-- returns: one row
SELECT 1
