-- The slots that a worker has in the database.
-- params: worker uuid
-- returns: slot, generation
SELECT slot, generation FROM slots WHERE worker = :worker ORDER BY slot, generation
