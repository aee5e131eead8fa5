-- The outbox in a service's database: `reeve.enqueue` with the signature and the refusals of the control database, in the transaction of the
-- service. Runs in one transaction, as a superuser or as a role with CREATEROLE that may create schemas here; run again, it changes functions only.
DO $$
DECLARE v_role text; v_owner text;
BEGIN
  IF to_regclass('reeve.schema_migration') IS NOT NULL THEN
    RAISE EXCEPTION 'this is a control database' USING ERRCODE = 'RV012', HINT = 'Services enqueue in it directly.';
  END IF;
  SELECT n.nspowner::regrole::text INTO v_owner FROM pg_namespace n WHERE n.nspname = 'reeve';
  IF v_owner <> 'reeve_outbox_owner' THEN
    RAISE EXCEPTION 'schema reeve of this database belongs to %', v_owner USING ERRCODE = 'RV012', HINT = 'Nothing was changed; rename that schema first.';
  END IF;
  FOREACH v_role IN ARRAY ARRAY['reeve_outbox_owner', 'reeve_enqueuer'] LOOP
    BEGIN
      EXECUTE format('CREATE ROLE %I NOLOGIN', v_role);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;  -- roles belong to the cluster
    END;
  END LOOP;
  IF NOT pg_has_role(current_user, 'reeve_outbox_owner', 'MEMBER') THEN
    EXECUTE format('GRANT reeve_outbox_owner TO %I', current_user);
  END IF;
END $$;
CREATE SCHEMA IF NOT EXISTS reeve AUTHORIZATION reeve_outbox_owner;
SET LOCAL ROLE reeve_outbox_owner;
ALTER DEFAULT PRIVILEGES IN SCHEMA reeve REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
GRANT USAGE ON SCHEMA reeve TO reeve_enqueuer;

CREATE OR REPLACE FUNCTION reeve.clock() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS 'SELECT clock_timestamp()';
GRANT EXECUTE ON FUNCTION reeve.clock() TO PUBLIC;

CREATE TABLE IF NOT EXISTS reeve.outbox_state (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  name text NOT NULL,
  tenant_id uuid,                                          -- whose database this is; NULL: a service of all tenants
  version int NOT NULL,
  facts_digest text,
  refreshed_at timestamptz
);

-- Copies of what enqueue checks against, refreshed by the relay.
CREATE TABLE IF NOT EXISTS reeve.outbox_tenant (
  code text COLLATE "C" PRIMARY KEY,
  id uuid NOT NULL,
  status text NOT NULL,
  is_full boolean NOT NULL,
  is_frozen boolean NOT NULL
);
CREATE TABLE IF NOT EXISTS reeve.outbox_kind (name text PRIMARY KEY, queue text NOT NULL, schema jsonb NOT NULL);
CREATE TABLE IF NOT EXISTS reeve.outbox_closed (pattern text PRIMARY KEY, like_pattern text NOT NULL, reason text NOT NULL);

-- A row's number is drawn from a sequence; its block says which job id that number is. Nothing is locked to draw one. What the relay says all
-- the time is in sequences too: they are changed in place, so that a held snapshot costs nothing.
CREATE SEQUENCE IF NOT EXISTS reeve.outbox_ticket CACHE 1;
CREATE SEQUENCE IF NOT EXISTS reeve.outbox_next;           -- rows below are relayed
CREATE SEQUENCE IF NOT EXISTS reeve.outbox_listening;      -- 2 while the relay waits for a notification
CREATE TABLE IF NOT EXISTS reeve.outbox_block (
  first_row bigint PRIMARY KEY,
  last_row bigint NOT NULL CHECK (last_row >= first_row),
  first_job bigint NOT NULL,
  added_at timestamptz NOT NULL DEFAULT reeve.clock()
);

CREATE TABLE IF NOT EXISTS reeve.outbox_row (
  id bigint PRIMARY KEY,
  job_id bigint NOT NULL,
  mark uuid NOT NULL DEFAULT gen_random_uuid(),
  login text NOT NULL DEFAULT session_user,
  at timestamptz NOT NULL DEFAULT reeve.clock(),
  item jsonb NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_analyze_scale_factor = 0.5);
