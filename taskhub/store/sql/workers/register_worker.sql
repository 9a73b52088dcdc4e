-- A supervisor's boot.
-- params: worker uuid, host text, pid int, version text, queues text[]
-- returns: nothing
INSERT INTO workers (id, host, pid, version, queues, started_at, heartbeat_at)
VALUES (:worker, :host, :pid, :version, :queues, clock_timestamp(), clock_timestamp())
ON CONFLICT (id) DO NOTHING
