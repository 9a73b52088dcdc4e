-- A child begins: its generation of the slot may claim. No row back: its worker was declared dead.
-- params: worker uuid, slot int, generation int, pid int
-- returns: one row if the slot is open
INSERT INTO slots AS s (worker, slot, generation, pid)
SELECT w.id, :slot, :generation, :pid
FROM (SELECT id FROM workers WHERE id = :worker AND NOT expired FOR KEY SHARE) AS w
ON CONFLICT (worker, slot, generation) DO UPDATE SET pid = excluded.pid WHERE NOT s.closed
RETURNING slot