CREATE TABLE IF NOT EXISTS reeve.outbox_key (
  hash bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
  job_id bigint NOT NULL,
  digest bytea NOT NULL CHECK (octet_length(digest) = 32),
  at timestamptz NOT NULL DEFAULT reeve.clock()
);
CREATE INDEX IF NOT EXISTS outbox_key_at ON reeve.outbox_key (at);
-- How far the relay was, minute by minute: what is relayed for a day may go.
CREATE TABLE IF NOT EXISTS reeve.outbox_progress (at timestamptz PRIMARY KEY, next_row bigint NOT NULL);

-- MARK: The way in

-- As in the control database: an array of {queue, kind, args, run_at, priority, idempotency_key, max_attempts, traceparent, tenant}, all or none,
-- in the caller's transaction. RV030: the ids are used up, since no relay was here for long.
CREATE OR REPLACE FUNCTION reeve.enqueue_many(jobs jsonb) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  v_now timestamptz := reeve.clock(); v_owner uuid := (SELECT s.tenant_id FROM reeve.outbox_state s);
  v record; v_tenant record; v_kind record; v_block record; v_known record; v_code text; v_problem text; v_hash bytea; v_digest bytea; v_size int; v_row bigint; v_id bigint;
  v_ids bigint[] := '{}'; v_at text; v_last_code text; v_last_queue text; v_last_kind text; n_rows bigint[] := '{}'; n_ids bigint[] := '{}'; n_items jsonb[] := '{}';
