-- A supervisor's boot, or what has become known of it since.
-- params: worker uuid, host text, pid int, version text, queues text[]
-- returns: nothing
INSERT INTO workers (id, host, pid, version, queues, started_at, heartbeat_at)
VALUES (:worker, :host, :pid, :version, :queues, clock_timestamp(), clock_timestamp())
ON CONFLICT (id) DO UPDATE SET queues = excluded.queues WHERE workers.queues <> excluded.queues
