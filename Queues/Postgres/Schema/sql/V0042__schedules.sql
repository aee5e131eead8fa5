-- Schedules: work that the clock asks for, for one tenant or for those that a selection names. What is due is found by an index, so that a tick costs what
-- is due and not what there is; it is fired by whoever locks its row, in the transaction that moves it on: each tick once, also across crashes.

-- Which kinds only tenants of a tier with this feature may have scheduled for themselves.
CREATE TABLE reeve.schedule_feature (kind text PRIMARY KEY, feature text NOT NULL);
INSERT INTO reeve.schedule_feature VALUES ('export', 'scheduled_exports'), ('backup', 'own_backup_schedule');
UPDATE reeve.tier SET features = features || '{own_backup_schedule}' WHERE name = 'enterprise' AND NOT 'own_backup_schedule' = ANY (features);

CREATE TABLE reeve.schedule (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,79}$'),
  tenant_id uuid REFERENCES reeve.tenant (id),
  selection jsonb CHECK (jsonb_typeof(selection) = 'object'),
  kind text NOT NULL,                                      -- no reference: shipped schedules come before the first worker registers its kinds
  queue text,                                              -- NULL: the kind's own
  args jsonb NOT NULL DEFAULT '{}',
  priority int NOT NULL DEFAULT 0 CHECK (priority BETWEEN -1000000 AND 1000000),
  cron text NOT NULL,
  parsed reeve.cron NOT NULL,
  timezone text,                                           -- NULL: each tenant's own
  catch_up text NOT NULL DEFAULT 'latest' CHECK (catch_up IN ('skip', 'latest', 'all')),
  catch_up_limit int NOT NULL DEFAULT 10 CHECK (catch_up_limit BETWEEN 1 AND 1000),
  overlap text NOT NULL DEFAULT 'skip' CHECK (overlap IN ('allow', 'skip', 'replace')),
  spread interval NOT NULL DEFAULT '0' CHECK (spread >= interval '0'),
  jitter interval NOT NULL DEFAULT '0' CHECK (jitter >= interval '0'),
  opens time,
  closes time,
  max_running int CHECK (max_running BETWEEN 1 AND 1000000),
  report_place text,
  paused_at timestamptz,
  paused_by text,
  pause_reason text CHECK (length(pause_reason) <= 2000),
  shipped boolean NOT NULL DEFAULT false,
  created_by text NOT NULL DEFAULT reeve.actor(),
  created_at timestamptz NOT NULL DEFAULT reeve.clock(),
  CHECK ((tenant_id IS NULL) <> (selection IS NULL)),
  CHECK ((opens IS NULL) = (closes IS NULL)),
  CHECK ((paused_at IS NULL) = (paused_by IS NULL)),
  CHECK (kind <> 'report' OR (tenant_id IS NOT NULL AND report_place IS NOT NULL)),
  -- How many scheduled reports a tenant has is held by their places (ISO-C-003).
  FOREIGN KEY (tenant_id, report_place) REFERENCES reeve.report_place (tenant_id, name)
);
CREATE INDEX schedule_tenant ON reeve.schedule (tenant_id) WHERE tenant_id IS NOT NULL;

-- When a schedule is due next, for each time zone that it follows. last_tick: ticks up to then are dealt with.
CREATE TABLE reeve.schedule_due (
  schedule_id bigint NOT NULL REFERENCES reeve.schedule (id) ON DELETE CASCADE,
  timezone text NOT NULL,
  last_tick timestamptz NOT NULL,
  next_at timestamptz NOT NULL,                            -- infinity: paused, or never again
  PRIMARY KEY (schedule_id, timezone)
) WITH (fillfactor = 70);
CREATE INDEX schedule_due_at ON reeve.schedule_due (next_at);

-- What became of each tick.
CREATE TABLE reeve.schedule_tick (
  schedule_id bigint NOT NULL REFERENCES reeve.schedule (id) ON DELETE CASCADE,
  timezone text NOT NULL,
  tick timestamptz NOT NULL,
  fired_at timestamptz NOT NULL DEFAULT reeve.clock(),
  outcome text NOT NULL CHECK (outcome IN ('job', 'batch', 'skipped', 'refused')),
  job_id bigint,
  batch_id bigint,
  run_at timestamptz,
  detail text CHECK (length(detail) <= 2000),
  PRIMARY KEY (schedule_id, timezone, tick)
);
CREATE INDEX schedule_tick_age ON reeve.schedule_tick (fired_at);