BEGIN
  IF jsonb_typeof(jobs) IS DISTINCT FROM 'array' THEN
    RAISE EXCEPTION 'jobs must be an array' USING ERRCODE = 'RV010', HINT = 'Pass [{"queue": "acme.reports", "kind": "report", "args": {}}].';
  END IF;
  IF jsonb_array_length(jobs) > 10000 THEN
    RAISE EXCEPTION 'more than 10000 jobs in one call' USING ERRCODE = 'RV010', HINT = 'Enqueue them in several calls, in one transaction or more.';
  END IF;
  -- Before a number is drawn: a relay knows by it when a number that it does not see will never come.
  PERFORM pg_current_xact_id();
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
    IF v_code IS DISTINCT FROM v_last_code THEN
      v_last_code := v_code;
      SELECT t.* INTO v_tenant FROM reeve.outbox_tenant t WHERE t.code = v_code;
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
      SELECT k.job_id, k.digest INTO v_known FROM reeve.outbox_key k WHERE k.hash = v_hash;
      IF FOUND AND v_known.digest = v_digest THEN
        v_ids := v_ids || v_known.job_id;
        CONTINUE;
      END IF;
    END IF;
    IF v_tenant.status = 'archived' THEN
      RAISE EXCEPTION 'tenant "%" is archived%', v_code, v_at USING ERRCODE = 'RV009', HINT = 'Its data is purged; nothing can run for it any more.';
    END IF;
    IF v_owner IS NOT NULL AND v_tenant.status = 'churned' THEN
      RAISE EXCEPTION 'tenant "%" has churned%', v_code, v_at USING ERRCODE = 'RV009', HINT = 'Its logins are locked until it returns.';
    END IF;
    IF v_tenant.is_full THEN
      RAISE EXCEPTION 'the backlog of tenant "%" is full%', v_code, v_at USING ERRCODE = 'RV007', HINT = 'Wait for its jobs to run, or raise backlog_limit of its tier.';
    END IF;
    IF v.queue IS DISTINCT FROM v_last_queue THEN
      v_last_queue := v.queue;
      SELECT c.pattern, c.reason INTO v_block FROM reeve.outbox_closed c WHERE v.queue LIKE c.like_pattern LIMIT 1;
      IF FOUND THEN
        RAISE EXCEPTION 'queue "%" is draining and refuses new jobs (%): %', v.queue, v_block.pattern, left(v_block.reason, 200) || v_at USING ERRCODE = 'RV013',
          HINT = 'Enqueue again when it is open; see: reeve queue list';
      END IF;
    END IF;
    IF v_last_kind IS NULL OR v.kind IS DISTINCT FROM v_last_kind THEN
      v_last_kind := v.kind;
      SELECT k.name, k.queue, k.schema INTO v_kind FROM reeve.outbox_kind k WHERE k.name = v.kind;
      IF NOT FOUND THEN
        RAISE EXCEPTION 'kind "%" is not registered%', left(coalesce(v.kind, ''), 80), v_at USING ERRCODE = 'RV004',
          HINT = 'Known kinds: ' || coalesce((SELECT string_agg(k.name, ', ' ORDER BY k.name) FROM reeve.outbox_kind k), 'none yet; start a worker or run reeve migrate up');
      END IF;
    END IF;
    IF (reeve.pool_of('', '.' || v_kind.queue) = 'restore' OR reeve.pool_of('', v.queue) = 'restore') AND v.queue <> v_code || '.' || v_kind.queue THEN
      RAISE EXCEPTION 'kind "%" does not run on queue "%"%', v.kind, v.queue, v_at USING ERRCODE = 'RV002',
        HINT = 'Its queue is ' || v_code || '.' || v_kind.queue || '; what needs the tenants'' identities, and nothing else, runs on <tenant code>.restores, .purges and .erasures.';
    END IF;
    IF v.kind IN ('purge', 'erasure') THEN
      RAISE EXCEPTION 'kind "%" is refused: it is asked for in the control database%', v.kind, v_at USING ERRCODE = 'RV020', HINT = 'Ask for it: reeve ' || v.kind || ' request ' || v_code;
    ELSIF v_tenant.is_frozen THEN
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

    -- Looked at first, so that callers who come back again and again use up no numbers.
    IF reeve.outbox_ids_left() < 1 THEN PERFORM reeve.outbox_used_up(); END IF;
    v_row := nextval('reeve.outbox_ticket');
    SELECT b.first_job + (v_row - b.first_row) INTO v_id
    FROM (SELECT x.* FROM reeve.outbox_block x WHERE x.first_row <= v_row ORDER BY x.first_row DESC LIMIT 1) b WHERE b.last_row >= v_row;
    IF NOT FOUND THEN PERFORM reeve.outbox_used_up(); END IF;
    IF v.idempotency_key IS NOT NULL THEN
      INSERT INTO reeve.outbox_key (hash, job_id, digest) VALUES (v_hash, v_id, v_digest) ON CONFLICT (hash) DO NOTHING;
      IF NOT FOUND THEN
        SELECT k.job_id, k.digest INTO v_known FROM reeve.outbox_key k WHERE k.hash = v_hash;
        IF NOT FOUND THEN RAISE EXCEPTION 'the first use of this idempotency key is not visible to this transaction%', v_at USING ERRCODE = '40001'; END IF;
        IF v_known.digest <> v_digest THEN
          RAISE EXCEPTION 'the idempotency key was used for job % with other arguments%', v_known.job_id, v_at USING ERRCODE = 'RV008', HINT = 'Use a new key for a different job.';
        END IF;
        v_ids := v_ids || v_known.job_id;
        CONTINUE;
      END IF;
    END IF;
    v_ids := v_ids || v_id;
    n_rows := n_rows || v_row; n_ids := n_ids || v_id;
    n_items := n_items || (jsonb_strip_nulls(jsonb_build_object('queue', v.queue, 'kind', v.kind, 'priority', v.priority, 'idempotency_key', v.idempotency_key,
      'max_attempts', v.max_attempts, 'traceparent', v.traceparent, 'tenant', v.tenant, 'run_at_us', (extract(epoch FROM v.run_at) * 1000000)::bigint))
      || jsonb_build_object('args', coalesce(v.args, '{}')));
  END LOOP;

  INSERT INTO reeve.outbox_row (id, job_id, item) SELECT u.* FROM unnest(n_rows, n_ids, n_items) u;
  -- One notification for each commit would make commits wait for each other; only a relay that waits is woken.
  IF (SELECT l.last_value FROM reeve.outbox_listening l) = 2 THEN PERFORM pg_notify('reeve_outbox', ''); END IF;
  RETURN v_ids;
