-- A child begins: its generation of the slot may claim. No row back: its worker was declared dead.
-- params: worker uuid, slot int, generation int, pid int
-- returns: slot; one row if it is open
--
-- FOR SHARE waits for whoever is declaring the worker dead, and makes him wait: so no slot is opened under a
-- worker that is dead, and a worker whose slots are gone can be forgotten.
INSERT INTO slots AS s (worker, slot, generation, pid)
SELECT w.id, :slot, :generation, :pid
FROM (SELECT id FROM workers WHERE id = :worker AND NOT expired FOR SHARE) AS w
ON CONFLICT (worker, slot, generation) DO UPDATE SET pid = excluded.pid WHERE NOT s.closed
RETURNING slot
