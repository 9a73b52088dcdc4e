-- Begin a handler's transaction; its session may be idle for as long as the job may take.
-- params: limit_ms text
-- returns: one row: the schema of our tables, as the URL's search_path finds it before the handler changes that
SELECT quote_ident(n.nspname), set_config('idle_in_transaction_session_timeout', :limit_ms, false)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = 'jobs'::regclass