-- The last job of each tenant's, for the overlap rules.
CREATE TABLE reeve.schedule_last (
  schedule_id bigint NOT NULL REFERENCES reeve.schedule (id) ON DELETE CASCADE,
  tenant_id uuid NOT NULL,
  job_id bigint NOT NULL,
  PRIMARY KEY (schedule_id, tenant_id)
) WITH (fillfactor = 70);

-- What a zone's clock showed; another answer means that its rules changed, and that its schedules are due at other moments.
CREATE TABLE reeve.zone_rule (timezone text PRIMARY KEY, digest text NOT NULL);

CREATE FUNCTION reeve.zone_digest(p_zone text) RETURNS text LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT md5(string_agg((d AT TIME ZONE p_zone)::text, ',' ORDER BY d))
  FROM generate_series(date_trunc('year', reeve.clock(), 'UTC'), date_trunc('year', reeve.clock(), 'UTC') + interval '2 years', '12 hours') d
$$;

-- Makes a schedule follow a zone from p_from on.
CREATE FUNCTION reeve.follow_zone(p_schedule bigint, p_cron reeve.cron, p_zone text, p_from timestamptz) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
BEGIN
  INSERT INTO reeve.schedule_due (schedule_id, timezone, last_tick, next_at) VALUES (p_schedule, p_zone, p_from, coalesce(reeve.cron_next(p_cron, p_zone, p_from), 'infinity'))
  ON CONFLICT DO NOTHING;
  INSERT INTO reeve.zone_rule (timezone, digest) SELECT p_zone, reeve.zone_digest(p_zone) WHERE NOT EXISTS (SELECT FROM reeve.zone_rule z WHERE z.timezone = p_zone) ON CONFLICT DO NOTHING;
END $$;

-- Why a tenant may not have this kind scheduled for itself now; NULL: it may.
CREATE FUNCTION reeve.schedule_problem(p_kind text, p_tenant uuid) RETURNS text LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT CASE WHEN NOT f.feature = ANY (r.features) THEN format('tier "%s" does not include %s', t.tier, f.feature) END
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier JOIN reeve.schedule_feature f ON f.kind = p_kind WHERE t.id = p_tenant
$$;

-- Creates a schedule from {"name", "kind", "cron", and "tenant": code or "tenants": selection; "queue", "args", "priority", "timezone", "catch_up", "catch_up_limit",
-- "overlap", "spread", "jitter", "opens", "closes", "max_running"}. Returns its id.
CREATE FUNCTION reeve.create_schedule(schedule jsonb) RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE s jsonb := schedule; v record; v_tenant reeve.tenant; v_cron reeve.cron; v_id bigint; v_zone text; v_now timestamptz := reeve.clock(); v_first timestamptz; v_gap interval; v_problem text;
  v_known text[] := '{name,kind,cron,tenant,tenants,queue,args,priority,timezone,catch_up,catch_up_limit,overlap,spread,jitter,opens,closes,max_running}';
