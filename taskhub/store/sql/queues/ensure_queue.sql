-- Make a queue and priority known, before the first job is inserted there. One that is known waits for nobody.
-- params: queue text, priority int
-- returns: made_known; one row if it was not known
SELECT taskhub_know_queue(:queue, :priority) AS made_known
WHERE NOT EXISTS (SELECT FROM marks m WHERE m.queue = :queue AND m.priority = :priority)
