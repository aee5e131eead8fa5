-- Numbers of jobs after a failover (promise 1): a promoted standby may lag, and a restored server goes back in time. Numbers that the lost primary gave
-- are given to nobody else, or who asks for a job by its number would be told of another's.

-- What is added to every number that is drawn: ten billion for each timeline that this server's has behind it (PostgreSQL manual, 26.3.5), however many
-- of them this database saw. The sequence alone would give numbers again; with this they only grow.
CREATE FUNCTION reeve.id_base() RETURNS bigint
LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  -- On a standby nothing is drawn; what is refused there is the write that follows.
  SELECT CASE WHEN pg_is_in_recovery() THEN 0 ELSE (('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint - 1) * 10000000000 END
$$;
ALTER FUNCTION reeve.id_base() OWNER TO reeve_owner;
REVOKE ALL ON FUNCTION reeve.id_base() FROM PUBLIC;

CREATE OR REPLACE FUNCTION reeve.enqueue_many(jobs jsonb) RETURNS bigint[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $_$
#variable_conflict use_variable
DECLARE
  v_now timestamptz := reeve.clock();
  v_owner uuid := (SELECT l.tenant_id FROM reeve.tenant_login l WHERE l.login = session_user);
  v record; v_tenant record; v_kind record; v_block record; v_code text; v_problem text; v_hash bytea; v_digest bytea; v_known record; v_id bigint; v_base bigint := reeve.id_base(); v_refusal text; v_size int;
  v_ids bigint[] := '{}'; v_at text; v_last_code text := ''; v_last_queue text := ''; v_last_kind text := '';
  n_ids bigint[] := '{}'; n_tenants uuid[] := '{}'; n_pools text[] := '{}'; n_queues text[] := '{}'; n_kinds text[] := '{}'; n_args jsonb[] := '{}';
  n_run_at timestamptz[] := '{}'; n_priority int[] := '{}'; n_max int[] := '{}'; n_trace text[] := '{}';
BEGIN
  IF jsonb_typeof(jobs) IS DISTINCT FROM 'array' THEN
    RAISE EXCEPTION 'jobs must be an array' USING ERRCODE = 'RV010', HINT = 'Pass [{"queue": "acme.reports", "kind": "report", "args": {}}].';
  END IF;
  IF jsonb_array_length(jobs) > 10000 THEN
    RAISE EXCEPTION 'more than 10000 jobs in one call' USING ERRCODE = 'RV010', HINT = 'Enqueue them in several calls, in one transaction or more.';
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
      IF NOT FOUND AND v_owner IS NULL THEN
        RAISE EXCEPTION 'tenant "%" is unknown%', left(v_code, 80), v_at USING ERRCODE = 'RV001', HINT = 'Create it with: reeve tenant create <code> --tier <tier> --isolation <isolation>';
      END IF;
    END IF;
    IF (v.tenant IS NOT NULL AND v.tenant IS DISTINCT FROM v_tenant.id) OR (v_owner IS NOT NULL AND v_owner IS DISTINCT FROM v_tenant.id) THEN
      RAISE EXCEPTION 'queue "%" belongs to another tenant%', v.queue, v_at USING ERRCODE = 'RV003', HINT = 'The queue''s prefix must be the code of the tenant that is named or that the login belongs to.';
    END IF;
    IF v.idempotency_key IS NOT NULL THEN
      IF length(v.idempotency_key) NOT BETWEEN 1 AND 500 THEN RAISE EXCEPTION 'idempotency_key must have 1 to 500 characters%', v_at USING ERRCODE = 'RV010'; END IF;
      v_hash := sha256(convert_to(jsonb_build_array(v_tenant.id, 'sql', v.idempotency_key)::text, 'UTF8'));
      v_digest := sha256(convert_to(jsonb_build_array(v.queue, v.kind, coalesce(v.args, '{}'))::text, 'UTF8'));
      SELECT i.job_id, i.digest INTO v_known FROM reeve.idempotency_key i WHERE i.hash = v_hash;
      IF FOUND AND v_known.digest = v_digest THEN
        v_ids := v_ids || v_known.job_id;
        CONTINUE;
      END IF;
    END IF;
    IF v_tenant.status = 'archived' AND v.kind IS DISTINCT FROM 'purge' THEN
      RAISE EXCEPTION 'tenant "%" is archived%', v_code, v_at USING ERRCODE = 'RV009', HINT = 'Its data is purged; nothing can run for it any more.';
    END IF;
    IF v_owner IS NOT NULL AND v_tenant.status = 'churned' THEN
      RAISE EXCEPTION 'tenant "%" has churned%', v_code, v_at USING ERRCODE = 'RV009', HINT = 'Its logins are locked until it returns.';
    END IF;
    IF v_tenant.is_full AND v.kind IS DISTINCT FROM 'purge' THEN
      RAISE EXCEPTION 'the backlog of tenant "%" is full%', v_code, v_at USING ERRCODE = 'RV007', HINT = 'Wait for its jobs to run, or raise backlog_limit of its tier.';
    END IF;
    IF v.queue <> v_last_queue OR v.kind IS DISTINCT FROM v_last_kind THEN
      v_last_queue := v.queue;
      SELECT b.pattern, b.reason INTO v_block FROM (
        SELECT q.pattern, q.reason FROM reeve.queue_block q WHERE q.refuse AND v.queue LIKE q.like_pattern
        UNION ALL
        SELECT c.scope || ':' || c.name, c.reason FROM reeve.claim_block c WHERE (c.refuse OR (c.mode = 'isolate' AND v_owner IS NOT NULL))
          AND CASE c.scope WHEN 'tenant' THEN c.name = v_code WHEN 'tier' THEN v_tenant.tier LIKE c.like_pattern WHEN 'kind' THEN v.kind LIKE c.like_pattern ELSE false END) b LIMIT 1;
      IF FOUND THEN
        RAISE EXCEPTION 'queue "%" is draining and refuses new jobs (%): %', v.queue, v_block.pattern, left(v_block.reason, 200) || v_at USING ERRCODE = 'RV013',
          HINT = 'Enqueue again when it is open; see: reeve queue list';
      END IF;
    END IF;
    IF v.n = 1 OR v.kind IS DISTINCT FROM v_last_kind THEN
      v_last_kind := v.kind;
      SELECT k.name, k.queue, k.schema, k.max_attempts INTO v_kind FROM reeve.kind k WHERE k.name = v.kind;
      IF NOT FOUND THEN
        RAISE EXCEPTION 'kind "%" is not registered%', left(coalesce(v.kind, ''), 80), v_at USING ERRCODE = 'RV004',
          HINT = 'Known kinds: ' || coalesce((SELECT string_agg(k.name, ', ' ORDER BY k.name) FROM reeve.kind k), 'none yet; start a worker or run reeve migrate up');
      END IF;
    END IF;
    IF (reeve.pool_of('', '.' || v_kind.queue) = 'restore' OR reeve.pool_of('', v.queue) = 'restore') AND v.queue <> v_code || '.' || v_kind.queue THEN
      RAISE EXCEPTION 'kind "%" does not run on queue "%"%', v.kind, v.queue, v_at USING ERRCODE = 'RV002',
        HINT = 'Its queue is ' || v_code || '.' || v_kind.queue || '; what needs the tenants'' identities, and nothing else, runs on <tenant code>.restores, .purges and .erasures.';
    END IF;
    IF v.kind IN ('purge', 'erasure') THEN
      v_refusal := reeve.admit_request(v.kind, v.args, v_tenant.id);
      IF v_refusal IS NOT NULL THEN
        RAISE EXCEPTION 'kind "%" is refused: %', v.kind, v_refusal || v_at USING ERRCODE = 'RV020', HINT = 'Ask for it: reeve ' || v.kind || ' request ' || v_code;
      END IF;
    ELSIF v_tenant.status IN ('churned', 'suspended') AND reeve.is_frozen(v_tenant.id) THEN
      RAISE EXCEPTION 'tenant "%" is being purged%', v_code, v_at USING ERRCODE = 'RV012', HINT = 'See: reeve purge status ' || v_code;
    END IF;
    v_size := octet_length(v.args::text);
    IF v_size > 1048576 THEN
      RAISE EXCEPTION 'the arguments are over 1 MiB%', v_at USING ERRCODE = 'RV006', HINT = 'Store the data and pass its key.';
    END IF;
    IF v_size > 130 AND jsonb_path_exists(v.args, '$.**{65}') THEN             -- 65 levels take two characters each
      RAISE EXCEPTION 'the arguments are nested deeper than 64 levels%', v_at USING ERRCODE = 'RV006', HINT = 'Store the data and pass its key.';
    END IF;
    v_problem := reeve.args_problem(v_kind.schema, coalesce(v.args, '{}'));
    IF v_problem IS NOT NULL THEN
      RAISE EXCEPTION 'the arguments do not match kind "%": %', v.kind, v_problem || v_at USING ERRCODE = 'RV005', HINT = 'See: reeve kinds show ' || v.kind;
    END IF;
    IF v.priority NOT BETWEEN -1000000 AND 1000000 THEN RAISE EXCEPTION 'priority must be from -1000000 to 1000000%', v_at USING ERRCODE = 'RV010'; END IF;
    IF v.max_attempts NOT BETWEEN 1 AND 1000 THEN RAISE EXCEPTION 'max_attempts must be from 1 to 1000%', v_at USING ERRCODE = 'RV010'; END IF;
    IF v.traceparent !~ '^[!-~]{0,128}$' THEN RAISE EXCEPTION 'traceparent must be at most 128 printable characters of ASCII%', v_at USING ERRCODE = 'RV010'; END IF;
    IF v.run_at NOT BETWEEN v_now - interval '10 years' AND v_now + interval '10 years' THEN
      RAISE EXCEPTION 'run_at must be within ten years%', v_at USING ERRCODE = 'RV010';
    END IF;

    v_id := v_base + nextval('reeve.job_id');
    IF v.idempotency_key IS NOT NULL THEN
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
    n_ids := n_ids || v_id; n_tenants := n_tenants || v_tenant.id; n_pools := n_pools || reeve.pool_of(v_tenant.tier, v.queue); n_queues := n_queues || v.queue;
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
END $_$;

CREATE OR REPLACE FUNCTION reeve.reserve_ids(p_outbox integer, p_process uuid, p_count integer) RETURNS TABLE(first bigint, last bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
  PERFORM reeve.held_outbox(p_outbox, p_process);
  UPDATE reeve.outbox o SET renew = false WHERE o.id = p_outbox AND o.renew;
  RETURN QUERY
    WITH drawn AS MATERIALIZED (SELECT (SELECT reeve.id_base()) + nextval('reeve.job_id') AS n FROM generate_series(1, least(p_count, 1000000))),
    run AS (SELECT min(d.n) AS first, max(d.n) AS last FROM (SELECT n, n - row_number() OVER (ORDER BY n) AS island FROM drawn) d GROUP BY d.island)
    INSERT INTO reeve.outbox_block AS b (outbox_id, first, last) SELECT p_outbox, r.first, r.last FROM run r ORDER BY r.first RETURNING b.first, b.last;
END $$;

CREATE OR REPLACE FUNCTION reeve.pass_ids(p_outbox integer, p_process uuid, p_last bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_box reeve.outbox := reeve.held_outbox(p_outbox, p_process); v_missing bigint := p_last - reeve.id_base() - (SELECT s.last_value FROM reeve.job_id s);
BEGIN
  IF v_box.renew AND v_box.tenant_id IS NULL AND v_missing BETWEEN 1 AND 10000000 THEN
    PERFORM count(nextval('reeve.job_id')) FROM generate_series(1, v_missing);
  END IF;
END $$;

CREATE OR REPLACE FUNCTION reeve.retry(id bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
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
  v_id := reeve.id_base() + nextval('reeve.job_id');
  INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, priority, max_attempts, run_at, created_by, traceparent, args, retried_from)
  VALUES (v_id, v.tenant_id, reeve.pool_of(v_tenant.tier, v.queue), v.queue, v.kind, 'available', v.priority, v.max_attempts, reeve.clock(), session_user, v.traceparent, v.args, retry.id);
  UPDATE reeve.dead_letter d SET redriven_as = v_id WHERE d.id = retry.id;
  PERFORM reeve.audit(v.tenant_id, 'job.retry', 'job ' || retry.id, NULL, jsonb_build_object('kind', v.kind, 'as', v_id));
  PERFORM reeve.wake(ARRAY[reeve.pool_of(v_tenant.tier, v.queue)]);
  RETURN v_id;
END $$;

CREATE OR REPLACE FUNCTION reeve.take_outbox_rows(p_outbox integer, p_process uuid, p_rows jsonb, p_next_row bigint) RETURNS TABLE(taken integer, aliased integer, refused integer)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    SET lock_timeout TO '5s'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $_$
#variable_conflict use_variable
DECLARE
  v_box reeve.outbox := reeve.held_outbox(p_outbox, p_process); v_now timestamptz := reeve.clock();
  v record; v_tenant record; v_kind record; v_known record; v_code text; v_last_code text; v_last_kind text; v_state text; v_problem text; v_run_at timestamptz;
  v_hash bytea; v_digest bytea; v_size int; v_job bigint; v_spoofs int := 0; v_taken int := 0; v_aliased int := 0; v_refused int := 0; v_last bigint; v_mark uuid;
  n_ids bigint[] := '{}'; n_tenants uuid[] := '{}'; n_pools text[] := '{}'; n_queues text[] := '{}'; n_kinds text[] := '{}'; n_args jsonb[] := '{}';
  n_run_at timestamptz[] := '{}'; n_priority int[] := '{}'; n_max int[] := '{}'; n_trace text[] := '{}';
BEGIN
  FOR v IN
    WITH given AS MATERIALIZED (
      SELECT g.id, g.job, g.mark, g.login, g.item,
        (SELECT y.last FROM reeve.outbox_block y WHERE y.outbox_id = p_outbox AND y.first <= g.job ORDER BY y.first DESC LIMIT 1) >= g.job AS is_ours
      FROM jsonb_to_recordset(p_rows) AS g (id bigint, job bigint, mark uuid, login text, item jsonb)),
    fresh AS (
      INSERT INTO reeve.outbox_taken AS k (outbox_id, row_id, mark, job) SELECT p_outbox, g.id, g.mark, g.job FROM given g WHERE g.is_ours ORDER BY g.id
      ON CONFLICT DO NOTHING RETURNING k.mark)
    SELECT g.*, f.mark IS NOT NULL AS is_new, i.*
    FROM given g LEFT JOIN fresh f ON f.mark = g.mark,
    LATERAL jsonb_to_record(CASE WHEN jsonb_typeof(g.item) = 'object' THEN g.item ELSE '{}' END)
      AS i (queue text, kind text, args jsonb, run_at_us text, priority text, idempotency_key text, max_attempts text, traceparent text, tenant text)
    ORDER BY g.id
  LOOP
    v_job := v.job;
    IF NOT v.is_new THEN
      -- Taken before, as nearly always; or its id was not reserved for this outbox, or is another row's.
      CONTINUE WHEN EXISTS (SELECT FROM reeve.outbox_taken k WHERE k.outbox_id = p_outbox AND k.mark = v.mark);
      IF v_box.resumed_at IS NULL THEN
        INSERT INTO reeve.outbox_refusal (outbox_id, row_id, job_id, login, item, code, reason)
          VALUES (p_outbox, v.id, v.job, left(v.login, 200), coalesce(v.item, 'null'), 'RV032', 'its job id is not its own') ON CONFLICT DO NOTHING;
        v_refused := v_refused + 1;
        CONTINUE;
      END IF;
      -- A database was restored: the row was accepted under that id, so it becomes a job under another, by which it is found where that names nothing else.
      v_job := reeve.id_base() + nextval('reeve.job_id');
      INSERT INTO reeve.outbox_taken (outbox_id, row_id, mark, job) VALUES (p_outbox, v.id, v.mark, v_job);
      IF v_box.tenant_id IS NULL AND v.job < v_job AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = v.job) AND NOT EXISTS (SELECT FROM reeve.job_history h WHERE h.id = v.job)
        AND NOT EXISTS (SELECT FROM reeve.dead_letter d WHERE d.id = v.job) AND split_part(v.queue, '.', 1) IN (SELECT t.code FROM reeve.tenant t) THEN
        INSERT INTO reeve.job_alias (id, job_id, tenant_id) SELECT v.job, v_job, t.id FROM reeve.tenant t WHERE t.code = split_part(v.queue, '.', 1) ON CONFLICT DO NOTHING;
      END IF;
    END IF;
    v_last := v.id; v_mark := v.mark; v_state := NULL; v_problem := NULL;
    v_code := split_part(coalesce(v.queue, ''), '.', 1);
    IF v_code IS DISTINCT FROM v_last_code THEN
      v_last_code := v_code;
      SELECT t.id, t.code, t.tier, t.status INTO v_tenant FROM reeve.tenant t WHERE t.code = v_code COLLATE "C";
    END IF;
    IF v_last_kind IS NULL OR v.kind IS DISTINCT FROM v_last_kind THEN
      v_last_kind := v.kind;
      SELECT k.name, k.queue, k.schema, k.max_attempts INTO v_kind FROM reeve.kind k WHERE k.name = v.kind;
    END IF;
    v_size := octet_length(v.args::text);
    CASE
      WHEN v.queue IS NULL OR v.queue !~ '^[a-z0-9][a-z0-9-]*\.[a-z0-9][a-z0-9-]{0,60}$' OR split_part(v.queue, '.', 2) IN ('events', 'audit', 'jobs') THEN
        v_state := 'RV002'; v_problem := 'the queue is not <tenant code>.<name>';
      WHEN v_tenant.id IS NULL THEN v_state := 'RV001'; v_problem := format('tenant "%s" is unknown', left(v_code, 80));
      WHEN v.tenant IS NOT NULL AND v.tenant IS DISTINCT FROM v_tenant.id::text OR v_box.tenant_id IS NOT NULL AND v_box.tenant_id <> v_tenant.id THEN
        v_state := 'RV003'; v_problem := format('queue "%s" belongs to another tenant', v.queue); v_spoofs := v_spoofs + 1;
      WHEN v_tenant.status = 'archived' THEN v_state := 'RV009'; v_problem := format('tenant "%s" is archived', v_code);
      WHEN v_kind.name IS NULL THEN v_state := 'RV004'; v_problem := format('kind "%s" is not registered', left(coalesce(v.kind, ''), 80));
      WHEN v.kind IN ('purge', 'erasure') THEN v_state := 'RV020'; v_problem := format('kind "%s" is asked for in the control database', v.kind);
      WHEN (reeve.pool_of('', '.' || v_kind.queue) = 'restore' OR reeve.pool_of('', v.queue) = 'restore') AND v.queue <> v_code || '.' || v_kind.queue THEN
        v_state := 'RV002'; v_problem := format('kind "%s" does not run on queue "%s"', v.kind, v.queue);
      WHEN v_tenant.status IN ('churned', 'suspended') AND reeve.is_frozen(v_tenant.id) THEN v_state := 'RV012'; v_problem := format('tenant "%s" is being purged', v_code);
      WHEN v_size > 1048576 THEN v_state := 'RV006'; v_problem := 'the arguments are over 1 MiB';
      WHEN v_size > 130 AND jsonb_path_exists(v.args, '$.**{65}') THEN v_state := 'RV006'; v_problem := 'the arguments are nested deeper than 64 levels';
      WHEN v.priority IS NOT NULL AND v.priority !~ '^-?\d{1,6}$' OR v.max_attempts IS NOT NULL AND v.max_attempts !~ '^[1-9]\d{0,2}$'
        OR v.run_at_us IS NOT NULL AND v.run_at_us !~ '^-?\d{1,17}$' OR v.traceparent !~ '^[!-~]{0,128}$' OR length(v.idempotency_key) NOT BETWEEN 1 AND 500 THEN
        v_state := 'RV010'; v_problem := 'a field of the row is out of its range';
      ELSE
        v_problem := reeve.args_problem(v_kind.schema, coalesce(v.args, '{}'));
        IF v_problem IS NOT NULL THEN v_state := 'RV005'; v_problem := format('the arguments do not match kind "%s": %s', v.kind, v_problem); END IF;
    END CASE;
    IF v_state IS NULL AND v.idempotency_key IS NOT NULL THEN
      v_hash := sha256(convert_to(jsonb_build_array(v_tenant.id, 'sql', v.idempotency_key)::text, 'UTF8'));
      v_digest := sha256(convert_to(jsonb_build_array(v.queue, v.kind, coalesce(v.args, '{}'))::text, 'UTF8'));
      INSERT INTO reeve.idempotency_key (hash, job_id, digest) VALUES (v_hash, v_job, v_digest) ON CONFLICT (hash) DO NOTHING;
      IF NOT FOUND THEN
        SELECT i.job_id, i.digest INTO v_known FROM reeve.idempotency_key i WHERE i.hash = v_hash;
        IF NOT FOUND THEN RAISE EXCEPTION 'a key of this outbox expired while it was looked at' USING ERRCODE = '40001'; END IF;
        IF v_known.digest = v_digest THEN
          INSERT INTO reeve.job_alias (id, job_id, tenant_id) VALUES (v_job, v_known.job_id, v_tenant.id);
          v_aliased := v_aliased + 1;
          CONTINUE;
        END IF;
        v_state := 'RV008'; v_problem := format('the idempotency key was used for job %s with other arguments', v_known.job_id);
      END IF;
    END IF;
    v_run_at := coalesce(to_timestamp(CASE WHEN v.run_at_us ~ '^-?\d{1,17}$' THEN v.run_at_us END::numeric / 1000000), v_now);
    IF v_state IS NOT NULL THEN
      v_refused := v_refused + 1;
      IF v_tenant.id IS NOT NULL AND v_state NOT IN ('RV002', 'RV003') THEN
        INSERT INTO reeve.dead_letter (id, tenant_id, pool, queue, kind, priority, attempt, max_attempts, run_at, created_at, created_by, last_error, args, reason)
        VALUES (v_job, v_tenant.id, reeve.pool_of(v_tenant.tier, v.queue), v.queue, left(coalesce(v.kind, ''), 200), 0, 0, 1, v_run_at, v_now, left('outbox:' || v_box.name, 200),
          left(v_problem, 2000), coalesce(v.args, '{}'), left(format('refused (%s), from outbox %s', v_state, v_box.name), 200));
      ELSE
        INSERT INTO reeve.outbox_refusal (outbox_id, row_id, job_id, login, item, code, reason)
          VALUES (p_outbox, v.id, v_job, left(v.login, 200), coalesce(v.item, 'null'), v_state, left(v_problem, 2000)) ON CONFLICT DO NOTHING;
      END IF;
      CONTINUE;
    END IF;
    n_ids := n_ids || v_job; n_tenants := n_tenants || v_tenant.id; n_pools := n_pools || reeve.pool_of(v_tenant.tier, v.queue); n_queues := n_queues || v.queue;
    n_kinds := n_kinds || v.kind; n_args := n_args || coalesce(v.args, '{}'); n_run_at := n_run_at || v_run_at;
    n_priority := n_priority || coalesce(v.priority::int, 0); n_max := n_max || coalesce(v.max_attempts::int, v_kind.max_attempts); n_trace := n_trace || v.traceparent;
  END LOOP;

  v_taken := cardinality(n_ids);
  INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, priority, max_attempts, run_at, created_by, traceparent, args)
  SELECT j.id, j.tenant_id, j.pool, j.queue, j.kind, CASE WHEN j.run_at > v_now THEN 'scheduled' ELSE 'available' END::reeve.job_state,
         j.priority, j.max, j.run_at, 'outbox:' || v_box.name, j.trace, j.args
  FROM unnest(n_ids, n_tenants, n_pools, n_queues, n_kinds, n_args, n_run_at, n_priority, n_max, n_trace)
    AS j (id, tenant_id, pool, queue, kind, args, run_at, priority, max, trace);
  PERFORM reeve.wake(ARRAY(SELECT DISTINCT p FROM unnest(n_pools, n_run_at) AS u (p, r) WHERE r <= v_now));
  IF v_spoofs > 0 THEN
    PERFORM reeve.audit(v_box.tenant_id, 'outbox.spoof', 'outbox ' || v_box.name, 'rows that name another tenant''s queue were refused', jsonb_build_object('rows', v_spoofs));
  END IF;
  UPDATE reeve.outbox o SET next_row = greatest(o.next_row, p_next_row), last_row = coalesce(greatest(o.last_row, v_last), o.last_row),
    last_mark = CASE WHEN v_last > coalesce(o.last_row, 0) THEN v_mark ELSE o.last_mark END, relayed = o.relayed + v_taken, aliased = o.aliased + v_aliased,
    refused = o.refused + v_refused, relayed_at = CASE WHEN v_last IS NULL THEN o.relayed_at ELSE v_now END,
    activity = CASE WHEN v_last IS NULL THEN o.activity
      ELSE o.activity * power(0.5, extract(epoch FROM v_now - coalesce(o.relayed_at, o.created_at))::double precision / 60) + v_taken + v_aliased + v_refused END
  WHERE o.id = p_outbox;
  RETURN QUERY SELECT v_taken, v_aliased, v_refused;
END $_$;

CREATE OR REPLACE FUNCTION reeve.recover(p_since timestamp with time zone, p_reason text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'reeve', 'pg_temp'
    AS $$
DECLARE v_now timestamptz := reeve.clock(); v_name text; v_boxes text[] := '{}'; v_reminders bigint[]; v_from bigint; v jsonb;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may do this' USING ERRCODE = '42501'; END IF;
  IF p_since IS NULL OR p_since > v_now THEN RAISE EXCEPTION 'that moment is still to come' USING ERRCODE = 'RV010', HINT = 'Give the time to which the control database was restored.'; END IF;
  IF p_since < v_now - interval '30 days' THEN RAISE EXCEPTION 'that is more than 30 days ago' USING ERRCODE = 'RV010', HINT = 'Outboxes keep what they relayed for 24 hours, topics for days.'; END IF;
  IF btrim(coalesce(p_reason, '')) = '' THEN RAISE EXCEPTION 'this needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  -- For a copy that is on no new timeline. A billion is more than a fleet hands out in a month; numbers cost nothing.
  SELECT setval('reeve.job_id', s.last_value + 1000000000) + reeve.id_base() INTO v_from FROM reeve.job_id s;
  FOR v_name IN SELECT o.name FROM reeve.outbox o ORDER BY o.id FOR UPDATE LOOP
    PERFORM reeve.resume_outbox(v_name, p_reason);
    v_boxes := v_boxes || v_name;
  END LOOP;
  WITH due AS (
    UPDATE reeve.reminder r SET state = 'unknown', claim = coalesce(r.claim, gen_random_uuid()), claimed_at = coalesce(r.claimed_at, v_now), ended_at = v_now,
      reason = 'the control database was restored to ' || to_char(p_since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"') || ': it may have been sent since'
    WHERE r.state IN ('planned', 'queued', 'sending') AND r.due_at <= v_now RETURNING r.id)
  SELECT coalesce(array_agg(d.id ORDER BY d.id), '{}') INTO v_reminders FROM due d;
  v := jsonb_build_object('since', p_since, 'job_ids_from', v_from + 1, 'outboxes', to_jsonb(v_boxes), 'reminders', to_jsonb(v_reminders),
    'outbox_rows_expired', v_boxes <> '{}' AND p_since < v_now - interval '24 hours',
    'partitions', (SELECT count(*) FROM reeve.kafka_offset o WHERE o.problem IS NULL),
    'stopped_partitions', (SELECT coalesce(jsonb_agg(jsonb_build_object('topic', o.topic, 'partition', o.partition, 'problem', o.problem) ORDER BY o.topic, o.partition), '[]')
                           FROM reeve.kafka_offset o WHERE o.problem IS NOT NULL),
    'running', (SELECT count(*) FROM reeve.job j WHERE j.state = 'running'),
    'requests', (SELECT count(*) FROM reeve.purge_request p WHERE p.state NOT IN ('certified', 'cancelled'))
              + (SELECT count(*) FROM reeve.erasure_request e WHERE e.state NOT IN ('completed', 'cancelled')));
  PERFORM reeve.audit(NULL, 'control.recover', 'control database', p_reason, v - 'stopped_partitions');
  RETURN v;
END $$;
