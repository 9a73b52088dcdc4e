-- What dead workers left behind, in order, from after one place on; stopping: the worker was lost on its way out.
-- params: after_worker uuid, after_number int, after_generation int, amount int
-- returns: worker, number, generation, stopping; number and generation -1: no slot, nothing but its own row
SELECT worker, number, generation, stopping
FROM (
    SELECT w.id AS worker, coalesce(s.slot, -1) AS number, coalesce(s.generation, -1) AS generation,
        w.stopping
    FROM workers w LEFT JOIN slots s ON s.worker = w.id
    WHERE w.expired AND w.id >= :after_worker
) AS left_behind
WHERE (worker, number, generation) > (:after_worker, :after_number, :after_generation)
ORDER BY worker, number, generation
LIMIT :amount
