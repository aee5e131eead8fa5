-- Events for others: what happens to jobs and tenants, and the audit. Jobs' events are rows that triggers write in the transaction of the change; a relay
-- sends and deletes them. The triggers are there only while somebody asks for their events: without that a change costs nothing more than before.
CREATE TABLE reeve.event_setting (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  types text[] NOT NULL DEFAULT '{}',
  audit boolean NOT NULL DEFAULT false,
  keep interval NOT NULL DEFAULT '7 days' CHECK (keep BETWEEN '1 hour' AND '366 days'),
  expired bigint NOT NULL DEFAULT 0,                       -- events that nobody took in that time
  changed_at timestamptz NOT NULL DEFAULT reeve.clock()
);
INSERT INTO reeve.event_setting DEFAULT VALUES;

CREATE TABLE reeve.event (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant uuid NOT NULL,
  type text NOT NULL,
  at timestamptz NOT NULL DEFAULT reeve.clock(),
  job bigint,
  queue text,
  kind text,
  attempt int,
  traceparent text,
  detail jsonb,
  parked boolean NOT NULL DEFAULT false                    -- its tenant's topic is not taking any: see event_block
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_vacuum_insert_threshold = -1);
CREATE INDEX event_waiting ON reeve.event (id) WHERE NOT parked;
CREATE INDEX event_parked ON reeve.event (tenant, id) WHERE parked;
CREATE INDEX event_at ON reeve.event (at);
COMMENT ON TABLE reeve.event IS 'Events that wait to be sent, also those of a tenant that a purge ends. No arguments, results or errors of jobs: they may hold personal data.';

-- Tenants whose topics do not take events: theirs wait, and others go on.
CREATE TABLE reeve.event_block (
  tenant uuid PRIMARY KEY,
  reason text NOT NULL CHECK (length(reason) <= 500),
  since timestamptz NOT NULL DEFAULT reeve.clock(),
  attempts int NOT NULL DEFAULT 1,
  retry_at timestamptz NOT NULL
);

-- How far each chain of the audit was sent.
CREATE TABLE reeve.audit_sent (
  chain uuid PRIMARY KEY,
  seq bigint NOT NULL DEFAULT 0,
  sent_at timestamptz,
  problem text CHECK (length(problem) <= 500),
  problem_since timestamptz,
  attempts int NOT NULL DEFAULT 0,
  retry_at timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 70);

-- Who sends: one process for each task, so that a tenant's events stay in order.
CREATE TABLE reeve.relay_turn (task text PRIMARY KEY CHECK (task IN ('events', 'audit')), holder uuid, lease_until timestamptz,
  problem text CHECK (length(problem) <= 500), problem_since timestamptz) WITH (fillfactor = 50);
INSERT INTO reeve.relay_turn (task) VALUES ('events'), ('audit');

-- What can be asked for.
CREATE FUNCTION reeve.event_types() RETURNS text[] LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS $$
  SELECT ARRAY['job.enqueued', 'job.started', 'job.retrying', 'job.held', 'job.succeeded', 'job.cancelled', 'job.dead', 'tenant.created', 'tenant.status', 'tenant.tier']
$$;

CREATE FUNCTION reeve.event_of_new_jobs() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  INSERT INTO reeve.event (tenant, type, at, job, queue, kind, attempt, traceparent)
  SELECT n.tenant_id, 'job.enqueued', n.created_at, n.id, n.queue, n.kind, n.attempt, n.traceparent FROM added n ORDER BY n.id;
  RETURN NULL;
END $$;

CREATE FUNCTION reeve.event_of_changed_jobs() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  INSERT INTO reeve.event (tenant, type, job, queue, kind, attempt, traceparent, detail)
  SELECT c.tenant_id, c.type, c.id, c.queue, c.kind, c.attempt, c.traceparent, c.detail
  FROM (SELECT n.tenant_id, n.id, n.queue, n.kind, n.attempt, n.traceparent,
          CASE WHEN n.state = 'running' AND o.state <> 'running' THEN 'job.started'
               WHEN n.hold_reason IS NOT NULL AND o.hold_reason IS NULL THEN 'job.held'
               WHEN o.state = 'running' AND n.state = 'scheduled' AND n.attempt = o.attempt THEN 'job.retrying' END AS type,
          CASE WHEN n.hold_reason IS NOT NULL THEN jsonb_build_object('hold_reason', n.hold_reason)
               WHEN n.state = 'scheduled' THEN jsonb_build_object('run_at', n.run_at) END AS detail
        FROM changed n JOIN before o ON o.id = n.id) c
  WHERE c.type = ANY ((SELECT s.types FROM reeve.event_setting s)::text[]) ORDER BY c.id;
  RETURN NULL;
