-- Remember the epoch that Redis has just been given.
-- params: queue text, epoch bigint
-- returns: nothing
UPDATE queues SET epoch = greatest(epoch, :epoch) WHERE name = :queue