END $$;

CREATE OR REPLACE FUNCTION reeve.enqueue(queue text, kind text, args jsonb DEFAULT '{}', run_at timestamptz DEFAULT reeve.clock(), priority int DEFAULT 0,
                              idempotency_key text DEFAULT NULL, max_attempts int DEFAULT NULL, traceparent text DEFAULT NULL,
                              tenant uuid DEFAULT NULL) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT (reeve.enqueue_many(jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('queue', queue, 'kind', kind, 'run_at', run_at,
    'priority', priority, 'idempotency_key', idempotency_key, 'max_attempts', max_attempts, 'traceparent', traceparent, 'tenant', tenant))
    || jsonb_build_object('args', coalesce(args, '{}')))))[1]
$$;

-- How many ids are left to hand out.
CREATE OR REPLACE FUNCTION reeve.outbox_ids_left() RETURNS bigint LANGUAGE sql VOLATILE SET search_path = reeve, pg_temp AS $$
  SELECT coalesce(sum(b.last_row - greatest(b.first_row, n.next) + 1), 0)::bigint
  FROM (SELECT CASE WHEN s.is_called THEN s.last_value + 1 ELSE s.last_value END AS next FROM reeve.outbox_ticket s) n, reeve.outbox_block b WHERE b.last_row >= n.next
$$;

CREATE OR REPLACE FUNCTION reeve.outbox_used_up() RETURNS void LANGUAGE plpgsql SET search_path = reeve, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'outbox "%" has no job ids left', (SELECT s.name FROM reeve.outbox_state s) USING ERRCODE = 'RV030',
    HINT = 'Enqueue again later: ids come with the relay, which was not here for long; see: reeve outbox status';
END $$;

-- MARK: The relay's

