-- A worker that is told to stop says so: if it is lost on its way out, what it held was interrupted, and not crashed.
-- allows: 1
--
-- Safe on a database that is in use: the default is constant, so no row is written. Code of 0001 and 0002 goes on:
-- it never says that it stops, and takes back what others held as it always did.

ALTER TABLE workers ADD COLUMN stopping boolean NOT NULL DEFAULT false;
