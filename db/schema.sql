-- The schema that all migrations together make. Generated, never edited: tests/architecture/test_schema.py
-- says so when it is out of date, and how to make it again.

CREATE FUNCTION public.taskhub_enqueue(type text, payload json, queue text DEFAULT 'default'::text, priority integer DEFAULT 4, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, unique_key text DEFAULT NULL::text) RETURNS uuid
    LANGUAGE plpgsql
    AS $_$
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
$_$;

CREATE FUNCTION public.taskhub_find_by_run_at() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.run_at := clock_timestamp();
    RETURN NEW;
END
$$;

CREATE FUNCTION public.taskhub_id_floor(moment timestamp with time zone) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM moment - timestamptz '1970-01-01 00:00:00+00') * 1000)::bigint), 12, '0')
            || '7000' || '8000000000000000')::uuid
$$;

CREATE FUNCTION public.taskhub_id_moment(id uuid) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
    SELECT to_timestamp(('x' || lpad(substr(replace(id::text, '-', ''), 1, 12), 16, '0'))::bit(64)::bigint / 1000.0)
$$;

CREATE FUNCTION public.taskhub_know_queue(queue text, priority integer) RETURNS void
    LANGUAGE sql
    AS $_$
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
$_$;

CREATE TABLE public.api_keys (
    id text NOT NULL,
    hash bytea NOT NULL,
    name text NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone
);

CREATE TABLE public.cancellations (
    job_id uuid NOT NULL,
    worker uuid,
    requested_at timestamp with time zone NOT NULL
);