-- Rows from a number on, and those of gaps, in one snapshot: the oldest and the newest transaction of it, and how many ids are left, in every row.
-- At least one row comes back, which may hold no outbox row. What is together over 8 MB is left for the next time.
CREATE OR REPLACE FUNCTION reeve.outbox_read(p_next bigint, p_lows bigint[], p_highs bigint[], p_limit int)
RETURNS TABLE (oldest bigint, newest bigint, ids_left bigint, id bigint, job_id bigint, mark uuid, login text, item jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
  SELECT pg_snapshot_xmin(s.s)::text::bigint, pg_snapshot_xmax(s.s)::text::bigint, i.n, r.id, r.job_id, r.mark, r.login, r.item
  FROM (SELECT pg_current_snapshot() AS s) s CROSS JOIN (SELECT reeve.outbox_ids_left() AS n) i
  LEFT JOIN (
    SELECT n.id, n.job_id, n.mark, n.login, n.item
    FROM (SELECT x.*, sum(pg_column_size(x.item)) OVER (ORDER BY x.id) - pg_column_size(x.item) AS before
          FROM (SELECT y.* FROM reeve.outbox_row y WHERE y.id >= p_next ORDER BY y.id LIMIT p_limit) x) n WHERE n.before < 8000000
    UNION ALL
    SELECT x.id, x.job_id, x.mark, x.login, x.item FROM unnest(p_lows, p_highs) g (low, high) JOIN reeve.outbox_row x ON x.id BETWEEN g.low AND g.high) r ON true
  ORDER BY r.id
$$;

-- Says that rows below this number are relayed. Changes nothing that a transaction could see twice.
CREATE OR REPLACE FUNCTION reeve.outbox_relayed(p_next bigint) RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT setval('reeve.outbox_next', greatest(p_next, 1))
$$;

-- Whether enqueue is to notify.
CREATE OR REPLACE FUNCTION reeve.outbox_listen(p_listening boolean) RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT setval('reeve.outbox_listening', CASE WHEN p_listening THEN 2 ELSE 1 END)
$$;

-- Who this is, by itself: its name, the script's number, the digest of its copies, the mark of a row, and the ids of the blocks that it holds.
CREATE OR REPLACE FUNCTION reeve.outbox_identity(p_row bigint) RETURNS TABLE (name text, tenant_id uuid, version int, facts_digest text, mark uuid, firsts bigint[], lasts bigint[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT s.name, s.tenant_id, s.version, s.facts_digest, (SELECT r.mark FROM reeve.outbox_row r WHERE r.id = p_row),
    b.firsts, b.lasts
  FROM reeve.outbox_state s, (SELECT coalesce(array_agg(x.first_job ORDER BY x.first_row), '{}') AS firsts,
    coalesce(array_agg(x.first_job + x.last_row - x.first_row ORDER BY x.first_row), '{}') AS lasts FROM reeve.outbox_block x) b
$$;

-- Adds runs of ids; numbers that were drawn in vain meanwhile are passed over. With `p_anew` the ids that are left are given up first.
CREATE OR REPLACE FUNCTION reeve.outbox_add_ids(p_firsts bigint[], p_lasts bigint[], p_anew boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_next bigint; v_first bigint; v_last bigint; v_row bigint;
BEGIN
  LOCK TABLE reeve.outbox_block IN SHARE ROW EXCLUSIVE MODE;
  v_next := (SELECT CASE WHEN s.is_called THEN s.last_value + 1 ELSE s.last_value END FROM reeve.outbox_ticket s);
  IF p_anew THEN
    -- Numbers start again behind all that ever were, those of a database from before a restore included as far as they are known.
    v_next := greatest(v_next, (SELECT coalesce(max(r.id), 0) + 1 FROM reeve.outbox_row r), (SELECT coalesce(max(b.last_row), 0) + 1 FROM reeve.outbox_block b));
    PERFORM setval('reeve.outbox_ticket', v_next, false);
    DELETE FROM reeve.outbox_block;
  END IF;
  v_row := greatest(v_next, (SELECT coalesce(max(b.last_row), 0) + 1 FROM reeve.outbox_block b));
  FOR v_first, v_last IN SELECT * FROM unnest(p_firsts, p_lasts) g (first, last) ORDER BY g.first LOOP
    INSERT INTO reeve.outbox_block (first_row, last_row, first_job) VALUES (v_row, v_row + v_last - v_first, v_first);
    v_row := v_row + v_last - v_first + 1;
  END LOOP;
  DELETE FROM reeve.outbox_block b WHERE b.last_row < v_next - 1000000;
END $$;

-- Takes over what enqueue checks against; touches only rows that differ. Of a tenant's database only that tenant is taken.
CREATE OR REPLACE FUNCTION reeve.outbox_refresh(p_digest text, p_facts jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_owner uuid := (SELECT s.tenant_id FROM reeve.outbox_state s);
BEGIN
  WITH given AS MATERIALIZED (
    SELECT f.* FROM jsonb_to_recordset(p_facts -> 'tenants') AS f (code text, id uuid, status text, is_full boolean, is_frozen boolean) WHERE v_owner IS NULL OR f.id = v_owner),
  gone AS (DELETE FROM reeve.outbox_tenant t WHERE NOT EXISTS (SELECT FROM given g WHERE g.code = t.code))
  INSERT INTO reeve.outbox_tenant AS t (code, id, status, is_full, is_frozen) SELECT g.code, g.id, g.status, g.is_full, g.is_frozen FROM given g
  ON CONFLICT (code) DO UPDATE SET id = excluded.id, status = excluded.status, is_full = excluded.is_full, is_frozen = excluded.is_frozen
    WHERE (t.id, t.status, t.is_full, t.is_frozen) IS DISTINCT FROM (excluded.id, excluded.status, excluded.is_full, excluded.is_frozen);
  WITH given AS MATERIALIZED (SELECT f.* FROM jsonb_to_recordset(p_facts -> 'kinds') AS f (name text, queue text, schema jsonb)),
  gone AS (DELETE FROM reeve.outbox_kind k WHERE NOT EXISTS (SELECT FROM given g WHERE g.name = k.name))
  INSERT INTO reeve.outbox_kind AS k (name, queue, schema) SELECT g.name, g.queue, g.schema FROM given g
  ON CONFLICT (name) DO UPDATE SET queue = excluded.queue, schema = excluded.schema WHERE (k.queue, k.schema) IS DISTINCT FROM (excluded.queue, excluded.schema);
  WITH given AS MATERIALIZED (SELECT f.* FROM jsonb_to_recordset(p_facts -> 'closed') AS f (pattern text, like_pattern text, reason text)),
  gone AS (DELETE FROM reeve.outbox_closed c WHERE NOT EXISTS (SELECT FROM given g WHERE g.pattern = c.pattern))
  INSERT INTO reeve.outbox_closed AS c (pattern, like_pattern, reason) SELECT g.pattern, g.like_pattern, g.reason FROM given g
  ON CONFLICT (pattern) DO UPDATE SET like_pattern = excluded.like_pattern, reason = excluded.reason WHERE c.reason IS DISTINCT FROM excluded.reason;
  UPDATE reeve.outbox_state s SET facts_digest = p_digest, refreshed_at = reeve.clock();
END $$;

-- Keeps the tables: notes how far the relay is, drops what was relayed a day ago but for the newest of it, and keys of that age. Returns how many.
CREATE OR REPLACE FUNCTION reeve.outbox_tend(p_keep interval DEFAULT '24 hours', p_limit int DEFAULT 5000) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_now timestamptz := reeve.clock(); v_next bigint := (SELECT n.last_value FROM reeve.outbox_next n); v_cut bigint; v_count int := 0; v_more int;
BEGIN
  IF NOT EXISTS (SELECT FROM reeve.outbox_progress p WHERE p.at > v_now - interval '1 minute') THEN
    INSERT INTO reeve.outbox_progress (at, next_row) VALUES (v_now, v_next) ON CONFLICT DO NOTHING;
  END IF;
  SELECT p.next_row INTO v_cut FROM reeve.outbox_progress p WHERE p.at <= v_now - p_keep ORDER BY p.at DESC LIMIT 1;
  IF NOT FOUND THEN RETURN 0; END IF;
  DELETE FROM reeve.outbox_progress p WHERE p.at < (SELECT max(k.at) FROM reeve.outbox_progress k WHERE k.at <= v_now - p_keep);
  v_cut := least(v_cut, (SELECT max(r.id) FROM reeve.outbox_row r WHERE r.id < v_next));
  DELETE FROM reeve.outbox_row r WHERE r.id = ANY (ARRAY(SELECT x.id FROM reeve.outbox_row x WHERE x.id < v_cut ORDER BY x.id LIMIT p_limit));
  GET DIAGNOSTICS v_count = ROW_COUNT;
  DELETE FROM reeve.outbox_key k WHERE k.hash = ANY (ARRAY(SELECT x.hash FROM reeve.outbox_key x WHERE x.at < v_now - p_keep ORDER BY x.at LIMIT p_limit));
  GET DIAGNOSTICS v_more = ROW_COUNT;
  RETURN v_count + v_more;
END $$;

-- What waits here, counted up to a hundred thousand.
CREATE OR REPLACE FUNCTION reeve.outbox_waiting() RETURNS TABLE (waiting bigint, oldest_at timestamptz, ids_left bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT count(*), min(r.at), reeve.outbox_ids_left()
  FROM (SELECT x.at FROM reeve.outbox_row x WHERE x.id >= (SELECT n.last_value FROM reeve.outbox_next n) ORDER BY x.id LIMIT 100000) r
$$;

GRANT EXECUTE ON FUNCTION reeve.enqueue(text, text, jsonb, timestamptz, int, text, int, text, uuid), reeve.enqueue_many(jsonb) TO reeve_enqueuer;