BEGIN
  IF jsonb_typeof(s) IS DISTINCT FROM 'object' OR s - v_known <> '{}' THEN
    RAISE EXCEPTION 'a schedule is an object%', coalesce(' without "' || (SELECT left(k, 80) FROM jsonb_object_keys(CASE jsonb_typeof(s) WHEN 'object' THEN s ELSE '{}' END - v_known) k LIMIT 1) || '"', '')
      USING ERRCODE = 'RV010', HINT = 'Its fields: ' || array_to_string(v_known, ', ');
  END IF;
  BEGIN
    SELECT x.* INTO v FROM jsonb_to_record(s) x (name text, kind text, cron text, tenant text, tenants jsonb, queue text, args jsonb, priority int, timezone text, catch_up text, catch_up_limit int,
      overlap text, spread interval, jitter interval, opens time, closes time, max_running int);
  EXCEPTION WHEN data_exception THEN
    RAISE EXCEPTION 'a field of the schedule is of the wrong type: %', SQLERRM USING ERRCODE = 'RV010';
  END;
  IF coalesce(v.name, '') !~ '^[a-z0-9][a-z0-9._-]{0,79}$' THEN
    RAISE EXCEPTION 'a schedule''s name has 1 to 80 of a-z, 0-9, ".", "_" and "-"' USING ERRCODE = 'RV010', HINT = 'For example acme.monthly-sales.';
  END IF;
  IF EXISTS (SELECT FROM reeve.schedule x WHERE x.name = v.name) THEN
    RAISE EXCEPTION 'there is a schedule "%"', v.name USING ERRCODE = 'RV008', HINT = 'Choose another name, or delete it first: reeve schedule delete ' || v.name;
  END IF;
  IF (v.tenant IS NULL) = (v.tenants IS NULL) THEN RAISE EXCEPTION 'a schedule is for a tenant or for a selection of tenants' USING ERRCODE = 'RV010', HINT = 'Give "tenant" or "tenants".'; END IF;
  v_cron := reeve.parse_cron(v.cron);
  PERFORM reeve.checked_work(v.kind, v.queue, v.args);
  IF v.timezone IS NOT NULL THEN PERFORM reeve.check_zone(v.timezone); END IF;
  v.spread := coalesce(v.spread, '0'); v.jitter := coalesce(v.jitter, '0');
  IF v.spread < interval '0' OR v.jitter < interval '0' THEN RAISE EXCEPTION 'spread and jitter are not negative' USING ERRCODE = 'RV010'; END IF;
  IF (v.opens IS NULL) <> (v.closes IS NULL) THEN RAISE EXCEPTION 'a window has a beginning and an end' USING ERRCODE = 'RV010', HINT = 'Give "opens" and "closes".'; END IF;
  IF coalesce(v.catch_up, 'latest') NOT IN ('skip', 'latest', 'all') THEN RAISE EXCEPTION 'catch_up is skip, latest or all' USING ERRCODE = 'RV010'; END IF;
  IF coalesce(v.overlap, 'skip') NOT IN ('allow', 'skip', 'replace') THEN RAISE EXCEPTION 'overlap is allow, skip or replace' USING ERRCODE = 'RV010'; END IF;
  IF v.catch_up_limit NOT BETWEEN 1 AND 1000 THEN RAISE EXCEPTION 'catch_up_limit is from 1 to 1000' USING ERRCODE = 'RV010'; END IF;
  IF v.max_running NOT BETWEEN 1 AND 1000000 THEN RAISE EXCEPTION 'max_running is from 1 to 1000000' USING ERRCODE = 'RV010'; END IF;
  IF v.priority NOT BETWEEN -1000000 AND 1000000 THEN RAISE EXCEPTION 'priority must be from -1000000 to 1000000' USING ERRCODE = 'RV010'; END IF;
  IF v.tenant IS NOT NULL THEN
    SELECT t.* INTO v_tenant FROM reeve.tenant t WHERE t.code = v.tenant COLLATE "C";
    IF NOT FOUND OR v_tenant.status = 'archived' THEN RAISE EXCEPTION 'tenant "%" is unknown', left(v.tenant, 80) USING ERRCODE = 'RV001', HINT = 'See: reeve tenant list'; END IF;
    v_problem := reeve.schedule_problem(v.kind, v_tenant.id);
    IF v_problem IS NOT NULL THEN
      RAISE EXCEPTION 'tenant "%" can''t have a schedule of % of its own: %', v_tenant.code, v.kind, v_problem USING ERRCODE = 'RV012', HINT = 'Fleet-wide schedules reach it all the same.';
    END IF;
  ELSE
    v.tenants := reeve.checked_selection(v.tenants);
    IF v.kind = 'report' THEN RAISE EXCEPTION 'a scheduled report is one tenant''s' USING ERRCODE = 'RV012', HINT = 'Give "tenant"; each takes one of the tenant''s places (10, 50 or unlimited by tier).'; END IF;
  END IF;
  v_zone := coalesce(v.timezone, v_tenant.timezone, 'UTC');
  v_first := reeve.cron_next(v_cron, v_zone, v_now);
  IF v_first IS NULL THEN RAISE EXCEPTION '"%" never comes', v.cron USING ERRCODE = 'RV010', HINT = 'No day of the calendar matches it.'; END IF;
  -- The shortest of the next hundred gaps: what is spread over more would run into the next tick.
  SELECT min(g.gap) INTO v_gap FROM (SELECT p.tick - lag(p.tick) OVER (ORDER BY p.tick) AS gap FROM reeve.preview_cron(v.cron, v_zone, 100, v_now) p) g;
  IF v.spread + v.jitter > v_gap THEN
    RAISE EXCEPTION 'spread and jitter (%) are longer than the time between two ticks (%)', v.spread + v.jitter, v_gap USING ERRCODE = 'RV010', HINT = 'Spread over less, or run less often.';
  END IF;
  IF v.kind = 'report' THEN PERFORM reeve.take_report_place(v_tenant.code, v.name); END IF;
  INSERT INTO reeve.schedule (name, tenant_id, selection, kind, queue, args, priority, cron, parsed, timezone, catch_up, catch_up_limit, overlap, spread, jitter, opens, closes, max_running, report_place)
  VALUES (v.name, v_tenant.id, v.tenants, v.kind, v.queue, coalesce(v.args, '{}'), coalesce(v.priority, 0), btrim(v.cron), v_cron, v.timezone, coalesce(v.catch_up, 'latest'),
    coalesce(v.catch_up_limit, 10), coalesce(v.overlap, 'skip'), v.spread, v.jitter, v.opens, v.closes, v.max_running, CASE v.kind WHEN 'report' THEN v.name END)
  RETURNING id INTO v_id;
  PERFORM reeve.follow_zones(v_id, v_now);
  PERFORM reeve.audit(v_tenant.id, 'schedule.create', 'schedule ' || v.name, NULL, s - 'args');
  RETURN v_id;
