-- Complete finished jobs, without claiming.
-- params: ids uuid[], results text[], started_us_ago bigint[], finished_us_ago bigint[], lease uuid
-- returns: settled; one row: how many were still this lease's
-- transition: running -> completed
WITH moment AS MATERIALIZED (
    SELECT clock_timestamp() AS now
), settled AS (
    UPDATE jobs j
    SET status = 'completed', result = d.result::json, updated_at = m.now,
        started_at = least(m.now, m.now - d.started_us_ago * interval '1 microsecond'),
        finished_at = least(m.now, m.now - d.finished_us_ago * interval '1 microsecond')
    FROM moment m, unnest(:ids, :results, :started_us_ago, :finished_us_ago) AS d (id, result, started_us_ago, finished_us_ago)
    WHERE j.id = d.id AND j.status = 'running' AND j.lease = :lease
    RETURNING 1
)
SELECT count(*)::int AS settled FROM settled
