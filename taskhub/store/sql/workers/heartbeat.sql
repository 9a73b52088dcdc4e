-- A supervisor is alive. No row back: somebody declared it dead, and it must begin anew.
-- params: worker uuid
-- returns: slots that are open in all workers, now as seconds, when the server started as seconds
UPDATE workers SET heartbeat_at = clock_timestamp()
WHERE id = :worker AND NOT expired
RETURNING (SELECT count(*)::int FROM slots WHERE NOT closed), extract(epoch FROM clock_timestamp())::float8,
    extract(epoch FROM pg_postmaster_start_time())::float8
