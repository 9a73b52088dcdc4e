-- Declare one worker dead: its own host knows that it is (or it is leaving).
-- params: worker uuid
-- returns: id; if there is such a worker
UPDATE workers SET expired = true WHERE id = :worker RETURNING id