END $$;

-- Makes a schedule follow every zone that it has to.
CREATE FUNCTION reeve.follow_zones(p_schedule bigint, p_from timestamptz) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.schedule; v_zone text;
BEGIN
  SELECT s.* INTO v FROM reeve.schedule s WHERE s.id = p_schedule;
  FOR v_zone IN SELECT v.timezone WHERE v.timezone IS NOT NULL
      UNION SELECT DISTINCT t.timezone FROM reeve.tenant t WHERE v.timezone IS NULL AND (t.id = v.tenant_id OR (v.tenant_id IS NULL AND t.status <> 'archived')) LOOP
    PERFORM reeve.follow_zone(v.id, v.parsed, v_zone, p_from);
  END LOOP;
END $$;

-- A tenant that comes, or moves to another zone, takes its schedules along; the ones for many follow its zone too.
CREATE FUNCTION reeve.tenant_zone_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record;
BEGIN
  FOR v IN SELECT s.id, s.parsed, s.paused_at FROM reeve.schedule s WHERE s.tenant_id = NEW.id AND s.timezone IS NULL LOOP
    DELETE FROM reeve.schedule_due d WHERE d.schedule_id = v.id;
    PERFORM reeve.follow_zone(v.id, v.parsed, NEW.timezone, reeve.clock());
    IF v.paused_at IS NOT NULL THEN UPDATE reeve.schedule_due d SET next_at = 'infinity' WHERE d.schedule_id = v.id; END IF;
  END LOOP;
  FOR v IN SELECT s.id, s.parsed, s.paused_at FROM reeve.schedule s WHERE s.tenant_id IS NULL AND s.timezone IS NULL
      AND NOT EXISTS (SELECT FROM reeve.schedule_due d WHERE d.schedule_id = s.id AND d.timezone = NEW.timezone) LOOP
    PERFORM reeve.follow_zone(v.id, v.parsed, NEW.timezone, reeve.clock());
    IF v.paused_at IS NOT NULL THEN UPDATE reeve.schedule_due d SET next_at = 'infinity' WHERE d.schedule_id = v.id AND d.timezone = NEW.timezone; END IF;
  END LOOP;
  RETURN NULL;
END $$;
CREATE TRIGGER tenant_brings_zone AFTER INSERT ON reeve.tenant FOR EACH ROW EXECUTE FUNCTION reeve.tenant_zone_changed();
CREATE TRIGGER tenant_changes_zone AFTER UPDATE OF timezone ON reeve.tenant FOR EACH ROW WHEN (OLD.timezone IS DISTINCT FROM NEW.timezone) EXECUTE FUNCTION reeve.tenant_zone_changed();

CREATE FUNCTION reeve.locked_schedule(p_name text) RETURNS reeve.schedule LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.schedule;
BEGIN
  SELECT s.* INTO v FROM reeve.schedule s WHERE s.name = p_name FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no schedule "%"', left(p_name, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve schedule list'; END IF;
  RETURN v;
END $$;

-- A paused schedule misses its ticks: they are not caught up with when it is resumed.
CREATE FUNCTION reeve.pause_schedule(name text, reason text) RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v reeve.schedule := reeve.locked_schedule(name);
BEGIN
  IF v.paused_at IS NOT NULL THEN RAISE EXCEPTION 'schedule "%" is paused already', name USING ERRCODE = 'RV012'; END IF;
  UPDATE reeve.schedule s SET paused_at = reeve.clock(), paused_by = reeve.actor(), pause_reason = left(reason, 2000) WHERE s.id = v.id;
  UPDATE reeve.schedule_due d SET next_at = 'infinity' WHERE d.schedule_id = v.id;
  PERFORM reeve.audit(v.tenant_id, 'schedule.pause', 'schedule ' || name, reason);
