-- What a churn, a purge and an erasure do with schedules, batches, reminders, notices and links.

-- MARK: Churn and return

-- When a churn paused a schedule. The tenant's return resumes those whose pause is that one, not what somebody paused before or since.
ALTER TABLE reeve.schedule ADD COLUMN churn_paused_at timestamptz;

-- Whoever changes the status, by whatever statement: a tenant that has churned comes back within its grace period, or not at all.
CREATE FUNCTION reeve.tenant_may_return() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_grace interval := (SELECT p.grace FROM reeve.purge_policy p); v_state text;
BEGIN
  SELECT r.state INTO v_state FROM reeve.purge_request r WHERE r.tenant_id = OLD.id AND r.state NOT IN ('cancelled', 'certified');
  IF FOUND THEN
    RAISE EXCEPTION 'a purge of tenant "%" is %', OLD.code, v_state USING ERRCODE = 'RV012', HINT = 'Cancel it first: reeve purge cancel ' || OLD.code;
  END IF;
  IF OLD.status_changed_at + v_grace < reeve.clock() THEN
    RAISE EXCEPTION 'the grace period of tenant "%" ended at %', OLD.code, to_char(OLD.status_changed_at + v_grace, 'YYYY-MM-DD HH24:MI TZ') USING ERRCODE = 'RV012',
      HINT = 'A longer one: reeve purge policy --grace-days';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER tenant_may_return BEFORE UPDATE ON reeve.tenant FOR EACH ROW
  WHEN (OLD.status = 'churned' AND NEW.status NOT IN ('churned', 'archived')) EXECUTE FUNCTION reeve.tenant_may_return();
ALTER TABLE reeve.tenant ENABLE ALWAYS TRIGGER tenant_may_return;

-- A churn pauses the tenant's own schedules; schedules for many leave out whom their kind does not run for.
CREATE FUNCTION reeve.tenant_pauses_schedules() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_now timestamptz := reeve.clock();
BEGIN
  FOR v IN SELECT s.id, s.name FROM reeve.schedule s WHERE s.tenant_id = NEW.id
      AND CASE NEW.status WHEN 'churned' THEN s.paused_at IS NULL ELSE s.paused_at = s.churn_paused_at END ORDER BY s.id FOR NO KEY UPDATE LOOP
    IF NEW.status = 'churned' THEN
      UPDATE reeve.schedule s SET paused_at = v_now, churn_paused_at = v_now, paused_by = reeve.actor(), pause_reason = 'the tenant has churned' WHERE s.id = v.id;
      UPDATE reeve.schedule_due d SET next_at = 'infinity' WHERE d.schedule_id = v.id;
      PERFORM reeve.audit(NEW.id, 'schedule.pause', 'schedule ' || v.name, 'the tenant has churned');
    ELSE
      UPDATE reeve.schedule s SET paused_at = NULL, churn_paused_at = NULL, paused_by = NULL, pause_reason = NULL WHERE s.id = v.id;
      DELETE FROM reeve.schedule_due d WHERE d.schedule_id = v.id;
      PERFORM reeve.follow_zones(v.id, v_now);
      PERFORM reeve.audit(NEW.id, 'schedule.resume', 'schedule ' || v.name, 'the tenant came back');
    END IF;
  END LOOP;
  RETURN NULL;
END $$;
CREATE TRIGGER tenant_pauses_schedules AFTER UPDATE ON reeve.tenant FOR EACH ROW
  WHEN (OLD.status <> NEW.status AND (NEW.status = 'churned' OR OLD.status = 'churned' AND NEW.status <> 'archived')) EXECUTE FUNCTION reeve.tenant_pauses_schedules();

-- MARK: Purge

-- As before; but notices to the tenant's own people are no evidence.
CREATE OR REPLACE FUNCTION reeve.purge_keeps(p_table text) RETURNS boolean LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT p_table IN ('tenant_hold', 'tenant_key', 'tenant_status_change', 'tenant_counter', 'tenant_store', 'artifact_deleted', 'purge_request',
                     'retained_backup', 'certificate', 'lifecycle_event')
    OR p_table LIKE 'audit%' OR p_table LIKE 'erasure%'
