-- The way in. Refusals carry an SQLSTATE of class RV and a hint that says what to change:
--   RV001 unknown tenant   RV002 queue name   RV003 another tenant's queue   RV004 unknown kind   RV005 arguments
--   RV006 arguments too large   RV007 backlog full   RV008 idempotency key used with other arguments
--   RV009 tenant archived   RV010 field   RV011 no such job   RV012 not allowed in this state

-- What is wrong with a schema, or NULL: only keywords that args_problem checks are accepted.
CREATE FUNCTION reeve.schema_problem(schema jsonb, path text DEFAULT '$') RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_key text; v_value jsonb; v_problem text;
BEGIN
  IF jsonb_typeof(schema) IS DISTINCT FROM 'object' THEN RETURN path || ' is not an object'; END IF;
  FOR v_key, v_value IN SELECT * FROM jsonb_each(schema) LOOP
    CASE
      WHEN v_key IN ('title', 'description', '$schema', '$id', 'default', 'examples', 'enum', 'minimum', 'maximum', 'minLength',
                     'maxLength', 'maxItems', 'required', 'pattern') THEN NULL;
      WHEN v_key = 'type' THEN
        IF v_value #>> '{}' NOT IN ('object', 'array', 'string', 'integer', 'number', 'boolean', 'null') THEN
          RETURN format('%s.type %s is unknown', path, v_value);
        END IF;
      WHEN v_key = 'format' THEN
        IF v_value #>> '{}' NOT IN ('uuid', 'date', 'date-time') THEN RETURN format('%s.format %s is not checked here', path, v_value); END IF;
      WHEN v_key = 'additionalProperties' THEN
        IF jsonb_typeof(v_value) <> 'boolean' THEN RETURN path || '.additionalProperties must be true or false'; END IF;
      WHEN v_key = 'items' THEN
        v_problem := reeve.schema_problem(v_value, path || '.items');
        IF v_problem IS NOT NULL THEN RETURN v_problem; END IF;
      WHEN v_key = 'properties' THEN
        SELECT p INTO v_problem FROM jsonb_each(v_value) e, LATERAL reeve.schema_problem(e.value, path || '.' || e.key) p WHERE p IS NOT NULL LIMIT 1;
        IF v_problem IS NOT NULL THEN RETURN v_problem; END IF;
      ELSE RETURN format('%s uses the keyword "%s", which is not checked here', path, v_key);
    END CASE;
  END LOOP;
  RETURN NULL;
END $$;

