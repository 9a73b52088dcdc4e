-- Make a queue and priority known, before the first job is inserted there.
-- params: queue text, priority int
-- returns: one row
SELECT taskhub_know_queue(:queue, :priority)
