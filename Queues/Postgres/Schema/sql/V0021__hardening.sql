-- What the attack suite found open: each change below closes an attempt that had succeeded.

-- A login that is no operator's, approver's or worker's may say whom it acts for, but not pass for them.
CREATE OR REPLACE FUNCTION reeve.actor() RETURNS text LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT left(CASE
      WHEN s.said IS NULL THEN session_user::text
      WHEN EXISTS (SELECT FROM unnest(ARRAY['reeve_operator', 'reeve_approver', 'reeve_worker', 'reeve_owner']) r WHERE pg_has_role(session_user, r, 'MEMBER')) THEN s.said
      ELSE session_user || ' for ' || s.said END, 200)
  FROM (SELECT nullif(btrim(regexp_replace(current_setting('reeve.actor', true), '[[:cntrl:]]+', ' ', 'g')), '') AS said) s
$$;

-- The audit's triggers hold under session_replication_role = replica too.
ALTER TABLE reeve.audit_entry ENABLE ALWAYS TRIGGER audit_entry_fixed, ENABLE ALWAYS TRIGGER audit_entry_kept;

-- Operators change a tenant's status and tier through the functions, which know the transitions and audit them.
REVOKE UPDATE ON reeve.tenant FROM reeve_operator;
GRANT UPDATE (external_code, name, timezone, locale, currency, fiscal_year_start, first_weekday, parent_id, contacts, flags, overrides, trial_ends_at)
  ON reeve.tenant TO reeve_operator;

-- Who may enqueue for whom, and where tenants' servers are, is never changed without a record. Names what changed, never a value.
CREATE FUNCTION reeve.audit_registry() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_new jsonb := to_jsonb(NEW); v_old jsonb := to_jsonb(OLD); v_row jsonb := coalesce(v_new, v_old);
BEGIN
  IF v_new IS NOT DISTINCT FROM v_old THEN RETURN NULL; END IF;
  PERFORM reeve.audit((v_row ->> 'tenant_id')::uuid, 'registry.' || lower(TG_OP), format('%s %s', replace(TG_TABLE_NAME, '_', ' '), coalesce(v_row ->> 'login', v_row ->> 'name')), NULL,
    jsonb_build_object('columns', (SELECT coalesce(jsonb_agg(k ORDER BY k), '[]') FROM jsonb_object_keys(v_row) k WHERE v_new -> k IS DISTINCT FROM v_old -> k)));
  RETURN NULL;
END $$;
CREATE TRIGGER tenant_login_audit AFTER INSERT OR UPDATE OR DELETE ON reeve.tenant_login FOR EACH ROW EXECUTE FUNCTION reeve.audit_registry();
CREATE TRIGGER tenant_server_audit AFTER INSERT OR UPDATE OR DELETE ON reeve.tenant_server FOR EACH ROW EXECUTE FUNCTION reeve.audit_registry();

