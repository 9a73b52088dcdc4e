-- What dead workers left behind.
-- params: amount int
-- returns: worker, slot (null: none is left), generation
SELECT w.id, s.slot, s.generation
FROM workers w LEFT JOIN slots s ON s.worker = w.id
WHERE w.expired
ORDER BY w.id, s.slot, s.generation
LIMIT :amount