END $$;

CREATE FUNCTION reeve.resume_schedule(name text) RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v reeve.schedule := reeve.locked_schedule(name);
BEGIN
  IF v.paused_at IS NULL THEN RAISE EXCEPTION 'schedule "%" is not paused', name USING ERRCODE = 'RV012'; END IF;
  UPDATE reeve.schedule s SET paused_at = NULL, paused_by = NULL, pause_reason = NULL WHERE s.id = v.id;
  DELETE FROM reeve.schedule_due d WHERE d.schedule_id = v.id;
  PERFORM reeve.follow_zones(v.id, reeve.clock());
  PERFORM reeve.audit(v.tenant_id, 'schedule.resume', 'schedule ' || name);
END $$;

-- Deletes a schedule; the jobs that it made stay.
CREATE FUNCTION reeve.delete_schedule(name text) RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v reeve.schedule := reeve.locked_schedule(name);
BEGIN
  DELETE FROM reeve.schedule s WHERE s.id = v.id;
  IF v.report_place IS NOT NULL THEN PERFORM reeve.release_report_place((SELECT t.code FROM reeve.tenant t WHERE t.id = v.tenant_id), v.report_place); END IF;
  PERFORM reeve.audit(v.tenant_id, 'schedule.delete', 'schedule ' || name, NULL, jsonb_build_object('kind', v.kind, 'cron', v.cron, 'shipped', v.shipped));
END $$;

-- What the overlap rule of a schedule says of a tenant's next job: NULL to go on, or why it is left out. `replace` cancels the one before.
CREATE FUNCTION reeve.schedule_overlap(p_schedule bigint, p_overlap text, p_tenant uuid) RETURNS text LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v_job bigint;
BEGIN
  IF p_overlap = 'allow' THEN RETURN NULL; END IF;
  SELECT l.job_id INTO v_job FROM reeve.schedule_last l JOIN reeve.job j ON j.id = l.job_id WHERE l.schedule_id = p_schedule AND l.tenant_id = p_tenant;
  IF v_job IS NULL THEN RETURN NULL; END IF;
  IF p_overlap = 'skip' THEN RETURN 'job ' || v_job || ' of the tick before has not ended'; END IF;
  PERFORM FROM reeve.job j WHERE j.id = v_job AND j.state <> 'running' FOR UPDATE SKIP LOCKED;
  IF FOUND THEN
    PERFORM reeve.end_cancelled(v_job, 'replaced by the next tick of its schedule');
  ELSE
    INSERT INTO reeve.cancel_request (job_id) VALUES (v_job) ON CONFLICT DO NOTHING;
    PERFORM pg_notify('reeve_cancel', '');
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION reeve.batch_overlap(p_batch reeve.batch, p_tenant uuid) RETURNS text LANGUAGE sql VOLATILE SET search_path = reeve, pg_temp AS
  $$ SELECT (SELECT reeve.schedule_overlap(s.id, s.overlap, p_tenant) FROM reeve.schedule s WHERE s.id = p_batch.schedule_id) $$;

CREATE OR REPLACE FUNCTION reeve.batch_enqueued(p_batch reeve.batch, p_tenant uuid, p_job bigint) RETURNS void LANGUAGE sql VOLATILE SET search_path = reeve, pg_temp AS $$
  INSERT INTO reeve.schedule_last AS l (schedule_id, tenant_id, job_id) SELECT s.id, p_tenant, p_job FROM reeve.schedule s WHERE s.id = p_batch.schedule_id
  ON CONFLICT (schedule_id, tenant_id) DO UPDATE SET job_id = excluded.job_id
$$;

-- When a tick's job may run: the tick, the tenant's place in the spread, the tick's jitter, and the window's next opening.
CREATE FUNCTION reeve.schedule_time(s reeve.schedule, p_zone text, p_tenant uuid, p_tick timestamptz) RETURNS timestamptz LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT CASE WHEN s.opens IS NULL THEN x.at ELSE reeve.next_off_peak(p_zone, s.opens, s.closes, x.at) END
  FROM (SELECT p_tick + s.spread * reeve.share_of(s.id || ' ' || p_tenant) + s.jitter * reeve.share_of(p_tick || ' ' || p_tenant) AS at) x
$$;

