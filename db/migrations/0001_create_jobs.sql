-- The tables of taskhub. PostgreSQL 13 or newer.
--
-- jobs is built so that a job's ordinary life (queued, running, completed) is HOT updates only: no
-- index contains or mentions a column that the ordinary life changes, and each page has room for three
-- versions of its rows, which grow with lease, worker, times and result. (With room for two, a fifth of
-- the updates were not HOT: a page cannot be cleaned while another child's statement is under way.)

CREATE TABLE jobs (
    id                  uuid        NOT NULL,
    lease               uuid,
    worker              uuid,
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    run_at              timestamptz,
    started_at          timestamptz,
    finished_at         timestamptz,
    failed_at           timestamptz,
    expires_at          timestamptz,
    cancel_requested_at timestamptz,
    unknown_since       timestamptz,
    timeout_s           double precision,
    attempts            integer     NOT NULL DEFAULT 0,
    max_attempts        integer     NOT NULL,
    crashes             integer     NOT NULL DEFAULT 0,
    interruptions       integer     NOT NULL DEFAULT 0,
    replays             integer     NOT NULL DEFAULT 0,
    slot                smallint,
    priority            smallint    NOT NULL,
    status              text        NOT NULL,
    queue               text        NOT NULL,
    type                text        NOT NULL,
    failure_reason      text,
    unique_key          text,
    tags                text[]      NOT NULL DEFAULT '{}',
    payload             json        NOT NULL,
    result              json,
    error               json,
    CONSTRAINT jobs_pkey PRIMARY KEY (id)
) WITH (
    fillfactor = 30,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0
);

CREATE INDEX jobs_due ON jobs (queue, priority, run_at) WHERE run_at IS NOT NULL;
CREATE INDEX jobs_failed ON jobs (failed_at) WHERE failed_at IS NOT NULL;
CREATE INDEX jobs_expiring ON jobs (expires_at) WHERE expires_at IS NOT NULL;

COMMENT ON COLUMN jobs.run_at IS
    'Set on every queued row except a fresh one between its INSERT and its first claim.';
COMMENT ON COLUMN jobs.unknown_since IS 'When a worker first gave the job back because it does not know its type.';
COMMENT ON COLUMN jobs.lease IS 'Token of the latest claim; fences every write by a worker.';

-- One row per execution that ended in failure, and per crash.
CREATE TABLE job_errors (
    seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id      uuid        NOT NULL,
    worker      uuid,
    started_at  timestamptz,
    failed_at   timestamptz NOT NULL,
    attempt     integer     NOT NULL,
    slot        smallint,
    type        text        NOT NULL,
    message     text        NOT NULL,
    cause       text        NOT NULL,
    peak_rss_mb real
);
CREATE INDEX job_errors_of_job ON job_errors (job_id, seq);

-- A worker is one supervisor between one boot and its end. `expired` fences it for good.
CREATE TABLE workers (
    id           uuid PRIMARY KEY,
    host         text        NOT NULL,
    pid          integer     NOT NULL,
    version      text        NOT NULL,
    queues       text[]      NOT NULL,
    started_at   timestamptz NOT NULL,
    heartbeat_at timestamptz NOT NULL,
    expired      boolean     NOT NULL DEFAULT false
) WITH (fillfactor = 50);

-- What each child holds: one row per generation of a slot. `ids` is the batch that it claimed last and
-- `lease` that claim's token, both written by the claim itself; `closed` fences its claims before a
-- rescue reads them.
CREATE TABLE slots (
    worker     uuid     NOT NULL REFERENCES workers (id),
    generation integer  NOT NULL,
    slot       smallint NOT NULL,
    closed     boolean  NOT NULL DEFAULT false,
    pid        integer  NOT NULL,
    lease      uuid,
    ids        uuid[]   NOT NULL DEFAULT '{}',
    PRIMARY KEY (worker, slot, generation)
) WITH (fillfactor = 10);

CREATE TABLE queues (
    name       text PRIMARY KEY,
    paused     boolean     NOT NULL DEFAULT false,
    epoch      bigint      NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- Nothing below `mark` is queued with run_at NULL. A row that is still to come and is older than
-- `horizon_id` can only be from a transaction numbered below `horizon_xid`: the mark passes
-- `horizon_id` once all of those have ended.
CREATE TABLE marks (
    queue       text     NOT NULL REFERENCES queues (name),
    priority    smallint NOT NULL,
    mark        uuid     NOT NULL,
    horizon_id  uuid     NOT NULL,
    horizon_xid xid8     NOT NULL,
    walked_at   timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (queue, priority)
) WITH (fillfactor = 50);

CREATE TABLE idempotency_keys (
    key         text PRIMARY KEY,
    fingerprint text        NOT NULL,
    job_id      uuid        NOT NULL,
    expires_at  timestamptz NOT NULL
);
CREATE INDEX idempotency_keys_expiring ON idempotency_keys (expires_at);

-- Held while its job is not finished; a finished holder is replaced by the next submission.
CREATE TABLE unique_keys (
    unique_key text PRIMARY KEY,
    job_id     uuid NOT NULL
);

-- Running jobs that somebody wants stopped; the worker that runs them looks here.
CREATE TABLE cancellations (
    job_id       uuid PRIMARY KEY,
    worker       uuid,
    requested_at timestamptz NOT NULL
);

CREATE TABLE schedules (
    name     text PRIMARY KEY,
    cron     text        NOT NULL,
    timezone text        NOT NULL DEFAULT 'UTC',
    payload  json        NOT NULL,
    queue    text        NOT NULL DEFAULT 'default',
    missed   text        NOT NULL DEFAULT 'one',
    enabled  boolean     NOT NULL DEFAULT true,
    next_at  timestamptz
);

CREATE TABLE api_keys (
    id         text PRIMARY KEY,
    hash       bytea       NOT NULL,
    name       text        NOT NULL,
    scopes     text[]      NOT NULL,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
);

-- The smallest UUIDv7 of a moment.
CREATE FUNCTION taskhub_id_floor(moment timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM moment) * 1000)::bigint), 12, '0')
            || '7000' || '8000000000000000')::uuid
