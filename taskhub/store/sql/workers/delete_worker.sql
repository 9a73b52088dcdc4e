-- A dead worker has no slots left.
-- params: worker uuid
-- returns: id; if it is gone now
DELETE FROM workers w
WHERE w.id = :worker AND w.expired AND NOT EXISTS (SELECT FROM slots s WHERE s.worker = w.id)
RETURNING id