-- Fires one tick: makes the batch of a schedule for many, answers the job of a tenant's own, as enqueue_many takes it.
CREATE FUNCTION reeve.fire_tick(s reeve.schedule, p_zone text, p_tick timestamptz) RETURNS jsonb LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant record; v_tenants uuid[]; v_kind record; v_problem text; v_job jsonb; v_batch bigint; v_at timestamptz; v_outcome text; v_selection jsonb;
BEGIN
  INSERT INTO reeve.schedule_tick (schedule_id, timezone, tick, outcome) VALUES (s.id, p_zone, p_tick, 'skipped') ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN RETURN NULL; END IF;
  SELECT k.name, k.queue, k.statuses INTO v_kind FROM reeve.kind k WHERE k.name = s.kind;
  IF NOT FOUND THEN
    v_outcome := 'refused';
    v_problem := format('kind "%s" is not registered: no worker that knows it has started', s.kind);
  ELSIF s.tenant_id IS NULL THEN
    v_selection := CASE WHEN s.timezone IS NULL AND NOT s.selection ? 'timezone' THEN s.selection || jsonb_build_object('timezone', jsonb_build_array(p_zone)) ELSE s.selection END;
    v_tenants := ARRAY(SELECT x FROM reeve.selected_tenants(v_selection, s.kind) x JOIN reeve.tenant t ON t.id = x WHERE s.timezone IS NOT NULL OR t.timezone = p_zone);
    IF cardinality(v_tenants) = 0 THEN
      v_outcome := 'skipped';
      v_problem := 'no tenant is selected';
    ELSE
      v_at := CASE WHEN s.opens IS NULL THEN p_tick ELSE reeve.next_off_peak(p_zone, s.opens, s.closes, p_tick) END;
      v_batch := reeve.make_batch(s.kind, coalesce(s.queue, v_kind.queue), s.args, s.priority, v_selection, v_tenants, s.spread, s.max_running, NULL, v_at, s.jitter, s.id, p_tick, NULL);
      v_outcome := 'batch';
    END IF;
  ELSE
    SELECT t.code, t.status INTO v_tenant FROM reeve.tenant t WHERE t.id = s.tenant_id;
    v_outcome := 'skipped';
    IF NOT v_tenant.status = ANY (v_kind.statuses) THEN
      v_problem := 'the tenant is ' || v_tenant.status;
    ELSE
      v_problem := reeve.schedule_problem(s.kind, s.tenant_id);
      IF v_problem IS NULL THEN v_problem := reeve.schedule_overlap(s.id, s.overlap, s.tenant_id); END IF;
    END IF;
    IF v_problem IS NULL THEN
      v_at := reeve.schedule_time(s, p_zone, s.tenant_id, p_tick);
      v_job := jsonb_build_object('queue', v_tenant.code || '.' || coalesce(s.queue, v_kind.queue), 'kind', s.kind, 'args', s.args, 'run_at', v_at, 'priority', s.priority, 'tenant', s.tenant_id);
    END IF;
  END IF;
  UPDATE reeve.schedule_tick t SET outcome = v_outcome, batch_id = v_batch, run_at = v_at, detail = left(v_problem, 2000)
  WHERE t.schedule_id = s.id AND t.timezone = p_zone AND t.tick = p_tick;
  RETURN v_job;
END $$;

-- Enqueues what ticks asked for and records it: the n-th job is of the n-th schedule, zone and tick.
CREATE FUNCTION reeve.enqueue_ticks(p_jobs jsonb[], p_schedules bigint[], p_zones text[], p_ticks timestamptz[]) RETURNS void LANGUAGE sql VOLATILE SET search_path = reeve, pg_temp AS $$
  WITH tried AS MATERIALIZED (SELECT p_schedules[e.n] AS schedule_id, p_zones[e.n] AS timezone, p_ticks[e.n] AS tick, (p_jobs[e.n] ->> 'tenant')::uuid AS tenant_id, e.job, e.problem
    FROM reeve.enqueue_each(p_jobs) e),
  last AS (INSERT INTO reeve.schedule_last AS l (schedule_id, tenant_id, job_id) SELECT t.schedule_id, t.tenant_id, t.job FROM tried t WHERE t.job IS NOT NULL
    ON CONFLICT (schedule_id, tenant_id) DO UPDATE SET job_id = excluded.job_id)
  UPDATE reeve.schedule_tick k SET outcome = CASE WHEN t.job IS NULL THEN 'refused' ELSE 'job' END, job_id = t.job, detail = t.problem
  FROM tried t WHERE k.schedule_id = t.schedule_id AND k.timezone = t.timezone AND k.tick = t.tick
