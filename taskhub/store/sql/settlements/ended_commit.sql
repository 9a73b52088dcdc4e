-- What a transaction that was to complete this job has left behind, once it has ended: it holds the row until then.
-- params: id uuid, lease uuid
-- returns: status; if the row is this lease's and nobody holds it
SELECT status FROM jobs WHERE id = :id AND lease = :lease FOR NO KEY UPDATE SKIP LOCKED