$$;

-- The moment inside a UUIDv7.
CREATE FUNCTION taskhub_id_moment(id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT to_timestamp(('x' || lpad(substr(replace(id::text, '-', ''), 1, 12), 16, '0'))::bit(64)::bigint / 1000.0)
$$;

-- Make a queue and a priority known, so that maintenance looks after them. The mark starts behind
-- every id that an INSERT of this moment may bear (those may be 5 s behind the clock).
CREATE FUNCTION taskhub_know_queue(queue text, priority integer) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO queues (name) VALUES (queue) ON CONFLICT DO NOTHING;
    INSERT INTO marks (queue, priority, mark, horizon_id, horizon_xid)
    SELECT $1, $2, floor, floor, pg_snapshot_xmax(pg_current_snapshot())
    FROM taskhub_id_floor(clock_timestamp() - interval '15 s') AS floor
    ON CONFLICT DO NOTHING;
$$;

-- Submit a job from SQL, in the caller's own transaction. It runs after the commit: the dispatcher
-- finds it by run_at. It has 5 attempts. Raises check_violation for what the HTTP API would refuse.
CREATE FUNCTION taskhub_enqueue(
    type text,
    payload json,
    queue text DEFAULT 'default',
    priority integer DEFAULT 4,
    run_at timestamptz DEFAULT NULL,
    unique_key text DEFAULT NULL
) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    body  text := btrim(payload::text, E' \t\r\n');
    fresh uuid := (substr(taskhub_id_floor(clock_timestamp())::text, 1, 15)
                   || substr(gen_random_uuid()::text, 16))::uuid;
    held  uuid;
BEGIN
    IF taskhub_enqueue.type !~ '^[a-z0-9][a-z0-9_.-]{0,63}$' OR taskhub_enqueue.queue !~ '^[a-z0-9][a-z0-9_.-]{0,63}$' THEN
        RAISE check_violation USING MESSAGE = 'type and queue must match [a-z0-9][a-z0-9_.-]{0,63}';
    END IF;
    IF taskhub_enqueue.priority NOT BETWEEN 0 AND 9 THEN
        RAISE check_violation USING MESSAGE = 'priority must be 0 to 9';
    END IF;
    IF json_typeof(taskhub_enqueue.payload) <> 'object' OR octet_length(taskhub_enqueue.payload::text) > 1048576 THEN
        RAISE check_violation USING MESSAGE = 'payload must be a JSON object of at most 1 MiB';
    END IF;
    IF payload -> 'type' IS NULL THEN  -- text surgery, never jsonb: it would rewrite numbers
        body := '{"type":' || to_json(taskhub_enqueue.type)
                || CASE WHEN body ~ '^\{\s*\}$' THEN '}' ELSE ',' || substr(body, 2) END;
    ELSIF json_typeof(payload -> 'type') <> 'string' OR payload ->> 'type' <> taskhub_enqueue.type THEN
        RAISE check_violation USING MESSAGE = 'payload.type contradicts type';
    END IF;
    PERFORM taskhub_know_queue(taskhub_enqueue.queue, taskhub_enqueue.priority);
    WHILE taskhub_enqueue.unique_key IS NOT NULL LOOP
        INSERT INTO unique_keys (unique_key, job_id) VALUES (taskhub_enqueue.unique_key, fresh) ON CONFLICT DO NOTHING;
        EXIT WHEN FOUND;
        -- Lock the key, and only then look at its holder, in a statement of its own: one that began before
        -- another submitter's commit would not see that one's job.
        SELECT u.job_id INTO held FROM unique_keys u WHERE u.unique_key = taskhub_enqueue.unique_key FOR UPDATE;
        CONTINUE WHEN NOT FOUND;
        PERFORM FROM jobs j WHERE j.id = held AND j.status IN ('queued', 'running');
        IF FOUND THEN
            RETURN held;
        END IF;
        UPDATE unique_keys u SET job_id = fresh WHERE u.unique_key = taskhub_enqueue.unique_key;
        EXIT;
    END LOOP;
    INSERT INTO jobs (id, created_at, updated_at, run_at, max_attempts, priority, status, queue, type, unique_key, payload)
    VALUES (fresh, clock_timestamp(), clock_timestamp(), coalesce(taskhub_enqueue.run_at, clock_timestamp()),
            5, taskhub_enqueue.priority, 'queued', taskhub_enqueue.queue, taskhub_enqueue.type,
            taskhub_enqueue.unique_key, body::json);
    RETURN fresh;
END
$$;