$$;

-- Locks what is due and nobody else has locked, by the index: what is not due costs nothing, however the statistics lag.
CREATE FUNCTION reeve.due_schedules(p_now timestamptz, p_limit int) RETURNS SETOF reeve.schedule_due
LANGUAGE sql VOLATILE SET search_path = reeve, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS
  $$ SELECT d.* FROM reeve.schedule_due d WHERE d.next_at <= p_now ORDER BY d.next_at LIMIT p_limit FOR UPDATE SKIP LOCKED $$;

-- Fires what is due, at most p_limit schedules; returns how many rows were due. The ticks are those of the rules that hold now, whatever was expected before.
CREATE FUNCTION reeve.fire_schedules(p_limit int DEFAULT 500) RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET client_min_messages = warning SET jit = off AS $$
DECLARE v record; s reeve.schedule; v_now timestamptz := reeve.clock(); v_ticks timestamptz[]; v_tick timestamptz; v_count int := 0; v_job jsonb;
  n_jobs jsonb[] := '{}'; n_schedules bigint[] := '{}'; n_zones text[] := '{}'; n_ticks timestamptz[] := '{}';
BEGIN
  FOR v IN SELECT d.schedule_id, d.timezone, d.last_tick, d.next_at FROM reeve.due_schedules(v_now, p_limit) d LOOP
    v_count := v_count + 1;
    SELECT x.* INTO s FROM reeve.schedule x WHERE x.id = v.schedule_id FOR KEY SHARE SKIP LOCKED;
    CONTINUE WHEN NOT FOUND;
    v_ticks := reeve.cron_missed(s.parsed, v.timezone, v.last_tick, v_now, CASE s.catch_up WHEN 'all' THEN s.catch_up_limit ELSE 1 END);
    IF s.catch_up = 'skip' THEN v_ticks := ARRAY(SELECT t FROM unnest(v_ticks) t WHERE t > v_now - interval '1 minute'); END IF;
    FOREACH v_tick IN ARRAY v_ticks LOOP
      -- The next tick of a schedule has to find the job of the one before.
      IF s.id = n_schedules[cardinality(n_schedules)] THEN
        PERFORM reeve.enqueue_ticks(n_jobs, n_schedules, n_zones, n_ticks);
        n_jobs := '{}'; n_schedules := '{}'; n_zones := '{}'; n_ticks := '{}';
      END IF;
      v_job := reeve.fire_tick(s, v.timezone, v_tick);
      IF v_job IS NOT NULL THEN n_jobs := n_jobs || v_job; n_schedules := n_schedules || s.id; n_zones := n_zones || v.timezone; n_ticks := n_ticks || v_tick; END IF;
    END LOOP;
    UPDATE reeve.schedule_due d SET last_tick = greatest(v.last_tick, v_now), next_at = coalesce(reeve.cron_next(s.parsed, v.timezone, greatest(v.last_tick, v_now)), 'infinity')
    WHERE d.schedule_id = v.schedule_id AND d.timezone = v.timezone;
  END LOOP;
  IF n_jobs <> '{}' THEN PERFORM reeve.enqueue_ticks(n_jobs, n_schedules, n_zones, n_ticks); END IF;
  RETURN v_count;
END $$;

-- Finds zones whose rules changed and moves what is due by them; forgets ticks after p_keep. Returns how much changed.
CREATE FUNCTION reeve.tend_schedules(p_keep interval DEFAULT '90 days') RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_count int := 0; v_n int; v_digest text;
BEGIN
  FOR v IN SELECT z.timezone, z.digest FROM reeve.zone_rule z FOR UPDATE SKIP LOCKED LOOP
    v_digest := reeve.zone_digest(v.timezone);
    CONTINUE WHEN v_digest = v.digest;
    UPDATE reeve.schedule_due d SET next_at = coalesce(reeve.cron_next(s.parsed, d.timezone, d.last_tick), 'infinity')
    FROM reeve.schedule s WHERE s.id = d.schedule_id AND s.paused_at IS NULL AND d.timezone = v.timezone;
    GET DIAGNOSTICS v_n = ROW_COUNT; v_count := v_count + v_n;
    UPDATE reeve.zone_rule z SET digest = v_digest WHERE z.timezone = v.timezone;
  END LOOP;
  DELETE FROM reeve.schedule_tick t WHERE t.ctid = ANY (ARRAY(SELECT x.ctid FROM reeve.schedule_tick x WHERE x.fired_at < reeve.clock() - p_keep ORDER BY x.fired_at LIMIT 5000));
  GET DIAGNOSTICS v_n = ROW_COUNT;
  RETURN v_count + v_n;
