-- Fence a slot's generation: waits for its claim in flight, and lets no later one through.
-- params: worker uuid, slot int, generation int
-- returns: ids; one row if there is such a slot
UPDATE slots SET closed = true
WHERE worker = :worker AND slot = :slot AND generation = :generation
RETURNING ids
