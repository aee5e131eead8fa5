-- The overview reads the slots that it shows, and no others: the clock is asked once, so that the index can be.
CREATE OR REPLACE FUNCTION reeve.overview(p_width text DEFAULT 'minute', p_slots int DEFAULT 60) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp SET jit = off SET timezone = 'UTC' AS $$
DECLARE v_now timestamptz := reeve.clock(); v_from timestamptz; v_slots jsonb; v_kinds jsonb;
BEGIN
  v_from := date_trunc(p_width, v_now) - least(p_slots, 744) * ('1 ' || p_width)::interval;
  WITH part AS MATERIALIZED (SELECT x.* FROM reeve.stat_slot x WHERE x.width = p_width AND x.slot > v_from),
  per_slot AS (
    SELECT x.slot, sum(x.jobs) FILTER (WHERE x.outcome = 'succeeded') AS succeeded, sum(x.jobs) FILTER (WHERE x.outcome = 'dead') AS dead,
           sum(x.jobs) FILTER (WHERE x.outcome = 'cancelled') AS cancelled, sum(x.attempts - least(x.attempts, x.jobs)) AS retries,
           ARRAY[sum(x.wait[1]), sum(x.wait[2]), sum(x.wait[3]), sum(x.wait[4]), sum(x.wait[5]), sum(x.wait[6]), sum(x.wait[7]), sum(x.wait[8]), sum(x.wait[9]), sum(x.wait[10]), sum(x.wait[11]), sum(x.wait[12]), sum(x.wait[13])] AS wait,
           ARRAY[sum(x.run[1]), sum(x.run[2]), sum(x.run[3]), sum(x.run[4]), sum(x.run[5]), sum(x.run[6]), sum(x.run[7]), sum(x.run[8]), sum(x.run[9]), sum(x.run[10]), sum(x.run[11]), sum(x.run[12]), sum(x.run[13])] AS run
    FROM part x GROUP BY 1),
  per_kind AS (
    SELECT x.kind, sum(x.jobs) AS jobs, coalesce(sum(x.jobs) FILTER (WHERE x.outcome = 'dead'), 0) AS dead, sum(x.run_seconds) / greatest(sum(x.jobs), 1) AS mean_run,
           sum(x.wait_seconds) / greatest(sum(x.jobs), 1) AS mean_wait
    FROM part x GROUP BY 1 ORDER BY 2 DESC LIMIT 20)
  SELECT (SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.slot), '[]') FROM per_slot s), (SELECT coalesce(jsonb_agg(to_jsonb(k) ORDER BY k.jobs DESC), '[]') FROM per_kind k)
  INTO v_slots, v_kinds;
  RETURN jsonb_build_object('now', v_now, 'parts', (SELECT coalesce(jsonb_object_agg(l.name, l.value), '{}') FROM reeve.stat_live l), 'bounds', to_jsonb(reeve.stat_bounds()),
    'slots', v_slots, 'kinds', v_kinds);
END $$;
