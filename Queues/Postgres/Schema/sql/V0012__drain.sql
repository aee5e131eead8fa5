-- Drain (design section 5): an operation that lasts. It stops claims from the queues that match, goes on accepting or refuses
-- new jobs, says when nothing runs any more, survives restarts, and ends by resume() or when it expires.
--   RV013 the queue is draining and refuses new jobs
ALTER TABLE reeve.queue_block
  ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  ADD COLUMN refuse boolean NOT NULL DEFAULT false,
  ADD COLUMN expires_at timestamptz,
  ADD COLUMN done_at timestamptz,                        -- when nothing ran any more
  ADD CHECK (mode = 'drain' OR NOT (refuse OR expires_at IS NOT NULL OR done_at IS NOT NULL));

-- Starts a drain and returns its id. Once this commits nothing more starts on those queues: the counters' locks wait for the
-- claims in flight. A paused pattern becomes a draining one; a drain that is under way takes the new reason and options.
CREATE FUNCTION reeve.drain(pattern text, reason text, refuse boolean DEFAULT false, expires interval DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_id bigint; v_now timestamptz := reeve.clock();
BEGIN
  PERFORM reeve.check_pattern(pattern);
  IF reason IS NULL OR btrim(reason) = '' THEN RAISE EXCEPTION 'a drain needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why, for those who find the queue standing.'; END IF;
  IF expires <= interval '0' THEN RAISE EXCEPTION 'a drain must expire later than now' USING ERRCODE = 'RV010'; END IF;
  INSERT INTO reeve.queue_block AS b (pattern, mode, reason, refuse, expires_at) VALUES (pattern, 'drain', reason, coalesce(refuse, false), v_now + expires)
  ON CONFLICT ON CONSTRAINT queue_block_pkey DO UPDATE SET mode = 'drain', reason = excluded.reason, actor = excluded.actor, since = excluded.since,
    refuse = excluded.refuse, expires_at = excluded.expires_at, done_at = NULL
  RETURNING b.id INTO v_id;
  PERFORM reeve.touch_counters(pattern);
  PERFORM reeve.audit((SELECT t.id FROM reeve.tenant t WHERE t.code = split_part(pattern, '.', 1) COLLATE "C"), 'queue.drain', 'queue ' || pattern, reason,
    jsonb_build_object('drain', v_id, 'refuse', coalesce(refuse, false), 'expires_at', v_now + expires));
  RETURN v_id;
END $$;

-- Says how far a drain is: draining, drained (nothing runs; still blocking) or ended (resumed or expired). Marks the moment at
-- which nothing ran any more, once, with a notification on channel reeve_drain.
CREATE FUNCTION reeve.drain_status(id bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v record; v_running bigint; v_oldest timestamptz; v_jobs jsonb; v_waiting bigint;
BEGIN
  SELECT b.* INTO v FROM reeve.queue_block b WHERE b.id = drain_status.id AND b.mode = 'drain';
  IF NOT FOUND THEN RETURN jsonb_build_object('id', drain_status.id, 'state', 'ended'); END IF;
  SELECT count(*), min(j.started_at), coalesce(jsonb_agg(j.id ORDER BY j.started_at) FILTER (WHERE j.nth <= 20), '[]') INTO v_running, v_oldest, v_jobs
  FROM (SELECT r.id, r.started_at, row_number() OVER (ORDER BY r.started_at) AS nth FROM reeve.job r WHERE r.state = 'running' AND r.queue LIKE v.like_pattern) j;
  IF v_running = 0 AND v.done_at IS NULL THEN
    UPDATE reeve.queue_block b SET done_at = reeve.clock() WHERE b.id = v.id AND b.done_at IS NULL AND b.mode = 'drain' RETURNING b.done_at INTO v.done_at;
    IF FOUND THEN
      PERFORM pg_notify('reeve_drain', v.id::text);
      PERFORM reeve.audit((SELECT t.id FROM reeve.tenant t WHERE t.code = split_part(v.pattern, '.', 1) COLLATE "C"), 'queue.drained', 'queue ' || v.pattern, v.reason,
        jsonb_build_object('drain', v.id), v.since);
    END IF;
  END IF;
  SELECT count(*) INTO v_waiting FROM (SELECT FROM reeve.job j WHERE j.state <> 'running' AND j.queue LIKE v.like_pattern LIMIT 10000) n;
  RETURN jsonb_build_object('id', v.id, 'pattern', v.pattern, 'state', CASE WHEN v_running = 0 THEN 'drained' ELSE 'draining' END, 'running', v_running,
    'oldest_started_at', v_oldest, 'jobs', v_jobs, 'waiting', v_waiting, 'waiting_is_exact', v_waiting < 10000, 'refuse', v.refuse, 'since', v.since,
    'expires_at', v.expires_at, 'done_at', v.done_at, 'actor', v.actor, 'reason', v.reason);
END $$;

-- Housekeeping: ends drains that expired and marks those that are done. Returns how many changed.
CREATE FUNCTION reeve.tend_drains() RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_count int := 0;
BEGIN
  FOR v IN SELECT b.id, b.pattern, b.expires_at <= reeve.clock() AS is_over FROM reeve.queue_block b
      WHERE b.mode = 'drain' AND (b.done_at IS NULL OR b.expires_at <= reeve.clock()) ORDER BY b.pattern FOR UPDATE SKIP LOCKED LOOP
    IF v.is_over THEN
      DELETE FROM reeve.queue_block b WHERE b.id = v.id;
      PERFORM reeve.audit((SELECT t.id FROM reeve.tenant t WHERE t.code = split_part(v.pattern, '.', 1) COLLATE "C"), 'queue.drain_expired', 'queue ' || v.pattern,
        NULL, jsonb_build_object('drain', v.id));
      PERFORM reeve.wake(ARRAY(SELECT DISTINCT i.pool FROM reeve.idle_pool i));
      v_count := v_count + 1;
    ELSIF reeve.drain_status(v.id) ->> 'state' = 'drained' THEN
      v_count := v_count + 1;
    END IF;
  END LOOP;
  RETURN v_count;
END $$;

GRANT EXECUTE ON FUNCTION reeve.drain(text, text, boolean, interval), reeve.drain_status(bigint), reeve.tend_drains() TO reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.tend_drains(), reeve.drain_status(bigint) TO reeve_worker;

-- As before, and refused while a drain of the queue says so. A transaction that is open when the drain starts may still bring a
-- job: it is kept and waits, as in a drain that accepts.
CREATE OR REPLACE FUNCTION reeve.enqueue_many(jobs jsonb) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  v_now timestamptz := reeve.clock();
  v_owner uuid := (SELECT l.tenant_id FROM reeve.tenant_login l WHERE l.login = session_user);
  v record; v_tenant record; v_kind record; v_block record; v_code text; v_problem text; v_hash bytea; v_digest bytea; v_known record; v_id bigint;
  v_ids bigint[] := '{}'; v_at text; v_last_code text := ''; v_last_queue text := ''; v_last_kind text := '';
  n_ids bigint[] := '{}'; n_tenants uuid[] := '{}'; n_pools text[] := '{}'; n_queues text[] := '{}'; n_kinds text[] := '{}'; n_args jsonb[] := '{}';
  n_run_at timestamptz[] := '{}'; n_priority int[] := '{}'; n_max int[] := '{}'; n_trace text[] := '{}';
BEGIN
  IF jsonb_typeof(jobs) IS DISTINCT FROM 'array' THEN
    RAISE EXCEPTION 'jobs must be an array' USING ERRCODE = 'RV010', HINT = 'Pass [{"queue": "acme.reports", "kind": "report", "args": {}}].';
  END IF;
  FOR v IN SELECT e.item AS item, e.n AS n, x.* FROM jsonb_array_elements(jobs) WITH ORDINALITY e (item, n),
      LATERAL jsonb_to_record(CASE WHEN jsonb_typeof(e.item) = 'object' THEN e.item END) AS x (queue text, kind text, args jsonb, run_at timestamptz, priority int,
        idempotency_key text, max_attempts int, traceparent text, tenant uuid) ORDER BY e.n LOOP
    v_at := CASE WHEN jsonb_array_length(jobs) > 1 THEN format(' (job %s of the array)', v.n) ELSE '' END;
    IF jsonb_typeof(v.item) <> 'object' THEN RAISE EXCEPTION 'a job must be an object%', v_at USING ERRCODE = 'RV010'; END IF;
    IF v.item - ARRAY['queue', 'kind', 'args', 'run_at', 'priority', 'idempotency_key', 'max_attempts', 'traceparent', 'tenant'] <> '{}' THEN
      RAISE EXCEPTION 'a job has an unknown field%', v_at USING ERRCODE = 'RV010',
        HINT = 'Known: queue, kind, args, run_at, priority, idempotency_key, max_attempts, traceparent, tenant.';
    END IF;
    IF v.queue IS NULL OR v.queue !~ '^[a-z0-9][a-z0-9-]*\.[a-z0-9][a-z0-9-]{0,60}$' OR split_part(v.queue, '.', 2) IN ('events', 'audit', 'jobs') THEN
      RAISE EXCEPTION 'queue "%" is not <tenant code>.<name>%', left(coalesce(v.queue, ''), 120), v_at USING ERRCODE = 'RV002',
        HINT = 'For example acme.reports: lower case, digits and -; the names events, audit and jobs are taken.';
    END IF;
    v_code := split_part(v.queue, '.', 1);
    IF v_code <> v_last_code THEN
      v_last_code := v_code;
      SELECT t.id, t.code, t.tier, t.status, b.is_full INTO v_tenant
      FROM reeve.tenant t LEFT JOIN reeve.tenant_backlog b ON b.tenant_id = t.id WHERE t.code = v_code COLLATE "C";
      IF NOT FOUND THEN
        RAISE EXCEPTION 'tenant "%" is unknown%', left(v_code, 80), v_at USING ERRCODE = 'RV001', HINT = 'Create it with: reeve tenant create <code> --tier <tier> --isolation <isolation>';
      END IF;
    END IF;
    IF (v.tenant IS NOT NULL AND v.tenant <> v_tenant.id) OR (v_owner IS NOT NULL AND v_owner <> v_tenant.id) THEN
      RAISE EXCEPTION 'queue "%" belongs to another tenant%', v.queue, v_at USING ERRCODE = 'RV003', HINT = 'The queue''s prefix must be the code of the tenant that is named or that the login belongs to.';
    END IF;
    IF v_tenant.status = 'archived' THEN
      RAISE EXCEPTION 'tenant "%" is archived%', v_code, v_at USING ERRCODE = 'RV009', HINT = 'Its data is purged; nothing can run for it any more.';
    END IF;
    IF v_tenant.is_full THEN
      RAISE EXCEPTION 'the backlog of tenant "%" is full%', v_code, v_at USING ERRCODE = 'RV007', HINT = 'Wait for its jobs to run, or raise backlog_limit of its tier.';
    END IF;
    IF v.queue <> v_last_queue THEN
      v_last_queue := v.queue;
      SELECT b.pattern, b.reason INTO v_block FROM reeve.queue_block b WHERE b.refuse AND v.queue LIKE b.like_pattern LIMIT 1;
      IF FOUND THEN
        RAISE EXCEPTION 'queue "%" is draining and refuses new jobs (%): %', v.queue, v_block.pattern, left(v_block.reason, 200) || v_at USING ERRCODE = 'RV013',
          HINT = 'Enqueue again when it is open; see: reeve queue list';
      END IF;
    END IF;
    IF v.kind IS DISTINCT FROM v_last_kind THEN
      v_last_kind := v.kind;
      SELECT k.name, k.schema, k.max_attempts INTO v_kind FROM reeve.kind k WHERE k.name = v.kind;
      IF NOT FOUND THEN
        RAISE EXCEPTION 'kind "%" is not registered%', left(coalesce(v.kind, ''), 80), v_at USING ERRCODE = 'RV004',
          HINT = 'Known kinds: ' || coalesce((SELECT string_agg(k.name, ', ' ORDER BY k.name) FROM reeve.kind k), 'none yet; start a worker or run reeve migrate up');
      END IF;
    END IF;
    IF octet_length(v.args::text) > 1048576 THEN
      RAISE EXCEPTION 'the arguments are over 1 MiB%', v_at USING ERRCODE = 'RV006', HINT = 'Store the data and pass its key.';
    END IF;
    v_problem := reeve.args_problem(v_kind.schema, coalesce(v.args, '{}'));
    IF v_problem IS NOT NULL THEN
      RAISE EXCEPTION 'the arguments do not match kind "%": %', v.kind, v_problem || v_at USING ERRCODE = 'RV005', HINT = 'See: reeve kinds show ' || v.kind;
    END IF;
    IF v.priority NOT BETWEEN -1000000 AND 1000000 THEN RAISE EXCEPTION 'priority must be from -1000000 to 1000000%', v_at USING ERRCODE = 'RV010'; END IF;
    IF v.max_attempts NOT BETWEEN 1 AND 1000 THEN RAISE EXCEPTION 'max_attempts must be from 1 to 1000%', v_at USING ERRCODE = 'RV010'; END IF;
    IF length(v.traceparent) > 128 THEN RAISE EXCEPTION 'traceparent is longer than 128 characters%', v_at USING ERRCODE = 'RV010'; END IF;

    v_id := nextval('reeve.job_id');
    IF v.idempotency_key IS NOT NULL THEN
      IF length(v.idempotency_key) NOT BETWEEN 1 AND 500 THEN RAISE EXCEPTION 'idempotency_key must have 1 to 500 characters%', v_at USING ERRCODE = 'RV010'; END IF;
      v_hash := sha256(convert_to(jsonb_build_array(v_tenant.id, 'sql', v.idempotency_key)::text, 'UTF8'));
      v_digest := sha256(convert_to(jsonb_build_array(v.queue, v.kind, coalesce(v.args, '{}'))::text, 'UTF8'));
      INSERT INTO reeve.idempotency_key (hash, job_id, digest) VALUES (v_hash, v_id, v_digest) ON CONFLICT (hash) DO NOTHING;
      IF NOT FOUND THEN
        SELECT i.job_id, i.digest INTO v_known FROM reeve.idempotency_key i WHERE i.hash = v_hash;
        IF NOT FOUND THEN RAISE EXCEPTION 'the first use of this idempotency key is not visible to this transaction%', v_at USING ERRCODE = '40001'; END IF;
        IF v_known.digest <> v_digest THEN
          RAISE EXCEPTION 'the idempotency key was used for job % with other arguments%', v_known.job_id, v_at USING ERRCODE = 'RV008', HINT = 'Use a new key for a different job.';
        END IF;
        v_ids := v_ids || v_known.job_id;
        CONTINUE;
      END IF;
    END IF;
    v_ids := v_ids || v_id;
    n_ids := n_ids || v_id; n_tenants := n_tenants || v_tenant.id; n_pools := n_pools || v_tenant.tier; n_queues := n_queues || v.queue;
    n_kinds := n_kinds || v.kind; n_args := n_args || coalesce(v.args, '{}'); n_run_at := n_run_at || coalesce(v.run_at, v_now);
    n_priority := n_priority || coalesce(v.priority, 0); n_max := n_max || coalesce(v.max_attempts, v_kind.max_attempts); n_trace := n_trace || v.traceparent;
  END LOOP;

  INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, priority, max_attempts, run_at, created_by, traceparent, args)
  SELECT j.id, j.tenant_id, j.pool, j.queue, j.kind, CASE WHEN j.run_at > v_now THEN 'scheduled' ELSE 'available' END::reeve.job_state,
         j.priority, j.max, j.run_at, session_user, j.trace, j.args
  FROM unnest(n_ids, n_tenants, n_pools, n_queues, n_kinds, n_args, n_run_at, n_priority, n_max, n_trace)
    AS j (id, tenant_id, pool, queue, kind, args, run_at, priority, max, trace);
  PERFORM reeve.wake(ARRAY(SELECT DISTINCT p FROM unnest(n_pools, n_run_at) AS u (p, r) WHERE r <= v_now));
  RETURN v_ids;
END $$;
