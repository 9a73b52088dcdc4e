-- What dead workers left behind, in order, from after one place on.
-- params: after_worker uuid, after_slot int, after_generation int, amount int
-- returns: worker, slot, generation (both -1: no slot, nothing but its own row)
SELECT worker, slot, generation
FROM (
    SELECT w.id AS worker, coalesce(s.slot, -1) AS slot, coalesce(s.generation, -1) AS generation
    FROM workers w LEFT JOIN slots s ON s.worker = w.id
    WHERE w.expired AND w.id >= :after_worker
) AS left_behind
WHERE (worker, slot, generation) > (:after_worker, :after_slot, :after_generation)
ORDER BY worker, slot, generation
LIMIT :amount
