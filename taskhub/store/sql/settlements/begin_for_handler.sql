-- Begin a handler's transaction; its session may be idle for as long as the job may take.
-- params: limit_ms text, users_limit text
-- returns: schema, idle_limit, statement_limit; one row: the schema of our tables, as the URL's search_path finds it before the handler changes that
--
-- It is sent with a time limit of ours before it; the user's own holds again from the next statement on.
SELECT quote_ident(n.nspname) AS schema, set_config('idle_in_transaction_session_timeout', :limit_ms, false) AS idle_limit,
    set_config('statement_timeout', :users_limit, false) AS statement_limit
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = 'jobs'::regclass