$$;

-- Tables of whose rows of a tenant some stay, and which of them go: not the jobs of purges themselves, which say nothing of the tenant but the request's id, and
-- not what compliance is told. A batch's count of tenants stays right: the tenant's part of it stays as a number and a state.
CREATE FUNCTION reeve.keeps_some(p_table text) RETURNS boolean LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS $$
  SELECT reeve.keeps_purge_jobs(p_table) OR p_table IN ('notice', 'batch_item')
$$;
CREATE FUNCTION reeve.purge_takes(p_table text, p_row jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS $$
  SELECT CASE p_table WHEN 'notice' THEN p_row ->> 'recipients' = 'technical'
    WHEN 'batch_item' THEN p_row ->> 'state' IN ('waiting', 'enqueued') OR p_row ->> 'error' IS NOT NULL
    ELSE p_row ->> 'kind' <> 'purge' END
$$;

-- Batches of this tenant alone that still say what was done for it.
CREATE FUNCTION reeve.purgeable_batches(p_tenant uuid) RETURNS SETOF bigint LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT b.id FROM reeve.batch b WHERE (b.args <> '{}' OR b.on_finish IS NOT NULL OR b.reason IS NOT NULL)
    AND EXISTS (SELECT FROM reeve.batch_item i WHERE i.batch_id = b.id AND i.tenant_id = p_tenant)
    AND NOT EXISTS (SELECT FROM reeve.batch_item i WHERE i.batch_id = b.id AND i.tenant_id <> p_tenant)
$$;

-- As before, with the batches of this tenant alone.
CREATE OR REPLACE FUNCTION reeve.tenant_records(p_tenant uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_table text; v_n bigint; v jsonb := '{}';
BEGIN
  FOR v_table IN SELECT * FROM reeve.purged_tables() LOOP
    EXECUTE format('SELECT count(*) FROM reeve.%I x WHERE x.tenant_id = $1 AND (NOT $2 OR reeve.purge_takes(%L, to_jsonb(x)))', v_table, v_table)
      INTO v_n USING p_tenant, reeve.keeps_some(v_table);
    IF v_n > 0 THEN v := v || jsonb_build_object(v_table, v_n); END IF;
  END LOOP;
  SELECT count(*) INTO v_n FROM reeve.purgeable_batches(p_tenant);
  IF v_n > 0 THEN v := v || jsonb_build_object('batch', v_n); END IF;
  RETURN v;
END $$;

-- What batches keep of a tenant: how its part ended. Returns how many rows of which table changed.
CREATE FUNCTION reeve.anonymise_batches(p_tenant uuid, p_limit int) RETURNS jsonb LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v_n bigint; v jsonb := '{}';
BEGIN
  UPDATE reeve.batch b SET args = '{}', on_finish = NULL, reason = NULL WHERE b.id IN (SELECT reeve.purgeable_batches(p_tenant));
  GET DIAGNOSTICS v_n = ROW_COUNT;
  IF v_n > 0 THEN v := jsonb_build_object('batch', v_n); END IF;
  UPDATE reeve.batch_item x SET error = NULL, state = CASE WHEN x.state IN ('waiting', 'enqueued') THEN 'cancelled' ELSE x.state END, ended_at = coalesce(x.ended_at, reeve.clock())
  WHERE x.ctid = ANY (ARRAY(SELECT y.ctid FROM reeve.batch_item y WHERE y.tenant_id = p_tenant AND reeve.purge_takes('batch_item', to_jsonb(y)) LIMIT p_limit));
  GET DIAGNOSTICS v_n = ROW_COUNT;
  IF v_n > 0 THEN v := v || jsonb_build_object('batch_item', v_n); END IF;
  RETURN v;
END $$;

-- As before; what batches keep is made to say nothing of the tenant.
CREATE OR REPLACE FUNCTION reeve.purge_records(p_job bigint, p_lease uuid, p_request uuid, p_limit int DEFAULT 5000) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request); v_table text; v_child record; v_n bigint; v_gone jsonb := '{}'; v_jobs text;
BEGIN
  IF v.state <> 'purging' THEN RAISE EXCEPTION 'the purge is %', v.state USING ERRCODE = 'RV012'; END IF;
  -- What belongs to jobs and does not say whose it is.
  FOR v_table IN SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'job_id' AND a.atttypid = 'int8'::regtype AND NOT a.attisdropped
      WHERE c.relnamespace = 'reeve'::regnamespace AND c.relkind = 'r' AND NOT c.relispartition
        AND NOT EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.oid AND t.attname = 'tenant_id') ORDER BY 1 LOOP
    EXECUTE format('DELETE FROM reeve.%I x WHERE x.job_id <> $2 AND EXISTS (SELECT FROM (SELECT j.id, j.tenant_id FROM reeve.job j UNION ALL
      SELECT h.id, h.tenant_id FROM reeve.job_history h UNION ALL SELECT d.id, d.tenant_id FROM reeve.dead_letter d) o WHERE o.id = x.job_id AND o.tenant_id = $1)', v_table)
      USING v.tenant_id, p_job;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    IF v_n > 0 THEN v_gone := v_gone || jsonb_build_object(v_table, v_n); END IF;
  END LOOP;
  v_gone := v_gone || reeve.anonymise_batches(v.tenant_id, p_limit);
  FOR v_table IN SELECT t FROM reeve.purged_tables() t WHERE t <> 'batch_item' LOOP
    BEGIN
      FOR v_child IN SELECT t.relname AS child, a.attname AS of, b.attname AS at FROM pg_constraint c
          JOIN pg_class t ON t.oid = c.conrelid AND t.relnamespace = 'reeve'::regnamespace
          JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = c.confkey[1]
          WHERE c.contype = 'f' AND c.confrelid = ('reeve.' || quote_ident(v_table))::regclass AND cardinality(c.conkey) = 1
            AND NOT EXISTS (SELECT FROM pg_attribute o WHERE o.attrelid = c.conrelid AND o.attname = 'tenant_id') LOOP
        EXECUTE format('DELETE FROM reeve.%I x USING reeve.%I p WHERE p.%I = x.%I AND p.tenant_id = $1', v_child.child, v_table, v_child.at, v_child.of) USING v.tenant_id;
        GET DIAGNOSTICS v_n = ROW_COUNT;
        IF v_n > 0 THEN v_gone := v_gone || jsonb_build_object(v_child.child, v_n); END IF;
      END LOOP;
      EXECUTE format('DELETE FROM reeve.%I x WHERE (x.tableoid, x.ctid) IN (SELECT y.tableoid, y.ctid FROM reeve.%I y
        WHERE y.tenant_id = $1 AND (NOT $3 OR reeve.purge_takes(%L, to_jsonb(y))) LIMIT $2)', v_table, v_table, v_table)
        USING v.tenant_id, p_limit, reeve.keeps_some(v_table);
      GET DIAGNOSTICS v_n = ROW_COUNT;
      IF v_n > 0 THEN v_gone := v_gone || jsonb_build_object(v_table, v_n); END IF;
    EXCEPTION WHEN foreign_key_violation THEN NULL;          -- another table's turn comes first
    END;
  END LOOP;
  RETURN v_gone;
