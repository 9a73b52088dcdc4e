-- The slots that a worker has in the database.
-- params: worker uuid
-- returns: worker, number, generation
SELECT worker, slot AS number, generation FROM slots WHERE worker = :worker ORDER BY slot, generation