END $$;

CREATE FUNCTION reeve.event_of_ended_jobs() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  INSERT INTO reeve.event (tenant, type, at, job, queue, kind, attempt, traceparent)
  SELECT n.tenant_id, 'job.' || n.state, n.finished_at, n.id, n.queue, n.kind, n.attempt, n.traceparent FROM added n
  WHERE 'job.' || n.state = ANY ((SELECT s.types FROM reeve.event_setting s)::text[]) ORDER BY n.id;
  RETURN NULL;
END $$;

CREATE FUNCTION reeve.event_of_dead_jobs() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  INSERT INTO reeve.event (tenant, type, at, job, queue, kind, attempt, traceparent, detail)
  SELECT n.tenant_id, 'job.dead', n.finished_at, n.id, n.queue, n.kind, n.attempt, n.traceparent, jsonb_build_object('reason', n.reason) FROM added n ORDER BY n.id;
  RETURN NULL;
END $$;

CREATE FUNCTION reeve.event_of_tenant() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_types text[] := (SELECT s.types FROM reeve.event_setting s);
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF 'tenant.created' = ANY (v_types) THEN
      INSERT INTO reeve.event (tenant, type, detail) VALUES (NEW.id, 'tenant.created', jsonb_build_object('status', NEW.status, 'tier', NEW.tier));
    END IF;
    RETURN NULL;
  END IF;
  IF NEW.status <> OLD.status AND 'tenant.status' = ANY (v_types) THEN
    INSERT INTO reeve.event (tenant, type, detail) VALUES (NEW.id, 'tenant.status', jsonb_build_object('was', OLD.status, 'became', NEW.status));
  END IF;
  IF NEW.tier <> OLD.tier AND 'tenant.tier' = ANY (v_types) THEN
    INSERT INTO reeve.event (tenant, type, detail) VALUES (NEW.id, 'tenant.tier', jsonb_build_object('was', OLD.tier, 'became', NEW.tier));
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER tenant_events AFTER INSERT OR UPDATE OF status, tier ON reeve.tenant FOR EACH ROW EXECUTE FUNCTION reeve.event_of_tenant();