END $$;

-- The history of links stays when its artifact goes, but not when its tenant is purged.
CREATE FUNCTION reeve.keep_until_purge() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM reeve.purge_request r WHERE r.tenant_id = OLD.tenant_id AND r.state = 'purging') THEN RETURN OLD; END IF;
  RAISE EXCEPTION '% of % is never allowed', TG_OP, TG_TABLE_NAME USING ERRCODE = '42501';
END $$;
DROP TRIGGER artifact_link_kept ON reeve.artifact_link;
CREATE TRIGGER artifact_link_kept BEFORE DELETE ON reeve.artifact_link FOR EACH ROW EXECUTE FUNCTION reeve.keep_until_purge();
ALTER TABLE reeve.artifact_link ENABLE ALWAYS TRIGGER artifact_link_kept;

-- How many of the tenant's artifacts each destination has to hold an object of, for a purge that is under way.
CREATE FUNCTION reeve.expected_objects(p_job bigint, p_lease uuid) RETURNS TABLE (destination text, artifacts bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  RETURN QUERY SELECT d, count(*) FROM reeve.artifact a CROSS JOIN LATERAL unnest(reeve.artifact_destinations(a.manifest)) d
    WHERE a.tenant_id = v_tenant AND NOT EXISTS (SELECT FROM reeve.artifact_deletion x WHERE x.artifact_id = a.id)
      AND NOT EXISTS (SELECT FROM reeve.artifact_fault f WHERE f.artifact_id = a.id AND f.destination = d) GROUP BY d;
END $$;

-- MARK: Erasure

-- Replaces what matches in the strings, names and numbers of a document by [erased].
CREATE FUNCTION reeve.redact_json(p_value jsonb, p_regex text) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE SET search_path = reeve, pg_temp AS $$
BEGIN
  CASE jsonb_typeof(p_value)
  WHEN 'string' THEN RETURN to_jsonb(regexp_replace(p_value #>> '{}', p_regex, '[erased]', 'gi'));
  WHEN 'number' THEN RETURN CASE WHEN p_value::text ~* p_regex THEN '"[erased]"' ELSE p_value END;
  WHEN 'array' THEN RETURN (SELECT coalesce(jsonb_agg(reeve.redact_json(a.e, p_regex) ORDER BY a.n), '[]') FROM jsonb_array_elements(p_value) WITH ORDINALITY a (e, n));
  WHEN 'object' THEN RETURN (SELECT coalesce(jsonb_object_agg(regexp_replace(o.k, p_regex, '[erased]', 'gi'), reeve.redact_json(o.v, p_regex)), '{}') FROM jsonb_each(p_value) o (k, v));
  ELSE RETURN p_value;
  END CASE;
END $$;

-- As before, with what schedules, batches, reminders and notices say, and what the registry knows of the tenant, which is only reported.
CREATE OR REPLACE FUNCTION reeve.mention_places(p_job bigint, p_lease uuid) RETURNS TABLE (place text, columns text[], redact text[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
BEGIN
  PERFORM reeve.tenant_of_attempt(p_job, p_lease);
  RETURN QUERY
  SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum),
    coalesce(array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE t.typcategory IN ('S', 'U') AND (coalesce(p.relname, c.relname), a.attname) IN (
      SELECT x.t, x.c FROM (VALUES ('batch', 'args'), ('batch', 'on_finish'), ('batch', 'reason'), ('batch_item', 'error'), ('schedule', 'args'), ('schedule', 'pause_reason'),
        ('schedule_tick', 'detail'), ('notice', 'subject'), ('notice', 'body'), ('notice', 'error'), ('reminder', 'reason')) x (t, c)
      UNION ALL SELECT r.t, w.c FROM unnest(ARRAY['job_history', 'dead_letter', 'job_step', 'rejected_messages']) r (t),
        unnest(ARRAY['args', 'result', 'last_error', 'reason', 'error', 'payload', 'value', 'headers', 'body', 'message', 'progress']) w (c))), '{}')
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_inherits h ON h.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = h.inhparent
  WHERE c.relnamespace = 'reeve'::regnamespace AND c.relkind = 'r' AND (t.typcategory IN ('S', 'A') OR t.typname IN ('json', 'jsonb'))
    AND (c.relname IN ('batch', 'tenant') OR EXISTS (SELECT FROM pg_attribute k WHERE k.attrelid = c.oid AND k.attname IN ('tenant_id', 'job_id') AND NOT k.attisdropped))
    AND c.relname NOT IN ('erasure_request', 'erasure_identifier', 'erasure_ledger', 'tenant_store', 'tenant_key', 'idempotency_key')
  GROUP BY c.relname ORDER BY 1;
END $$;

-- Rows of a place that are the tenant's and mention the subject: where they are, and what they say. By their own column, their schedule, their batch or their job.
CREATE FUNCTION reeve.mention_rows(p_place text, p_tenant uuid, p_patterns text[]) RETURNS TABLE (at tid, doc jsonb) LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
BEGIN
  IF p_place = 'tenant' THEN
    RETURN QUERY SELECT x.ctid, to_jsonb(x) FROM reeve.tenant x WHERE x.id = p_tenant AND reeve.row_mentions(to_jsonb(x), p_patterns);
  ELSIF p_place = 'batch' THEN
    RETURN QUERY SELECT x.ctid, to_jsonb(x) FROM reeve.batch x
      WHERE EXISTS (SELECT FROM reeve.batch_item i WHERE i.batch_id = x.id AND i.tenant_id = p_tenant) AND reeve.row_mentions(to_jsonb(x), p_patterns);
  ELSIF p_place = 'schedule_tick' THEN
    RETURN QUERY SELECT x.ctid, to_jsonb(x) FROM reeve.schedule_tick x
      WHERE x.schedule_id IN (SELECT s.id FROM reeve.schedule s WHERE s.tenant_id = p_tenant) AND reeve.row_mentions(to_jsonb(x), p_patterns);
  ELSIF reeve.has_column(p_place, 'tenant_id') THEN
    RETURN QUERY EXECUTE format('SELECT x.ctid, to_jsonb(x) FROM reeve.%I x WHERE x.tenant_id = $1 AND reeve.row_mentions(to_jsonb(x), $2)', p_place) USING p_tenant, p_patterns;
  ELSE
    RETURN QUERY EXECUTE format('SELECT x.ctid, to_jsonb(x) FROM reeve.%I x WHERE x.job_id IN (SELECT reeve.mention_jobs($1)) AND reeve.row_mentions(to_jsonb(x), $2)', p_place)
      USING p_tenant, p_patterns;
  END IF;
END $$;

CREATE FUNCTION reeve.row_mentions(p_row jsonb, p_patterns text[]) RETURNS boolean LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS
  $$ SELECT EXISTS (SELECT FROM jsonb_each_text(p_row) e WHERE lower(e.value COLLATE "C") LIKE ANY (p_patterns)) $$;

CREATE OR REPLACE FUNCTION reeve.find_mentions(p_job bigint, p_lease uuid, p_place text, p_patterns text[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  IF NOT EXISTS (SELECT FROM reeve.mention_places(p_job, p_lease) m WHERE m.place = p_place) THEN RETURN '{}'; END IF;
  RETURN (SELECT coalesce(jsonb_object_agg(s.k, s.n), '{}') FROM (
    SELECT e.key AS k, count(*) AS n FROM reeve.mention_rows(p_place, v_tenant, p_patterns) m CROSS JOIN LATERAL jsonb_each_text(m.doc) e
    WHERE lower(e.value COLLATE "C") LIKE ANY (p_patterns) GROUP BY 1) s);
END $$;

-- What a value becomes. Texts get no longer than they were, which their table may not take.
CREATE FUNCTION reeve.redact_value(p_value jsonb, p_regex text) RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS $$
  SELECT CASE jsonb_typeof(p_value) WHEN 'string' THEN to_jsonb(left(regexp_replace(p_value #>> '{}', p_regex, '[erased]', 'gi'), greatest(length(p_value #>> '{}'), 8)))
    ELSE reeve.redact_json(p_value, p_regex) END
$$;

-- Replaces what matches in a place by [erased]; returns how many values changed. Only where mention_places says that it may, and not in a batch that is other
-- tenants' too.
CREATE OR REPLACE FUNCTION reeve.redact_mentions(p_job bigint, p_lease uuid, p_place text, p_patterns text[], p_regex text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v_column text; v_rows tid[]; v_count bigint; v_all bigint := 0;
BEGIN
  FOR v_column IN SELECT unnest(m.redact) FROM reeve.mention_places(p_job, p_lease) m WHERE m.place = p_place LOOP
    v_rows := ARRAY(SELECT m.at FROM reeve.mention_rows(p_place, v_tenant, p_patterns) m
      WHERE p_place <> 'batch' OR NOT EXISTS (SELECT FROM reeve.batch_item i WHERE i.batch_id = (m.doc ->> 'id')::bigint AND i.tenant_id <> v_tenant));
    EXECUTE format('UPDATE reeve.%I x SET %I = (jsonb_populate_record(x, jsonb_build_object(%L, reeve.redact_value(to_jsonb(x.%I), $3)))).%I '
      'WHERE x.ctid = ANY ($1) AND lower(x.%I::text COLLATE "C") LIKE ANY ($2)', p_place, v_column, v_column, v_column, v_column, v_column) USING v_rows, p_patterns, p_regex;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    v_all := v_all + v_count;
  END LOOP;
  RETURN v_all;
END $$;

-- As before; the tenant's own schedules whose arguments mention the subject are paused first, so that no more such jobs come: {cancelled, running, paused}.
CREATE OR REPLACE FUNCTION reeve.cancel_mentions(p_job bigint, p_lease uuid, p_patterns text[]) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v record; v_cancelled int := 0; v_running int := 0; v_paused int := 0;
BEGIN
  FOR v IN SELECT s.id, s.name FROM reeve.schedule s WHERE s.tenant_id = v_tenant AND s.paused_at IS NULL AND lower(s.args::text COLLATE "C") LIKE ANY (p_patterns)
      ORDER BY s.id FOR NO KEY UPDATE LOOP
    UPDATE reeve.schedule s SET paused_at = reeve.clock(), paused_by = reeve.actor(), pause_reason = 'its arguments named an erased person; give it others' WHERE s.id = v.id;
    UPDATE reeve.schedule_due d SET next_at = 'infinity' WHERE d.schedule_id = v.id;
    PERFORM reeve.audit(v_tenant, 'schedule.pause', 'schedule ' || v.name, 'its arguments named an erased person');
    v_paused := v_paused + 1;
  END LOOP;
  FOR v IN SELECT j.id, j.state FROM reeve.job j WHERE j.tenant_id = v_tenant AND j.id <> p_job
      AND (lower(j.args::text COLLATE "C") LIKE ANY (p_patterns) OR lower(j.last_error COLLATE "C") LIKE ANY (p_patterns) OR lower(j.progress::text COLLATE "C") LIKE ANY (p_patterns))
      ORDER BY j.id LOOP
    IF v.state = 'running' THEN v_running := v_running + 1;
    ELSIF reeve.cancel(v.id) = 'cancelled' THEN v_cancelled := v_cancelled + 1;
    ELSE v_running := v_running + 1;
    END IF;
  END LOOP;
  IF v_cancelled > 0 THEN
    PERFORM reeve.audit(v_tenant, 'erasure.cancel_jobs', 'job ' || p_job, 'they mention an erased person', jsonb_build_object('jobs', v_cancelled));
  END IF;
  RETURN jsonb_build_object('cancelled', v_cancelled, 'running', v_running, 'paused', v_paused);
END $$;

-- Reports and exports of which the index itself mentions the subject, in a title or a parameter.
CREATE FUNCTION reeve.artifacts_mentioning(p_job bigint, p_lease uuid, p_patterns text[]) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  RETURN QUERY SELECT a.id FROM reeve.artifact a WHERE a.tenant_id = v_tenant AND a.entity <> 'backup' AND lower(a.manifest::text COLLATE "C") LIKE ANY (p_patterns);
END $$;

-- MARK: Hints

-- As before; what it refuses says where to look.
CREATE OR REPLACE FUNCTION reeve.retry(id bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v record; v_id bigint; v_tenant record; v_refusal text;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may retry jobs' USING ERRCODE = '42501'; END IF;
  UPDATE reeve.job j SET run_at = reeve.clock() WHERE j.id = retry.id AND j.state = 'scheduled' AND j.hold_reason IS NULL RETURNING j.tenant_id, j.kind INTO v;
  IF FOUND THEN
    PERFORM reeve.audit(v.tenant_id, 'job.retry', 'job ' || retry.id, NULL, jsonb_build_object('kind', v.kind));
    RETURN retry.id;
  END IF;
  IF EXISTS (SELECT FROM reeve.job j WHERE j.id = retry.id) THEN
    RAISE EXCEPTION 'job % has not ended', retry.id USING ERRCODE = 'RV012', HINT = 'See why it waits: reeve jobs show ' || retry.id;
  END IF;
  SELECT d.tenant_id, d.queue, d.kind, d.priority, d.max_attempts, d.traceparent, d.args, d.redriven_as INTO v FROM reeve.dead_letter d WHERE d.id = retry.id FOR UPDATE;
  IF NOT FOUND THEN
    SELECT h.tenant_id, h.queue, h.kind, h.priority, h.max_attempts, h.traceparent, h.args, NULL::bigint AS redriven_as INTO v FROM reeve.job_history h WHERE h.id = retry.id LIMIT 1;
    IF NOT FOUND THEN RAISE EXCEPTION 'there is no job %', retry.id USING ERRCODE = 'RV011'; END IF;
  END IF;
  IF v.redriven_as IS NOT NULL THEN
    RAISE EXCEPTION 'job % was retried as job %', retry.id, v.redriven_as USING ERRCODE = 'RV012', HINT = 'Retry that one, if it failed too.';
  END IF;
  SELECT t.tier, t.status INTO v_tenant FROM reeve.tenant t WHERE t.id = v.tenant_id;
  v_refusal := CASE WHEN v.kind IN ('purge', 'erasure') THEN reeve.admit_request(v.kind, v.args, v.tenant_id)
    WHEN reeve.is_frozen(v.tenant_id) THEN 'its tenant is being purged' END;
  IF v_refusal IS NOT NULL THEN
    RAISE EXCEPTION 'job % is not retried: %', retry.id, v_refusal USING ERRCODE = 'RV020', HINT = CASE v.kind WHEN 'erasure' THEN 'See: reeve erasure show ' || coalesce(v.args ->> 'request', 'ID') ELSE 'See: reeve purge status' END;
  END IF;
  IF v_tenant.status = 'archived' AND v.kind <> 'purge' THEN RAISE EXCEPTION 'the tenant of job % is archived', retry.id USING ERRCODE = 'RV009'; END IF;
  v_id := nextval('reeve.job_id');
  INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, priority, max_attempts, run_at, created_by, traceparent, args, retried_from)
  VALUES (v_id, v.tenant_id, reeve.pool_of(v_tenant.tier, v.queue), v.queue, v.kind, 'available', v.priority, v.max_attempts, reeve.clock(), session_user, v.traceparent, v.args, retry.id);
  UPDATE reeve.dead_letter d SET redriven_as = v_id WHERE d.id = retry.id;
  PERFORM reeve.audit(v.tenant_id, 'job.retry', 'job ' || retry.id, NULL, jsonb_build_object('kind', v.kind, 'as', v_id));
  PERFORM reeve.wake(ARRAY[reeve.pool_of(v_tenant.tier, v.queue)]);
  RETURN v_id;
END $$;

GRANT EXECUTE ON FUNCTION reeve.expected_objects(bigint, uuid), reeve.artifacts_mentioning(bigint, uuid, text[]) TO reeve_worker;
