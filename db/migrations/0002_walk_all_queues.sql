-- One walk for all queues, ids whose time is computed in place, and rows from other hands that are always found.
-- allows: 1
--
-- Safe on a large table that is in use: nothing is rewritten, no index of jobs is made, and each lock is held for
-- a moment only (CREATE TRIGGER waits for open writers; the runner gives up soon and tries again). Code of 0001
-- goes on working: it keeps its marks, and what it submits is found by run_at.

-- The smallest UUIDv7 of a moment. Written without a STABLE function, so that it is put in place where it is
-- called and costs no call: the difference of two times is IMMUTABLE, extract() of a time is not.
CREATE OR REPLACE FUNCTION taskhub_id_floor(moment timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM moment - timestamptz '1970-01-01 00:00:00+00') * 1000)::bigint), 12, '0')
            || '7000' || '8000000000000000')::uuid
$$;

-- The walk over fresh rows of all queues; one row.
--
-- Nothing below `mark` is queued with run_at NULL, unless its queue and priority are in `lagging`. A row that is
-- still to come and is older than `horizon_id` can only be from a transaction numbered below `horizon_xid`: the
-- mark passes `horizon_id` once all of those have ended. `seen` is how far was read: a transaction that is
-- left open, in whatever database of the server, holds the mark for as long, and never `seen`. `turn` fences:
-- only who took the last turn writes here and into `lagging`.
CREATE TABLE walk (
    one         boolean     PRIMARY KEY DEFAULT true CHECK (one),
    mark        uuid        NOT NULL,
    seen        uuid        NOT NULL,
    horizon_id  uuid        NOT NULL,
    horizon_xid xid8        NOT NULL,
    turn        bigint      NOT NULL DEFAULT 0,
    walked_at   timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 10);

-- Where waiting rows lie behind the walk: nothing of this queue and priority waits below its own mark.
CREATE TABLE lagging (
    queue    text     NOT NULL,
    priority smallint NOT NULL,
    mark     uuid     NOT NULL,
    PRIMARY KEY (queue, priority)
) WITH (fillfactor = 50);

-- Below its mark nothing of a known place waits: the walk begins a little before now, and who is behind lags.
INSERT INTO lagging (queue, priority, mark)
SELECT queue, priority, mark FROM marks WHERE mark < taskhub_id_floor(now() - interval '60 s');
INSERT INTO walk (mark, seen, horizon_id, horizon_xid)
SELECT floor, floor, floor, pg_current_xact_id() FROM taskhub_id_floor(now() - interval '60 s') AS floor;

-- When the walk last met a row of the queue; one that lies idle for long is forgotten.
ALTER TABLE queues ADD COLUMN active_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX queues_active ON queues (active_at);

-- Make a queue and a priority known. Never waits: a name that another's open transaction is making known is left
-- to it (the walk makes it known in any case, from the rows that it meets).
CREATE OR REPLACE FUNCTION taskhub_know_queue(queue text, priority integer) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO queues (name)
    SELECT $1 WHERE NOT EXISTS (SELECT FROM queues WHERE name = $1)
        AND pg_try_advisory_xact_lock(7450183, hashtext($1))
    ON CONFLICT DO NOTHING;
    INSERT INTO marks (queue, priority, mark, horizon_id, horizon_xid)
    SELECT name, $2, floor, floor, pg_snapshot_xmax(pg_current_snapshot())
    FROM queues, taskhub_id_floor(clock_timestamp() - interval '15 s') AS floor
    WHERE name = $1 AND NOT EXISTS (SELECT FROM marks WHERE marks.queue = $1 AND marks.priority = $2)
        AND pg_try_advisory_xact_lock(7450184, hashtext($1 || ' ' || $2))
    ON CONFLICT DO NOTHING;
$$;

-- A fresh row is found by its id, if that is in step with the clock and not below the mark. taskhub's own
-- sessions see to it (`taskhub.inserts`); rows that anybody else inserts are given a run_at, and found by that.
CREATE FUNCTION taskhub_find_by_run_at() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.run_at := clock_timestamp();
    RETURN NEW;
END
$$;
CREATE TRIGGER jobs_from_elsewhere BEFORE INSERT ON jobs FOR EACH ROW
    WHEN (current_setting('taskhub.inserts', true) IS DISTINCT FROM 'on' AND NEW.run_at IS NULL AND NEW.status = 'queued')
    EXECUTE FUNCTION taskhub_find_by_run_at();

-- Each worker asks for its own twice a second.
CREATE INDEX cancellations_by_worker ON cancellations (worker);

-- Ids are random: pglz would only try them in vain, at each claim.
ALTER TABLE slots ALTER COLUMN ids SET STORAGE EXTERNAL;
