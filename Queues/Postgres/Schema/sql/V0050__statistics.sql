-- What metrics and the dashboard show: sums that are kept as jobs end, so that nobody counts rows of the history. One housekeeper at a
-- time adds what ended since the last time; the history is the record, and nothing here is asked before a job runs.

-- Ranges of a partition whose rows ended in some minute; costs an insert nothing that can be measured.
CREATE INDEX job_history_finished ON reeve.job_history USING brin (finished_at) WITH (autosummarize = on);

-- What a tier promises: jobs start within so many seconds of being due, and this share of them succeeds. NULL promises nothing.
ALTER TABLE reeve.tier ADD COLUMN promised_start_seconds int CHECK (promised_start_seconds BETWEEN 1 AND 86400),
  ADD COLUMN promised_success numeric CHECK (promised_success > 0 AND promised_success <= 1);

-- Sums by what ended: jobs, attempts, seconds waited (due to start of the last attempt), run (the last attempt) and dwelt (due, or created
-- before retries, to the end), with the number of jobs in each range of reeve.stat_bounds(); late: started after the tier's promise.
CREATE TABLE reeve.stat_slot (
  width text NOT NULL CHECK (width IN ('minute', 'hour')),
  slot timestamptz NOT NULL,
  tier text NOT NULL, kind text NOT NULL, outcome text NOT NULL, quiet boolean NOT NULL,
  jobs bigint NOT NULL, attempts bigint NOT NULL, late bigint NOT NULL,
  wait_seconds float8 NOT NULL, run_seconds float8 NOT NULL, dwell_seconds float8 NOT NULL,
  wait bigint[] NOT NULL, run bigint[] NOT NULL, dwell bigint[] NOT NULL,
  PRIMARY KEY (width, slot, tier, kind, outcome, quiet)
) WITH (fillfactor = 60);
CREATE TABLE reeve.stat_fleet (
  tier text NOT NULL, kind text NOT NULL, outcome text NOT NULL, quiet boolean NOT NULL,
  jobs bigint NOT NULL, attempts bigint NOT NULL, late bigint NOT NULL,
  wait_seconds float8 NOT NULL, run_seconds float8 NOT NULL, dwell_seconds float8 NOT NULL,
  wait bigint[] NOT NULL, run bigint[] NOT NULL, dwell bigint[] NOT NULL,
  PRIMARY KEY (tier, kind, outcome, quiet)
) WITH (fillfactor = 60);
CREATE TABLE reeve.stat_tenant (
  tenant_id uuid NOT NULL REFERENCES reeve.tenant (id),
  tier text NOT NULL, kind text NOT NULL, outcome text NOT NULL,
  jobs bigint NOT NULL, attempts bigint NOT NULL, late bigint NOT NULL,
  wait_seconds float8 NOT NULL, run_seconds float8 NOT NULL, dwell_seconds float8 NOT NULL,
  wait bigint[] NOT NULL, run bigint[] NOT NULL, dwell bigint[] NOT NULL,
  PRIMARY KEY (tenant_id, tier, kind, outcome)
) WITH (fillfactor = 60);

-- How far the sums reach: what the last statement that added to them could see, and the transactions that were open then, each with a
-- time before it began.
CREATE TABLE reeve.stat_fold (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  seen pg_snapshot NOT NULL DEFAULT pg_current_snapshot(),
  at timestamptz NOT NULL DEFAULT reeve.clock(),
  open jsonb NOT NULL DEFAULT '{}',
  took interval NOT NULL DEFAULT '0'
);
INSERT INTO reeve.stat_fold DEFAULT VALUES;

-- What is as it is now, looked up every few seconds by one housekeeper for all that show it.
CREATE TABLE reeve.stat_live (name text PRIMARY KEY, at timestamptz NOT NULL, value jsonb NOT NULL);

-- The upper ends of the ranges, in seconds; one more range is open.
CREATE FUNCTION reeve.stat_bounds() RETURNS float8[] LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS $$
  SELECT '{0.05,0.1,0.25,0.5,1,2.5,10,30,60,300,1800,7200}'::float8[]