-- As before. A pattern must be a regular expression without back references (their matching takes exponential time), and kinds
-- with a wrong one are refused here, not at every enqueue.
CREATE OR REPLACE FUNCTION reeve.schema_problem(schema jsonb, path text DEFAULT '$') RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_key text; v_value jsonb; v_problem text;
BEGIN
  IF jsonb_typeof(schema) IS DISTINCT FROM 'object' THEN RETURN path || ' is not an object'; END IF;
  FOR v_key, v_value IN SELECT * FROM jsonb_each(schema) LOOP
    CASE
      WHEN v_key IN ('title', 'description', '$schema', '$id', 'default', 'examples', 'enum', 'minimum', 'maximum', 'minLength',
                     'maxLength', 'maxItems', 'required') THEN NULL;
      WHEN v_key = 'pattern' THEN
        IF jsonb_typeof(v_value) <> 'string' OR length(v_value #>> '{}') > 500 THEN RETURN path || '.pattern must be a text of at most 500 characters'; END IF;
        IF v_value #>> '{}' ~ '\\[1-9]' OR v_value #>> '{}' ~ '^\*\*\*|^\(\?[a-z]' THEN
          RETURN path || '.pattern has a back reference or an option, which are not taken';
        END IF;
        BEGIN
          PERFORM '' ~ (v_value #>> '{}');
        EXCEPTION WHEN invalid_regular_expression THEN RETURN path || '.pattern is no regular expression';
        END;
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

-- Scheduled jobs are backlog too: jobs for tomorrow passed the limit by, without an end.
CREATE INDEX job_scheduled ON reeve.job (tenant_id) WHERE state = 'scheduled';
CREATE OR REPLACE FUNCTION reeve.tend_backlog(p_budget interval DEFAULT '20 ms') RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE v record; v_n bigint; v_count int := 0; v_until timestamptz := reeve.clock() + p_budget;
BEGIN
  FOR v IN SELECT b.tenant_id, b.waiting, b.is_full, t.tier, coalesce((t.overrides ->> 'backlog_limit')::bigint, r.backlog_limit) AS most
      FROM reeve.tenant_backlog b JOIN reeve.tenant t ON t.id = b.tenant_id JOIN reeve.tier r ON r.name = t.tier
      ORDER BY b.counted_at LIMIT 200 FOR UPDATE OF b SKIP LOCKED LOOP
    SELECT count(*) INTO v_n FROM (
      SELECT 1 FROM reeve.job j WHERE j.state = 'available' AND j.pool = v.tier AND j.tenant_id = v.tenant_id
      UNION ALL
      SELECT 1 FROM reeve.job j WHERE j.state = 'scheduled' AND j.tenant_id = v.tenant_id
      LIMIT v.most) n;
    UPDATE reeve.tenant_backlog b SET waiting = v_n, is_full = (v_n >= v.most), counted_at = reeve.clock() WHERE b.tenant_id = v.tenant_id;
    v_count := v_count + 1;
    EXIT WHEN reeve.clock() > v_until;
  END LOOP;
  RETURN v_count;
END $$;

-- An advisory lock can be taken by whoever may connect, and kept; this one by nobody but the functions.
CREATE TABLE reeve.turn (task text PRIMARY KEY);
INSERT INTO reeve.turn VALUES ('history');

-- As before, but takes turns by a row that no other role can lock.
CREATE OR REPLACE FUNCTION reeve.tend_history(p_keep interval DEFAULT '30 days') RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET lock_timeout = '100ms' SET timezone = 'UTC' AS $$
DECLARE v_day timestamptz; v_name text; v_count int := 0; v_today timestamptz := date_trunc('day', reeve.clock());
BEGIN
  PERFORM FROM reeve.turn t WHERE t.task = 'history' FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN RETURN 0; END IF;
  FOR v_day IN SELECT generate_series(v_today, v_today + interval '14 days', '1 day') LOOP
    v_name := 'job_history_' || to_char(v_day, 'YYYYMMDD');
    IF to_regclass('reeve.' || v_name) IS NULL THEN
      BEGIN
        EXECUTE format('CREATE TABLE reeve.%I (LIKE reeve.job_history INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', v_name);
        EXECUTE format('ALTER TABLE reeve.job_history ATTACH PARTITION reeve.%I FOR VALUES FROM (%L) TO (%L)', v_name, v_day, v_day + interval '1 day');
        v_count := v_count + 1;
      EXCEPTION WHEN lock_not_available OR check_violation THEN NULL;  -- check_violation: the default partition has rows of that day
      END;
    END IF;
  END LOOP;
  FOR v_name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
      WHERE i.inhparent = 'reeve.job_history'::regclass AND c.relname ~ '^job_history_\d{8}$'
        AND to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= v_today - p_keep LOOP
    BEGIN
      EXECUTE format('DROP TABLE reeve.%I', v_name);
      v_count := v_count + 1;
    EXCEPTION WHEN lock_not_available THEN NULL;
    END;
  END LOOP;
  RETURN v_count;
END $$;

-- As before; to a login that belongs to a tenant another tenant's job does not exist.
CREATE OR REPLACE FUNCTION reeve.cancel(id bigint) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v record; v_owner uuid := (SELECT l.tenant_id FROM reeve.tenant_login l WHERE l.login = session_user);
BEGIN
  SELECT j.tenant_id, j.kind, j.queue, j.created_by INTO v FROM reeve.job j WHERE j.id = cancel.id AND (v_owner IS NULL OR j.tenant_id = v_owner);
  IF NOT FOUND THEN
    IF EXISTS (SELECT FROM reeve.job_history h WHERE h.id = cancel.id AND (v_owner IS NULL OR h.tenant_id = v_owner))
       OR EXISTS (SELECT FROM reeve.dead_letter d WHERE d.id = cancel.id AND (v_owner IS NULL OR d.tenant_id = v_owner)) THEN
      RAISE EXCEPTION 'job % has ended', cancel.id USING ERRCODE = 'RV012', HINT = 'What has ended cannot be cancelled; see: reeve jobs show ' || cancel.id;
    END IF;
    RAISE EXCEPTION 'there is no job %', cancel.id USING ERRCODE = 'RV011';
  END IF;
  IF v.created_by <> session_user AND NOT reeve.is_operator() THEN
    RAISE EXCEPTION 'job % was enqueued by another login', cancel.id USING ERRCODE = '42501', HINT = 'Ask an operator (role reeve_operator).';
  END IF;
  PERFORM reeve.audit(v.tenant_id, 'job.cancel', 'job ' || cancel.id, NULL, jsonb_build_object('kind', v.kind, 'queue', v.queue));
  PERFORM 1 FROM reeve.job j WHERE j.id = cancel.id AND j.state <> 'running' FOR UPDATE SKIP LOCKED;
  IF FOUND THEN
    PERFORM reeve.end_cancelled(cancel.id, 'cancelled by ' || reeve.actor());
    RETURN 'cancelled';
  END IF;
  INSERT INTO reeve.cancel_request (job_id) VALUES (cancel.id) ON CONFLICT DO NOTHING;
  PERFORM pg_notify('reeve_cancel', '');
  RETURN 'requested';
END $$;

-- As before, and: a login that belongs to a tenant cannot tell which other tenants there are; arguments are not nested deeper than
-- worker threads' stacks bear; a time that is no time, and a traceparent that would break a log line or a header, are refused; one
-- call brings 10,000 jobs at most, so that the backlog's limit is not passed by in one statement; an empty kind is an unknown one.
CREATE OR REPLACE FUNCTION reeve.enqueue_many(jobs jsonb) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  v_now timestamptz := reeve.clock();
  v_owner uuid := (SELECT l.tenant_id FROM reeve.tenant_login l WHERE l.login = session_user);
  v record; v_tenant record; v_kind record; v_block record; v_code text; v_problem text; v_hash bytea; v_digest bytea; v_known record; v_id bigint; v_size int;
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
    IF v.n = 1 OR v.kind IS DISTINCT FROM v_last_kind THEN
      v_last_kind := v.kind;
      SELECT k.name, k.schema, k.max_attempts INTO v_kind FROM reeve.kind k WHERE k.name = v.kind;
      IF NOT FOUND THEN
        RAISE EXCEPTION 'kind "%" is not registered%', left(coalesce(v.kind, ''), 80), v_at USING ERRCODE = 'RV004',
          HINT = 'Known kinds: ' || coalesce((SELECT string_agg(k.name, ', ' ORDER BY k.name) FROM reeve.kind k), 'none yet; start a worker or run reeve migrate up');
      END IF;
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

-- A control database of its own is closed to everybody but Reeve's roles: tenants' logins live on the same server, and whoever can
-- connect can take advisory locks, hold a snapshot and fill temporary files. One that an application shares is the application's.
DO $$
DECLARE v_is_ours boolean; v_may boolean;
BEGIN
  SELECT NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                     WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname NOT IN ('reeve', 'pg_catalog', 'information_schema', 'pg_toast')
                       AND n.nspname !~ '^pg_(toast_)?temp_') INTO v_is_ours;
  IF NOT v_is_ours THEN
    RAISE NOTICE 'this database holds more than schema reeve: see that PUBLIC may not connect to it';
    RETURN;
  END IF;
  RESET ROLE;
  SELECT pg_has_role(current_user, d.datdba, 'USAGE') INTO v_may FROM pg_database d WHERE d.datname = current_database();
  IF v_may THEN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
  ELSE
    RAISE NOTICE 'only the owner of this database can close it to PUBLIC: REVOKE ALL ON DATABASE ... FROM PUBLIC';
  END IF;
END $$;
SET LOCAL ROLE reeve_owner;
