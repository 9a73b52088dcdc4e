-- When was the last turn of walking taken? For a turn that somebody keeps locked.
-- params:
-- returns: age_s, mark, seen, late_from; one row, with where late rows may be
SELECT extract(epoch FROM clock_timestamp() - walked_at)::float8 AS age_s, mark, seen,
    greatest(mark, least(seen, taskhub_id_floor(taskhub_id_moment(seen) - interval '10 s'))) AS late_from
FROM walk
