-- What ops on call use: blocks by tier, kind, node, worker and tenant beside those by queue, estimates of when what runs ends and what
-- waits starts, the story of a job, dead letters by cause, and redriving them at a limited rate.

-- Blocks of claims that are no queue's. `isolate` is a tenant's emergency, which only release_isolation() lifts.
CREATE TABLE reeve.claim_block (
  scope text NOT NULL CHECK (scope IN ('tenant', 'tier', 'kind', 'node', 'worker')),
  name text COLLATE "C" NOT NULL CHECK (name ~ '^[A-Za-z0-9*][A-Za-z0-9._*-]{0,252}$'),
  like_pattern text NOT NULL GENERATED ALWAYS AS (replace(replace(name, '_', '\_'), '*', '%')) STORED,
  id bigint NOT NULL UNIQUE DEFAULT nextval('reeve.queue_block_id_seq'),       -- one numbering with queue_block
  mode text NOT NULL CHECK (mode IN ('pause', 'drain', 'isolate')),
  reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 2000),
  actor text NOT NULL DEFAULT reeve.actor(),
  since timestamptz NOT NULL DEFAULT reeve.clock(),
  refuse boolean NOT NULL DEFAULT false,
  expires_at timestamptz,
  done_at timestamptz,                                   -- when nothing ran any more
  pause jsonb,                                           -- the pause that a drain took over and gives back when it expires
  PRIMARY KEY (scope, name),
  CHECK ((mode = 'isolate') = (scope = 'tenant')),
  CHECK (mode = 'drain' OR NOT (expires_at IS NOT NULL OR done_at IS NOT NULL OR pause IS NOT NULL)),
  CHECK (NOT refuse OR mode = 'isolate' OR (mode = 'drain' AND scope IN ('tier', 'kind')))
);

CREATE TABLE reeve.tenant_isolation (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES reeve.tenant (id),
  reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 2000),
  actor text NOT NULL DEFAULT reeve.actor(),
  since timestamptz NOT NULL DEFAULT reeve.clock(),
  cancelled bigint[] NOT NULL DEFAULT '{}',              -- jobs that ran and were asked to stop: retried by the release
  logins jsonb NOT NULL DEFAULT '[]',                    -- what became of the tenant's logins: server, login, state, error
  released_at timestamptz,
  released_by text,
  release_reason text
);
CREATE UNIQUE INDEX tenant_isolation_open ON reeve.tenant_isolation (tenant_id) WHERE released_at IS NULL;

-- Attempts that did not succeed: what the story of a job is told from. Successes are the history's own row.
CREATE TABLE reeve.job_attempt (
  job_id bigint NOT NULL,
  lease_id uuid NOT NULL,
  tenant_id uuid NOT NULL,
  attempt int NOT NULL,
  worker_id uuid,
  node text,
  started_at timestamptz,
  ended_at timestamptz NOT NULL DEFAULT reeve.clock(),
  outcome text CHECK (outcome IN ('retried', 'rescued', 'dead')),       -- NULL: has not ended, only its log has come
  error text,
  message text,                                          -- the last lines of its log
  PRIMARY KEY (job_id, lease_id)
);
CREATE INDEX job_attempt_ended ON reeve.job_attempt (ended_at);
CREATE INDEX job_attempt_tenant ON reeve.job_attempt (tenant_id);

-- How long the last attempts that succeeded took, in seconds, newest first: at most 20 for a kind, and for a tenant's kind those of a second or more.
CREATE TABLE reeve.kind_pace (kind text PRIMARY KEY, seconds float8[] NOT NULL, updated_at timestamptz NOT NULL DEFAULT reeve.clock()) WITH (fillfactor = 70);
CREATE TABLE reeve.tenant_pace (
  tenant_id uuid NOT NULL,
  kind text NOT NULL,
  seconds float8[] NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT reeve.clock(),
  PRIMARY KEY (tenant_id, kind)
) WITH (fillfactor = 70);
-- Up to where the history was read for them.
CREATE TABLE reeve.pace_position (place text PRIMARY KEY, block bigint NOT NULL, finished_at timestamptz NOT NULL);
INSERT INTO reeve.pace_position VALUES ('', 0, '-infinity');

-- Jobs that a claim found under a block of their kind.
CREATE INDEX job_parked ON reeve.job (kind, id) WHERE state = 'scheduled' AND hold_reason = 'kind_paused';

-- Targets

-- What a target names: a queue pattern (acme.reports, acme.*, *.backups), or tenant:CODE, tier:NAME, kind:NAME, node:NAME, worker:ID; names of
-- tiers, kinds and nodes may hold *. Scope `queue` for patterns, tenant:acme being acme.*.
CREATE FUNCTION reeve.block_target(p_target text, OUT scope text, OUT name text) LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  IF p_target !~ '^(tenant|tier|kind|node|worker):' THEN
    PERFORM reeve.check_pattern(p_target);
    scope := 'queue';
    name := p_target;
    RETURN;
  END IF;
  scope := split_part(p_target, ':', 1);
  name := substr(p_target, length(scope) + 2);
  IF scope = 'tenant' THEN
    IF NOT EXISTS (SELECT FROM reeve.tenant t WHERE t.code = name COLLATE "C") THEN
      RAISE EXCEPTION 'tenant "%" is unknown', left(name, 80) USING ERRCODE = 'RV001';
    END IF;
    scope := 'queue';
    name := name || '.*';
  ELSIF name !~ '^[A-Za-z0-9*][A-Za-z0-9._*-]{0,252}$' THEN
    RAISE EXCEPTION '"%" is no name of a %', left(name, 120), scope USING ERRCODE = 'RV010', HINT = 'Letters, digits, . _ - and * for any.';
  ELSIF scope = 'tier' AND name !~ '\*' AND NOT EXISTS (SELECT FROM reeve.tier r WHERE r.name = block_target.name) THEN
    RAISE EXCEPTION 'tier "%" is unknown', left(name, 80) USING ERRCODE = 'RV010', HINT = 'Tiers: ' || (SELECT string_agg(r.name, ', ' ORDER BY r.concurrency) FROM reeve.tier r);
  ELSIF scope = 'kind' AND name !~ '\*' AND NOT EXISTS (SELECT FROM reeve.kind k WHERE k.name = block_target.name) THEN
    RAISE EXCEPTION 'kind "%" is not registered', left(name, 80) USING ERRCODE = 'RV004';
  ELSIF scope = 'worker' AND NOT EXISTS (SELECT FROM reeve.worker w WHERE w.id::text = block_target.name AND w.state IN ('alive', 'stopping')) THEN
    RAISE EXCEPTION 'worker "%" is not running', left(name, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve worker list';
  END IF;
END $$;

-- Every block there is. `target` is what resume() takes, except for an isolation.
CREATE VIEW reeve.block_list WITH (security_barrier) AS
  SELECT b.id, 'queue'::text AS scope, b.pattern AS target, b.mode, b.reason, b.actor, b.since, b.refuse, b.expires_at, b.done_at FROM reeve.queue_block b
  UNION ALL
  SELECT b.id, b.scope, b.scope || ':' || b.name, b.mode, b.reason, b.actor, b.since, b.refuse, b.expires_at, b.done_at FROM reeve.claim_block b;

CREATE VIEW reeve.isolation_list WITH (security_barrier) AS
  SELECT i.id, t.code AS tenant_code, i.reason, i.actor, i.since, cardinality(i.cancelled) AS cancelled, i.logins, i.released_at, i.released_by, i.release_reason
  FROM reeve.tenant_isolation i JOIN reeve.tenant t ON t.id = i.tenant_id;
DO $$ BEGIN
  IF current_setting('server_version_num')::int >= 150000 THEN
    ALTER VIEW reeve.block_list SET (security_invoker = true);
    ALTER VIEW reeve.isolation_list SET (security_invoker = true);
  END IF;
END $$;

-- Whether a worker takes no jobs: its own block or one of its node.
CREATE FUNCTION reeve.is_quiet(p_worker uuid, p_node text) RETURNS boolean LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT EXISTS (SELECT FROM reeve.claim_block b WHERE (b.scope = 'worker' AND b.name = p_worker::text) OR (b.scope = 'node' AND p_node LIKE b.like_pattern))
$$;

CREATE OR REPLACE VIEW reeve.worker_list WITH (security_barrier) AS
  SELECT w.id, w.node, w.pid, w.version, w.region, w.pools, w.queues, w.state, w.started_at, w.lease_until, w.ended_at,
         (SELECT count(*) FROM reeve.job j WHERE j.worker_id = w.id AND j.state = 'running') AS running,
         EXISTS (SELECT FROM reeve.claim_block b WHERE (b.scope = 'worker' AND b.name = w.id::text) OR (b.scope = 'node' AND w.node LIKE b.like_pattern)) AS quiet
  FROM reeve.worker w;

-- The running jobs that a block covers.
CREATE FUNCTION reeve.block_running(p_scope text, p_like text) RETURNS TABLE (id bigint, tenant_id uuid, kind text, started_at timestamptz, progress jsonb)
LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT j.id, j.tenant_id, j.kind, j.started_at, j.progress FROM reeve.job j LEFT JOIN reeve.worker w ON w.id = j.worker_id
  WHERE j.state = 'running' AND CASE p_scope WHEN 'queue' THEN j.queue LIKE p_like WHEN 'tenant' THEN j.queue LIKE p_like || '.%' WHEN 'tier' THEN j.pool LIKE p_like
    WHEN 'kind' THEN j.kind LIKE p_like WHEN 'node' THEN w.node LIKE p_like ELSE j.worker_id::text = p_like END
$$;

-- Estimates

-- The middle of those durations that are longer than what has passed, less what has passed; NULL when there is none: longer than ever before.
CREATE FUNCTION reeve.expected_rest(p_seconds float8[], p_passed float8) RETURNS float8 LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS $$
  SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY s) - p_passed FROM unnest(p_seconds) s WHERE s > p_passed
$$;