END $$;

-- The schedules that come with a fleet (ISO-S-003, OPS-2): visible, changed by pausing or deleting them and creating others.
CREATE FUNCTION reeve.ship_schedule(p_name text, p_kind text, p_cron text, p_spread interval, p_max_running int, p_selection jsonb, p_args jsonb DEFAULT '{}') RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v_id bigint;
BEGIN
  INSERT INTO reeve.schedule (name, selection, kind, args, cron, parsed, spread, max_running, shipped, created_by)
  VALUES (p_name, p_selection, p_kind, p_args, p_cron, reeve.parse_cron(p_cron), p_spread, p_max_running, true, 'reeve') ON CONFLICT (name) DO NOTHING RETURNING id INTO v_id;
  IF v_id IS NOT NULL THEN PERFORM reeve.follow_zones(v_id, reeve.clock()); END IF;
END $$;
DO $$
BEGIN
  PERFORM reeve.ship_schedule('nightly-backup', 'backup', '0 1 * * *', '4 hours', NULL, '{}');
  PERFORM reeve.ship_schedule('nightly-retention', 'backup-retention', '30 5 * * *', '2 hours', NULL, '{}');
  PERFORM reeve.ship_schedule('monthly-drill', 'backup-drill', '0 8 1 * *', '27 days', 4, '{}');
END $$;

-- Tenants that no schedule in force backs up.
CREATE VIEW reeve.unprotected_tenant WITH (security_barrier) AS
  SELECT t.code AS tenant_code FROM reeve.tenant t
  WHERE t.status <> 'archived' AND NOT EXISTS (
    SELECT FROM reeve.schedule s WHERE s.kind = 'backup' AND s.paused_at IS NULL AND (s.tenant_id = t.id OR (s.tenant_id IS NULL AND
      (NOT s.selection ? 'tier' OR s.selection -> 'tier' ? t.tier) AND (NOT s.selection ? 'isolation' OR s.selection -> 'isolation' ? t.isolation::text)
      AND (NOT s.selection ? 'code' OR s.selection -> 'code' ? t.code) AND (NOT s.selection ? 'timezone' OR s.selection -> 'timezone' ? t.timezone)
      AND (NOT s.selection ? 'status' OR s.selection -> 'status' ? t.status::text))));

CREATE VIEW reeve.schedule_list WITH (security_barrier) AS
  SELECT s.id, s.name, t.code AS tenant_code, s.selection, s.kind, coalesce(s.queue, k.queue) AS queue, s.cron, coalesce(s.timezone, t.timezone) AS timezone, s.catch_up, s.catch_up_limit, s.overlap,
    s.spread, s.jitter, s.opens, s.closes, s.max_running, s.priority, s.args, s.shipped, s.paused_at, s.paused_by, s.pause_reason, s.created_by, s.created_at,
    nullif(d.next_at, 'infinity') AS next_at, l.tick AS last_tick, l.outcome AS last_outcome, l.job_id AS last_job, l.batch_id AS last_batch, l.detail AS last_detail
  FROM reeve.schedule s LEFT JOIN reeve.tenant t ON t.id = s.tenant_id LEFT JOIN reeve.kind k ON k.name = s.kind
  LEFT JOIN LATERAL (SELECT min(x.next_at) AS next_at FROM reeve.schedule_due x WHERE x.schedule_id = s.id) d ON true
  LEFT JOIN LATERAL (SELECT x.* FROM reeve.schedule_tick x WHERE x.schedule_id = s.id ORDER BY x.tick DESC LIMIT 1) l ON true;
DO $$
BEGIN
  IF current_setting('server_version_num')::int >= 150000 THEN
    ALTER VIEW reeve.schedule_list SET (security_invoker = true);
    ALTER VIEW reeve.unprotected_tenant SET (security_invoker = true);
  END IF;
END $$;

GRANT EXECUTE ON FUNCTION reeve.create_schedule(jsonb), reeve.pause_schedule(text, text), reeve.resume_schedule(text), reeve.delete_schedule(text) TO reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.fire_schedules(int), reeve.tend_schedules(interval) TO reeve_worker, reeve_operator;
GRANT SELECT ON reeve.schedule, reeve.schedule_due, reeve.schedule_tick, reeve.schedule_list, reeve.unprotected_tenant TO reeve_viewer, reeve_operator;
