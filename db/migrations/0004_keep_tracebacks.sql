-- A failed execution keeps its traceback, and where the handler's own code was when it failed.
-- allows: 1
--
-- Safe on a database that is in use: no row is written. Code of 0001 to 0003 goes on, and tells neither.

ALTER TABLE job_errors ADD COLUMN raised_in text, ADD COLUMN traceback text;
COMMENT ON COLUMN job_errors.raised_in IS 'The last frame that is the handler''s own code: file:line function.';
