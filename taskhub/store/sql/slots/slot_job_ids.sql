-- The batch that a lease of this worker holds.
-- params: worker uuid, lease uuid
-- returns: ids
SELECT ids::text[] AS ids FROM slots WHERE worker = :worker AND lease = :lease