$$;
CREATE FUNCTION reeve.stat_sum(a bigint[], b bigint[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS $$
  SELECT CASE WHEN a IS NULL THEN b WHEN b IS NULL THEN a ELSE (SELECT array_agg(u.x + u.y ORDER BY u.n) FROM unnest(a, b) WITH ORDINALITY AS u (x, y, n)) END
$$;
CREATE AGGREGATE reeve.stat_total (bigint[]) (SFUNC = reeve.stat_sum, STYPE = bigint[]);
-- Who takes so much that others may notice: a tenth of what runs and 30 jobs of it, or a tenth of what waits and 1,000 jobs of it.
CREATE FUNCTION reeve.noisy_tenants() RETURNS uuid[] LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT coalesce(array_agg(c.tenant_id), '{}') FROM reeve.tenant_counter c JOIN reeve.tenant_backlog b ON b.tenant_id = c.tenant_id,
    (SELECT coalesce(sum(running), 0) AS running FROM reeve.tenant_counter) r, (SELECT coalesce(sum(waiting), 0) AS waiting FROM reeve.tenant_backlog) w
  WHERE (c.running >= 30 AND c.running > 0.1 * r.running) OR (b.waiting >= 1000 AND b.waiting > 0.1 * w.waiting)
$$;

-- Adds what ended since the last time, exactly once: rows that this statement sees and the last one did not. Returns how many jobs.
CREATE FUNCTION reeve.fold_stats() RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET jit = off SET timezone = 'UTC' AS $$
DECLARE
  v reeve.stat_fold; v_now timestamptz := reeve.clock(); v_low timestamptz; v_snap pg_snapshot; v_count int; v_noisy uuid[];
  v_min bigint; v_max bigint; v_open bigint[]; v_top bigint; v_epoch bigint;
BEGIN
  SELECT f.* INTO v FROM reeve.stat_fold f FOR UPDATE SKIP LOCKED;
  IF NOT FOUND OR v.at > v_now - greatest(interval '2 seconds', v.took * 20) THEN RETURN 0; END IF;      -- a twentieth of the time at most
  v_min := pg_snapshot_xmin(v.seen)::text::bigint; v_max := pg_snapshot_xmax(v.seen)::text::bigint;
  v_open := ARRAY(SELECT x::text::bigint FROM pg_snapshot_xip(v.seen) x);
  -- A row's xmin has 32 bits of a transaction's number; the number is the highest below v_top with these.
  v_top := pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1073741824;
  v_epoch := v_top >> 32 << 32;
  IF v_min > v_top THEN                                                     -- another cluster's numbers: begin anew
    UPDATE reeve.stat_fold f SET seen = pg_current_snapshot(), at = v_now, open = '{}';
    RETURN 0;
  END IF;
  -- What was open at the last time may have ended jobs before it; nothing lasts longer than ten minutes.
  v_low := greatest(least(v.at, (SELECT min(e.value::timestamptz) FROM jsonb_each_text(v.open) e)), v.at - interval '10 minutes') - interval '2 seconds';
  v_noisy := reeve.noisy_tenants();
  WITH ended AS MATERIALIZED (
    SELECT e.tenant_id, e.pool AS tier, e.kind, e.state::text AS outcome, e.tenant_id <> ALL (v_noisy) AS quiet, e.attempt, date_trunc('minute', e.finished_at) AS minute, m.wait, m.run, m.dwell,
           m.wait > t.promised_start_seconds AS late, width_bucket(m.wait, b.bounds) AS w, width_bucket(m.run, b.bounds) AS r, width_bucket(m.dwell, b.bounds) AS d
    FROM (SELECT h.tenant_id, h.pool, h.kind, h.state, h.attempt, h.created_at, h.run_at, h.started_at, h.finished_at, h.xmin::text::bigint AS x
          FROM reeve.job_history h WHERE h.finished_at >= v_low
          UNION ALL
          SELECT d.tenant_id, d.pool, d.kind, d.state, d.attempt, d.created_at, d.run_at, d.started_at, d.finished_at, d.xmin::text::bigint
          FROM reeve.dead_letter d WHERE d.finished_at >= v_low AND d.redriven_as IS NULL) e
    CROSS JOIN LATERAL (SELECT v_epoch + e.x - CASE WHEN v_epoch + e.x > v_top THEN 4294967296 ELSE 0 END AS number) g
    CROSS JOIN LATERAL (SELECT greatest(extract(epoch FROM e.started_at - e.run_at), 0)::float8 AS wait, greatest(extract(epoch FROM e.finished_at - e.started_at), 0)::float8 AS run,
      greatest(extract(epoch FROM e.finished_at - CASE WHEN e.attempt > 1 THEN least(e.created_at, e.run_at) ELSE e.run_at END), 0)::float8 AS dwell) m
    CROSS JOIN (SELECT reeve.stat_bounds() AS bounds) b LEFT JOIN reeve.tier t ON t.name = e.pool
    WHERE g.number >= v_min AND (g.number >= v_max OR g.number = ANY (v_open))),
  -- Twice in one pass: by minute, and by tenant.
  part AS MATERIALIZED (
    SELECT e.minute, e.quiet, e.tenant_id, e.tier, e.kind, e.outcome, count(*) AS jobs, sum(e.attempt) AS attempts, count(*) FILTER (WHERE e.late) AS late,
      coalesce(sum(e.wait), 0) AS wait_seconds, coalesce(sum(e.run), 0) AS run_seconds, coalesce(sum(e.dwell), 0) AS dwell_seconds,
      ARRAY[count(*) FILTER (WHERE e.w = 0), count(*) FILTER (WHERE e.w = 1), count(*) FILTER (WHERE e.w = 2), count(*) FILTER (WHERE e.w = 3), count(*) FILTER (WHERE e.w = 4), count(*) FILTER (WHERE e.w = 5), count(*) FILTER (WHERE e.w = 6), count(*) FILTER (WHERE e.w = 7), count(*) FILTER (WHERE e.w = 8), count(*) FILTER (WHERE e.w = 9), count(*) FILTER (WHERE e.w = 10), count(*) FILTER (WHERE e.w = 11), count(*) FILTER (WHERE e.w = 12)] AS wait,
      ARRAY[count(*) FILTER (WHERE e.r = 0), count(*) FILTER (WHERE e.r = 1), count(*) FILTER (WHERE e.r = 2), count(*) FILTER (WHERE e.r = 3), count(*) FILTER (WHERE e.r = 4), count(*) FILTER (WHERE e.r = 5), count(*) FILTER (WHERE e.r = 6), count(*) FILTER (WHERE e.r = 7), count(*) FILTER (WHERE e.r = 8), count(*) FILTER (WHERE e.r = 9), count(*) FILTER (WHERE e.r = 10), count(*) FILTER (WHERE e.r = 11), count(*) FILTER (WHERE e.r = 12)] AS run,
      ARRAY[count(*) FILTER (WHERE e.d = 0), count(*) FILTER (WHERE e.d = 1), count(*) FILTER (WHERE e.d = 2), count(*) FILTER (WHERE e.d = 3), count(*) FILTER (WHERE e.d = 4), count(*) FILTER (WHERE e.d = 5), count(*) FILTER (WHERE e.d = 6), count(*) FILTER (WHERE e.d = 7), count(*) FILTER (WHERE e.d = 8), count(*) FILTER (WHERE e.d = 9), count(*) FILTER (WHERE e.d = 10), count(*) FILTER (WHERE e.d = 11), count(*) FILTER (WHERE e.d = 12)] AS dwell
    FROM ended e GROUP BY GROUPING SETS ((e.minute, e.quiet, e.tier, e.kind, e.outcome), (e.tenant_id, e.tier, e.kind, e.outcome))),
  slots AS (
    INSERT INTO reeve.stat_slot AS s
    SELECT w.width, date_trunc(w.width, p.minute), p.tier, p.kind, p.outcome, p.quiet, sum(p.jobs), sum(p.attempts), sum(p.late), sum(p.wait_seconds), sum(p.run_seconds),
           sum(p.dwell_seconds), reeve.stat_total(p.wait), reeve.stat_total(p.run), reeve.stat_total(p.dwell)
    FROM part p CROSS JOIN (VALUES ('minute'), ('hour')) w (width) WHERE p.minute IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (width, slot, tier, kind, outcome, quiet) DO UPDATE SET jobs = s.jobs + excluded.jobs, attempts = s.attempts + excluded.attempts, late = s.late + excluded.late,
      wait_seconds = s.wait_seconds + excluded.wait_seconds, run_seconds = s.run_seconds + excluded.run_seconds, dwell_seconds = s.dwell_seconds + excluded.dwell_seconds,
      wait = ARRAY(SELECT x + y FROM unnest(s.wait, excluded.wait) u (x, y)),
      run = ARRAY(SELECT x + y FROM unnest(s.run, excluded.run) u (x, y)),
      dwell = ARRAY(SELECT x + y FROM unnest(s.dwell, excluded.dwell) u (x, y))),
  fleet AS (
    INSERT INTO reeve.stat_fleet AS s
    SELECT p.tier, p.kind, p.outcome, p.quiet, sum(p.jobs), sum(p.attempts), sum(p.late), sum(p.wait_seconds), sum(p.run_seconds), sum(p.dwell_seconds),
           reeve.stat_total(p.wait), reeve.stat_total(p.run), reeve.stat_total(p.dwell)
    FROM part p WHERE p.minute IS NOT NULL GROUP BY 1, 2, 3, 4
    ON CONFLICT (tier, kind, outcome, quiet) DO UPDATE SET jobs = s.jobs + excluded.jobs, attempts = s.attempts + excluded.attempts, late = s.late + excluded.late,
      wait_seconds = s.wait_seconds + excluded.wait_seconds, run_seconds = s.run_seconds + excluded.run_seconds, dwell_seconds = s.dwell_seconds + excluded.dwell_seconds,
      wait = ARRAY(SELECT x + y FROM unnest(s.wait, excluded.wait) u (x, y)),
      run = ARRAY(SELECT x + y FROM unnest(s.run, excluded.run) u (x, y)),
      dwell = ARRAY(SELECT x + y FROM unnest(s.dwell, excluded.dwell) u (x, y))),
  tenants AS (
    INSERT INTO reeve.stat_tenant AS s
    SELECT p.tenant_id, p.tier, p.kind, p.outcome, p.jobs, p.attempts, p.late, p.wait_seconds, p.run_seconds, p.dwell_seconds, p.wait, p.run, p.dwell
    FROM part p JOIN reeve.tenant t ON t.id = p.tenant_id WHERE p.minute IS NULL AND t.status <> 'archived' AND NOT (t.status = 'churned' AND reeve.is_frozen(t.id)) ORDER BY p.tenant_id      -- a purge leaves none
    ON CONFLICT (tenant_id, tier, kind, outcome) DO UPDATE SET jobs = s.jobs + excluded.jobs, attempts = s.attempts + excluded.attempts, late = s.late + excluded.late,
      wait_seconds = s.wait_seconds + excluded.wait_seconds, run_seconds = s.run_seconds + excluded.run_seconds, dwell_seconds = s.dwell_seconds + excluded.dwell_seconds,
      wait = ARRAY(SELECT x + y FROM unnest(s.wait, excluded.wait) u (x, y)),
      run = ARRAY(SELECT x + y FROM unnest(s.run, excluded.run) u (x, y)),
      dwell = ARRAY(SELECT x + y FROM unnest(s.dwell, excluded.dwell) u (x, y)))
  SELECT pg_current_snapshot(), coalesce(sum(p.jobs), 0) INTO v_snap, v_count FROM part p WHERE p.minute IS NOT NULL;
  UPDATE reeve.stat_fold f SET seen = v_snap, at = v_now, took = reeve.clock() - v_now,
    open = (SELECT coalesce(jsonb_object_agg(x::text, coalesce(v.open -> x::text, to_jsonb(v.at))), '{}') FROM pg_snapshot_xip(v_snap) x);
  RETURN v_count;
END $$;

-- The oldest job that could run, by pool: the first of each lane (tenant, queue, priority), of the tenants that have some waiting.
CREATE FUNCTION reeve.oldest_available() RETURNS jsonb LANGUAGE sql STABLE SET search_path = reeve, pg_temp SET jit = off SET enable_seqscan = off AS $$
  WITH RECURSIVE lane AS (
    SELECT p.pool, f.tenant_id, f.run_at FROM (SELECT t.name AS pool FROM reeve.tier t UNION ALL SELECT 'restore') p
    CROSS JOIN LATERAL (SELECT j.tenant_id, j.run_at FROM reeve.job j WHERE j.state = 'available' AND j.pool = p.pool ORDER BY j.tenant_id, j.queue, j.priority, j.id LIMIT 1) f
    UNION ALL
    SELECT l.pool, f.tenant_id, f.run_at FROM lane l
    CROSS JOIN LATERAL (SELECT j.tenant_id, j.run_at FROM reeve.job j WHERE j.state = 'available' AND j.pool = l.pool AND j.tenant_id > l.tenant_id
      ORDER BY j.tenant_id, j.queue, j.priority, j.id LIMIT 1) f)
  SELECT coalesce(jsonb_object_agg(o.pool, extract(epoch FROM o.run_at)), '{}') FROM (SELECT l.pool, min(l.run_at) AS run_at FROM lane l GROUP BY 1) o
$$;

-- Looks up one part of what is as it is now.
CREATE FUNCTION reeve.live_part(p_name text) RETURNS jsonb LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp SET jit = off AS $$
DECLARE v_now timestamptz := reeve.clock();
BEGIN
  IF p_name = 'live' THEN
    RETURN jsonb_build_object(
      'tiers', (SELECT coalesce(jsonb_object_agg(s.tier, jsonb_build_object('tenants', s.tenants, 'running', s.running, 'waiting', s.waiting, 'capped', s.capped)), '{}')
        FROM (SELECT t.tier, count(*) AS tenants, sum(c.running) AS running, sum(b.waiting) AS waiting, count(*) FILTER (WHERE c.running >= c.cap) AS capped
              FROM reeve.tenant t JOIN reeve.tenant_counter c ON c.tenant_id = t.id LEFT JOIN reeve.tenant_backlog b ON b.tenant_id = t.id
              WHERE t.status <> 'archived' GROUP BY 1) s),
      'workers', (SELECT jsonb_build_object('alive', count(*) FILTER (WHERE w.state = 'alive' AND w.lease_until > v_now), 'late', count(*) FILTER (WHERE w.state = 'alive' AND w.lease_until <= v_now),
          'stopping', count(*) FILTER (WHERE w.state = 'stopping'), 'dead_today', count(*) FILTER (WHERE w.state = 'dead' AND w.ended_at > v_now - interval '1 day'))
        FROM reeve.worker w WHERE w.state IN ('alive', 'stopping') OR w.ended_at > v_now - interval '1 day'),
      'slots', (SELECT coalesce(jsonb_object_agg(s.key, s.n), '{}') FROM (SELECT e.key, sum(e.value::int) AS n FROM reeve.worker w CROSS JOIN LATERAL jsonb_each_text(w.pools) e
        WHERE w.state = 'alive' AND w.lease_until > v_now GROUP BY 1) s),
      'noisy', cardinality(reeve.noisy_tenants()),
      'blocks', (SELECT count(*) FROM reeve.block_list), 'circuits', (SELECT count(*) FROM reeve.circuit),
      'held', (SELECT coalesce(jsonb_object_agg(h.hold_reason, h.n), '{}') FROM (SELECT j.hold_reason, count(*) AS n FROM
        (SELECT x.hold_reason FROM reeve.job x WHERE x.state = 'scheduled' AND x.hold_reason IS NOT NULL LIMIT 10000) j GROUP BY 1) h));
  ELSIF p_name = 'slow' THEN
    RETURN jsonb_build_object(
      'oldest', reeve.oldest_available(),
      'dead_letters', (SELECT count(*) FROM (SELECT FROM reeve.dead_letter d WHERE d.redriven_as IS NULL LIMIT 10000) d),
      'erasures', (SELECT jsonb_build_object('open', count(*), 'overdue', count(*) FILTER (WHERE e.due_at < v_now), 'near', count(*) FILTER (WHERE e.due_at BETWEEN v_now AND v_now + interval '7 days'),
        'next', extract(epoch FROM min(e.due_at))) FROM reeve.erasure_request e WHERE e.ended_at IS NULL),
      'purges', (SELECT jsonb_build_object('open', count(*), 'due', count(*) FILTER (WHERE p.not_before < v_now)) FROM reeve.purge_request p WHERE p.ended_at IS NULL),
      'unsealed', (SELECT count(*) FROM (SELECT FROM reeve.audit_pending LIMIT 10000) a),
      'anchored', (SELECT extract(epoch FROM max(a.at)) FROM reeve.audit_anchor a),
      'statuses', (SELECT coalesce(jsonb_object_agg(s.status, s.n), '{}') FROM (SELECT t.status, count(*) AS n FROM reeve.tenant t GROUP BY 1) s),
      'tables', (SELECT coalesce(jsonb_object_agg(t.relname, jsonb_build_object('live', t.n_live_tup, 'dead', t.n_dead_tup)), '{}')
        FROM pg_stat_user_tables t WHERE t.schemaname = 'reeve' AND t.relname IN ('job', 'tenant_counter', 'worker')),
      'oldest_transaction', (SELECT coalesce(max(extract(epoch FROM v_now - a.xact_start)), 0) FROM pg_stat_activity a WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()),
      'oldest_xmin', (SELECT coalesce(max(age(a.backend_xmin)), 0) FROM pg_stat_activity a WHERE a.datname = current_database()));
  ELSE
    RETURN (SELECT jsonb_build_object('tenants', count(*), 'without', count(*) FILTER (WHERE b.last_backup_at IS NULL),
        'overdue', count(*) FILTER (WHERE coalesce(b.last_backup_at, '-infinity') < v_now - interval '26 hours'), 'unproven', count(*) FILTER (WHERE b.unproven),
        'oldest_backup', extract(epoch FROM min(b.last_backup_at)), 'unprotected', (SELECT count(*) FROM reeve.unprotected_tenant))
      FROM reeve.backup_status b JOIN reeve.tenant t ON t.code = b.tenant_code WHERE t.status IN ('trial', 'active', 'suspended'));
  END IF;
END $$;

-- Keeps the sums and what is as it is now; whoever comes second does nothing. Returns how many jobs were added.
CREATE FUNCTION reeve.tend_stats() RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_count int; v_now timestamptz := reeve.clock();
BEGIN
  PERFORM FROM reeve.turn t WHERE t.task = 'stats' FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN RETURN 0; END IF;
  v_count := reeve.fold_stats();
  FOR v IN SELECT p.name FROM (VALUES ('live', interval '3 seconds'), ('slow', interval '30 seconds'), ('proof', interval '10 minutes')) p (name, every)
      LEFT JOIN reeve.stat_live l ON l.name = p.name WHERE l.at IS NULL OR l.at < v_now - p.every OR l.at > v_now LOOP
    INSERT INTO reeve.stat_live (name, at, value) VALUES (v.name, v_now, reeve.live_part(v.name)) ON CONFLICT (name) DO UPDATE SET at = excluded.at, value = excluded.value;
  END LOOP;
  DELETE FROM reeve.stat_slot s WHERE s.ctid = ANY (ARRAY(SELECT x.ctid FROM reeve.stat_slot x
    WHERE (x.width = 'minute' AND x.slot < v_now - interval '26 hours') OR (x.width = 'hour' AND x.slot < v_now - interval '400 days') LIMIT 1000));
  RETURN v_count;
END $$;
INSERT INTO reeve.turn (task) VALUES ('stats');

-- Everything that /metrics shows of the fleet, with the p_top tenants that have most running and waiting; the others are summed.
CREATE FUNCTION reeve.fleet_metrics(p_top int DEFAULT 20) RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp SET jit = off AS $$
  WITH busy AS MATERIALIZED (
    SELECT t.code, t.tier, c.running, c.cap, coalesce(b.waiting, 0) AS waiting, row_number() OVER (ORDER BY c.running + coalesce(b.waiting, 0) DESC, t.code) AS place
    FROM reeve.tenant_counter c JOIN reeve.tenant t ON t.id = c.tenant_id LEFT JOIN reeve.tenant_backlog b ON b.tenant_id = t.id WHERE c.running + coalesce(b.waiting, 0) > 0)
  SELECT jsonb_build_object(
    'now', extract(epoch FROM reeve.clock()),
    'parts', (SELECT coalesce(jsonb_object_agg(l.name, l.value || jsonb_build_object('age', extract(epoch FROM reeve.clock() - l.at))), '{}') FROM reeve.stat_live l),
    'accepted', (SELECT s.last_value FROM reeve.job_id s),
    'jobs', (SELECT coalesce(jsonb_agg(to_jsonb(f) ORDER BY f.tier, f.kind, f.outcome, f.quiet), '[]') FROM reeve.stat_fleet f),
    'busy', (SELECT coalesce(jsonb_agg(jsonb_build_object('tenant', b.code, 'tier', b.tier, 'running', b.running, 'cap', b.cap, 'waiting', b.waiting)), '[]') FROM busy b WHERE b.place <= p_top),
    'other', (SELECT jsonb_build_object('running', coalesce(sum(b.running), 0), 'waiting', coalesce(sum(b.waiting), 0)) FROM busy b WHERE b.place > p_top),
    'bounds', to_jsonb(reeve.stat_bounds()))
$$;

-- The same families for p_limit tenants after p_after in the order of their codes, or for one.
CREATE FUNCTION reeve.tenant_metrics(p_after text, p_code text, p_limit int) RETURNS SETOF jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp SET jit = off AS $$
  SELECT jsonb_build_object('tenant', t.code, 'tier', t.tier, 'status', t.status, 'running', c.running, 'cap', c.cap, 'waiting', b.waiting,
    'oldest', (SELECT extract(epoch FROM min(j.run_at)) FROM (SELECT x.run_at FROM reeve.job x WHERE x.state = 'available' AND x.pool = t.tier AND x.tenant_id = t.id
      ORDER BY x.queue, x.priority, x.id LIMIT 1) j),
    'backup', (SELECT extract(epoch FROM max(a.created_at)) FROM reeve.artifact a WHERE a.tenant_id = t.id AND a.entity = 'backup'),
    'proven', (SELECT extract(epoch FROM max(p.at)) FROM reeve.backup_proof p WHERE p.tenant_id = t.id AND p.kind = 'drill' AND p.ok),
    'erasure_due', (SELECT extract(epoch FROM min(e.due_at)) FROM reeve.erasure_request e WHERE e.tenant_id = t.id AND e.ended_at IS NULL),
    'promised_start', r.promised_start_seconds, 'promised_success', r.promised_success,
    'jobs', (SELECT coalesce(jsonb_agg(to_jsonb(s) - 'tenant_id' ORDER BY s.kind, s.outcome), '[]') FROM reeve.stat_tenant s WHERE s.tenant_id = t.id))
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier LEFT JOIN reeve.tenant_counter c ON c.tenant_id = t.id LEFT JOIN reeve.tenant_backlog b ON b.tenant_id = t.id
  WHERE (p_code IS NULL OR t.code = p_code COLLATE "C") AND t.code > coalesce(p_after, '') COLLATE "C" AND t.status <> 'archived' ORDER BY t.code LIMIT least(p_limit, 1000)
$$;

-- The overview: what is now, and p_slots minutes or hours of what ended.
CREATE FUNCTION reeve.overview(p_width text DEFAULT 'minute', p_slots int DEFAULT 60) RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp SET jit = off SET timezone = 'UTC' AS $$
  SELECT jsonb_build_object(
    'now', reeve.clock(),
    'parts', (SELECT coalesce(jsonb_object_agg(l.name, l.value), '{}') FROM reeve.stat_live l),
    'bounds', to_jsonb(reeve.stat_bounds()),
    'slots', (SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.slot), '[]') FROM (
      SELECT x.slot, sum(x.jobs) FILTER (WHERE x.outcome = 'succeeded') AS succeeded, sum(x.jobs) FILTER (WHERE x.outcome = 'dead') AS dead,
             sum(x.jobs) FILTER (WHERE x.outcome = 'cancelled') AS cancelled, sum(x.attempts - least(x.attempts, x.jobs)) AS retries, ARRAY[sum(x.wait[1]), sum(x.wait[2]), sum(x.wait[3]), sum(x.wait[4]), sum(x.wait[5]), sum(x.wait[6]), sum(x.wait[7]), sum(x.wait[8]), sum(x.wait[9]), sum(x.wait[10]), sum(x.wait[11]), sum(x.wait[12]), sum(x.wait[13])] AS wait,
             ARRAY[sum(x.run[1]), sum(x.run[2]), sum(x.run[3]), sum(x.run[4]), sum(x.run[5]), sum(x.run[6]), sum(x.run[7]), sum(x.run[8]), sum(x.run[9]), sum(x.run[10]), sum(x.run[11]), sum(x.run[12]), sum(x.run[13])] AS run
      FROM reeve.stat_slot x WHERE x.width = p_width AND x.slot > date_trunc(p_width, reeve.clock()) - least(p_slots, 744) * ('1 ' || p_width)::interval GROUP BY 1) s),
    'kinds', (SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.jobs DESC), '[]') FROM (
      SELECT x.kind, sum(x.jobs) AS jobs, coalesce(sum(x.jobs) FILTER (WHERE x.outcome = 'dead'), 0) AS dead, sum(x.run_seconds) / greatest(sum(x.jobs), 1) AS mean_run,
             sum(x.wait_seconds) / greatest(sum(x.jobs), 1) AS mean_wait
      FROM reeve.stat_slot x WHERE x.width = p_width AND x.slot > date_trunc(p_width, reeve.clock()) - least(p_slots, 744) * ('1 ' || p_width)::interval GROUP BY 1 ORDER BY 2 DESC LIMIT 20) s))
