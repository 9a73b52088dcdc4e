-- A slot is rescued and its lists are gone.
-- params: worker uuid, slot int, generation int
-- returns: nothing
DELETE FROM slots WHERE worker = :worker AND slot = :slot AND generation = :generation AND closed