-- The first thing wrong with a value, or NULL. Names the place and the rule, never the value (it may be personal data).
CREATE FUNCTION reeve.args_problem(schema jsonb, value jsonb, path text DEFAULT 'args') RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  v_type text := schema ->> 'type'; v_is text := jsonb_typeof(value); v_key text; v_item jsonb; v_text text; v_problem text;
BEGIN
  IF v_type IS NOT NULL AND v_is <> v_type AND NOT (v_type = 'integer' AND v_is = 'number' AND (value #>> '{}')::numeric % 1 = 0) THEN
    RETURN format('%s must be %s, not %s', path, v_type, v_is);
  END IF;
  IF schema ? 'enum' AND NOT schema -> 'enum' @> jsonb_build_array(value) THEN
    RETURN format('%s must be one of %s', path, schema ->> 'enum');
  END IF;
  CASE v_is
    WHEN 'object' THEN
      FOR v_key IN SELECT r FROM jsonb_array_elements_text(schema -> 'required') r WHERE NOT value ? r LIMIT 1 LOOP
        RETURN format('%s.%s is missing', path, v_key);
      END LOOP;
      FOR v_key, v_item IN SELECT * FROM jsonb_each(value) LOOP
        IF schema -> 'properties' ? v_key THEN
          v_problem := reeve.args_problem(schema -> 'properties' -> v_key, v_item, path || '.' || v_key);
          IF v_problem IS NOT NULL THEN RETURN v_problem; END IF;
        ELSIF schema -> 'additionalProperties' = 'false' THEN
          RETURN format('%s.%s is unknown; allowed: %s', path, left(v_key, 60),
            coalesce((SELECT string_agg(k, ', ' ORDER BY k) FROM jsonb_object_keys(schema -> 'properties') k), 'nothing'));
        END IF;
      END LOOP;
    WHEN 'array' THEN
      IF jsonb_array_length(value) > (schema ->> 'maxItems')::int THEN RETURN format('%s has more than %s items', path, schema ->> 'maxItems'); END IF;
      IF schema ? 'items' THEN
        SELECT p INTO v_problem FROM jsonb_array_elements(value) WITH ORDINALITY e (item, n),
          LATERAL reeve.args_problem(schema -> 'items', e.item, format('%s[%s]', path, e.n - 1)) p WHERE p IS NOT NULL LIMIT 1;
        RETURN v_problem;
      END IF;
    WHEN 'string' THEN
      v_text := value #>> '{}';
      IF length(v_text) < (schema ->> 'minLength')::int THEN RETURN format('%s must have at least %s characters', path, schema ->> 'minLength'); END IF;
      IF length(v_text) > (schema ->> 'maxLength')::int THEN RETURN format('%s must have at most %s characters', path, schema ->> 'maxLength'); END IF;
      IF schema ? 'pattern' AND v_text !~ (schema ->> 'pattern') THEN RETURN format('%s must match %s', path, schema ->> 'pattern'); END IF;
      IF schema ->> 'format' = 'uuid' AND v_text !~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN RETURN path || ' must be a uuid'; END IF;
      IF schema ->> 'format' IN ('date', 'date-time') THEN
        BEGIN
          IF v_text !~ (CASE schema ->> 'format' WHEN 'date' THEN '^\d{4}-\d\d-\d\d$' ELSE '^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$' END)
             OR v_text::timestamptz IS NULL THEN RETURN format('%s must be a %s (RFC 3339)', path, schema ->> 'format'); END IF;
        EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format THEN
          RETURN format('%s must be a %s (RFC 3339)', path, schema ->> 'format');
        END;
      END IF;
    WHEN 'number' THEN
      IF (value #>> '{}')::numeric < (schema ->> 'minimum')::numeric THEN RETURN format('%s must be at least %s', path, schema ->> 'minimum'); END IF;
      IF (value #>> '{}')::numeric > (schema ->> 'maximum')::numeric THEN RETURN format('%s must be at most %s', path, schema ->> 'maximum'); END IF;
    ELSE NULL;
  END CASE;
  RETURN NULL;
END $$;

-- Registers the kinds that a binary brings, as an array of {name, queue, schema, time_limit_ms, max_attempts, statuses, feature}.
CREATE FUNCTION reeve.register_kinds(kinds jsonb) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_problem text; v_count int;
BEGIN
  FOR v IN SELECT e ->> 'name' AS name, e -> 'schema' AS schema FROM jsonb_array_elements(kinds) e LOOP
    v_problem := reeve.schema_problem(v.schema);
    IF v_problem IS NOT NULL THEN RAISE EXCEPTION 'the schema of kind "%" is refused: %', v.name, v_problem USING ERRCODE = '22023'; END IF;
  END LOOP;
  INSERT INTO reeve.kind AS k (name, queue, schema, time_limit, max_attempts, statuses, feature)
  SELECT x.name, x.queue, x.schema, x.time_limit_ms * interval '1 ms', x.max_attempts, x.statuses::reeve.tenant_status[], x.feature
  FROM jsonb_to_recordset(kinds) AS x (name text, queue text, schema jsonb, time_limit_ms bigint, max_attempts int, statuses text[], feature text)
  ORDER BY x.name
  ON CONFLICT (name) DO UPDATE SET queue = excluded.queue, schema = excluded.schema, time_limit = excluded.time_limit,
    max_attempts = excluded.max_attempts, statuses = excluded.statuses, feature = excluded.feature, registered_at = reeve.clock()
    WHERE (k.queue, k.schema, k.time_limit, k.max_attempts, k.statuses, coalesce(k.feature, ''))
      IS DISTINCT FROM (excluded.queue, excluded.schema, excluded.time_limit, excluded.max_attempts, excluded.statuses, coalesce(excluded.feature, ''));
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

-- Wakes idle pools and says when nobody serves a tier. NOTIFY only where a pool is idle: one per job would serialise commits.
CREATE FUNCTION reeve.wake(pools text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_pool text;
BEGIN
  FOREACH v_pool IN ARRAY pools LOOP
    IF EXISTS (SELECT FROM reeve.idle_pool i WHERE i.pool = v_pool) THEN
      PERFORM pg_notify('reeve_work', v_pool);
    ELSIF NOT EXISTS (SELECT FROM reeve.worker w WHERE w.state = 'alive' AND w.lease_until > reeve.clock() AND w.pools ? v_pool) THEN
      RAISE NOTICE 'accepted, but no running worker serves the tier "%"', v_pool USING HINT = 'Start one with: reeve worker --tiers ' || v_pool;
    END IF;
  END LOOP;
END $$;

-- Enqueues an array of {queue, kind, args, run_at, priority, idempotency_key, max_attempts, traceparent, tenant}, all or none,
-- in the caller's transaction; the ids come back in the same order. Locks nothing that a claim or a completion needs.
CREATE FUNCTION reeve.enqueue_many(jobs jsonb) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  v_now timestamptz := reeve.clock();
  v_owner uuid := (SELECT l.tenant_id FROM reeve.tenant_login l WHERE l.login = session_user);
  v record; v_tenant record; v_kind record; v_code text; v_problem text; v_hash bytea; v_digest bytea; v_known record; v_id bigint;
  v_ids bigint[] := '{}'; v_at text; v_last_code text := ''; v_last_kind text := '';
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

CREATE FUNCTION reeve.enqueue(queue text, kind text, args jsonb DEFAULT '{}', run_at timestamptz DEFAULT reeve.clock(), priority int DEFAULT 0,
                              idempotency_key text DEFAULT NULL, max_attempts int DEFAULT NULL, traceparent text DEFAULT NULL,
                              tenant uuid DEFAULT NULL) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT (reeve.enqueue_many(jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('queue', queue, 'kind', kind, 'run_at', run_at,
    'priority', priority, 'idempotency_key', idempotency_key, 'max_attempts', max_attempts, 'traceparent', traceparent, 'tenant', tenant))
    || jsonb_build_object('args', coalesce(args, '{}')))))[1]
$$;
