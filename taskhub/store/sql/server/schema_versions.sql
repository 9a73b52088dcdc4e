-- The migrations that were applied, and the oldest code that each allows.
-- params:
-- returns: version, allows
SELECT version, coalesce((to_jsonb(m) ->> 'allows')::int, version) AS allows FROM schema_migrations m