$$;

-- One page of jobs, newest first, that match; older than p_before. Looks at 20,000 rows of each table at most: with fewer than p_limit
-- found, `next` is where it stopped and `more` says that there is older work to look at.
CREATE FUNCTION reeve.job_page(p_states text[] DEFAULT NULL, p_tenant text DEFAULT NULL, p_queue text DEFAULT NULL, p_kind text DEFAULT NULL, p_search text DEFAULT NULL,
  p_before bigint DEFAULT NULL, p_limit int DEFAULT 50) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  v_tenant uuid; v_like text := replace(replace(replace(p_queue, '\', '\\'), '_', '\_'), '*', '%'); v_before bigint := coalesce(p_before, 9223372036854775807);
  v_limit int := least(greatest(p_limit, 1), 200); v_rows jsonb := '[]'; v_part jsonb; v_stop bigint := 0; v_reach bigint; v_look int := 20000;
  v_text text := '%' || replace(replace(replace(lower(p_search), '\', '\\'), '_', '\_'), '%', '\%') || '%';
BEGIN
  IF p_tenant IS NOT NULL THEN
    SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.code = p_tenant COLLATE "C" OR t.external_code = p_tenant;
    IF NOT FOUND THEN RETURN '{"rows": [], "next": null, "more": false}'; END IF;
  END IF;
  IF p_search ~ '^\d{1,18}$' AND p_before IS NULL THEN
    SELECT coalesce(jsonb_agg(to_jsonb(j)), '[]') INTO v_rows FROM reeve.job_list j WHERE j.id = p_search::bigint;
    RETURN jsonb_build_object('rows', v_rows, 'next', NULL, 'more', false);
  END IF;
  IF p_states IS NULL OR p_states && '{scheduled,available,running}' THEN
    IF p_states = '{running}' THEN
      -- Materialized, so that the few that run are found by their own index.
      WITH run AS MATERIALIZED (SELECT y.* FROM reeve.job y WHERE y.state = 'running')
      SELECT coalesce(jsonb_agg(to_jsonb(x)), '[]') INTO v_part FROM (
        SELECT j.id, t.code AS tenant_code, j.queue, j.kind, j.state::text AS state, j.hold_reason, j.attempt, j.max_attempts, j.priority, j.run_at, j.started_at, j.created_at, j.progress, j.worker_id, left(j.last_error, 300) AS error
        FROM run j JOIN reeve.tenant t ON t.id = j.tenant_id WHERE j.id < v_before AND (v_tenant IS NULL OR j.tenant_id = v_tenant)
          AND (v_like IS NULL OR j.queue LIKE v_like) AND (p_kind IS NULL OR j.kind = p_kind) AND (p_search IS NULL OR lower(concat_ws(' ', j.queue, j.kind, j.last_error, j.progress::text)) LIKE v_text)
        ORDER BY j.id DESC LIMIT v_limit) x;
    ELSE
      SELECT coalesce(jsonb_agg(to_jsonb(x)), '[]') INTO v_part FROM (
        SELECT j.id, t.code AS tenant_code, j.queue, j.kind, j.state::text AS state, j.hold_reason, j.attempt, j.max_attempts, j.priority, j.run_at, j.started_at, j.created_at, j.progress, j.worker_id, left(j.last_error, 300) AS error
        FROM (SELECT y.* FROM reeve.job y WHERE y.id < v_before ORDER BY y.id DESC LIMIT v_look) j JOIN reeve.tenant t ON t.id = j.tenant_id
        WHERE (p_states IS NULL OR j.state::text = ANY (p_states)) AND (v_tenant IS NULL OR j.tenant_id = v_tenant) AND (v_like IS NULL OR j.queue LIKE v_like) AND (p_kind IS NULL OR j.kind = p_kind)
          AND (p_search IS NULL OR lower(concat_ws(' ', j.queue, j.kind, j.last_error)) LIKE v_text)
        ORDER BY j.id DESC LIMIT v_limit) x;
      SELECT min(r.id) INTO v_reach FROM (SELECT y.id FROM reeve.job y WHERE y.id < v_before ORDER BY y.id DESC LIMIT v_look) r HAVING count(*) = v_look;
      v_stop := greatest(v_stop, coalesce(v_reach, 0));
    END IF;
    v_rows := v_rows || v_part;
  END IF;
  IF p_states IS NULL OR p_states && '{succeeded,cancelled}' THEN
    SELECT coalesce(jsonb_agg(to_jsonb(x)), '[]') INTO v_part FROM (
      SELECT j.id, t.code AS tenant_code, j.queue, j.kind, j.state::text AS state, j.attempt, j.max_attempts, j.priority, j.run_at, j.started_at, j.finished_at, j.created_at, j.worker_id, left(j.last_error, 300) AS error
      FROM (SELECT y.* FROM reeve.job_history y WHERE y.id < v_before ORDER BY y.id DESC LIMIT v_look) j LEFT JOIN reeve.tenant t ON t.id = j.tenant_id
      WHERE (p_states IS NULL OR j.state::text = ANY (p_states)) AND (v_tenant IS NULL OR j.tenant_id = v_tenant) AND (v_like IS NULL OR j.queue LIKE v_like) AND (p_kind IS NULL OR j.kind = p_kind)
        AND (p_search IS NULL OR lower(concat_ws(' ', j.queue, j.kind, j.last_error)) LIKE v_text)
      ORDER BY j.id DESC LIMIT v_limit) x;
    SELECT min(r.id) INTO v_reach FROM (SELECT y.id FROM reeve.job_history y WHERE y.id < v_before ORDER BY y.id DESC LIMIT v_look) r HAVING count(*) = v_look;
    v_stop := greatest(v_stop, coalesce(v_reach, 0));
    v_rows := v_rows || v_part;
  END IF;
  IF p_states IS NULL OR p_states && '{dead}' THEN
    SELECT coalesce(jsonb_agg(to_jsonb(x)), '[]') INTO v_part FROM (
      SELECT j.id, t.code AS tenant_code, j.queue, j.kind, j.state::text AS state, j.attempt, j.max_attempts, j.priority, j.run_at, j.started_at, j.finished_at, j.created_at, j.worker_id, j.reason, j.redriven_as, left(j.last_error, 300) AS error
      FROM (SELECT y.* FROM reeve.dead_letter y WHERE y.id < v_before AND (v_tenant IS NULL OR y.tenant_id = v_tenant) ORDER BY y.id DESC LIMIT v_look) j LEFT JOIN reeve.tenant t ON t.id = j.tenant_id
      WHERE (v_like IS NULL OR j.queue LIKE v_like) AND (p_kind IS NULL OR j.kind = p_kind) AND (p_search IS NULL OR lower(concat_ws(' ', j.queue, j.kind, j.reason, j.last_error)) LIKE v_text)
      ORDER BY j.id DESC LIMIT v_limit) x;
    v_rows := v_rows || v_part;
  END IF;
  -- Below where one table's look ended nothing is shown: rows of another would hide those that were not looked at.
  SELECT coalesce(jsonb_agg(r.row ORDER BY r.id DESC), '[]') INTO v_rows FROM (SELECT e.row, (e.row ->> 'id')::bigint AS id FROM jsonb_array_elements(v_rows) e (row)
    WHERE (e.row ->> 'id')::bigint >= v_stop ORDER BY 2 DESC LIMIT v_limit) r;
  RETURN jsonb_build_object('rows', v_rows,
    'next', CASE WHEN jsonb_array_length(v_rows) = v_limit THEN (v_rows -> -1 ->> 'id')::bigint WHEN v_stop > 0 THEN v_stop END,
    'more', jsonb_array_length(v_rows) < v_limit AND v_stop > 0);
END $$;

-- Tenants in the order of their codes after p_after, or those with most running and waiting.
CREATE FUNCTION reeve.tenant_page(p_search text DEFAULT NULL, p_tier text DEFAULT NULL, p_status text DEFAULT NULL, p_busiest boolean DEFAULT false, p_after text DEFAULT NULL, p_limit int DEFAULT 50)
RETURNS SETOF jsonb LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp SET jit = off AS $$
DECLARE v_ids uuid[]; v_name text := lower(p_search);
BEGIN
  IF p_busiest THEN
    v_ids := ARRAY(SELECT c.tenant_id FROM reeve.tenant_counter c JOIN reeve.tenant_backlog b ON b.tenant_id = c.tenant_id JOIN reeve.tenant t ON t.id = c.tenant_id
      WHERE c.running + b.waiting > 0 AND (p_tier IS NULL OR t.tier = p_tier) AND (p_status IS NULL OR t.status::text = p_status)
        AND (p_search IS NULL OR t.code LIKE v_name || '%' OR t.external_code = p_search OR strpos(lower(t.name), v_name) > 0)
      ORDER BY c.running + b.waiting DESC, t.code LIMIT least(p_limit, 200));
  ELSE
    v_ids := ARRAY(SELECT t.id FROM reeve.tenant t WHERE t.code > coalesce(p_after, '') COLLATE "C" AND (p_tier IS NULL OR t.tier = p_tier) AND (p_status IS NULL OR t.status::text = p_status)
        AND (p_search IS NULL OR t.code LIKE v_name || '%' OR t.external_code = p_search OR strpos(lower(t.name), v_name) > 0)
      ORDER BY t.code LIMIT least(p_limit, 200));
  END IF;
  RETURN QUERY
  SELECT jsonb_build_object('id', t.id, 'code', t.code, 'name', t.name, 'tier', t.tier, 'status', t.status, 'isolation', t.isolation, 'region', t.region, 'trial_ends_at', t.trial_ends_at,
    'cap', c.cap, 'running', c.running, 'waiting', b.waiting, 'is_full', b.is_full,
    'dead', (SELECT count(*) FROM (SELECT FROM reeve.dead_letter d WHERE d.tenant_id = t.id AND d.redriven_as IS NULL LIMIT 1000) d),
    'blocked', EXISTS (SELECT FROM reeve.queue_block q WHERE q.pattern IN (t.code || '.*', '*.*')),
    'isolated', EXISTS (SELECT FROM reeve.claim_block q WHERE q.scope = 'tenant' AND q.name = t.code))
  FROM unnest(v_ids) WITH ORDINALITY u (id, place) JOIN reeve.tenant t ON t.id = u.id LEFT JOIN reeve.tenant_counter c ON c.tenant_id = t.id LEFT JOIN reeve.tenant_backlog b ON b.tenant_id = t.id
  ORDER BY u.place;
END $$;

-- The queues of the tenants that have something waiting or running, p_limit tenants after p_after; no more than 1,000 of a state are counted.
CREATE FUNCTION reeve.queue_page(p_tenant text DEFAULT NULL, p_after text DEFAULT NULL, p_limit int DEFAULT 50) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp SET jit = off AS $$
DECLARE v_ids uuid[];
BEGIN
  v_ids := ARRAY(SELECT t.id FROM (
      SELECT c.tenant_id FROM reeve.tenant_counter c WHERE c.running > 0 UNION SELECT b.tenant_id FROM reeve.tenant_backlog b WHERE b.waiting > 0) w JOIN reeve.tenant t ON t.id = w.tenant_id
    WHERE t.code > coalesce(p_after, '') COLLATE "C" AND (p_tenant IS NULL OR t.code = p_tenant COLLATE "C") ORDER BY t.code LIMIT least(p_limit, 200));
  RETURN QUERY
  WITH RECURSIVE owner AS MATERIALIZED (SELECT t.id, t.code, t.tier FROM unnest(v_ids) u JOIN reeve.tenant t ON t.id = u),
  pool AS (SELECT o.id, o.code, o.tier, p.pool FROM owner o CROSS JOIN LATERAL (VALUES (o.tier), ('restore')) p (pool)),
  ready AS (
    SELECT p.id, p.pool, f.queue FROM pool p CROSS JOIN LATERAL (SELECT j.queue FROM reeve.job j WHERE j.state = 'available' AND j.pool = p.pool AND j.tenant_id = p.id ORDER BY j.queue LIMIT 1) f
    UNION ALL
    SELECT r.id, r.pool, f.queue FROM ready r CROSS JOIN LATERAL (SELECT j.queue FROM reeve.job j WHERE j.state = 'available' AND j.pool = r.pool AND j.tenant_id = r.id AND j.queue > r.queue ORDER BY j.queue LIMIT 1) f),
  counted AS (
    SELECT r.id, r.queue, n.n AS available, n.oldest, 0::bigint AS scheduled, 0::bigint AS held, 0::bigint AS running
    FROM ready r CROSS JOIN LATERAL (SELECT count(*) AS n, min(x.run_at) AS oldest FROM (SELECT j.run_at FROM reeve.job j WHERE j.state = 'available' AND j.pool = r.pool AND j.tenant_id = r.id AND j.queue = r.queue
      ORDER BY j.priority, j.id LIMIT 1000) x) n
    UNION ALL
    SELECT o.id, x.queue, 0, NULL, count(*) FILTER (WHERE x.hold_reason IS NULL), count(*) FILTER (WHERE x.hold_reason IS NOT NULL), 0
    FROM owner o CROSS JOIN LATERAL (SELECT j.queue, j.hold_reason FROM reeve.job j WHERE j.state = 'scheduled' AND j.tenant_id = o.id LIMIT 1000) x GROUP BY 1, 2
    UNION ALL
    SELECT r.tenant_id, r.queue, 0, NULL, 0, 0, count(*) FROM (SELECT j.tenant_id, j.queue FROM reeve.job j WHERE j.state = 'running' AND j.worker_id IS NOT NULL LIMIT 100000) r
    WHERE r.tenant_id = ANY (v_ids) GROUP BY 1, 2)
  SELECT to_jsonb(s) || jsonb_build_object('blocks', (SELECT jsonb_agg(jsonb_build_object('pattern', b.pattern, 'mode', b.mode, 'reason', b.reason, 'actor', b.actor)) FROM reeve.queue_block b WHERE s.queue LIKE b.like_pattern))
  FROM (SELECT o.code AS tenant_code, o.tier, c.queue, sum(c.available)::bigint AS available, sum(c.scheduled)::bigint AS scheduled, sum(c.held)::bigint AS held, sum(c.running)::bigint AS running, min(c.oldest) AS oldest_available_at
    FROM counted c JOIN owner o ON o.id = c.id GROUP BY 1, 2, 3) s ORDER BY s.tenant_code, s.queue;
END $$;

-- Everything about one job for the one who looks at it; the arguments and the result only for operators.
CREATE FUNCTION reeve.job_detail(p_id bigint) RETURNS jsonb LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp SET jit = off AS $$
DECLARE v jsonb; v_row jsonb;
BEGIN
  SELECT to_jsonb(l) INTO v FROM reeve.job_list l WHERE l.id = p_id;
  IF v IS NULL THEN RETURN NULL; END IF;
  SELECT to_jsonb(x) INTO v_row FROM (
    SELECT j.args, NULL::jsonb AS result, j.max_attempts, j.traceparent, j.created_by, j.retried_from, j.batch_id, j.rescued, NULL::bigint AS redriven_as FROM reeve.job j WHERE j.id = p_id
    UNION ALL SELECT h.args, h.result, h.max_attempts, h.traceparent, h.created_by, h.retried_from, NULL, NULL, NULL FROM reeve.job_history h WHERE h.id = p_id
    UNION ALL SELECT d.args, NULL, d.max_attempts, d.traceparent, d.created_by, d.retried_from, NULL, NULL, d.redriven_as FROM reeve.dead_letter d WHERE d.id = p_id LIMIT 1) x;
  v := v || coalesce(v_row, '{}');
  IF NOT reeve.is_operator() THEN v := v - 'args' - 'result'; END IF;
  RETURN v || jsonb_build_object(
    'steps', (SELECT coalesce(jsonb_agg(to_jsonb(s) - 'result' - 'tenant_id' - 'job_id'), '[]') FROM reeve.job_step s WHERE s.job_id = p_id),
    'worker', (SELECT jsonb_build_object('node', w.node, 'pid', w.pid, 'state', w.state, 'lease_until', w.lease_until) FROM reeve.worker w WHERE w.id = (v ->> 'worker_id')::uuid),
    'artifacts', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', a.id, 'entity', a.entity, 'bytes', a.bytes, 'created_at', a.created_at, 'expires_at', a.expires_at)), '[]') FROM reeve.artifact a WHERE a.job_id = p_id),
    'cancelling', EXISTS (SELECT FROM reeve.cancel_request c WHERE c.job_id = p_id));
END $$;

GRANT EXECUTE ON FUNCTION reeve.tend_stats() TO reeve_worker, reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.fleet_metrics(int), reeve.tenant_metrics(text, text, int), reeve.overview(text, int), reeve.job_page(text[], text, text, text, text, bigint, int),
  reeve.tenant_page(text, text, text, boolean, text, int), reeve.queue_page(text, text, int), reeve.job_detail(bigint), reeve.stat_bounds() TO reeve_viewer, reeve_operator, reeve_worker;