CREATE TABLE public.idempotency_keys (
    key text NOT NULL,
    fingerprint text NOT NULL,
    job_id uuid NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

CREATE TABLE public.job_errors (
    seq bigint NOT NULL,
    job_id uuid NOT NULL,
    worker uuid,
    started_at timestamp with time zone,
    failed_at timestamp with time zone NOT NULL,
    attempt integer NOT NULL,
    slot smallint,
    type text NOT NULL,
    message text NOT NULL,
    cause text NOT NULL,
    peak_rss_mb real,
    raised_in text,
    traceback text
);

COMMENT ON COLUMN public.job_errors.raised_in IS 'The last frame that is the handler''s own code: file:line function.';

ALTER TABLE public.job_errors ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.job_errors_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.jobs (
    id uuid NOT NULL,
    lease uuid,
    worker uuid,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    run_at timestamp with time zone,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    failed_at timestamp with time zone,
    expires_at timestamp with time zone,
    cancel_requested_at timestamp with time zone,
    unknown_since timestamp with time zone,
    timeout_s double precision,
    attempts integer DEFAULT 0 NOT NULL,
    max_attempts integer NOT NULL,
    crashes integer DEFAULT 0 NOT NULL,
    interruptions integer DEFAULT 0 NOT NULL,
    replays integer DEFAULT 0 NOT NULL,
    slot smallint,
    priority smallint NOT NULL,
    status text NOT NULL,
    queue text NOT NULL,
    type text NOT NULL,
    failure_reason text,
    unique_key text,
    tags text[] DEFAULT '{}'::text[] NOT NULL,
    payload json NOT NULL,
    result json,
    error json
)
WITH (fillfactor='30', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='20000', autovacuum_vacuum_cost_delay='0');

COMMENT ON COLUMN public.jobs.lease IS 'Token of the latest claim; fences every write by a worker.';

COMMENT ON COLUMN public.jobs.run_at IS 'Set on every queued row except a fresh one between its INSERT and its first claim.';

COMMENT ON COLUMN public.jobs.unknown_since IS 'When a worker first gave the job back because it does not know its type.';

CREATE TABLE public.lagging (
    queue text NOT NULL,
    priority smallint NOT NULL,
    mark uuid NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE public.marks (
    queue text NOT NULL,
    priority smallint NOT NULL,
    mark uuid NOT NULL,
    horizon_id uuid NOT NULL,
    horizon_xid xid8 NOT NULL,
    walked_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE public.queues (
    name text NOT NULL,
    paused boolean DEFAULT false NOT NULL,
    epoch bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    active_at timestamp with time zone DEFAULT now() NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE public.schedules (
    name text NOT NULL,
    cron text NOT NULL,
    timezone text DEFAULT 'UTC'::text NOT NULL,
    payload json NOT NULL,
    queue text DEFAULT 'default'::text NOT NULL,
    missed text DEFAULT 'one'::text NOT NULL,
    enabled boolean DEFAULT true NOT NULL,
    next_at timestamp with time zone
);

CREATE TABLE public.schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone NOT NULL,
    allows integer
);

CREATE TABLE public.slots (
    worker uuid NOT NULL,
    generation integer NOT NULL,
    slot smallint NOT NULL,
    closed boolean DEFAULT false NOT NULL,
    pid integer NOT NULL,
    lease uuid,
    ids uuid[] DEFAULT '{}'::uuid[] NOT NULL
)
WITH (fillfactor='10');
ALTER TABLE ONLY public.slots ALTER COLUMN ids SET STORAGE EXTERNAL;

CREATE TABLE public.unique_keys (
    unique_key text NOT NULL,
    job_id uuid NOT NULL
);

CREATE TABLE public.walk (
    one boolean DEFAULT true NOT NULL,
    mark uuid NOT NULL,
    seen uuid NOT NULL,
    horizon_id uuid NOT NULL,
    horizon_xid xid8 NOT NULL,
    turn bigint DEFAULT 0 NOT NULL,
    walked_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    CONSTRAINT walk_one_check CHECK (one)
)
WITH (fillfactor='10');

CREATE TABLE public.workers (
    id uuid NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    queues text[] NOT NULL,
    started_at timestamp with time zone NOT NULL,
    heartbeat_at timestamp with time zone NOT NULL,
    expired boolean DEFAULT false NOT NULL,
    stopping boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.cancellations
    ADD CONSTRAINT cancellations_pkey PRIMARY KEY (job_id);

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (key);

ALTER TABLE ONLY public.job_errors
    ADD CONSTRAINT job_errors_pkey PRIMARY KEY (seq);

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.lagging
    ADD CONSTRAINT lagging_pkey PRIMARY KEY (queue, priority);

ALTER TABLE ONLY public.marks
    ADD CONSTRAINT marks_pkey PRIMARY KEY (queue, priority);

ALTER TABLE ONLY public.queues
    ADD CONSTRAINT queues_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.schedules
    ADD CONSTRAINT schedules_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY public.slots
    ADD CONSTRAINT slots_pkey PRIMARY KEY (worker, slot, generation);

ALTER TABLE ONLY public.unique_keys
    ADD CONSTRAINT unique_keys_pkey PRIMARY KEY (unique_key);

ALTER TABLE ONLY public.walk
    ADD CONSTRAINT walk_pkey PRIMARY KEY (one);

ALTER TABLE ONLY public.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);

CREATE INDEX cancellations_by_worker ON public.cancellations USING btree (worker);

CREATE INDEX idempotency_keys_expiring ON public.idempotency_keys USING btree (expires_at);

CREATE INDEX job_errors_of_job ON public.job_errors USING btree (job_id, seq);

CREATE INDEX jobs_due ON public.jobs USING btree (queue, priority, run_at) WHERE (run_at IS NOT NULL);

CREATE INDEX jobs_expiring ON public.jobs USING btree (expires_at) WHERE (expires_at IS NOT NULL);

CREATE INDEX jobs_failed ON public.jobs USING btree (failed_at) WHERE (failed_at IS NOT NULL);

CREATE INDEX queues_active ON public.queues USING btree (active_at);

CREATE TRIGGER jobs_from_elsewhere BEFORE INSERT ON public.jobs FOR EACH ROW WHEN (((current_setting('taskhub.inserts'::text, true) IS DISTINCT FROM 'on'::text) AND (new.run_at IS NULL) AND (new.status = 'queued'::text))) EXECUTE FUNCTION public.taskhub_find_by_run_at();

ALTER TABLE ONLY public.marks
    ADD CONSTRAINT marks_queue_fkey FOREIGN KEY (queue) REFERENCES public.queues(name);

ALTER TABLE ONLY public.slots
    ADD CONSTRAINT slots_worker_fkey FOREIGN KEY (worker) REFERENCES public.workers(id);