-- For how many seconds a running attempt will probably go on, and from what that is known: `progress` (its own reports since the first
-- of this unit) or `history` (this tenant's attempts of the kind, else everybody's). Both NULL when nothing is known.
CREATE FUNCTION reeve.remaining(p_kind text, p_tenant uuid, p_started timestamptz, p_progress jsonb, OUT seconds float8, OUT basis text)
LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
DECLARE v_now timestamptz := reeve.clock(); v_done float8; v_total float8; v_from float8; v_passed float8; v_since float8;
BEGIN
  v_passed := greatest(extract(epoch FROM v_now - p_started), 0);
  IF jsonb_typeof(p_progress -> 'done') = 'number' AND jsonb_typeof(p_progress -> 'total') = 'number' THEN
    v_done := (p_progress ->> 'done')::float8;
    v_total := (p_progress ->> 'total')::float8;
    v_from := coalesce((p_progress #>> '{began,done}')::float8, 0);
    v_since := extract(epoch FROM v_now - (p_progress #>> '{began,at}')::timestamptz);
    IF v_total > 0 AND v_done >= v_total THEN
      seconds := 0;
    ELSIF v_total > 0 AND v_done > v_from AND v_since > 0 THEN
      seconds := (v_total - v_done) * v_since / (v_done - v_from);
    ELSIF v_total > 0 AND v_done > 0 AND v_passed > 0 THEN
      seconds := (v_total - v_done) * v_passed / v_done;
    END IF;
    IF seconds IS NOT NULL THEN
      basis := 'progress';
      RETURN;
    END IF;
  END IF;
  seconds := coalesce((SELECT reeve.expected_rest(p.seconds, v_passed) FROM reeve.tenant_pace p WHERE p.tenant_id = p_tenant AND p.kind = p_kind),
                      (SELECT reeve.expected_rest(p.seconds, v_passed) FROM reeve.kind_pace p WHERE p.kind = p_kind));
  basis := CASE WHEN seconds IS NOT NULL THEN 'history' END;
END $$;

-- How long an attempt of this kind usually takes for this tenant, in seconds; NULL when nothing is known.
CREATE FUNCTION reeve.usual_seconds(p_kind text, p_tenant uuid) RETURNS float8 LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT coalesce((SELECT reeve.expected_rest(p.seconds, 0) FROM reeve.tenant_pace p WHERE p.tenant_id = p_tenant AND p.kind = p_kind),
                  (SELECT reeve.expected_rest(p.seconds, 0) FROM reeve.kind_pace p WHERE p.kind = p_kind))
$$;

-- When all of these running jobs will have ended: `eta_at` when something is known of each; `eta_known_at` for those of which something is;
-- `latest_at` by their time limits, after which an attempt is stopped whatever it does.
CREATE FUNCTION reeve.running_eta(p_scope text, p_like text) RETURNS jsonb LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT jsonb_build_object('running', count(*), 'eta_unknown', count(*) FILTER (WHERE e.seconds IS NULL),
    'eta_seconds', CASE WHEN count(*) = count(e.seconds) THEN round(max(e.seconds)::numeric, 1) END,
    'eta_at', CASE WHEN count(*) = count(e.seconds) THEN max(n.now + e.seconds * interval '1 s') END,
    'eta_known_at', max(n.now + e.seconds * interval '1 s'), 'latest_at', max(r.started_at + k.time_limit),
    'oldest_started_at', min(r.started_at), 'jobs', coalesce((array_to_json((array_agg(r.id ORDER BY r.started_at, r.id))[1:20]))::jsonb, '[]'))
  FROM reeve.block_running(p_scope, p_like) r CROSS JOIN (SELECT reeve.clock() AS now) n
  CROSS JOIN LATERAL reeve.remaining(r.kind, r.tenant_id, r.started_at, r.progress) e LEFT JOIN reeve.kind k ON k.name = r.kind
$$;

-- As before, and marks when it was said and since when and from where this unit has been counted: what estimates are made from.
CREATE OR REPLACE FUNCTION reeve.record_progress(p_id bigint, p_lease uuid, p_progress jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_now jsonb := to_jsonb(reeve.clock());
BEGIN
  UPDATE reeve.job j SET progress = p_progress || jsonb_build_object('at', v_now, 'began',
    CASE WHEN j.progress ? 'began' AND j.progress -> 'unit' IS NOT DISTINCT FROM p_progress -> 'unit' AND j.progress -> 'done' <= p_progress -> 'done'
         THEN j.progress -> 'began' ELSE jsonb_build_object('at', v_now, 'done', p_progress -> 'done') END)
  WHERE j.id = p_id AND j.state = 'running' AND j.lease_id = p_lease;
  RETURN FOUND;
END $$;

-- Housekeeping: reads what the history's newest partition got since the last time, by its pages and at most p_pages of them: no index is
-- needed, and a busy fleet is sampled. Returns how many attempts it took in.
CREATE FUNCTION reeve.tend_paces(p_pages int DEFAULT 200) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET timezone = 'UTC' SET jit = off AS $$
DECLARE
  v record; v_place text; v_end bigint; v_from bigint; v_first tid; v_last tid; v_upto timestamptz;
  v_kinds text[]; v_tenants uuid[]; v_seconds float8[]; v_ended timestamptz[];
BEGIN
  SELECT p.* INTO v FROM reeve.pace_position p FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN RETURN 0; END IF;
  v_place := 'job_history_' || to_char(reeve.clock(), 'YYYYMMDD');
  IF to_regclass('reeve.' || v_place) IS NULL THEN v_place := 'job_history_default'; END IF;
  v_end := pg_relation_size(to_regclass('reeve.' || v_place)) / current_setting('block_size')::int;
  -- The last page may have been filled since: it is read again, and what was seen is known by its time.
  v_from := greatest(CASE WHEN v.place = v_place THEN least(v.block, v_end) - 1 ELSE 0 END, v_end - p_pages, 0);
  v_first := format('(%s,0)', v_from)::tid;
  v_last := format('(%s,0)', v_end)::tid;
  EXECUTE format('SELECT array_agg(h.kind), array_agg(h.tenant_id), array_agg(extract(epoch FROM h.finished_at - h.started_at)::float8), array_agg(h.finished_at), max(h.finished_at)
    FROM reeve.%I h WHERE h.ctid >= $1 AND h.ctid < $2 AND h.state = ''succeeded'' AND h.finished_at > $3 AND h.started_at <= h.finished_at', v_place)
  INTO v_kinds, v_tenants, v_seconds, v_ended, v_upto
  USING v_first, v_last, CASE WHEN v.place = v_place THEN v.finished_at ELSE '-infinity' END;
  IF v_kinds IS NOT NULL THEN
    INSERT INTO reeve.kind_pace AS p (kind, seconds)
    SELECT a.kind, (array_agg(a.seconds ORDER BY a.ended DESC))[1:20] FROM unnest(v_kinds, v_seconds, v_ended) AS a (kind, seconds, ended) GROUP BY 1 ORDER BY 1
    ON CONFLICT (kind) DO UPDATE SET seconds = (excluded.seconds || p.seconds)[1:20], updated_at = excluded.updated_at;
    INSERT INTO reeve.tenant_pace AS p (tenant_id, kind, seconds)
    SELECT a.tenant_id, a.kind, (array_agg(a.seconds ORDER BY a.ended DESC))[1:20]
    FROM unnest(v_kinds, v_tenants, v_seconds, v_ended) AS a (kind, tenant_id, seconds, ended) JOIN reeve.tenant t ON t.id = a.tenant_id
    WHERE a.seconds >= 1 AND a.kind <> 'purge' AND t.status <> 'archived' GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (tenant_id, kind) DO UPDATE SET seconds = (excluded.seconds || p.seconds)[1:20], updated_at = excluded.updated_at;
  END IF;
  UPDATE reeve.pace_position p SET place = v_place, block = v_end, finished_at = coalesce(v_upto, p.finished_at)
  WHERE (p.place, p.block, p.finished_at) IS DISTINCT FROM (v_place, v_end, coalesce(v_upto, p.finished_at));
  RETURN coalesce(cardinality(v_kinds), 0);
END $$;

-- Pause, drain, resume

-- As before, for any target: what is no queue's has a block of its own.
CREATE OR REPLACE FUNCTION reeve.pause(pattern text, reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_scope text; v_name text;
BEGIN
  SELECT t.scope, t.name INTO v_scope, v_name FROM reeve.block_target(pattern) t;
  IF reason IS NULL OR btrim(reason) = '' THEN RAISE EXCEPTION 'a pause needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why, for those who find the queue standing.'; END IF;
  IF v_scope = 'queue' THEN
    INSERT INTO reeve.queue_block AS b (pattern, mode, reason) VALUES (v_name, 'pause', reason)
    ON CONFLICT ON CONSTRAINT queue_block_pkey DO UPDATE SET reason = excluded.reason, actor = excluded.actor, since = excluded.since WHERE b.mode = 'pause';
  ELSE
    INSERT INTO reeve.claim_block AS b (scope, name, mode, reason) VALUES (v_scope, v_name, 'pause', reason)
    ON CONFLICT ON CONSTRAINT claim_block_pkey DO UPDATE SET reason = excluded.reason, actor = excluded.actor, since = excluded.since WHERE b.mode = 'pause';
  END IF;
  IF NOT FOUND THEN RAISE EXCEPTION '"%" is draining', pattern USING ERRCODE = 'RV012', HINT = 'Resume it first.'; END IF;
  PERFORM reeve.block_begins(v_scope, v_name);
  PERFORM reeve.audit(reeve.block_tenant(v_scope, v_name), 'queue.pause', reeve.block_object(v_scope, v_name), reason);
END $$;

-- Waits for the claims in flight that this block concerns, by their counters: once the caller commits nothing more starts under it.
CREATE FUNCTION reeve.block_begins(p_scope text, p_name text) RETURNS void LANGUAGE sql VOLATILE SET search_path = reeve, pg_temp AS $$
  SELECT reeve.touch_counters(CASE p_scope WHEN 'queue' THEN p_name WHEN 'tenant' THEN p_name || '.*' ELSE '*.*' END)
$$;

-- Whose audit a block belongs to; NULL: the fleet's.
CREATE FUNCTION reeve.block_tenant(p_scope text, p_name text) RETURNS uuid LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT t.id FROM reeve.tenant t WHERE p_scope IN ('queue', 'tenant') AND t.code = split_part(p_name, '.', 1) COLLATE "C"
$$;

CREATE FUNCTION reeve.block_object(p_scope text, p_name text) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS $$ SELECT p_scope || ' ' || p_name $$;

-- As before, for any target. New jobs can be refused for queues, tiers and kinds: nobody enqueues for a node.
CREATE OR REPLACE FUNCTION reeve.drain(pattern text, reason text, refuse boolean DEFAULT false, expires interval DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_id bigint; v_now timestamptz := reeve.clock(); v_scope text; v_name text;
BEGIN
  SELECT t.scope, t.name INTO v_scope, v_name FROM reeve.block_target(pattern) t;
  IF reason IS NULL OR btrim(reason) = '' THEN RAISE EXCEPTION 'a drain needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why, for those who find the queue standing.'; END IF;
  IF expires <= interval '0' THEN RAISE EXCEPTION 'a drain must expire later than now' USING ERRCODE = 'RV010'; END IF;
  IF refuse AND v_scope IN ('node', 'worker') THEN
    RAISE EXCEPTION 'a % cannot refuse new jobs', v_scope USING ERRCODE = 'RV010', HINT = 'New jobs go to other workers; refuse them by queue, tenant, tier or kind.';
  END IF;
  IF v_scope = 'queue' THEN
    INSERT INTO reeve.queue_block AS b (pattern, mode, reason, refuse, expires_at) VALUES (v_name, 'drain', reason, coalesce(refuse, false), v_now + expires)
    ON CONFLICT ON CONSTRAINT queue_block_pkey DO UPDATE SET mode = 'drain', reason = excluded.reason, actor = excluded.actor, since = excluded.since,
      refuse = excluded.refuse, expires_at = excluded.expires_at, done_at = NULL,
      pause = CASE WHEN b.mode = 'pause' THEN jsonb_build_object('reason', b.reason, 'actor', b.actor, 'since', b.since) ELSE b.pause END
    RETURNING b.id INTO v_id;
  ELSE
    INSERT INTO reeve.claim_block AS b (scope, name, mode, reason, refuse, expires_at) VALUES (v_scope, v_name, 'drain', reason, coalesce(refuse, false), v_now + expires)
    ON CONFLICT ON CONSTRAINT claim_block_pkey DO UPDATE SET mode = 'drain', reason = excluded.reason, actor = excluded.actor, since = excluded.since,
      refuse = excluded.refuse, expires_at = excluded.expires_at, done_at = NULL,
      pause = CASE WHEN b.mode = 'pause' THEN jsonb_build_object('reason', b.reason, 'actor', b.actor, 'since', b.since) ELSE b.pause END
    RETURNING b.id INTO v_id;
  END IF;
  PERFORM reeve.block_begins(v_scope, v_name);
  PERFORM reeve.audit(reeve.block_tenant(v_scope, v_name), 'queue.drain', reeve.block_object(v_scope, v_name), reason,
    jsonb_build_object('drain', v_id, 'refuse', coalesce(refuse, false), 'expires_at', v_now + expires));
  RETURN v_id;
END $$;

-- As before, for any target.
CREATE OR REPLACE FUNCTION reeve.resume(pattern text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_scope text; v_name text;
BEGIN
  IF pattern ~ '^(tier|kind|node|worker):' THEN                       -- also of what is no longer there
    v_scope := split_part(pattern, ':', 1);
    v_name := substr(pattern, length(v_scope) + 2);
  ELSE
    SELECT t.scope, t.name INTO v_scope, v_name FROM reeve.block_target(pattern) t;
  END IF;
  IF v_scope = 'queue' THEN
    DELETE FROM reeve.queue_block b WHERE b.pattern = v_name;
  ELSE
    DELETE FROM reeve.claim_block b WHERE b.scope = v_scope AND b.name = v_name AND b.mode <> 'isolate';
  END IF;
  IF NOT FOUND THEN
    RAISE EXCEPTION '"%" is not paused', pattern USING ERRCODE = 'RV011',
      HINT = coalesce('Paused: ' || (SELECT string_agg(b.target, ', ' ORDER BY b.target) FROM reeve.block_list b WHERE b.mode <> 'isolate'), 'Nothing is paused.');
  END IF;
  PERFORM reeve.block_begins(v_scope, v_name);
  PERFORM reeve.audit(reeve.block_tenant(v_scope, v_name), 'queue.resume', reeve.block_object(v_scope, v_name));
  PERFORM reeve.release_parked(1000);
  PERFORM reeve.wake(ARRAY(SELECT DISTINCT i.pool FROM reeve.idle_pool i));
END $$;

-- Lets jobs go that claims had parked and whose kind is paused no more. Returns how many.
CREATE FUNCTION reeve.release_parked(p_limit int) RETURNS int LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v_count int;
BEGIN
  WITH RECURSIVE kinds AS (
    (SELECT j.kind FROM reeve.job j WHERE j.state = 'scheduled' AND j.hold_reason = 'kind_paused' ORDER BY j.kind LIMIT 1)
    UNION ALL
    SELECT n.kind FROM kinds k CROSS JOIN LATERAL (SELECT j.kind FROM reeve.job j WHERE j.state = 'scheduled' AND j.hold_reason = 'kind_paused' AND j.kind > k.kind
                                                   ORDER BY j.kind LIMIT 1) n),
  free AS MATERIALIZED (
    SELECT f.id FROM kinds k CROSS JOIN LATERAL (SELECT j.id FROM reeve.job j WHERE j.state = 'scheduled' AND j.hold_reason = 'kind_paused' AND j.kind = k.kind
      ORDER BY j.id LIMIT p_limit FOR UPDATE SKIP LOCKED) f
    WHERE NOT EXISTS (SELECT FROM reeve.claim_block b WHERE b.scope = 'kind' AND k.kind LIKE b.like_pattern) LIMIT p_limit)
  UPDATE reeve.job j SET run_at = reeve.clock() FROM free f WHERE j.id = f.id AND j.run_at = 'infinity';
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

-- What still runs under a block and until when, and why it is there; NULL when there is none with this id. Changes nothing.
CREATE FUNCTION reeve.block_progress(p_id bigint) RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT reeve.running_eta(b.scope, b.like_pattern) || jsonb_build_object('id', b.id, 'scope', b.scope, 'name', b.name, 'pattern', b.target, 'mode', b.mode, 'refuse', b.refuse, 'since', b.since,
    'expires_at', b.expires_at, 'done_at', b.done_at, 'actor', b.actor, 'reason', b.reason)
  FROM (SELECT q.id, 'queue' AS scope, q.pattern AS name, q.pattern AS target, q.like_pattern, q.mode, q.refuse, q.since, q.expires_at, q.done_at, q.actor, q.reason FROM reeve.queue_block q
        UNION ALL
        SELECT c.id, c.scope, c.name, c.scope || ':' || c.name, c.like_pattern, c.mode, c.refuse, c.since, c.expires_at, c.done_at, c.actor, c.reason FROM reeve.claim_block c) b
  WHERE b.id = p_id
$$;

-- How far a drain is, without what waits: draining, drained (nothing runs; still blocking) or ended (resumed or expired). Marks the moment at
-- which nothing ran any more, once, with a notification on channel reeve_drain.
CREATE FUNCTION reeve.drain_progress(p_id bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v jsonb := reeve.block_progress(p_id); v_done timestamptz; v_is_done boolean := v -> 'running' = '0';
BEGIN
  IF v IS NULL OR v ->> 'mode' <> 'drain' THEN RETURN jsonb_build_object('id', p_id, 'state', 'ended'); END IF;
  IF v_is_done AND v ->> 'done_at' IS NULL THEN
    IF v ->> 'scope' = 'queue' THEN
      UPDATE reeve.queue_block b SET done_at = reeve.clock() WHERE b.id = p_id AND b.done_at IS NULL AND b.mode = 'drain' RETURNING b.done_at INTO v_done;
    ELSE
      UPDATE reeve.claim_block b SET done_at = reeve.clock() WHERE b.id = p_id AND b.done_at IS NULL AND b.mode = 'drain' RETURNING b.done_at INTO v_done;
    END IF;
    IF v_done IS NOT NULL THEN
      v := v || jsonb_build_object('done_at', v_done);
      PERFORM pg_notify('reeve_drain', p_id::text);
      PERFORM reeve.audit(reeve.block_tenant(v ->> 'scope', v ->> 'name'), 'queue.drained', reeve.block_object(v ->> 'scope', v ->> 'name'), v ->> 'reason',
        jsonb_build_object('drain', p_id), (v ->> 'since')::timestamptz);
    END IF;
  END IF;
  RETURN v || jsonb_build_object('state', CASE WHEN v_is_done THEN 'drained' ELSE 'draining' END);
END $$;

-- As before, with an estimate of when it is done: eta_at, or NULL as long as of some job nothing is known (eta_unknown says of how many). Counts what
-- waits, up to 10,000; NULL for nodes and workers, whose work others take.
CREATE OR REPLACE FUNCTION reeve.drain_status(id bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v jsonb := reeve.drain_progress(id); v_like text; v_waiting bigint;
BEGIN
  IF v ->> 'state' = 'ended' THEN RETURN v; END IF;
  v_like := replace(replace(v ->> 'name', '_', '\_'), '*', '%');
  CASE v ->> 'scope'
    WHEN 'queue' THEN SELECT count(*) INTO v_waiting FROM (SELECT FROM reeve.job j WHERE j.state <> 'running' AND j.queue LIKE v_like LIMIT 10000) n;
    WHEN 'tier' THEN SELECT count(*) INTO v_waiting FROM (SELECT FROM reeve.job j WHERE j.state <> 'running' AND j.pool LIKE v_like LIMIT 10000) n;
    WHEN 'kind' THEN SELECT count(*) INTO v_waiting FROM (SELECT FROM reeve.job j WHERE j.state <> 'running' AND j.kind LIKE v_like LIMIT 10000) n;
    ELSE NULL;
  END CASE;
  RETURN v || jsonb_build_object('waiting', v_waiting, 'waiting_is_exact', v_waiting < 10000);
END $$;

-- As before, for any target; parks nothing for longer than its kind is paused, and forgets blocks of workers that ended.
CREATE OR REPLACE FUNCTION reeve.tend_drains() RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_count int := reeve.tend_restores();
BEGIN
  FOR v IN SELECT b.id, b.pattern, b.expires_at <= reeve.clock() AS is_over FROM reeve.queue_block b
      WHERE b.mode = 'drain' AND (b.done_at IS NULL OR b.expires_at <= reeve.clock()) ORDER BY b.pattern FOR UPDATE SKIP LOCKED LOOP
    IF v.is_over THEN
      DELETE FROM reeve.queue_block b WHERE b.id = v.id AND b.pause IS NULL;
      UPDATE reeve.queue_block b SET mode = 'pause', refuse = false, expires_at = NULL, done_at = NULL, reason = b.pause ->> 'reason',
        actor = b.pause ->> 'actor', since = (b.pause ->> 'since')::timestamptz, pause = NULL WHERE b.id = v.id;
      PERFORM reeve.audit(reeve.block_tenant('queue', v.pattern), 'queue.drain_expired', reeve.block_object('queue', v.pattern), NULL, jsonb_build_object('drain', v.id));
      PERFORM reeve.wake(ARRAY(SELECT DISTINCT i.pool FROM reeve.idle_pool i));
      v_count := v_count + 1;
    ELSIF reeve.drain_progress(v.id) ->> 'state' = 'drained' THEN
      v_count := v_count + 1;
    END IF;
  END LOOP;
  FOR v IN SELECT b.id, b.scope, b.name, b.expires_at <= reeve.clock() AS is_over,
        b.scope = 'worker' AND NOT EXISTS (SELECT FROM reeve.worker w WHERE w.id::text = b.name AND w.state IN ('alive', 'stopping')) AS is_gone
      FROM reeve.claim_block b WHERE b.mode = 'drain' OR b.scope = 'worker' ORDER BY b.scope, b.name FOR UPDATE SKIP LOCKED LOOP
    IF v.is_gone OR v.is_over THEN
      IF v.is_gone THEN PERFORM reeve.drain_progress(v.id); END IF;
      DELETE FROM reeve.claim_block b WHERE b.id = v.id AND (b.pause IS NULL OR v.is_gone);
      UPDATE reeve.claim_block b SET mode = 'pause', refuse = false, expires_at = NULL, done_at = NULL, reason = b.pause ->> 'reason',
        actor = b.pause ->> 'actor', since = (b.pause ->> 'since')::timestamptz, pause = NULL WHERE b.id = v.id;
      IF NOT v.is_gone THEN
        PERFORM reeve.audit(NULL, 'queue.drain_expired', reeve.block_object(v.scope, v.name), NULL, jsonb_build_object('drain', v.id));
        PERFORM reeve.wake(ARRAY(SELECT DISTINCT i.pool FROM reeve.idle_pool i));
      END IF;
      v_count := v_count + 1;
    ELSIF (SELECT b.done_at IS NULL FROM reeve.claim_block b WHERE b.id = v.id) AND reeve.drain_progress(v.id) ->> 'state' = 'drained' THEN
      v_count := v_count + 1;
    END IF;
  END LOOP;
  RETURN v_count + reeve.release_parked(1000);
END $$;

-- The claim

-- As before, and not of a tenant that is isolated.
CREATE OR REPLACE FUNCTION reeve.lane_is_open(p_pool text, p_tenant uuid, p_queues text[]) RETURNS boolean
LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  WITH RECURSIVE q AS (
    (SELECT j.queue FROM reeve.job j WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = p_tenant ORDER BY j.queue LIMIT 1)
    UNION ALL
    SELECT n.queue FROM q CROSS JOIN LATERAL (SELECT j.queue FROM reeve.job j
      WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = p_tenant AND j.queue > q.queue ORDER BY j.queue LIMIT 1) n)
  SELECT EXISTS (SELECT FROM q WHERE (p_queues IS NULL OR q.queue LIKE ANY (p_queues))
                   AND NOT EXISTS (SELECT FROM reeve.queue_block b WHERE q.queue LIKE b.like_pattern)
                   AND NOT EXISTS (SELECT FROM reeve.claim_block b WHERE b.scope = 'tenant' AND b.name = split_part(q.queue, '.', 1)))
$$;

-- Whether a block keeps this worker, or all workers from this pool, from claiming.
CREATE FUNCTION reeve.claims_stopped(p_worker uuid, p_node text, p_pool text) RETURNS boolean LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT EXISTS (SELECT FROM reeve.claim_block b WHERE CASE b.scope WHEN 'tier' THEN p_pool LIKE b.like_pattern WHEN 'node' THEN p_node LIKE b.like_pattern
    WHEN 'worker' THEN b.name = p_worker::text ELSE false END)
$$;

-- Holds those of the first p_limit ready jobs of each of these lanes whose kind is paused. The caller holds the tenants' counters. Returns how many.
CREATE FUNCTION reeve.park(p_pool text, p_tenants uuid[], p_kinds text[], p_limit int) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
DECLARE v_count int;
BEGIN
  WITH RECURSIVE lane AS (
    SELECT t.tenant_id, n.queue FROM unnest(p_tenants) AS t (tenant_id) CROSS JOIN LATERAL (SELECT j.queue FROM reeve.job j
      WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = t.tenant_id ORDER BY j.queue LIMIT 1) n
    UNION ALL
    SELECT l.tenant_id, n.queue FROM lane l CROSS JOIN LATERAL (SELECT j.queue FROM reeve.job j
      WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = l.tenant_id AND j.queue > l.queue ORDER BY j.queue LIMIT 1) n),
  head AS MATERIALIZED (
    SELECT h.id FROM lane l CROSS JOIN LATERAL (SELECT j.id, j.kind FROM reeve.job j WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = l.tenant_id
      AND j.queue = l.queue ORDER BY j.priority, j.id LIMIT p_limit) h WHERE h.kind LIKE ANY (p_kinds)),
  mine AS MATERIALIZED (SELECT j.id FROM head h JOIN reeve.job j ON j.id = h.id WHERE j.state = 'available' ORDER BY j.id FOR UPDATE OF j SKIP LOCKED)
  UPDATE reeve.job j SET state = 'scheduled', run_at = 'infinity', hold_reason = 'kind_paused' FROM mine m WHERE j.id = m.id AND j.state = 'available';
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

-- As before, under blocks by tier, kind, node, worker and tenant as well.
CREATE OR REPLACE FUNCTION reeve.claim(p_worker uuid, p_pool text, p_general int, p_reserved int, p_cursor uuid DEFAULT NULL, p_queues text[] DEFAULT NULL)
RETURNS TABLE (id bigint, tenant_id uuid, tenant_version bigint, queue text, kind text, attempt int, first boolean, lease_id uuid,
               args text, traceparent text, next_cursor uuid, stopped_early boolean, suspect boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
  v_lease uuid := gen_random_uuid();
  v_now timestamptz := reeve.clock();
  v_until timestamptz := v_now + interval '10 ms';
  v_want int := p_general + p_reserved;
  v_enough int := least(p_general + p_reserved, 64);                   -- lanes that one claim looks at for jobs
  v_after uuid := coalesce(p_cursor, '00000000-0000-0000-0000-000000000000');
  v_upto uuid := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
  v_patience int := 100;                                               -- tenants that cannot run, before the walk is given up
  v_wrapped boolean := false; v_shut int; v_open uuid[]; v_open_load int[];
  v_filtered boolean; v_free int := 0; v_early boolean := false; v_last uuid; v_next uuid;
  v_lanes uuid[] := '{}'; v_load int[] := '{}'; v_part_lanes uuid[]; v_part_load int[]; v_part_free int;
  v_tenants uuid[]; v_running int[]; v_room int[]; v_share int;
  v_node text; v_narrow boolean; v_kinds text[]; v_parked int;
BEGIN
  IF v_want < 1 THEN RETURN; END IF;
  SELECT w.node INTO v_node FROM reeve.worker w WHERE w.id = p_worker AND w.state IN ('alive', 'stopping') AND w.lease_until > v_now FOR KEY SHARE;
  IF NOT FOUND THEN RAISE EXCEPTION 'worker % is dead or its lease has ended', p_worker USING ERRCODE = '55000'; END IF;
  v_narrow := EXISTS (SELECT FROM reeve.claim_block);
  IF v_narrow AND reeve.claims_stopped(p_worker, v_node, p_pool) THEN RETURN; END IF;
  v_filtered := p_queues IS NOT NULL OR v_narrow OR EXISTS (SELECT FROM reeve.queue_block);

  -- The ring: distinct ready tenants from the cursor, by loose index scan, then from the beginning up to the cursor. It ends when
  -- as many tenants with nothing running are found as there are permits (at most 64): those go before any that has one running.
  LOOP
    WITH RECURSIVE ring AS (
      SELECT n.tenant_id, l.running, l.runnable, (l.runnable AND l.running = 0)::int AS free, (l.runnable IS NOT TRUE)::int AS shut, 1 AS place
      FROM (SELECT j.tenant_id FROM reeve.job j WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id > v_after AND j.tenant_id <= v_upto
            ORDER BY j.tenant_id LIMIT 1) n
      LEFT JOIN LATERAL (SELECT c.running, c.running < c.cap AND (p_general > 0 OR c.running = 0)
          AND (NOT v_filtered OR reeve.lane_is_open(p_pool, n.tenant_id, p_queues)) AS runnable
        FROM reeve.tenant_counter c WHERE c.tenant_id = n.tenant_id) l ON true
      UNION ALL
      SELECT n.tenant_id, l.running, l.runnable, r.free + (l.runnable AND l.running = 0)::int, r.shut + (l.runnable IS NOT TRUE)::int, r.place + 1
      FROM ring r
      CROSS JOIN LATERAL (SELECT j.tenant_id FROM reeve.job j WHERE j.state = 'available' AND j.pool = p_pool
          AND j.tenant_id > r.tenant_id AND j.tenant_id <= v_upto ORDER BY j.tenant_id LIMIT 1) n
      LEFT JOIN LATERAL (SELECT c.running, c.running < c.cap AND (p_general > 0 OR c.running = 0)
          AND (NOT v_filtered OR reeve.lane_is_open(p_pool, n.tenant_id, p_queues)) AS runnable
        FROM reeve.tenant_counter c WHERE c.tenant_id = n.tenant_id) l ON true
      WHERE r.free + v_free < v_enough AND r.shut < v_patience AND reeve.clock() < v_until)
    SELECT coalesce(array_agg(r.tenant_id ORDER BY r.place) FILTER (WHERE r.runnable), '{}'),
           coalesce(array_agg(r.running ORDER BY r.place) FILTER (WHERE r.runnable), '{}'),
           coalesce(max(r.free), 0), coalesce((array_agg(r.tenant_id ORDER BY r.place DESC))[1], v_last), max(r.shut)
    INTO v_part_lanes, v_part_load, v_part_free, v_last, v_shut FROM ring r;
    v_lanes := v_lanes || v_part_lanes;
    v_load := v_load || v_part_load;
    v_free := v_free + v_part_free;
    EXIT WHEN v_free >= v_enough;
    IF v_shut >= v_patience THEN
      SELECT w.tenants, w.running INTO v_open, v_open_load
      FROM reeve.tenants_with_room(coalesce(p_cursor, v_after), p_general = 0, 2000) w;
      IF v_open IS NOT NULL OR v_open_load IS NULL THEN
        -- Whoever has room and work: a full lap.
        SELECT coalesce(array_agg(u.tenant_id ORDER BY u.i), '{}'), coalesce(array_agg(u.running ORDER BY u.i), '{}') INTO v_lanes, v_load
        FROM unnest(v_open, v_open_load) WITH ORDINALITY AS u (tenant_id, running, i)
        CROSS JOIN LATERAL (SELECT FROM reeve.job j WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = u.tenant_id LIMIT 1) j
        WHERE NOT v_filtered OR reeve.lane_is_open(p_pool, u.tenant_id, p_queues);
        v_free := 0;
        EXIT;
      END IF;
      v_patience := 2147483647;
      v_after := v_last;
      CONTINUE;
    END IF;
    v_early := reeve.clock() >= v_until;
    EXIT WHEN v_early OR v_wrapped OR p_cursor IS NULL;
    v_wrapped := true;
    v_upto := p_cursor;
    v_after := '00000000-0000-0000-0000-000000000000';
  END LOOP;

  v_next := v_last;
  IF cardinality(v_lanes) > 0 THEN
    -- The least loaded lanes; in a full lap the next claim starts behind the last of them, so that equals take turns.
    SELECT array_agg(l.tenant_id), CASE WHEN v_free >= v_enough OR v_early THEN v_last ELSE (array_agg(l.tenant_id ORDER BY l.place DESC))[1] END
    INTO v_lanes, v_next
    FROM (SELECT u.tenant_id, u.place FROM unnest(v_lanes, v_load) WITH ORDINALITY AS u (tenant_id, load, place) ORDER BY u.load, u.place LIMIT 64) l;

    SELECT coalesce(array_agg(l.tenant_id), '{}'), array_agg(l.running), array_agg(l.room), ceil(v_want::numeric / greatest(count(*), 1))::int
    INTO v_tenants, v_running, v_room, v_share
    FROM (SELECT c.tenant_id, c.running, c.cap - c.running AS room FROM reeve.tenant_counter c
          WHERE c.tenant_id = ANY (v_lanes) ORDER BY c.tenant_id FOR UPDATE) l
    WHERE l.room > 0;
    v_now := reeve.clock();

    -- Statements of their own, so that they see every pause that was committed before the counters were locked. What is paused by its kind
    -- is parked when a claim comes upon it: once for each job, and nobody has to search for it.
    v_narrow := EXISTS (SELECT FROM reeve.claim_block);
    IF v_narrow THEN
      IF reeve.claims_stopped(p_worker, v_node, p_pool) THEN RETURN; END IF;
      SELECT array_agg(b.like_pattern) INTO v_kinds FROM reeve.claim_block b WHERE b.scope = 'kind';
      IF v_kinds IS NOT NULL THEN v_parked := reeve.park(p_pool, v_tenants, v_kinds, v_want + 100); END IF;
    END IF;
    RETURN QUERY
    WITH RECURSIVE lane AS MATERIALIZED (SELECT r.* FROM unnest(v_tenants, v_running, v_room) AS r (tenant_id, running, room)),
    open_queue AS (
      SELECT l.tenant_id, n.queue, 1 AS i FROM lane l CROSS JOIN LATERAL (SELECT j.queue FROM reeve.job j
        WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = l.tenant_id ORDER BY j.queue LIMIT 1) n
      UNION ALL
      SELECT q.tenant_id, n.queue, q.i + 1 FROM open_queue q CROSS JOIN LATERAL (SELECT j.queue FROM reeve.job j
        WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = q.tenant_id AND j.queue > q.queue ORDER BY j.queue LIMIT 1) n),
    candidate AS (
      SELECT j.id, l.room, l.running, row_number() OVER (PARTITION BY l.tenant_id ORDER BY j.place, q.queue) AS nth
      FROM open_queue q JOIN lane l USING (tenant_id) CROSS JOIN LATERAL (
        SELECT y.id, row_number() OVER () AS place FROM (
          SELECT j.id FROM reeve.job j WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = l.tenant_id AND j.queue = q.queue
            AND (v_kinds IS NULL OR j.kind NOT LIKE ALL (v_kinds))
          ORDER BY j.priority, j.id LIMIT least(l.room, v_share) FOR UPDATE SKIP LOCKED) y) j
      WHERE (p_queues IS NULL OR q.queue LIKE ANY (p_queues))
        AND NOT EXISTS (SELECT FROM reeve.queue_block b WHERE q.queue LIKE b.like_pattern)
        AND (NOT v_narrow OR NOT EXISTS (SELECT FROM reeve.claim_block b WHERE b.scope = 'tenant' AND b.name = split_part(q.queue, '.', 1)))),
    ranked AS (
      SELECT c.id, c.running + c.nth AS rank, row_number() OVER (ORDER BY c.running + c.nth, c.id) AS taken
      FROM candidate c WHERE c.nth <= c.room),
    pick AS MATERIALIZED (SELECT k.id, k.rank FROM ranked k WHERE k.rank = 1 OR k.taken <= p_general ORDER BY k.rank, k.id LIMIT v_want),
    claimed AS (
      UPDATE reeve.job j SET state = 'running', attempt = j.attempt + 1, worker_id = p_worker, lease_id = v_lease, started_at = v_now, progress = NULL
      FROM pick k WHERE j.id = k.id AND j.state = 'available'
      RETURNING j.id, j.tenant_id, j.queue, j.kind, j.attempt, k.rank = 1 AS first, j.args::text AS args, j.traceparent, j.suspect_of IS NOT NULL AS suspect),
    bump AS (
      UPDATE reeve.tenant_counter c SET running = c.running + n.n FROM (SELECT d.tenant_id, count(*)::int AS n FROM claimed d GROUP BY 1) n
      WHERE c.tenant_id = n.tenant_id)
    SELECT d.id, d.tenant_id, t.version, d.queue, d.kind, d.attempt, d.first, v_lease, d.args, d.traceparent, v_next, v_early, d.suspect
    FROM claimed d JOIN reeve.tenant t ON t.id = d.tenant_id;
    IF FOUND THEN RETURN; END IF;
  END IF;
  IF v_early OR v_parked > 0 THEN
    RETURN QUERY SELECT NULL::bigint, NULL::uuid, NULL::bigint, NULL::text, NULL::text, NULL::int, NULL::boolean, NULL::uuid, NULL::text, NULL::text, v_next, true, false;
  END IF;
END $$;

-- Isolation

-- A tenant's emergency: nothing more of it starts, what runs is cancelled, its own logins enqueue nothing more (nobody does when `refuse`). Lasts until
-- release_isolation(). Again: cancels what runs by then. The tenant's logins of its databases are the caller's to revoke: see note_isolation_logins().
CREATE FUNCTION reeve.isolate_tenant(code text, reason text, refuse boolean DEFAULT false) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_tenant uuid; v_id bigint; v_block bigint; v_jobs bigint[];
BEGIN
  IF reason IS NULL OR btrim(reason) = '' THEN RAISE EXCEPTION 'an isolation needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why, for those who find the tenant standing.'; END IF;
  SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.code = isolate_tenant.code COLLATE "C";
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(code, 80) USING ERRCODE = 'RV001'; END IF;
  INSERT INTO reeve.claim_block AS b (scope, name, mode, reason, refuse) VALUES ('tenant', code, 'isolate', reason, coalesce(refuse, false))
  ON CONFLICT ON CONSTRAINT claim_block_pkey DO UPDATE SET refuse = b.refuse OR excluded.refuse RETURNING b.id INTO v_block;
  INSERT INTO reeve.tenant_isolation AS i (tenant_id, reason) VALUES (v_tenant, reason)
  ON CONFLICT (tenant_id) WHERE released_at IS NULL DO UPDATE SET reason = i.reason RETURNING i.id INTO v_id;
  PERFORM reeve.block_begins('tenant', code);
  WITH asked AS (
    INSERT INTO reeve.cancel_request (job_id) SELECT j.id FROM reeve.job j WHERE j.state = 'running' AND j.tenant_id = v_tenant ORDER BY j.id ON CONFLICT DO NOTHING RETURNING job_id)
  SELECT coalesce(array_agg(a.job_id ORDER BY a.job_id), '{}') INTO v_jobs FROM asked a;
  UPDATE reeve.tenant_isolation i SET cancelled = i.cancelled || v_jobs WHERE i.id = v_id;
  PERFORM pg_notify('reeve_cancel', '');
  PERFORM reeve.audit(v_tenant, 'tenant.isolate', 'tenant ' || code, reason, jsonb_build_object('isolation', v_id, 'cancelled', v_jobs, 'refuse', coalesce(refuse, false)));
  RETURN jsonb_build_object('id', v_id, 'block', v_block, 'tenant', code, 'cancelled', v_jobs,
    'running', (SELECT count(*) FROM reeve.job j WHERE j.state = 'running' AND j.tenant_id = v_tenant));
END $$;

-- What became of the tenant's logins, as an array of {server, login, state: revoked or failed, error}: while the isolation lasts.
CREATE FUNCTION reeve.note_isolation_logins(p_id bigint, p_logins jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  UPDATE reeve.tenant_isolation i SET logins = p_logins WHERE i.id = p_id AND i.released_at IS NULL;
  IF NOT FOUND THEN RAISE EXCEPTION 'isolation % has ended', p_id USING ERRCODE = 'RV012'; END IF;
END $$;

-- Ends a tenant's isolation. The jobs that it cancelled run again as new jobs unless p_retry says no; those that have not stopped yet go on. Says how
-- many of each, and which were refused.
CREATE FUNCTION reeve.release_isolation(code text, reason text, p_retry boolean DEFAULT true) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET client_min_messages = warning AS $$
#variable_conflict use_variable
DECLARE v record; v_job bigint; v_new bigint; v_retried bigint[] := '{}'; v_refused jsonb := '[]'; v_kept bigint[];
BEGIN
  SELECT i.id, i.tenant_id, i.cancelled INTO v FROM reeve.tenant t JOIN reeve.tenant_isolation i ON i.tenant_id = t.id AND i.released_at IS NULL
  WHERE t.code = release_isolation.code COLLATE "C" FOR UPDATE OF i;
  IF NOT FOUND THEN
    RAISE EXCEPTION '"%" is not isolated', left(code, 80) USING ERRCODE = 'RV011',
      HINT = coalesce('Isolated: ' || (SELECT string_agg(b.name, ', ' ORDER BY b.name) FROM reeve.claim_block b WHERE b.scope = 'tenant'), 'No tenant is isolated.');
  END IF;
  DELETE FROM reeve.claim_block b WHERE b.scope = 'tenant' AND b.name = code;
  WITH gone AS (DELETE FROM reeve.cancel_request c USING reeve.job j WHERE c.job_id = ANY (v.cancelled) AND j.id = c.job_id RETURNING c.job_id)
  SELECT coalesce(array_agg(g.job_id), '{}') INTO v_kept FROM gone g;
  IF p_retry THEN
    FOR v_job IN SELECT h.id FROM reeve.job_history h WHERE h.id = ANY (v.cancelled) AND h.state = 'cancelled' AND h.tenant_id = v.tenant_id ORDER BY h.id LOOP
      BEGIN
        v_new := reeve.retry(v_job);
        v_retried := v_retried || v_new;
      EXCEPTION WHEN OTHERS THEN
        IF SQLSTATE NOT LIKE 'RV%' THEN RAISE; END IF;
        v_refused := v_refused || jsonb_build_object('id', v_job, 'why', SQLERRM);
      END;
    END LOOP;
  END IF;
  UPDATE reeve.tenant_isolation i SET released_at = reeve.clock(), released_by = reeve.actor(), release_reason = reason WHERE i.id = v.id;
  PERFORM reeve.touch_counters(code || '.*');
  PERFORM reeve.audit(v.tenant_id, 'tenant.release_isolation', 'tenant ' || code, reason,
    jsonb_build_object('isolation', v.id, 'retried', v_retried, 'refused', v_refused, 'going_on', v_kept), (SELECT i.since FROM reeve.tenant_isolation i WHERE i.id = v.id));
  PERFORM reeve.wake(ARRAY(SELECT DISTINCT i.pool FROM reeve.idle_pool i));
  RETURN jsonb_build_object('id', v.id, 'tenant', code, 'retried', v_retried, 'refused', v_refused, 'going_on', v_kept);
END $$;

-- Explain

-- Why a job is not running, as {state, why: [{code, text, until}], likely_at, basis}: the first reason is the one that holds it now. `likely_at`: when it will
-- probably start (one that runs: end); NULL when that depends on people, or nothing is known. Codes: running, ended, isolated, paused, draining,
-- no_worker, quiet, cap, slots, scheduled, retry, suspect, and those of holds.
CREATE FUNCTION reeve.explain_job(id bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  v record; v_tenant record; v_block record; v_count record; v_ahead bigint; v_job jsonb; v_text text; v_until timestamptz; v_now timestamptz := reeve.clock();
  v_why jsonb := '[]'; v_from timestamptz := v_now; v_known boolean := true; v_rest float8; v_basis text; v_each float8; v_served int; v_quiet int; v_slots int; v_taken int; v_end timestamptz;
BEGIN
  SELECT j.* INTO v FROM reeve.job j WHERE j.id = explain_job.id;
  IF NOT FOUND THEN
    v_job := reeve.job(explain_job.id);
    IF v_job IS NULL THEN RAISE EXCEPTION 'there is no job %', explain_job.id USING ERRCODE = 'RV011'; END IF;
    RETURN jsonb_build_object('id', explain_job.id, 'state', v_job -> 'state', 'likely_at', NULL, 'basis', NULL, 'why', jsonb_build_array(jsonb_build_object('code', 'ended', 'text',
      format('job %s %s at %s%s', explain_job.id, CASE v_job ->> 'state' WHEN 'dead' THEN 'died' WHEN 'cancelled' THEN 'was cancelled' ELSE 'succeeded' END,
        v_job ->> 'finished_at', coalesce(': ' || coalesce(v_job ->> 'reason', v_job ->> 'error'), '')))));
  END IF;
  IF NOT reeve.may_see(v.tenant_id, v.created_by) THEN RAISE EXCEPTION 'there is no job %', explain_job.id USING ERRCODE = 'RV011'; END IF;
  SELECT t.code, t.status, t.tier INTO v_tenant FROM reeve.tenant t WHERE t.id = v.tenant_id;
  IF v.state = 'running' THEN
    SELECT r.seconds, r.basis INTO v_rest, v_basis FROM reeve.remaining(v.kind, v.tenant_id, v.started_at, v.progress) r;
    RETURN jsonb_build_object('id', v.id, 'state', v.state, 'likely_at', v_now + v_rest * interval '1 s', 'basis', v_basis,
      'latest_at', v.started_at + (SELECT k.time_limit FROM reeve.kind k WHERE k.name = v.kind), 'why', jsonb_build_array(jsonb_build_object('code', 'running', 'text',
      format('it is running: attempt %s, since %s, on %s', v.attempt, to_char(v.started_at, 'HH24:MI:SS'),
        coalesce((SELECT format('%s (pid %s)', w.node, w.pid) FROM reeve.worker w WHERE w.id = v.worker_id), 'a worker that is gone')))));
  END IF;

  -- What its own row says.
  IF v.hold_reason IS NOT NULL THEN
    v_until := nullif(v.run_at, 'infinity');
    IF v.hold_reason = 'kind_paused' THEN
      -- Told below by the block; without one it is let go within a second.
      NULL;
    ELSE
      IF v.hold_reason = 'circuit_open' THEN
        SELECT format(': database %s on %s does not answer%s', c.database, c.server, CASE WHEN reeve.is_operator() THEN ' (' || c.error || ')' ELSE '' END) INTO v_text
        FROM reeve.tenant_store s JOIN reeve.circuit c ON c.server = s.server AND c.database = s.database WHERE s.tenant_id = v.tenant_id LIMIT 1;
      END IF;
      v_why := v_why || jsonb_build_object('code', v.hold_reason, 'until', v_until, 'text', format('it is held: %s%s%s', replace(v.hold_reason, '_', ' '), coalesce(v_text, ''),
        coalesce(' until ' || to_char(v_until, 'YYYY-MM-DD HH24:MI:SS'), '')));
      v_known := v_until IS NOT NULL;
      v_from := greatest(v_from, v_until);
    END IF;
  ELSIF v.suspect_of IS NOT NULL AND v.state = 'scheduled' THEN
    v_why := v_why || jsonb_build_object('code', 'suspect', 'until', v.run_at, 'text', 'its worker crashed while it ran; such jobs run one at a time in each worker, and it waits for its turn');
    v_from := greatest(v_from, v.run_at);
  ELSIF v.state = 'scheduled' THEN
    v_why := v_why || jsonb_build_object('code', CASE WHEN v.attempt > 0 THEN 'retry' ELSE 'scheduled' END, 'until', v.run_at, 'text',
      format('it is scheduled for %s%s', to_char(v.run_at, 'YYYY-MM-DD HH24:MI:SS'),
        CASE WHEN v.attempt > 0 THEN format(', attempt %s of %s, after: %s', v.attempt + 1, v.max_attempts + v.rescued, coalesce(v.last_error, 'a lost attempt')) ELSE '' END));
    v_from := greatest(v_from, v.run_at);
  END IF;

  -- What stands in the way of all jobs like it, the widest first.
  FOR v_block IN
      SELECT 1 AS rank, b.scope || ':' || b.name AS target, b.mode, b.reason, b.actor, b.expires_at, v_tenant.code || ' is isolated' AS what FROM reeve.claim_block b
      WHERE b.scope = 'tenant' AND b.name = v_tenant.code
      UNION ALL
      SELECT 2, b.pattern, b.mode, b.reason, b.actor, b.expires_at, v.queue || CASE b.mode WHEN 'pause' THEN ' is paused' ELSE ' is draining' END FROM reeve.queue_block b
      WHERE v.queue LIKE b.like_pattern
      UNION ALL
      SELECT 3, b.scope || ':' || b.name, b.mode, b.reason, b.actor, b.expires_at,
        CASE b.scope WHEN 'kind' THEN 'kind ' || v.kind ELSE 'tier ' || v.pool END || CASE b.mode WHEN 'pause' THEN ' is paused' ELSE ' is draining' END FROM reeve.claim_block b
      WHERE (b.scope = 'kind' AND v.kind LIKE b.like_pattern) OR (b.scope = 'tier' AND v.pool LIKE b.like_pattern)
      ORDER BY 1, 2 LIMIT 20 LOOP
    v_why := v_why || jsonb_build_object('code', CASE v_block.mode WHEN 'isolate' THEN 'isolated' WHEN 'pause' THEN 'paused' ELSE 'draining' END, 'until', v_block.expires_at, 'target', v_block.target,
      'text', format('%s by %s (%s): %s%s', v_block.what, v_block.actor, v_block.target, v_block.reason, coalesce('; it ends by itself at ' || to_char(v_block.expires_at, 'YYYY-MM-DD HH24:MI:SS'), '')));
    v_known := v_known AND v_block.expires_at IS NOT NULL;
    v_from := greatest(v_from, v_block.expires_at);
  END LOOP;
  IF v_why = '[]' AND v.hold_reason IS NOT NULL THEN
    v_why := v_why || jsonb_build_object('code', v.hold_reason, 'until', v_now, 'text', 'its kind was paused and is no more: it goes on within a second');
  END IF;

  SELECT count(*), count(*) FILTER (WHERE NOT w.quiet), coalesce(sum(w.slots) FILTER (WHERE NOT w.quiet), 0) INTO v_served, v_quiet, v_slots
  FROM (SELECT (w.pools ->> v.pool)::int AS slots, reeve.is_quiet(w.id, w.node) AS quiet FROM reeve.worker w WHERE w.state = 'alive' AND w.lease_until > v_now AND w.pools ? v.pool
          AND (w.queues IS NULL OR v.queue LIKE ANY (SELECT replace(q, '*', '%') FROM unnest(w.queues) q))) w;
  IF v_served = 0 THEN
    IF NOT EXISTS (SELECT FROM reeve.worker w WHERE w.state = 'alive' AND w.lease_until > v_now AND w.pools ? v.pool) THEN
      v_text := CASE WHEN v.pool = 'restore' THEN 'no restore worker is running; start one with: reeve worker --role restore'
        ELSE format('no running worker serves the tier "%s"; start one with: reeve worker --tiers %s', v.pool, v.pool) END;
    ELSE
      v_text := format('no running worker serves the queue "%s"; start one with: reeve worker --queues %s', v.queue, v.queue);
    END IF;
    v_why := v_why || jsonb_build_object('code', 'no_worker', 'text', v_text);
    v_known := false;
  ELSIF v_quiet = 0 THEN
    v_why := v_why || jsonb_build_object('code', 'quiet', 'text', format('every worker that serves it is quiet: %s',
      (SELECT string_agg(format('%s by %s: %s', b.scope || ':' || b.name, b.actor, b.reason), '; ' ORDER BY b.scope, b.name) FROM reeve.claim_block b WHERE b.scope IN ('node', 'worker'))));
    v_known := false;
  END IF;

  SELECT c.running, c.cap INTO v_count FROM reeve.tenant_counter c WHERE c.tenant_id = v.tenant_id;
  SELECT count(*) INTO v_ahead FROM (SELECT 1 FROM reeve.job j WHERE j.state = 'available' AND j.pool = v.pool AND j.tenant_id = v.tenant_id AND j.queue = v.queue
    AND (j.priority, j.id) < (v.priority, v.id) LIMIT 10000) n;
  SELECT count(*) INTO v_taken FROM reeve.job j WHERE j.state = 'running' AND j.pool = v.pool;
  v_each := reeve.usual_seconds(v.kind, v.tenant_id);
  IF v_count.running >= v_count.cap THEN
    SELECT min(e.seconds) INTO v_rest FROM reeve.job j CROSS JOIN LATERAL reeve.remaining(j.kind, j.tenant_id, j.started_at, j.progress) e WHERE j.state = 'running' AND j.tenant_id = v.tenant_id;
    v_text := format('%s has %s of %s jobs running; the oldest started %s', v_tenant.code, v_count.running, v_count.cap,
      (SELECT to_char(min(j.started_at), 'HH24:MI') FROM reeve.job j WHERE j.state = 'running' AND j.tenant_id = v.tenant_id))
      || CASE WHEN v_ahead > 0 THEN format('; %s jobs of %s are before it', v_ahead, v.queue) ELSE '' END;
    IF v.state = 'available' THEN v_why := v_why || jsonb_build_object('code', 'cap', 'text', v_text); END IF;
  ELSE
    v_rest := CASE WHEN v_taken < v_slots THEN 0 ELSE
      (SELECT min(e.seconds) FROM reeve.job j CROSS JOIN LATERAL reeve.remaining(j.kind, j.tenant_id, j.started_at, j.progress) e WHERE j.state = 'running' AND j.pool = v.pool) END;
    IF v.state = 'available' AND v_why = '[]' THEN
      v_why := v_why || jsonb_build_object('code', 'slots', 'text', format('it waits for a free slot of %s: %s%s jobs of %s are before it, %s has %s of %s running',
        CASE WHEN v.pool = 'restore' THEN 'the restore workers' ELSE format('the tier "%s"', v.pool) END, v_ahead, CASE WHEN v_ahead = 10000 THEN ' or more' ELSE '' END, v.queue,
        v_tenant.code, v_count.running, v_count.cap));
    END IF;
  END IF;
  -- Those before it take turns in as many slots as the tenant may have.
  IF v_known AND v_ahead > 0 THEN v_rest := v_rest + ceil(v_ahead::float8 / greatest(least(v_count.cap, v_slots), 1)) * v_each; END IF;
  v_end := CASE WHEN v_known AND v_rest IS NOT NULL THEN greatest(v_from, v_now + v_rest * interval '1 s') END;
  RETURN jsonb_build_object('id', v.id, 'state', v.state, 'tenant', v_tenant.code, 'queue', v.queue, 'kind', v.kind, 'why', v_why, 'likely_at', v_end,
    'basis', CASE WHEN v_end IS NULL THEN NULL WHEN v_end = v_from AND v_from > v_now THEN 'time' WHEN v_rest = 0 THEN 'slots' ELSE 'history' END,
    'ahead', v_ahead, 'ahead_is_exact', v_ahead < 10000);
END $$;

-- As before, with all that stands in the way and when it will probably run. Why a job is not running, in one sentence or a few.
CREATE OR REPLACE FUNCTION reeve.explain(id bigint) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT (SELECT string_agg(w.item ->> 'text', '; and ' ORDER BY w.n) FROM jsonb_array_elements(e.doc -> 'why') WITH ORDINALITY w (item, n))
    || CASE WHEN e.doc ->> 'state' IN ('scheduled', 'available') AND e.doc ->> 'likely_at' IS NOT NULL AND e.doc ->> 'basis' <> 'time'
            THEN '; it will probably start about ' || to_char((e.doc ->> 'likely_at')::timestamptz, CASE WHEN (e.doc ->> 'likely_at')::timestamptz > reeve.clock() + interval '20 h'
                   THEN 'YYYY-MM-DD HH24:MI' ELSE 'HH24:MI:SS' END)
            WHEN e.doc ->> 'state' = 'running' AND e.doc ->> 'likely_at' IS NOT NULL THEN '; it will probably end about ' || to_char((e.doc ->> 'likely_at')::timestamptz, 'HH24:MI:SS')
            ELSE '' END
  FROM (SELECT reeve.explain_job(explain.id) AS doc) e
$$;

-- Dead letters by cause

-- What failures of one cause have in common: the first line of the error without what differs from job to job.
CREATE FUNCTION reeve.error_cause(p_reason text, p_error text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT left(btrim(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(
    left(split_part(concat_ws(': ', CASE WHEN p_reason <> 'attempts exhausted' OR coalesce(p_error, '') = '' THEN p_reason END, nullif(p_error, '')), E'\n', 1), 600),
    '[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}', '…', 'g'),
    '[^ "''<>(),;:=]+@[^ "''<>(),;:=]+', '…', 'g'),
    '"[^"]*"', '"…"', 'g'),
    '\y(0x)?[0-9a-fA-F]*[0-9][0-9a-fA-F]{7,}\y', '…', 'g'),
    '[0-9]+', '#', 'g')), 160)
$$;
ALTER TABLE reeve.dead_letter ADD COLUMN cause text GENERATED ALWAYS AS (reeve.error_cause(reason, last_error)) STORED;
CREATE INDEX dead_letter_cause ON reeve.dead_letter (kind, cause, id) WHERE redriven_as IS NULL;

-- The story of a job

-- Failed attempts are kept as they end. One that gave its attempt back (snooze, hold, release) was none; purges keep their own record.
CREATE FUNCTION reeve.keep_attempt() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  INSERT INTO reeve.job_attempt AS a (job_id, lease_id, tenant_id, attempt, worker_id, node, started_at, outcome, error)
  VALUES (OLD.id, OLD.lease_id, OLD.tenant_id, OLD.attempt, OLD.worker_id, (SELECT w.node FROM reeve.worker w WHERE w.id = OLD.worker_id), OLD.started_at,
    CASE WHEN NEW.rescued > OLD.rescued THEN 'rescued' ELSE 'retried' END, NEW.last_error)
  ON CONFLICT (job_id, lease_id) DO UPDATE SET outcome = excluded.outcome, error = excluded.error, ended_at = excluded.ended_at;
  RETURN NULL;
END $$;
CREATE TRIGGER job_attempt_kept AFTER UPDATE OF state ON reeve.job FOR EACH ROW
  WHEN (OLD.state = 'running' AND NEW.state <> 'running' AND NEW.attempt = OLD.attempt AND NEW.kind <> 'purge') EXECUTE FUNCTION reeve.keep_attempt();

CREATE FUNCTION reeve.keep_last_attempt() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  INSERT INTO reeve.job_attempt AS a (job_id, lease_id, tenant_id, attempt, worker_id, node, started_at, outcome, error)
  VALUES (NEW.id, NEW.lease_id, NEW.tenant_id, NEW.attempt, NEW.worker_id, (SELECT w.node FROM reeve.worker w WHERE w.id = NEW.worker_id), NEW.started_at, 'dead', coalesce(NEW.last_error, NEW.reason))
  ON CONFLICT (job_id, lease_id) DO UPDATE SET outcome = excluded.outcome, error = excluded.error, ended_at = excluded.ended_at;
  RETURN NULL;
END $$;
CREATE TRIGGER dead_letter_attempt AFTER INSERT ON reeve.dead_letter FOR EACH ROW WHEN (NEW.lease_id IS NOT NULL AND NEW.kind <> 'purge') EXECUTE FUNCTION reeve.keep_last_attempt();

-- Keeps the last lines of the log of an attempt that is about to fail; false when its lease is not current.
CREATE FUNCTION reeve.record_attempt_log(p_id bigint, p_lease uuid, p_log text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  INSERT INTO reeve.job_attempt AS a (job_id, lease_id, tenant_id, attempt, worker_id, node, started_at, message)
  SELECT j.id, j.lease_id, j.tenant_id, j.attempt, j.worker_id, (SELECT w.node FROM reeve.worker w WHERE w.id = j.worker_id), j.started_at, right(p_log, 8192)
  FROM reeve.job j WHERE j.id = p_id AND j.state = 'running' AND j.lease_id = p_lease AND j.kind <> 'purge'
  ON CONFLICT (job_id, lease_id) DO UPDATE SET message = excluded.message;
  RETURN FOUND;
END $$;

-- All that is known of a job: what reeve.job() says, every failed attempt with its error, log, worker and lease, whose retry it is and what it was retried as,
-- and, for operators, its arguments. NULL when there is none.
CREATE FUNCTION reeve.job_story(id bigint) RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT reeve.job(job_story.id) || jsonb_build_object(
    'attempts', (SELECT coalesce(jsonb_agg(jsonb_build_object('attempt', a.attempt, 'outcome', a.outcome, 'error', a.error, 'log', a.message, 'node', a.node, 'worker_id', a.worker_id,
        'lease_id', a.lease_id, 'started_at', a.started_at, 'ended_at', a.ended_at) ORDER BY a.ended_at, a.attempt), '[]') FROM reeve.job_attempt a WHERE a.job_id = job_story.id),
    'node', (SELECT w.node FROM reeve.worker w WHERE w.id = (reeve.job(job_story.id) ->> 'worker_id')::uuid),
    'cause', (SELECT d.cause FROM reeve.dead_letter d WHERE d.id = job_story.id))
    || CASE WHEN reeve.is_operator() THEN (SELECT jsonb_build_object('args', x.args, 'created_by', x.created_by, 'traceparent', x.traceparent) FROM (
        SELECT j.args, j.created_by, j.traceparent FROM reeve.job j WHERE j.id = job_story.id
        UNION ALL SELECT h.args, h.created_by, h.traceparent FROM reeve.job_history h WHERE h.id = job_story.id
        UNION ALL SELECT d.args, d.created_by, d.traceparent FROM reeve.dead_letter d WHERE d.id = job_story.id LIMIT 1) x) ELSE '{}' END
$$;

-- Dead letters: find, redrive, drop

-- The ids of the dead letters that a filter names, the newest first, below p_before. Members, all of which must hold: tenant, queue (a pattern), kind, cause, reason,
-- since, until (of death), ids, redriven (false: those that were not).
CREATE FUNCTION reeve.dead_matches(p_filter jsonb, p_limit int, p_before bigint DEFAULT NULL) RETURNS SETOF bigint
LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_tenant uuid; v_unknown text;
BEGIN
  IF jsonb_typeof(p_filter) IS DISTINCT FROM 'object' THEN RAISE EXCEPTION 'a filter must be an object' USING ERRCODE = 'RV010'; END IF;
  SELECT min(k) INTO v_unknown FROM jsonb_object_keys(p_filter) k WHERE k NOT IN ('tenant', 'queue', 'kind', 'cause', 'reason', 'since', 'until', 'ids', 'redriven');
  IF v_unknown IS NOT NULL THEN
    RAISE EXCEPTION 'a filter knows no "%"', left(v_unknown, 60) USING ERRCODE = 'RV010', HINT = 'Known: tenant, queue, kind, cause, reason, since, until, ids, redriven.';
  END IF;
  SELECT x.* INTO v FROM jsonb_to_record(p_filter) AS x (tenant text, queue text, kind text, cause text, reason text, since timestamptz, until timestamptz, ids bigint[], redriven boolean);
  IF v.tenant IS NOT NULL THEN
    SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.code = v.tenant COLLATE "C";
    IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(v.tenant, 80) USING ERRCODE = 'RV001'; END IF;
  END IF;
  IF v.queue IS NOT NULL THEN PERFORM reeve.check_pattern(v.queue); END IF;
  RETURN QUERY
  SELECT d.id FROM reeve.dead_letter d
  WHERE (v_tenant IS NULL OR d.tenant_id = v_tenant) AND (v.queue IS NULL OR d.queue LIKE replace(v.queue, '*', '%')) AND (v.kind IS NULL OR d.kind = v.kind)
    AND (v.cause IS NULL OR d.cause = v.cause) AND (v.reason IS NULL OR d.reason = v.reason) AND (v.since IS NULL OR d.finished_at >= v.since)
    AND (v.until IS NULL OR d.finished_at < v.until) AND (v.ids IS NULL OR d.id = ANY (v.ids)) AND (v.redriven IS NULL OR (d.redriven_as IS NOT NULL) = v.redriven)
    AND (p_before IS NULL OR d.id < p_before)
  ORDER BY d.id DESC LIMIT p_limit;
END $$;

-- The dead letters that a filter names, the newest first; the next page is `before` the last id. Never arguments.
CREATE FUNCTION reeve.dead_list(p_filter jsonb DEFAULT '{"redriven": false}', p_limit int DEFAULT 50, p_before bigint DEFAULT NULL) RETURNS TABLE (id bigint, tenant_code text, queue text,
  kind text, reason text, error text, cause text, attempt int, finished_at timestamptz, redriven_as bigint, retried_from bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT d.id, t.code, d.queue, d.kind, d.reason, d.last_error, d.cause, d.attempt, d.finished_at, d.redriven_as, d.retried_from
  FROM reeve.dead_matches(p_filter, p_limit, p_before) m JOIN reeve.dead_letter d ON d.id = m LEFT JOIN reeve.tenant t ON t.id = d.tenant_id ORDER BY d.id DESC
$$;

-- The same by kind and cause, the most first.
CREATE FUNCTION reeve.dead_groups(p_filter jsonb DEFAULT '{"redriven": false}', p_limit int DEFAULT 100) RETURNS TABLE (kind text, cause text, count bigint, tenants bigint,
  first_at timestamptz, last_at timestamptz, last_id bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT d.kind, d.cause, count(*), count(DISTINCT d.tenant_id), min(d.finished_at), max(d.finished_at), max(d.id)
  FROM reeve.dead_matches(p_filter, 2147483647) m JOIN reeve.dead_letter d ON d.id = m GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT p_limit
$$;

-- Runs a dead letter again as a new job, with other arguments when they are given. Returns its id.
CREATE FUNCTION reeve.redrive(id bigint, reason text DEFAULT NULL, args jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v record; v_new bigint; v_problem text;
BEGIN
  SELECT d.tenant_id, d.kind INTO v FROM reeve.dead_letter d WHERE d.id = redrive.id;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no dead letter %', redrive.id USING ERRCODE = 'RV011', HINT = 'See: reeve dead list'; END IF;
  IF args IS NOT NULL THEN
    IF v.kind IN ('purge', 'erasure', 'restore') THEN
      RAISE EXCEPTION 'the arguments of a % are not edited', v.kind USING ERRCODE = 'RV020', HINT = 'They name a request that people approved; ask for another.';
    END IF;
    v_problem := CASE WHEN octet_length(args::text) > 1048576 THEN 'they are over 1 MiB' WHEN octet_length(args::text) > 130 AND jsonb_path_exists(args, '$.**{65}') THEN 'they are nested deeper than 64 levels'
      ELSE (SELECT reeve.args_problem(k.schema, args) FROM reeve.kind k WHERE k.name = v.kind) END;
    IF v_problem IS NOT NULL THEN RAISE EXCEPTION 'the arguments do not match kind "%": %', v.kind, v_problem USING ERRCODE = 'RV005', HINT = 'See: reeve kinds show ' || v.kind; END IF;
  END IF;
  v_new := reeve.retry(redrive.id);
  IF args IS NOT NULL THEN UPDATE reeve.job j SET args = redrive.args WHERE j.id = v_new; END IF;
  IF args IS NOT NULL OR reason IS NOT NULL THEN
    PERFORM reeve.audit(v.tenant_id, 'dead.redrive', 'job ' || redrive.id, reason, jsonb_build_object('as', v_new, 'edited', args IS NOT NULL));
  END IF;
  RETURN v_new;
END $$;

-- Runs the dead letters that a filter names again, the oldest first, p_rate of them a second from p_start (now) on: each is scheduled for its moment, which a pause or a drain
-- of its queue holds as ever. At most p_limit in one call, of those after p_after. Says how many, from when to when, how many were refused and why, and, when there are
-- more, with which p_after and p_start the next call goes on.
CREATE FUNCTION reeve.redrive_many(p_filter jsonb, p_reason text, p_rate float8 DEFAULT 10, p_limit int DEFAULT 1000, p_after bigint DEFAULT NULL, p_start timestamptz DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET client_min_messages = warning AS $$
DECLARE v_id bigint; v_last bigint; v_new bigint; v_first bigint; v_n int := 0; v_refused int := 0; v_why jsonb := '{}'; v_word text; v_from timestamptz := greatest(p_start, reeve.clock()); v_at timestamptz;
BEGIN
  IF p_reason IS NULL OR btrim(p_reason) = '' THEN RAISE EXCEPTION 'a redrive of many needs a reason' USING ERRCODE = 'RV010'; END IF;
  IF p_filter - 'redriven' = '{}' THEN RAISE EXCEPTION 'a redrive of many needs a filter' USING ERRCODE = 'RV010', HINT = 'Name a tenant, queue, kind, cause, time or ids; a queue of *.* is all.'; END IF;
  IF p_rate IS NULL OR NOT p_rate BETWEEN 0.0001 AND 10000 THEN RAISE EXCEPTION 'the rate must be from 0.0001 to 10000 jobs a second' USING ERRCODE = 'RV010'; END IF;
  IF p_limit IS NULL OR p_limit NOT BETWEEN 1 AND 10000 THEN RAISE EXCEPTION 'a call redrives 1 to 10000 jobs' USING ERRCODE = 'RV010'; END IF;
  FOR v_id IN SELECT m FROM reeve.dead_matches(p_filter || '{"redriven": false}', 2147483647) m WHERE m > coalesce(p_after, 0) ORDER BY m LIMIT p_limit LOOP
    v_last := v_id;
    BEGIN
      v_new := reeve.retry(v_id);
      v_at := v_from + v_n / p_rate * interval '1 s';
      IF v_at > reeve.clock() THEN UPDATE reeve.job j SET state = 'scheduled', run_at = v_at WHERE j.id = v_new; END IF;
      v_first := coalesce(v_first, v_new);
      v_n := v_n + 1;
    EXCEPTION WHEN OTHERS THEN
      IF SQLSTATE NOT LIKE 'RV%' THEN RAISE; END IF;
      v_refused := v_refused + 1;
      v_word := regexp_replace(SQLERRM, '[0-9]+', '#', 'g');
      v_why := v_why || jsonb_build_object(v_word, coalesce((v_why ->> v_word)::int, 0) + 1);
    END;
  END LOOP;
  IF v_last IS NOT NULL THEN
    PERFORM reeve.audit((SELECT t.id FROM reeve.tenant t WHERE t.code = p_filter ->> 'tenant' COLLATE "C"), 'dead.redrive_many', 'dead letters', p_reason,
      jsonb_build_object('filter', p_filter, 'rate', p_rate, 'count', v_n, 'refused', v_refused));
  END IF;
  RETURN jsonb_build_object('count', v_n, 'first_at', CASE WHEN v_n > 0 THEN v_from END, 'last_at', v_at, 'first_id', v_first, 'last_id', v_new, 'refused', v_refused, 'why', v_why,
    'next_after', CASE WHEN EXISTS (SELECT FROM reeve.dead_matches(p_filter || '{"redriven": false}', 2147483647) m WHERE m > v_last) THEN v_last END,
    'next_start', v_from + v_n / p_rate * interval '1 s');
END $$;

-- Forgets the dead letters that a filter names, for good. Returns how many.
CREATE FUNCTION reeve.drop_dead(p_filter jsonb, p_reason text, p_limit int DEFAULT 10000) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_all bigint := 0;
BEGIN
  IF p_reason IS NULL OR btrim(p_reason) = '' THEN RAISE EXCEPTION 'dropping dead letters needs a reason' USING ERRCODE = 'RV010'; END IF;
  IF p_filter - 'redriven' = '{}' THEN RAISE EXCEPTION 'dropping dead letters needs a filter' USING ERRCODE = 'RV010', HINT = 'Name a tenant, queue, kind, cause, time or ids; a queue of *.* is all.'; END IF;
  FOR v IN
    WITH gone AS (
      DELETE FROM reeve.dead_letter d WHERE d.id IN (SELECT l.id FROM reeve.dead_letter l WHERE l.id IN (SELECT m FROM reeve.dead_matches(p_filter, p_limit) m) ORDER BY l.id FOR UPDATE SKIP LOCKED)
      RETURNING d.id, d.tenant_id),
    attempts AS (DELETE FROM reeve.job_attempt a USING gone g WHERE a.job_id = g.id),
    steps AS (DELETE FROM reeve.job_step s USING gone g WHERE s.job_id = g.id)
    SELECT g.tenant_id, count(*) AS n FROM gone g GROUP BY 1 ORDER BY 1 LOOP
    PERFORM reeve.audit(v.tenant_id, 'dead.drop', 'dead letters', p_reason, jsonb_build_object('filter', p_filter, 'count', v.n));
    v_all := v_all + v.n;
  END LOOP;
  RETURN v_all;
END $$;

-- Housekeeping: forgets dead letters that are older than p_keep, and attempts of jobs that are gone. A legal hold keeps its tenant's. Returns how many.
CREATE FUNCTION reeve.tend_dead_letters(p_keep interval DEFAULT '90 days', p_limit int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_all int := 0; v_count int; v_now timestamptz := reeve.clock();
BEGIN
  FOR v IN
    WITH gone AS (
      DELETE FROM reeve.dead_letter d WHERE d.id IN (SELECT l.id FROM reeve.dead_letter l WHERE l.finished_at < v_now - p_keep AND NOT reeve.tenant_is_held(l.tenant_id)
        ORDER BY l.finished_at LIMIT p_limit FOR UPDATE SKIP LOCKED) RETURNING d.id, d.tenant_id),
    attempts AS (DELETE FROM reeve.job_attempt a USING gone g WHERE a.job_id = g.id),
    steps AS (DELETE FROM reeve.job_step s USING gone g WHERE s.job_id = g.id)
    SELECT g.tenant_id, count(*)::int AS n FROM gone g GROUP BY 1 ORDER BY 1 LOOP
    PERFORM reeve.audit(v.tenant_id, 'dead.expire', 'dead letters', NULL, jsonb_build_object('count', v.n, 'older_than', v_now - p_keep));
    v_all := v_all + v.n;
  END LOOP;
  -- What ended well after failed attempts: as long as the history is.
  DELETE FROM reeve.job_attempt a WHERE (a.job_id, a.lease_id) IN (
    SELECT o.job_id, o.lease_id FROM reeve.job_attempt o WHERE o.ended_at < v_now - interval '30 days'
      AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = o.job_id) AND NOT EXISTS (SELECT FROM reeve.dead_letter d WHERE d.id = o.job_id) ORDER BY o.ended_at LIMIT p_limit);
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN greatest(v_all, v_count);
END $$;

-- Functions that change in one place, amended where they stand: new jobs are refused under a block by tier or kind and for a tenant that is isolated, steps are kept as long
-- as their dead letter, and erasure redacts what failed attempts said.
DO $do$
DECLARE v record; v_text text;
BEGIN
  FOR v IN SELECT * FROM (VALUES
    ('reeve.enqueue_many(jsonb)',
     $was$    IF v.queue <> v_last_queue THEN
      v_last_queue := v.queue;
      SELECT b.pattern, b.reason INTO v_block FROM reeve.queue_block b WHERE b.refuse AND v.queue LIKE b.like_pattern LIMIT 1;$was$,
     $now$    IF v.queue <> v_last_queue OR v.kind IS DISTINCT FROM v_last_kind THEN
      v_last_queue := v.queue;
      SELECT b.pattern, b.reason INTO v_block FROM (
        SELECT q.pattern, q.reason FROM reeve.queue_block q WHERE q.refuse AND v.queue LIKE q.like_pattern
        UNION ALL
        SELECT c.scope || ':' || c.name, c.reason FROM reeve.claim_block c WHERE (c.refuse OR (c.mode = 'isolate' AND v_owner IS NOT NULL))
          AND CASE c.scope WHEN 'tenant' THEN c.name = v_code WHEN 'tier' THEN v_tenant.tier LIKE c.like_pattern WHEN 'kind' THEN v.kind LIKE c.like_pattern ELSE false END) b LIMIT 1;$now$),
    ('reeve.tend_leftovers(integer)',
     $was$AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = s.job_id);$was$,
     $now$AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = s.job_id)
    AND NOT EXISTS (SELECT FROM reeve.dead_letter d WHERE d.id = s.job_id);$now$),
    ('reeve.mention_places(bigint, uuid)', $was$'job_history', 'dead_letter', 'job_step'$was$,
     $now$'job_history', 'job_attempt', 'dead_letter', 'job_step'$now$)) AS a (function, was, becomes) LOOP
    v_text := pg_get_functiondef(v.function::regprocedure);
    IF (length(v_text) - length(replace(v_text, v.was, ''))) <> length(v.was) THEN RAISE EXCEPTION '% is not as it is expected here', v.function; END IF;
    EXECUTE replace(v_text, v.was, v.becomes);
  END LOOP;
END $do$;

-- Who may call what.
REVOKE ALL ON FUNCTION
  reeve.block_target(text), reeve.is_quiet(uuid, text), reeve.block_running(text, text), reeve.expected_rest(float8[], float8), reeve.remaining(text, uuid, timestamptz, jsonb),
  reeve.usual_seconds(text, uuid), reeve.running_eta(text, text), reeve.tend_paces(int), reeve.block_begins(text, text), reeve.block_tenant(text, text), reeve.block_object(text, text),
  reeve.release_parked(int), reeve.block_progress(bigint), reeve.drain_progress(bigint), reeve.claims_stopped(uuid, text, text), reeve.park(text, uuid[], text[], int),
  reeve.isolate_tenant(text, text, boolean), reeve.note_isolation_logins(bigint, jsonb), reeve.release_isolation(text, text, boolean), reeve.explain_job(bigint),
  reeve.error_cause(text, text), reeve.keep_attempt(), reeve.keep_last_attempt(), reeve.record_attempt_log(bigint, uuid, text), reeve.job_story(bigint),
  reeve.dead_matches(jsonb, int, bigint), reeve.dead_list(jsonb, int, bigint), reeve.dead_groups(jsonb, int), reeve.redrive(bigint, text, jsonb),
  reeve.redrive_many(jsonb, text, float8, int, bigint, timestamptz), reeve.drop_dead(jsonb, text, int), reeve.tend_dead_letters(interval, int)
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION reeve.explain_job(bigint) TO reeve_enqueuer, reeve_worker, reeve_operator, reeve_viewer;
GRANT EXECUTE ON FUNCTION reeve.explain(bigint), reeve.job(bigint) TO reeve_viewer;
GRANT EXECUTE ON FUNCTION reeve.job_story(bigint), reeve.dead_list(jsonb, int, bigint), reeve.dead_groups(jsonb, int), reeve.block_progress(bigint) TO reeve_operator, reeve_viewer;
GRANT EXECUTE ON FUNCTION reeve.drain_progress(bigint) TO reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.isolate_tenant(text, text, boolean), reeve.note_isolation_logins(bigint, jsonb), reeve.release_isolation(text, text, boolean),
  reeve.redrive(bigint, text, jsonb), reeve.redrive_many(jsonb, text, float8, int, bigint, timestamptz), reeve.drop_dead(jsonb, text, int) TO reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.record_attempt_log(bigint, uuid, text), reeve.tend_paces(int), reeve.tend_dead_letters(interval, int) TO reeve_worker;
GRANT SELECT ON reeve.block_list, reeve.claim_block TO reeve_viewer, reeve_operator, reeve_worker;
GRANT SELECT ON reeve.isolation_list, reeve.tenant_isolation TO reeve_viewer, reeve_operator;