-- Says which events and whether the audit is sent; none: nothing is written. Makes and drops the triggers, for which it waits a moment for what
-- changes jobs now (55P03: try again).
CREATE FUNCTION reeve.set_events(p_types text[], p_audit boolean, p_keep interval DEFAULT NULL, p_reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET lock_timeout = '2s' SET client_min_messages = warning AS $$
DECLARE v_wrong text := (SELECT t FROM unnest(p_types) t WHERE t <> ALL (reeve.event_types()) LIMIT 1);
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may say which events are sent' USING ERRCODE = '42501'; END IF;
  IF v_wrong IS NOT NULL THEN
    RAISE EXCEPTION 'there is no event "%"', left(v_wrong, 80) USING ERRCODE = 'RV010', HINT = 'Known: ' || array_to_string(reeve.event_types(), ', ');
  END IF;
  UPDATE reeve.event_setting s SET types = coalesce(p_types, '{}'), audit = p_audit, keep = coalesce(p_keep, s.keep), changed_at = reeve.clock();
  DROP TRIGGER IF EXISTS job_events_added ON reeve.job;
  DROP TRIGGER IF EXISTS job_events_changed ON reeve.job;
  DROP TRIGGER IF EXISTS job_events_ended ON reeve.job_history;
  DROP TRIGGER IF EXISTS job_events_dead ON reeve.dead_letter;
  IF 'job.enqueued' = ANY (p_types) THEN
    CREATE TRIGGER job_events_added AFTER INSERT ON reeve.job REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION reeve.event_of_new_jobs();
  END IF;
  IF p_types && ARRAY['job.started', 'job.retrying', 'job.held'] THEN
    CREATE TRIGGER job_events_changed AFTER UPDATE ON reeve.job REFERENCING OLD TABLE AS before NEW TABLE AS changed
      FOR EACH STATEMENT EXECUTE FUNCTION reeve.event_of_changed_jobs();
  END IF;
  IF p_types && ARRAY['job.succeeded', 'job.cancelled'] THEN
    CREATE TRIGGER job_events_ended AFTER INSERT ON reeve.job_history REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION reeve.event_of_ended_jobs();
  END IF;
  IF 'job.dead' = ANY (p_types) THEN
    CREATE TRIGGER job_events_dead AFTER INSERT ON reeve.dead_letter REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION reeve.event_of_dead_jobs();
  END IF;
  PERFORM reeve.audit(NULL, 'events.set', 'events', p_reason, jsonb_build_object('types', to_jsonb(coalesce(p_types, '{}')), 'audit', p_audit));
END $$;

-- MARK: The relay

-- Takes or keeps a task's turn; false while another process has it. A lease of no time gives it back.
CREATE FUNCTION reeve.hold_turn(p_task text, p_process uuid, p_lease interval DEFAULT '15 s') RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_now timestamptz := reeve.clock();
BEGIN
  UPDATE reeve.relay_turn t SET holder = p_process, lease_until = v_now + p_lease
  WHERE t.task = p_task AND (t.holder = p_process OR t.lease_until IS NULL OR t.lease_until <= v_now);
  RETURN FOUND;
END $$;

-- Raises RV031 unless the turn is this process's; keeps it for the transaction.
CREATE FUNCTION reeve.require_turn(p_task text, p_process uuid) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
BEGIN
  PERFORM FROM reeve.relay_turn t WHERE t.task = p_task AND t.holder = p_process AND t.lease_until > reeve.clock() FOR SHARE;
  IF NOT FOUND THEN RAISE EXCEPTION 'the turn to send % is another process''s', p_task USING ERRCODE = 'RV031'; END IF;
END $$;

-- Whether there is anything to send, now or soon.
CREATE FUNCTION reeve.relay_wanted(p_task text) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT CASE p_task WHEN 'audit' THEN s.audit ELSE s.types <> '{}' OR EXISTS (SELECT FROM reeve.event) END FROM reeve.event_setting s
$$;

-- Says what keeps a task from going on, or that nothing does.
CREATE FUNCTION reeve.note_turn(p_task text, p_process uuid, p_problem text) RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  UPDATE reeve.relay_turn t SET problem = left(p_problem, 500), problem_since = CASE WHEN p_problem IS NOT NULL THEN coalesce(t.problem_since, reeve.clock()) END
  WHERE t.task = p_task AND t.holder = p_process AND t.problem IS DISTINCT FROM left(p_problem, 500);
END $$;

-- The oldest events to send, those of a tenant in the order of their ids: an event has a higher id than all that its transaction could see. Events of
-- tenants whose topics do not take any are parked, and come again, the oldest first, when it is time to try.
CREATE FUNCTION reeve.read_events(p_process uuid, p_limit int)
RETURNS TABLE (id bigint, tenant_id uuid, tenant_code text, type text, at timestamptz, job_id bigint, queue text, kind text, attempt int, traceparent text, detail jsonb)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE v_now timestamptz := reeve.clock(); v_ids bigint[]; v_parked bigint[];
BEGIN
  PERFORM reeve.require_turn('events', p_process);
  FOR i IN 1..20 LOOP
    v_ids := ARRAY(SELECT e.id FROM reeve.event e WHERE NOT e.parked ORDER BY e.id LIMIT p_limit);
    v_parked := ARRAY(SELECT e.id FROM reeve.event e JOIN reeve.event_block b ON b.tenant = e.tenant WHERE e.id = ANY (v_ids));
    UPDATE reeve.event e SET parked = true WHERE e.id = ANY (v_parked);
    EXIT WHEN cardinality(v_parked) < p_limit;
  END LOOP;
  RETURN QUERY
    SELECT e.id, e.tenant, t.code, e.type, e.at, e.job, e.queue, e.kind, e.attempt, e.traceparent, e.detail
    FROM (SELECT x.id FROM unnest(v_ids) AS x (id) WHERE x.id <> ALL (v_parked)
          UNION ALL
          SELECT p.id FROM (SELECT b.tenant FROM reeve.event_block b WHERE b.retry_at <= v_now ORDER BY b.retry_at LIMIT 50) d,
            LATERAL (SELECT y.id FROM reeve.event y WHERE y.parked AND y.tenant = d.tenant ORDER BY y.id LIMIT greatest(1, p_limit / 10)) p) i
    JOIN reeve.event e ON e.id = i.id JOIN reeve.tenant t ON t.id = e.tenant
    ORDER BY e.id;
END $$;

-- Deletes what was sent, and blocks the tenants whose topics did not take theirs: {tenant, reason}, tried again later each time.
CREATE FUNCTION reeve.settle_events(p_process uuid, p_sent bigint[], p_failures jsonb DEFAULT '[]') RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE v_now timestamptz := reeve.clock(); v_tenants uuid[]; v_count int;
BEGIN
  PERFORM reeve.require_turn('events', p_process);
  WITH gone AS (DELETE FROM reeve.event e WHERE e.id = ANY (p_sent) RETURNING e.tenant, e.parked)
  SELECT array_agg(DISTINCT g.tenant) FILTER (WHERE g.parked), count(*) INTO v_tenants, v_count FROM gone g;
  INSERT INTO reeve.event_block AS b (tenant, reason, retry_at)
    SELECT DISTINCT ON (f.tenant) f.tenant, left(f.reason, 500), v_now + interval '1 s' FROM jsonb_to_recordset(p_failures) AS f (tenant uuid, reason text)
    WHERE EXISTS (SELECT FROM reeve.tenant t WHERE t.id = f.tenant)
  ON CONFLICT (tenant) DO UPDATE SET reason = excluded.reason, attempts = b.attempts + 1, retry_at = v_now + least(interval '5 min', interval '1 s' * power(2, least(b.attempts, 9)));
  -- One that took something is tried at once, and free when nothing of it is parked any more.
  DELETE FROM reeve.event_block b WHERE b.tenant = ANY (v_tenants) AND b.tenant <> ALL (ARRAY(SELECT f.tenant FROM jsonb_to_recordset(p_failures) AS f (tenant uuid)))
    AND NOT EXISTS (SELECT FROM reeve.event e WHERE e.parked AND e.tenant = b.tenant);
  UPDATE reeve.event_block b SET retry_at = v_now, attempts = 1
    WHERE b.tenant = ANY (v_tenants) AND b.tenant <> ALL (ARRAY(SELECT f.tenant FROM jsonb_to_recordset(p_failures) AS f (tenant uuid)));
  RETURN v_count;
END $$;

-- Drops events that nobody took in the time that they are kept, and blocks of tenants without any. Returns how many.
CREATE FUNCTION reeve.tend_events(p_limit int DEFAULT 5000) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE v_count int;
BEGIN
  DELETE FROM reeve.event e WHERE e.id = ANY (ARRAY(
    SELECT x.id FROM reeve.event x WHERE x.at < reeve.clock() - (SELECT s.keep FROM reeve.event_setting s) ORDER BY x.at LIMIT p_limit FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS v_count = ROW_COUNT;
  IF v_count > 0 THEN UPDATE reeve.event_setting s SET expired = s.expired + v_count; END IF;
  DELETE FROM reeve.event_block b WHERE b.since < reeve.clock() - interval '1 day' AND NOT EXISTS (SELECT FROM reeve.event e WHERE e.tenant = b.tenant AND e.parked);
  RETURN v_count;
END $$;

-- The next places of the audit's chains, in the order of each chain, from its first: as lines of `reeve audit export`, from which a chain verifies.
CREATE FUNCTION reeve.read_audit(p_process uuid, p_chains int, p_places int) RETURNS TABLE (chain uuid, tenant_code text, last_seq bigint, at text, line jsonb)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE v record; v_now timestamptz := reeve.clock();
BEGIN
  PERFORM reeve.require_turn('audit', p_process);
  FOR v IN
    SELECT h.chain, coalesce(a.seq, 0) AS seq, t.code FROM reeve.audit_head h LEFT JOIN reeve.audit_sent a ON a.chain = h.chain LEFT JOIN reeve.tenant t ON t.id = h.chain
    WHERE h.seq > coalesce(a.seq, 0) AND coalesce(a.retry_at, '-infinity') <= v_now ORDER BY a.sent_at NULLS FIRST, h.chain LIMIT p_chains
  LOOP
    RETURN QUERY
      SELECT v.chain, v.code, l.last, l.at, l.line FROM (
        SELECT s.seq AS first, s.seq AS last, reeve.audit_time(e.at) AS at, jsonb_build_object('type', 'entry', 'chain', v.chain, 'seq', s.seq, 'hash', encode(s.hash, 'hex'), 'id', s.entry_id)
          || CASE WHEN e.id IS NULL THEN '{}' ELSE jsonb_build_object('tenant', e.tenant_id, 'at', reeve.audit_time(e.at), 'actor', e.actor, 'login', e.login, 'action', e.action,
            'object', e.object, 'reason', e.reason, 'started_at', reeve.audit_time(e.started_at), 'ended_at', reeve.audit_time(e.ended_at), 'detail', e.detail::text) END AS line
        FROM (SELECT x.* FROM reeve.audit_seal x WHERE x.chain = v.chain AND x.seq > v.seq ORDER BY x.seq LIMIT p_places) s
        LEFT JOIN reeve.audit_entry e ON e.id = s.entry_id AND e.expires_on = s.expires_on
        UNION ALL
        SELECT c.first_seq, c.last_seq, reeve.audit_time(c.at), jsonb_build_object('type', 'checkpoint', 'chain', v.chain, 'first', c.first_seq, 'last', c.last_seq, 'hash', encode(c.hash, 'hex'),
          'at', reeve.audit_time(c.at))
        FROM reeve.audit_checkpoint c WHERE c.chain = v.chain AND c.last_seq > v.seq
          AND NOT EXISTS (SELECT FROM reeve.audit_seal x WHERE x.chain = v.chain AND x.seq > v.seq AND x.seq < c.first_seq OFFSET p_places)) l
      ORDER BY l.first;
  END LOOP;
END $$;

-- Notes how far chains were sent: {chain, seq}; and those that were not taken: {chain, reason}.
CREATE FUNCTION reeve.settle_audit(p_process uuid, p_sent jsonb, p_failures jsonb DEFAULT '[]') RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_now timestamptz := reeve.clock();
BEGIN
  PERFORM reeve.require_turn('audit', p_process);
  INSERT INTO reeve.audit_sent AS a (chain, seq, sent_at) SELECT s.chain, max(s.seq), v_now FROM jsonb_to_recordset(p_sent) AS s (chain uuid, seq bigint) GROUP BY s.chain
  ON CONFLICT (chain) DO UPDATE SET seq = greatest(a.seq, excluded.seq), sent_at = v_now, problem = NULL, problem_since = NULL, attempts = 0, retry_at = '-infinity';
  INSERT INTO reeve.audit_sent AS a (chain, problem, problem_since, attempts, retry_at)
    SELECT DISTINCT ON (f.chain) f.chain, left(f.reason, 500), v_now, 1, v_now + interval '1 s' FROM jsonb_to_recordset(p_failures) AS f (chain uuid, reason text)
  ON CONFLICT (chain) DO UPDATE SET problem = excluded.problem, problem_since = coalesce(a.problem_since, v_now), attempts = a.attempts + 1,
    retry_at = v_now + least(interval '5 min', interval '1 s' * power(2, least(a.attempts, 9)));
END $$;

-- How the events stand, for operators, doctor and metrics.
CREATE VIEW reeve.event_status WITH (security_barrier) AS
SELECT s.types, s.audit, s.keep, s.expired,
  (SELECT count(*) FROM (SELECT FROM reeve.event e LIMIT 100000) n) AS waiting,
  (SELECT e.at FROM reeve.event e ORDER BY e.id LIMIT 1) AS oldest_at,
  (SELECT count(*) FROM reeve.event_block) AS blocked_tenants,
  (SELECT b.reason FROM reeve.event_block b ORDER BY b.since LIMIT 1) AS block_reason,
  (SELECT t.lease_until > reeve.clock() FROM reeve.relay_turn t WHERE t.task = 'events') IS TRUE AS relayed,
  (SELECT t.problem FROM reeve.relay_turn t WHERE t.task = 'events') AS problem,
  (SELECT count(*) FROM reeve.audit_head h LEFT JOIN reeve.audit_sent a ON a.chain = h.chain WHERE h.seq > coalesce(a.seq, 0)) AS audit_chains_behind,
  coalesce((SELECT t.problem FROM reeve.relay_turn t WHERE t.task = 'audit'),
    (SELECT a.problem FROM reeve.audit_sent a WHERE a.problem IS NOT NULL ORDER BY a.problem_since LIMIT 1)) AS audit_problem
FROM reeve.event_setting s;
COMMENT ON VIEW reeve.event_status IS 'Which events are sent, how many wait, and what keeps them.';

GRANT SELECT ON reeve.event_status TO reeve_viewer, reeve_operator, reeve_worker;
GRANT EXECUTE ON FUNCTION reeve.event_types() TO reeve_operator, reeve_worker, reeve_viewer;
GRANT EXECUTE ON FUNCTION reeve.set_events(text[], boolean, interval, text) TO reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.relay_wanted(text), reeve.hold_turn(text, uuid, interval), reeve.note_turn(text, uuid, text), reeve.read_events(uuid, int), reeve.settle_events(uuid, bigint[], jsonb), reeve.tend_events(int),
  reeve.read_audit(uuid, int, int), reeve.settle_audit(uuid, jsonb, jsonb) TO reeve_worker;
