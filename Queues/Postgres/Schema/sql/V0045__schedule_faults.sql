-- Schedules and batches when something is wrong with one of them: it holds up no other, and says so. Windows hold for every job of a schedule, late ones too.

-- Errors that pass by themselves (a deadlock, no room, a lock, a shutdown): whoever meets one tries the whole again.
CREATE FUNCTION reeve.error_passes(p_state text) RETURNS boolean LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS
  $$ SELECT left(p_state, 2) IN ('40', '53', '55', '57', '58') $$;

ALTER TABLE reeve.schedule_due ADD COLUMN problem text CHECK (length(problem) <= 2000);     -- why it could not be fired; tried again every minute
ALTER TABLE reeve.batch
  ADD COLUMN problem text CHECK (length(problem) <= 2000),
  ADD COLUMN idempotency_key text CHECK (length(idempotency_key) BETWEEN 1 AND 200),
  -- The window of its schedule, in which alone it is fed.
  ADD COLUMN opens time, ADD COLUMN closes time, ADD COLUMN timezone text,
  ADD CHECK ((opens IS NULL) = (closes IS NULL) AND (opens IS NULL) = (timezone IS NULL));
CREATE UNIQUE INDEX batch_key ON reeve.batch (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX schedule_due_problem ON reeve.schedule_due (schedule_id) WHERE problem IS NOT NULL;
CREATE INDEX schedule_own ON reeve.schedule (tenant_id, kind) WHERE tenant_id IS NOT NULL AND paused_at IS NULL;
DROP INDEX reeve.schedule_tenant;
CREATE INDEX schedule_tenant ON reeve.schedule (tenant_id);

-- The first moment from p_at on at which the clock of a zone shows a time within the window; p_at itself without one. A time that a clock change skips never comes.
CREATE FUNCTION reeve.into_window(p_zone text, p_opens time, p_closes time, p_at timestamptz) RETURNS timestamptz LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
DECLARE v_at timestamptz := p_at; v_local timestamp; v_opening timestamp; v_next timestamptz;
BEGIN
  IF p_opens IS NULL THEN RETURN p_at; END IF;
  FOR n IN 0..5 LOOP
    v_local := v_at AT TIME ZONE p_zone;
    IF (CASE WHEN p_opens < p_closes THEN v_local::time >= p_opens AND v_local::time < p_closes ELSE v_local::time >= p_opens OR v_local::time < p_closes END) THEN RETURN v_at; END IF;
    v_opening := v_local::date + p_opens;
    v_next := reeve.local_instant(v_opening, p_zone);
    -- In an hour that comes twice the opening may lie ahead in its second showing only, which is what AT TIME ZONE takes.
    IF v_next <= v_at THEN v_next := v_opening AT TIME ZONE p_zone; END IF;
    IF v_next <= v_at THEN v_next := reeve.local_instant(v_opening + interval '1 day', p_zone); END IF;
    v_at := v_next;
  END LOOP;
  RETURN v_at;
END $$;

-- When a tick's job may run: the tick, in a window not before it opens and never in the past; the tenant's place in the spread, the tick's jitter.
CREATE OR REPLACE FUNCTION reeve.schedule_time(s reeve.schedule, p_zone text, p_tenant uuid, p_tick timestamptz) RETURNS timestamptz LANGUAGE sql VOLATILE SET search_path = reeve, pg_temp AS $$
  SELECT reeve.into_window(p_zone, s.opens, s.closes, x.base + s.spread * reeve.share_of(s.id || ' ' || p_tenant) + s.jitter * reeve.share_of(extract(epoch FROM p_tick) || ' ' || p_tenant))
  FROM (SELECT CASE WHEN s.opens IS NULL THEN p_tick ELSE reeve.into_window(p_zone, s.opens, s.closes, greatest(p_tick, reeve.clock())) END AS base) x
$$;

-- Makes a batch of tenants that were chosen; what is common to start_batch, retry_batch and schedules.
CREATE OR REPLACE FUNCTION reeve.make_batch(p_kind text, p_queue text, p_args jsonb, p_priority int, p_selection jsonb, p_tenants uuid[], p_spread interval, p_max_running int,
    p_on_finish jsonb, p_from timestamptz, p_jitter interval, p_schedule bigint, p_tick timestamptz, p_retried_from bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v_id bigint;
BEGIN
  INSERT INTO reeve.batch (kind, queue, args, priority, selection, spread, max_running, on_finish, total, schedule_id, tick, retried_from, next_at)
  VALUES (p_kind, p_queue, p_args, p_priority, p_selection, p_spread, p_max_running, p_on_finish, cardinality(p_tenants), p_schedule, p_tick, p_retried_from, p_from)
  RETURNING id INTO v_id;
  INSERT INTO reeve.batch_item (batch_id, tenant_id, run_at)
  SELECT v_id, t, p_from + p_spread * reeve.share_of(coalesce(p_schedule, v_id) || ' ' || t) + p_jitter * reeve.share_of(extract(epoch FROM coalesce(p_tick, p_from)) || ' ' || t) FROM unnest(p_tenants) t;
  RETURN v_id;
END $$;

-- The tenants whose own schedule of a kind that takes a tier's feature is in force: the shipped one for all leaves them out (ISO-S-003).
CREATE FUNCTION reeve.has_own_schedule(p_tenant uuid, p_kind text) RETURNS boolean LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT EXISTS (SELECT FROM reeve.schedule o JOIN reeve.schedule_due d ON d.schedule_id = o.id
                 WHERE o.tenant_id = p_tenant AND o.kind = p_kind AND o.paused_at IS NULL AND d.next_at < 'infinity' AND d.problem IS NULL)
    AND EXISTS (SELECT FROM reeve.schedule_feature f WHERE f.kind = p_kind) AND reeve.schedule_problem(p_kind, p_tenant) IS NULL
$$;

-- Fires one tick: makes the batch of a schedule for many, answers the job of a tenant's own, as enqueue_many takes it.
CREATE OR REPLACE FUNCTION reeve.fire_tick(s reeve.schedule, p_zone text, p_tick timestamptz) RETURNS jsonb LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
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
    v_tenants := ARRAY(SELECT x FROM reeve.selected_tenants(v_selection, s.kind) x JOIN reeve.tenant t ON t.id = x WHERE (s.timezone IS NOT NULL OR t.timezone = p_zone)
      AND NOT (s.shipped AND reeve.has_own_schedule(x, s.kind)));
    IF cardinality(v_tenants) = 0 THEN
      v_outcome := 'skipped';
      v_problem := 'no tenant is selected';
    ELSE
      v_at := CASE WHEN s.opens IS NULL THEN p_tick ELSE reeve.into_window(p_zone, s.opens, s.closes, greatest(p_tick, reeve.clock())) END;
      v_batch := reeve.make_batch(s.kind, coalesce(s.queue, v_kind.queue), s.args, s.priority, v_selection, v_tenants, s.spread, s.max_running, NULL, v_at, s.jitter, s.id, p_tick, NULL);
      IF s.opens IS NOT NULL THEN
        UPDATE reeve.batch b SET opens = s.opens, closes = s.closes, timezone = p_zone WHERE b.id = v_batch;
        UPDATE reeve.batch_item i SET run_at = reeve.into_window(p_zone, s.opens, s.closes, i.run_at) WHERE i.batch_id = v_batch AND s.spread + s.jitter > interval '0';
      END IF;
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

-- Enqueues jobs in slices; a slice that is refused goes one by one, so that each answers for itself, whatever is wrong with it. Jobs are as enqueue_many takes them.
CREATE OR REPLACE FUNCTION reeve.enqueue_each(p_jobs jsonb[]) RETURNS TABLE (n int, job bigint, code text, problem text) LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v_from int := 1; v_to int; v_ids bigint[];
BEGIN
  WHILE v_from <= cardinality(p_jobs) LOOP
    v_to := least(v_from + 99, cardinality(p_jobs));
    BEGIN
      v_ids := reeve.enqueue_many(to_jsonb(p_jobs[v_from:v_to]));
      RETURN QUERY SELECT (v_from + u.o - 1)::int, u.i, NULL::text, NULL::text FROM unnest(v_ids) WITH ORDINALITY u (i, o);
    EXCEPTION WHEN OTHERS THEN
      IF reeve.error_passes(SQLSTATE) THEN RAISE; END IF;
      FOR k IN v_from..v_to LOOP
        BEGIN
          n := k; job := (reeve.enqueue_many(to_jsonb(p_jobs[k:k])))[1]; code := NULL; problem := NULL;
        EXCEPTION WHEN OTHERS THEN
          IF reeve.error_passes(SQLSTATE) THEN RAISE; END IF;
          job := NULL; code := SQLSTATE; problem := left(SQLERRM, 2000);
        END;
        RETURN NEXT;
      END LOOP;
    END;
    v_from := v_to + 1;
  END LOOP;
END $$;

-- Takes the ends of a batch's jobs to its tenants. A job that is nowhere any more was removed with its tenant; that is believed at the second look only, since a look
-- that is planned while history's rows move into a new partition sees them in neither place.
ALTER TABLE reeve.batch_end ADD COLUMN missed boolean NOT NULL DEFAULT false;
CREATE OR REPLACE FUNCTION reeve.collect_batch_ends(p_batch bigint, p_limit int) RETURNS int LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v_count int;
BEGIN
  WITH seen AS MATERIALIZED (SELECT e.ctid AS place, e.job_id, e.missed FROM reeve.batch_end e WHERE e.batch_id = p_batch LIMIT p_limit FOR UPDATE SKIP LOCKED),
  found AS MATERIALIZED (
    SELECT s.place, i.tenant_id, s.missed, coalesce(h.state::text, CASE WHEN d.id IS NOT NULL THEN 'dead' END) AS state, coalesce(d.last_error, h.last_error) AS error
    FROM seen s LEFT JOIN reeve.batch_item i ON i.batch_id = p_batch AND i.job_id = s.job_id AND i.state = 'enqueued'
    LEFT JOIN LATERAL (SELECT x.state, x.last_error FROM reeve.job_history x WHERE x.id = s.job_id AND x.finished_at >= i.enqueued_at - interval '1 minute' LIMIT 1) h ON true
    LEFT JOIN reeve.dead_letter d ON d.id = s.job_id),
  again AS (UPDATE reeve.batch_end e SET missed = true FROM found f WHERE e.ctid = f.place AND f.tenant_id IS NOT NULL AND f.state IS NULL AND NOT f.missed),
  gone AS (DELETE FROM reeve.batch_end e USING found f WHERE e.ctid = f.place AND (f.tenant_id IS NULL OR f.state IS NOT NULL OR f.missed))
  UPDATE reeve.batch_item i SET state = coalesce(f.state, 'cancelled'), error = left(CASE WHEN f.state IS NULL THEN 'the job was removed' WHEN f.state <> 'succeeded' THEN f.error END, 2000), ended_at = reeve.clock()
  FROM found f WHERE i.batch_id = p_batch AND i.tenant_id = f.tenant_id AND (f.state IS NOT NULL OR f.missed);
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

-- Fires what is due, at most p_limit schedules; returns how many rows were due. The ticks are those of the rules that hold now, whatever was expected
-- before. A schedule that cannot be fired (a zone that the server no longer knows) is left alone for a minute, with its problem on record.
CREATE OR REPLACE FUNCTION reeve.fire_schedules(p_limit int DEFAULT 500) RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET client_min_messages = warning SET jit = off AS $$
DECLARE v record; s reeve.schedule; v_now timestamptz := reeve.clock(); v_ticks timestamptz[]; v_tick timestamptz; v_count int := 0; v_job jsonb;
  n_jobs jsonb[] := '{}'; n_schedules bigint[] := '{}'; n_zones text[] := '{}'; n_ticks timestamptz[] := '{}';
BEGIN
  FOR v IN SELECT d.schedule_id, d.timezone, d.last_tick, d.next_at FROM reeve.due_schedules(v_now, p_limit) d LOOP
    v_count := v_count + 1;
    SELECT x.* INTO s FROM reeve.schedule x WHERE x.id = v.schedule_id FOR KEY SHARE SKIP LOCKED;
    CONTINUE WHEN NOT FOUND;
    v_job := NULL;
    BEGIN
      v_ticks := reeve.cron_missed(s.parsed, v.timezone, v.last_tick, v_now, CASE s.catch_up WHEN 'all' THEN s.catch_up_limit ELSE 1 END);
      IF s.catch_up = 'skip' THEN v_ticks := ARRAY(SELECT t FROM unnest(v_ticks) t WHERE t > v_now - interval '1 minute'); END IF;
      FOREACH v_tick IN ARRAY v_ticks LOOP
        v_job := reeve.fire_tick(s, v.timezone, v_tick);
        -- The next tick of a schedule has to find the job of the one before.
        IF v_job IS NOT NULL AND cardinality(v_ticks) > 1 THEN
          PERFORM reeve.enqueue_ticks(ARRAY[v_job], ARRAY[s.id], ARRAY[v.timezone], ARRAY[v_tick]);
          v_job := NULL;
        END IF;
      END LOOP;
      UPDATE reeve.schedule_due d SET last_tick = greatest(v.last_tick, v_now), next_at = coalesce(reeve.cron_next(s.parsed, v.timezone, greatest(v.last_tick, v_now)), 'infinity'), problem = NULL
      WHERE d.schedule_id = v.schedule_id AND d.timezone = v.timezone;
    EXCEPTION WHEN OTHERS THEN
      IF reeve.error_passes(SQLSTATE) THEN RAISE; END IF;
      UPDATE reeve.schedule_due d SET next_at = v_now + interval '1 minute', problem = left(SQLERRM, 2000) WHERE d.schedule_id = v.schedule_id AND d.timezone = v.timezone;
      CONTINUE;
    END;
    IF v_job IS NOT NULL THEN n_jobs := n_jobs || v_job; n_schedules := n_schedules || s.id; n_zones := n_zones || v.timezone; n_ticks := n_ticks || v_tick; END IF;
  END LOOP;
  IF n_jobs <> '{}' THEN PERFORM reeve.enqueue_ticks(n_jobs, n_schedules, n_zones, n_ticks); END IF;
  RETURN v_count;
END $$;

-- Finds zones whose rules changed and moves what is due by them; forgets ticks after p_keep. Returns how much changed.
CREATE OR REPLACE FUNCTION reeve.tend_schedules(p_keep interval DEFAULT '90 days') RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_count int := 0; v_n int; v_digest text;
BEGIN
  FOR v IN SELECT z.timezone, z.digest FROM reeve.zone_rule z FOR UPDATE SKIP LOCKED LOOP
    BEGIN
      v_digest := reeve.zone_digest(v.timezone);
      CONTINUE WHEN v_digest = v.digest;
      UPDATE reeve.schedule_due d SET next_at = coalesce(reeve.cron_next(s.parsed, d.timezone, d.last_tick), 'infinity')
      FROM reeve.schedule s WHERE s.id = d.schedule_id AND s.paused_at IS NULL AND d.timezone = v.timezone;
      GET DIAGNOSTICS v_n = ROW_COUNT; v_count := v_count + v_n;
      UPDATE reeve.zone_rule z SET digest = v_digest WHERE z.timezone = v.timezone;
    EXCEPTION WHEN invalid_parameter_value THEN
      NULL;                                                -- a zone that the server no longer knows: its schedules say so when they are due
    END;
  END LOOP;
  DELETE FROM reeve.schedule_tick t WHERE t.ctid = ANY (ARRAY(SELECT x.ctid FROM reeve.schedule_tick x WHERE x.fired_at < reeve.clock() - p_keep ORDER BY x.fired_at LIMIT 5000));
  GET DIAGNOSTICS v_n = ROW_COUNT;
  RETURN v_count + v_n;
END $$;

-- The first tick after p_after; NULL when there is none. The declared rule for clock changes: an expression for every hour (*) follows elapsed time,
-- so an hour that comes twice ticks twice and one that is skipped does not. One that names hours ticks once for each time it names: at the
-- first showing of an hour that comes twice, and at the end of the gap for times that are skipped (several of them are one tick).
CREATE OR REPLACE FUNCTION reeve.cron_next(c reeve.cron, p_zone text, p_after timestamptz) RETURNS timestamptz LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
DECLARE t timestamptz; l timestamp; d date; v timestamptz; m int; s int; n int; h int; v_low timestamp;
BEGIN
  IF c.every_hour THEN
    t := date_trunc('second', p_after) + interval '1 second';
    LOOP
      l := t AT TIME ZONE p_zone;
      d := reeve.cron_day(c, l::date);
      IF d IS NULL THEN RETURN NULL; END IF;
      IF d > l::date THEN
        -- An hour that midnight repeats shows the day before again: midnight itself comes after it.
        t := greatest(reeve.local_instant(d::timestamp, p_zone), t + interval '1 second');
        CONTINUE;
      END IF;
      m := extract(minute FROM l)::int;
      s := floor(extract(second FROM l))::int;
      IF m = ANY (c.minutes) THEN
        SELECT min(x) INTO n FROM unnest(c.seconds) x WHERE x >= s;
        IF n IS NOT NULL THEN RETURN t + (n - s) * interval '1 second'; END IF;
      END IF;
      SELECT min(x) INTO n FROM unnest(c.minutes) x WHERE x > m;
      t := t + make_interval(mins => coalesce(n, 60) - m, secs => -s);
    END LOOP;
  END IF;
  l := p_after AT TIME ZONE p_zone;
  v_low := l - interval '26 hours';                        -- no clock change is larger
  d := l::date - 2;
  LOOP
    d := reeve.cron_day(c, d);
    IF d IS NULL THEN RETURN NULL; END IF;
    FOREACH h IN ARRAY c.hours LOOP
      -- A later time of the clock never comes earlier, so that an hour and a minute can be left out by their last second.
      CONTINUE WHEN d + make_interval(hours => h + 1) <= v_low;
      CONTINUE WHEN reeve.local_instant(d + make_time(h, 59, 59), p_zone) <= p_after;
      FOREACH m IN ARRAY c.minutes LOOP
        CONTINUE WHEN reeve.local_instant(d + make_time(h, m, 59), p_zone) <= p_after;
        FOREACH s IN ARRAY c.seconds LOOP
          v := reeve.local_instant(d + make_time(h, m, s), p_zone);
          IF v > p_after THEN RETURN v; END IF;
        END LOOP;
      END LOOP;
    END LOOP;
    d := d + 1;
  END LOOP;
END $$;

-- The newest ticks after p_after and up to p_until, at most p_most, oldest first: found from the end, so that a long absence costs little.
CREATE OR REPLACE FUNCTION reeve.cron_missed(c reeve.cron, p_zone text, p_after timestamptz, p_until timestamptz, p_most int) RETURNS timestamptz[]
LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
DECLARE v_first timestamptz := reeve.cron_next(c, p_zone, p_after); v_second timestamptz; v_span interval; v_from timestamptz; t timestamptz; v_all timestamptz[];
BEGIN
  IF v_first IS NULL OR v_first > p_until THEN RETURN '{}'; END IF;
  v_second := reeve.cron_next(c, p_zone, v_first);
  IF v_second IS NULL OR v_second > p_until THEN RETURN ARRAY[v_first]; END IF;          -- nothing was missed, as mostly
  v_span := greatest(coalesce(v_second - v_first, interval '1 day'), interval '1 second') * p_most;
  LOOP
    v_from := greatest(p_until - v_span, p_after);
    v_all := '{}';
    t := reeve.cron_next(c, p_zone, v_from);
    WHILE t <= p_until LOOP
      v_all := v_all || t;
      t := reeve.cron_next(c, p_zone, t);
    END LOOP;
    IF v_from <= p_after OR cardinality(v_all) >= p_most THEN RETURN v_all[greatest(cardinality(v_all) - p_most + 1, 1):]; END IF;
    v_span := v_span * 2;
  END LOOP;
END $$;

-- Refuses what create_schedule cannot see: a window that is none, a spread that no window holds, a name that is taken by what workers do by themselves.
CREATE FUNCTION reeve.schedule_guard() RETURNS trigger LANGUAGE plpgsql SET search_path = reeve, pg_temp AS $$
DECLARE v_open interval;
BEGIN
  IF EXISTS (SELECT FROM reeve.standing_work w WHERE w.name = NEW.name) THEN
    RAISE EXCEPTION 'the name "%" is taken by what workers do by themselves', NEW.name USING ERRCODE = 'RV010', HINT = 'Choose another name; see: reeve schedule list';
  END IF;
  IF NEW.opens = NEW.closes THEN
    RAISE EXCEPTION 'a window that opens and closes at the same time is none' USING ERRCODE = 'RV010', HINT = 'Leave it out for the whole day.';
  END IF;
  v_open := NEW.closes - NEW.opens + CASE WHEN NEW.closes < NEW.opens THEN interval '24 hours' ELSE '0' END;
  IF NEW.spread + NEW.jitter > v_open THEN
    RAISE EXCEPTION 'spread and jitter (%) are longer than the window (%)', NEW.spread + NEW.jitter, v_open USING ERRCODE = 'RV010', HINT = 'Spread over less, or open the window for longer.';
  END IF;
  RETURN NEW;
END $$;

-- The next runs of a schedule: for each tick, from when to when its jobs start. With a tenant that one's own moment; without, for a schedule for many, the zone
-- that is due first, or p_zone.
CREATE FUNCTION reeve.preview_schedule(p_name text, p_count int DEFAULT 10, p_tenant text DEFAULT NULL, p_zone text DEFAULT NULL)
RETURNS TABLE (tick timestamptz, timezone text, local_time timestamp, first_run timestamptz, last_run timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
DECLARE s reeve.schedule; t reeve.tenant; v record; v_zone text; v_base timestamptz;
BEGIN
  SELECT x.* INTO s FROM reeve.schedule x WHERE x.name = p_name;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no schedule "%"', left(p_name, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve schedule list'; END IF;
  IF p_tenant IS NOT NULL OR s.tenant_id IS NOT NULL THEN
    SELECT x.* INTO t FROM reeve.tenant x WHERE CASE WHEN p_tenant IS NULL THEN x.id = s.tenant_id ELSE x.code = p_tenant COLLATE "C" END;
    IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_tenant, 80) USING ERRCODE = 'RV001', HINT = 'See: reeve tenant list'; END IF;
    IF s.tenant_id <> t.id THEN RAISE EXCEPTION 'schedule "%" is another tenant''s', p_name USING ERRCODE = 'RV011', HINT = 'See: reeve schedule show ' || p_name; END IF;
    IF s.tenant_id IS NULL AND t.id NOT IN (SELECT reeve.selected_tenants(s.selection, s.kind)) THEN
      RAISE EXCEPTION 'schedule "%" does not select tenant "%"', p_name, t.code USING ERRCODE = 'RV011', HINT = 'See: reeve schedule show ' || p_name;
    END IF;
  END IF;
  v_zone := coalesce(p_zone, s.timezone, t.timezone, (SELECT d.timezone FROM reeve.schedule_due d WHERE d.schedule_id = s.id ORDER BY d.next_at, d.timezone LIMIT 1), 'UTC');
  FOR v IN SELECT p.tick, p.local_time FROM reeve.preview_cron(s.cron, v_zone, p_count) p LOOP
    tick := v.tick; timezone := v_zone; local_time := v.local_time;
    IF t.id IS NOT NULL THEN
      first_run := reeve.schedule_time(s, v_zone, t.id, v.tick);
      last_run := first_run;
    ELSE
      first_run := reeve.into_window(v_zone, s.opens, s.closes, v.tick);
      last_run := reeve.into_window(v_zone, s.opens, s.closes, first_run + s.spread + s.jitter);
    END IF;
    RETURN NEXT;
  END LOOP;
END $$;

-- What workers do by the clock by themselves, beside the schedules. None of it is one tenant's job at a time that is chosen beforehand, so none of it can be a
-- schedule: it is listed with them, and cannot be paused.
CREATE VIEW reeve.standing_work WITH (security_barrier) AS
  SELECT 'audit-anchor' AS name, 'tells the heads of the audit''s chains to the anchor storage' AS what, 'REEVE_ANCHOR_EVERY' AS every,
    (SELECT max(a.at) FROM reeve.audit_anchor a) AS last_at, NULL::timestamptz AS next_at
  UNION ALL SELECT 'due-purges', 'enqueues the purges whose grace is over', '1m', NULL,
    (SELECT min(r.not_before) FROM reeve.purge_request r WHERE r.state = 'grace' AND r.job_id IS NULL)
  UNION ALL SELECT 'due-reminders', 'enqueues the reminders of trials whose day has come', '5s', NULL, (SELECT min(m.due_at) FROM reeve.reminder_list m WHERE m.state = 'planned')
  UNION ALL SELECT 'due-tier-changes', 'makes the changes of tiers that were asked for ahead of time', '5s', (SELECT max(c.applied_at) FROM reeve.tier_change c),
    (SELECT min(c.due_at) FROM reeve.tier_change c WHERE c.applied_at IS NULL AND c.withdrawn_at IS NULL);
CREATE TRIGGER schedule_guard BEFORE INSERT OR UPDATE OF name, opens, closes, spread, jitter ON reeve.schedule FOR EACH ROW EXECUTE FUNCTION reeve.schedule_guard();

CREATE OR REPLACE FUNCTION reeve.locked_schedule(p_name text) RETURNS reeve.schedule LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.schedule;
BEGIN
  SELECT s.* INTO v FROM reeve.schedule s WHERE s.name = p_name FOR NO KEY UPDATE;
  IF FOUND THEN RETURN v; END IF;
  IF EXISTS (SELECT FROM reeve.standing_work w WHERE w.name = p_name) THEN
    RAISE EXCEPTION '"%" is no schedule: every worker does it by itself', p_name USING ERRCODE = 'RV012', HINT = 'It can neither be paused nor deleted.';
  END IF;
  RAISE EXCEPTION 'there is no schedule "%"', left(p_name, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve schedule list';
END $$;

-- Starts a batch: one job of this kind for each tenant that is selected now (design section 4). `spread` is the window over which they start,
-- `max_running` how many of them are in the queue at once, `on_finish` a job {queue, kind, args} that is enqueued once when the last one has ended. A caller that
-- may be run again gives an idempotency_key: the first batch's id comes back for as long as that batch is remembered.
DROP FUNCTION reeve.start_batch(text, jsonb, jsonb, interval, int, text, jsonb, int);
CREATE FUNCTION reeve.start_batch(kind text, args jsonb, tenants jsonb, spread interval DEFAULT '0', max_running int DEFAULT NULL, queue text DEFAULT NULL,
    on_finish jsonb DEFAULT NULL, priority int DEFAULT 0, idempotency_key text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_selection jsonb := reeve.checked_selection(tenants); v_queue text := reeve.checked_work(kind, queue, args); v_tenants uuid[]; v_id bigint; v record;
BEGIN
  IF spread IS NULL OR spread NOT BETWEEN interval '0' AND interval '366 days' THEN RAISE EXCEPTION 'a spread is from 0 to 366 days' USING ERRCODE = 'RV010'; END IF;
  IF max_running NOT BETWEEN 1 AND 1000000 THEN RAISE EXCEPTION 'max_running is from 1 to 1000000' USING ERRCODE = 'RV010'; END IF;
  IF priority IS NULL OR priority NOT BETWEEN -1000000 AND 1000000 THEN RAISE EXCEPTION 'priority must be from -1000000 to 1000000' USING ERRCODE = 'RV010'; END IF;
  IF length(idempotency_key) NOT BETWEEN 1 AND 200 THEN RAISE EXCEPTION 'an idempotency key has 1 to 200 characters' USING ERRCODE = 'RV010'; END IF;
  IF on_finish IS NOT NULL THEN PERFORM reeve.checked_finish(on_finish); END IF;
  IF idempotency_key IS NOT NULL THEN
    PERFORM pg_advisory_xact_lock(hashtextextended('reeve batch ' || idempotency_key, 0));
    SELECT b.id, b.kind = kind AND b.queue = v_queue AND b.args = coalesce(args, '{}') AND b.selection = v_selection AS same INTO v FROM reeve.batch b WHERE b.idempotency_key = start_batch.idempotency_key;
    IF v.same THEN RETURN v.id; END IF;
    IF FOUND THEN
      RAISE EXCEPTION 'the idempotency key was used for batch %, which is another', v.id USING ERRCODE = 'RV008', HINT = 'Use a new key for other work.';
    END IF;
  END IF;
  PERFORM FROM jsonb_array_elements_text(v_selection -> 'code') c WHERE NOT EXISTS (SELECT FROM reeve.tenant t WHERE t.code = c);
  IF FOUND THEN
    RAISE EXCEPTION 'tenant "%" is unknown', (SELECT left(c, 80) FROM jsonb_array_elements_text(v_selection -> 'code') c WHERE NOT EXISTS (SELECT FROM reeve.tenant t WHERE t.code = c) LIMIT 1)
      USING ERRCODE = 'RV001', HINT = 'See: reeve tenant list';
  END IF;
  v_tenants := ARRAY(SELECT reeve.selected_tenants(v_selection, kind));
  IF cardinality(v_tenants) = 0 THEN
    RAISE EXCEPTION 'no tenant is selected by %', v_selection USING ERRCODE = 'RV011',
      HINT = 'Without a status those are selected whose status the kind allows; see: reeve tenant list, reeve kind show ' || kind;
  END IF;
  v_id := reeve.make_batch(kind, v_queue, coalesce(args, '{}'), priority, v_selection, v_tenants, spread, max_running, on_finish, reeve.clock(), '0', NULL, NULL, NULL);
  IF idempotency_key IS NOT NULL THEN UPDATE reeve.batch b SET idempotency_key = start_batch.idempotency_key WHERE b.id = v_id; END IF;
  PERFORM reeve.audit(NULL, 'batch.start', 'batch ' || v_id, NULL, jsonb_build_object('kind', kind, 'selection', v_selection, 'tenants', cardinality(v_tenants), 'spread', spread, 'max_running', max_running));
  RETURN v_id;
END $$;

-- Ends a batch whose last job has ended: the completion job, the audit's entry and the notification are of the same transaction, so each comes once.
-- NULL: it has ended. Otherwise why its completion job has to wait, and the batch with it.
DROP FUNCTION reeve.finish_batch(reeve.batch);
CREATE FUNCTION reeve.finish_batch(p_batch reeve.batch) RETURNS text LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v_job bigint; v_error text; v_state text := CASE p_batch.state WHEN 'cancelling' THEN 'cancelled' ELSE 'finished' END; v_counts jsonb;
BEGIN
  IF p_batch.on_finish IS NOT NULL THEN
    BEGIN
      v_job := reeve.enqueue(p_batch.on_finish ->> 'queue', p_batch.on_finish ->> 'kind', coalesce(p_batch.on_finish -> 'args', '{}'), idempotency_key => 'batch ' || p_batch.id);
    EXCEPTION WHEN OTHERS THEN
      IF reeve.error_passes(SQLSTATE) THEN RAISE; END IF;
      IF SQLSTATE IN ('RV007', 'RV013') THEN RETURN 'the completion job waits: ' || SQLERRM; END IF;
      v_error := 'no completion job: ' || SQLERRM;
    END;
  END IF;
  SELECT jsonb_object_agg(c.state, c.n) INTO v_counts FROM (SELECT i.state, count(*) AS n FROM reeve.batch_item i WHERE i.batch_id = p_batch.id GROUP BY i.state) c;
  UPDATE reeve.batch b SET state = v_state, finished_at = reeve.clock(), completion_job = v_job, reason = coalesce(left(v_error, 2000), b.reason), problem = NULL WHERE b.id = p_batch.id;
  PERFORM reeve.audit(NULL, 'batch.end', 'batch ' || p_batch.id, left(v_error, 2000),
    jsonb_build_object('state', v_state, 'kind', p_batch.kind, 'counts', coalesce(v_counts, '{}'), 'completion_job', v_job), p_batch.created_at);
  PERFORM pg_notify('reeve_batch', p_batch.id::text);
  RETURN NULL;
END $$;

-- Collects ends of a batch, feeds it, cancels what is asked for, ends it. Returns how much was done.
CREATE FUNCTION reeve.tend_batch(v reeve.batch, p_limit int) RETURNS int LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v_n int; v_due timestamptz; v_job bigint; v_wait text; v_now timestamptz := reeve.clock();
BEGIN
  v_n := reeve.collect_batch_ends(v.id, 5000);
  IF v.state NOT IN ('running', 'cancelling') THEN RETURN v_n; END IF;
  IF v.state = 'cancelling' THEN
    FOR v_job IN SELECT i.job_id FROM reeve.batch_item i JOIN reeve.job j ON j.id = i.job_id WHERE i.batch_id = v.id AND i.state = 'enqueued'
        AND NOT EXISTS (SELECT FROM reeve.cancel_request c WHERE c.job_id = i.job_id) LIMIT p_limit LOOP
      PERFORM FROM reeve.job j WHERE j.id = v_job AND j.state <> 'running' FOR UPDATE SKIP LOCKED;
      IF FOUND THEN
        PERFORM reeve.end_cancelled(v_job, 'cancelled with batch ' || v.id);
      ELSE
        INSERT INTO reeve.cancel_request (job_id) VALUES (v_job) ON CONFLICT DO NOTHING;
        PERFORM pg_notify('reeve_cancel', '');
      END IF;
      v_n := v_n + 1;
    END LOOP;
  ELSIF reeve.into_window(v.timezone, v.opens, v.closes, v_now) = v_now THEN
    v_n := v_n + reeve.feed_batch(v, p_limit);
  END IF;
  SELECT min(i.run_at) INTO v_due FROM reeve.batch_item i WHERE i.batch_id = v.id AND i.state = 'waiting';
  IF v_due IS NULL AND NOT EXISTS (SELECT FROM reeve.batch_item i WHERE i.batch_id = v.id AND i.state = 'enqueued') THEN
    v_wait := reeve.finish_batch(v);
    IF v_wait IS NOT NULL THEN UPDATE reeve.batch b SET next_at = reeve.clock() + interval '1 minute', problem = left(v_wait, 2000) WHERE b.id = v.id; END IF;
    RETURN v_n;
  END IF;
  IF v.opens IS NOT NULL AND v_due IS NOT NULL THEN v_due := reeve.into_window(v.timezone, v.opens, v.closes, greatest(v_due, v_now)); END IF;
  -- A batch at its limit is looked at again when one of its jobs ends.
  UPDATE reeve.batch b SET problem = NULL, next_at = CASE WHEN v.state = 'cancelling' THEN reeve.clock() + interval '2 s'
    WHEN v_n > 0 AND v.max_running IS NULL THEN coalesce(v_due, 'infinity') ELSE greatest(coalesce(v_due, 'infinity'), reeve.clock() + interval '1 s') END WHERE b.id = v.id;
  RETURN v_n;
END $$;

-- Tends the batches that are due or of which jobs have ended, until p_limit jobs are enqueued or collected; returns how much was done. In any order: none waits for
-- long behind others. One that cannot be tended is left alone for a minute, with its problem on record.
CREATE OR REPLACE FUNCTION reeve.tend_batches(p_limit int DEFAULT 500) RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET client_min_messages = warning SET jit = off AS $$
DECLARE v reeve.batch; v_count int := 0; v_now timestamptz := reeve.clock();
BEGIN
  FOR v IN SELECT b.* FROM reeve.batch b
      WHERE b.id = ANY (ARRAY(SELECT x.id FROM reeve.batch x WHERE x.state IN ('running', 'cancelling') AND x.next_at <= v_now ORDER BY x.next_at LIMIT 100)
                     || ARRAY(SELECT DISTINCT e.batch_id FROM (SELECT y.batch_id FROM reeve.batch_end y LIMIT 5000) e))
        AND (b.problem IS NULL OR b.next_at <= v_now)
      ORDER BY random() LIMIT 16 FOR NO KEY UPDATE SKIP LOCKED LOOP
    BEGIN
      v_count := v_count + reeve.tend_batch(v, p_limit);
    EXCEPTION WHEN OTHERS THEN
      IF reeve.error_passes(SQLSTATE) THEN RAISE; END IF;
      UPDATE reeve.batch b SET next_at = reeve.clock() + interval '1 minute', problem = left(SQLERRM, 2000) WHERE b.id = v.id;
    END;
    EXIT WHEN v_count >= p_limit;
  END LOOP;
  RETURN v_count;
END $$;

-- Tells a tenant's technical contact that a job is dead, when the tenant's flag `failure_notices` says so or, without the flag, the tier's feature of that name:
-- once an hour for each kind, with how many there were since, and six an hour in all. Errors may hold personal data and are left out. No job's end fails by it.
CREATE OR REPLACE FUNCTION reeve.dead_letter_notice() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_last timestamptz; v_more bigint; v_now timestamptz := reeve.clock();
BEGIN
  PERFORM FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = NEW.tenant_id AND t.status <> 'archived'
    AND CASE WHEN t.flags ? 'failure_notices' THEN t.flags -> 'failure_notices' = 'true' ELSE 'failure_notices' = ANY (r.features) END;
  IF NOT FOUND THEN RETURN NULL; END IF;
  -- Two that fail at once: the one that comes second is among those of the next notice.
  IF NOT pg_try_advisory_xact_lock(hashtextextended('reeve failure notice ' || NEW.tenant_id, 0)) THEN RETURN NULL; END IF;
  SELECT max(n.created_at) INTO v_last FROM reeve.notice n WHERE n.tenant_id = NEW.tenant_id AND n.topic = 'job.failed' AND n.body ->> 'kind' = NEW.kind;
  IF v_last > v_now - interval '1 hour'
     OR (SELECT count(*) FROM reeve.notice n WHERE n.tenant_id = NEW.tenant_id AND n.topic = 'job.failed' AND n.created_at > v_now - interval '1 hour') >= 6 THEN RETURN NULL; END IF;
  SELECT count(*) INTO v_more FROM (SELECT FROM reeve.dead_letter d WHERE d.tenant_id = NEW.tenant_id AND d.kind = NEW.kind AND d.id <> NEW.id
    AND d.finished_at > greatest(v_last, v_now - interval '1 day') LIMIT 10000) x;
  BEGIN
    PERFORM reeve.notify_people(NEW.tenant_id, 'job.failed', format('A job of the kind %s failed', NEW.kind),
      jsonb_build_object('job', NEW.id, 'kind', NEW.kind, 'queue', NEW.queue, 'reason', NEW.reason, 'attempts', NEW.attempt, 'others_since', v_more), 'technical');
  EXCEPTION WHEN OTHERS THEN
    IF reeve.error_passes(SQLSTATE) THEN RAISE; END IF;
    RAISE WARNING 'no notice of the failure of job %: %', NEW.id, SQLERRM;
  END;
  RETURN NULL;
END $$;

-- Tenants that no schedule in force backs up.
CREATE OR REPLACE VIEW reeve.unprotected_tenant WITH (security_barrier) AS
  SELECT t.code AS tenant_code FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier
  WHERE t.status <> 'archived' AND NOT EXISTS (
    SELECT FROM reeve.schedule s WHERE s.kind = 'backup' AND s.paused_at IS NULL
      AND EXISTS (SELECT FROM reeve.schedule_due d WHERE d.schedule_id = s.id AND d.next_at < 'infinity' AND d.problem IS NULL AND (s.timezone IS NOT NULL OR d.timezone = t.timezone))
      AND ((s.tenant_id = t.id AND 'own_backup_schedule' = ANY (r.features)) OR (s.tenant_id IS NULL AND
      (NOT s.selection ? 'tier' OR s.selection -> 'tier' ? t.tier) AND (NOT s.selection ? 'isolation' OR s.selection -> 'isolation' ? t.isolation::text)
      AND (NOT s.selection ? 'code' OR s.selection -> 'code' ? t.code) AND (NOT s.selection ? 'timezone' OR s.selection -> 'timezone' ? t.timezone)
      AND (NOT s.selection ? 'status' OR s.selection -> 'status' ? t.status::text))));

CREATE OR REPLACE VIEW reeve.schedule_list WITH (security_barrier) AS
  SELECT s.id, s.name, t.code AS tenant_code, s.selection, s.kind, coalesce(s.queue, k.queue) AS queue, s.cron, coalesce(s.timezone, t.timezone) AS timezone, s.catch_up, s.catch_up_limit, s.overlap,
    s.spread, s.jitter, s.opens, s.closes, s.max_running, s.priority, s.args, s.shipped, s.paused_at, s.paused_by, s.pause_reason, s.created_by, s.created_at,
    nullif(d.next_at, 'infinity') AS next_at, l.tick AS last_tick, l.outcome AS last_outcome, l.job_id AS last_job, l.batch_id AS last_batch, l.detail AS last_detail, d.problem
  FROM reeve.schedule s LEFT JOIN reeve.tenant t ON t.id = s.tenant_id LEFT JOIN reeve.kind k ON k.name = s.kind
  LEFT JOIN LATERAL (SELECT min(x.next_at) AS next_at, max(x.problem) AS problem FROM reeve.schedule_due x WHERE x.schedule_id = s.id) d ON true
  LEFT JOIN LATERAL (SELECT x.* FROM reeve.schedule_tick x WHERE x.schedule_id = s.id ORDER BY x.tick DESC LIMIT 1) l ON true;

CREATE OR REPLACE VIEW reeve.batch_list WITH (security_barrier) AS
  SELECT b.id, b.kind, b.queue, b.state, b.reason, b.total, c.waiting, c.enqueued, c.succeeded, c.dead, c.cancelled, c.refused, c.skipped, b.selection, b.spread, b.max_running,
    b.schedule_id, b.tick, b.retried_from, b.created_by, b.created_at, b.finished_at, b.completion_job,
    CASE WHEN b.finished_at IS NULL AND b.state = 'running' AND b.total > c.waiting + c.enqueued THEN
      greatest(c.last_due, reeve.clock() + (reeve.clock() - b.created_at) * ((c.waiting + c.enqueued)::double precision / (b.total - c.waiting - c.enqueued))) END AS eta,
    b.problem, b.idempotency_key
  FROM reeve.batch b CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE i.state = 'waiting') AS waiting, count(*) FILTER (WHERE i.state = 'enqueued') AS enqueued, count(*) FILTER (WHERE i.state = 'succeeded') AS succeeded,
      count(*) FILTER (WHERE i.state = 'dead') AS dead, count(*) FILTER (WHERE i.state = 'cancelled') AS cancelled, count(*) FILTER (WHERE i.state = 'refused') AS refused,
      count(*) FILTER (WHERE i.state = 'skipped') AS skipped, max(i.run_at) FILTER (WHERE i.state = 'waiting') AS last_due
    FROM reeve.batch_item i WHERE i.batch_id = b.id) c;
DO $$
BEGIN
  IF current_setting('server_version_num')::int >= 150000 THEN
    ALTER VIEW reeve.schedule_list SET (security_invoker = true);
    ALTER VIEW reeve.batch_list SET (security_invoker = true);
    ALTER VIEW reeve.unprotected_tenant SET (security_invoker = true);
    ALTER VIEW reeve.standing_work SET (security_invoker = true);
  END IF;
END $$;

GRANT EXECUTE ON FUNCTION reeve.start_batch(text, jsonb, jsonb, interval, int, text, jsonb, int, text) TO reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.preview_schedule(text, int, text, text) TO reeve_viewer, reeve_operator;
GRANT SELECT ON reeve.standing_work TO reeve_viewer, reeve_operator;
