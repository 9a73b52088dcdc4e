-- A supervisor is alive, and perhaps on its way out. No row back: somebody declared it dead, and it must restart.
-- params: worker uuid, stopping bool
-- returns: open_slots; of all workers
UPDATE workers SET heartbeat_at = clock_timestamp(), stopping = :stopping
WHERE id = :worker AND NOT expired
RETURNING (SELECT count(*)::int FROM slots WHERE NOT closed) AS open_slots
