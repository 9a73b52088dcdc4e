-- Somebody has emptied the walk's table: begin again at the oldest row, for nobody knows what waits.
-- params:
-- returns: nothing
INSERT INTO walk (mark, seen, horizon_id, horizon_xid)
SELECT floor, floor, floor, pg_current_xact_id()
FROM (SELECT least(
    (SELECT id FROM jobs ORDER BY id LIMIT 1), taskhub_id_floor((SELECT clock_timestamp()) - interval '60 s')
) AS floor) AS oldest
ON CONFLICT DO NOTHING
