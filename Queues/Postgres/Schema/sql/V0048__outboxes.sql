-- Outboxes: a service enqueues in a transaction of its own database, and a relay brings the rows here. An outbox hands out job ids from
-- blocks that are reserved here, one relay at a time holds its lease, and every row is taken once (design section 8).
CREATE TABLE reeve.outbox (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE CHECK (name ~ '^[a-z][a-z0-9-]{0,39}$'),
  conninfo text NOT NULL CHECK (conninfo !~* 'password'),
  login text NOT NULL CHECK (octet_length(login) BETWEEN 1 AND 63),
  secret bytea NOT NULL,                                   -- AES-256-GCM, like tenants' credentials (ISO-E-003)
  tenant_id uuid REFERENCES reeve.tenant (id),             -- whose database it is: it enqueues for that tenant alone; NULL: for all
  block_size int NOT NULL DEFAULT 10000 CHECK (block_size BETWEEN 10 AND 1000000),
  created_at timestamptz NOT NULL DEFAULT reeve.clock(),
  created_by text NOT NULL DEFAULT reeve.actor(),
  holder uuid,
  lease_until timestamptz,
  next_row bigint NOT NULL DEFAULT 1,                      -- every row below is taken, or was rolled back
  last_row bigint,
  last_mark uuid,                                          -- what tells the last row taken from another with its number
  relayed bigint NOT NULL DEFAULT 0,
  aliased bigint NOT NULL DEFAULT 0,
  refused bigint NOT NULL DEFAULT 0,
  relayed_at timestamptz,
  activity double precision NOT NULL DEFAULT 0,            -- rows taken, halving every minute
  waiting bigint,
  oldest_at timestamptz,
  ids_left bigint,
  seen_at timestamptz,
  problem text CHECK (length(problem) <= 2000),
  problem_since timestamptz,
  stopped boolean NOT NULL DEFAULT false,                  -- until an operator says how to go on
  renew boolean NOT NULL DEFAULT false,                    -- its blocks of ids are to be replaced
  resumed_at timestamptz                                   -- a database was restored: rows may have ids that are not theirs
) WITH (fillfactor = 50);

-- Processes that relay, while they live: outboxes are shared out among them.
CREATE TABLE reeve.relay_process (
  id uuid PRIMARY KEY,
  node text NOT NULL,
  pid int NOT NULL,
  started_at timestamptz NOT NULL DEFAULT reeve.clock(),
  alive_until timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE reeve.outbox_block (
  outbox_id int NOT NULL REFERENCES reeve.outbox (id),
  first bigint NOT NULL,
  last bigint NOT NULL CHECK (last >= first),
  reserved_at timestamptz NOT NULL DEFAULT reeve.clock(),
  PRIMARY KEY (outbox_id, first)
);

-- What makes a row be taken once, whatever a relay does. Kept longer than the outbox keeps its rows.
CREATE TABLE reeve.outbox_taken (
  outbox_id int NOT NULL,
  row_id bigint NOT NULL,
  mark uuid NOT NULL,
  job bigint NOT NULL UNIQUE,
  at timestamptz NOT NULL DEFAULT reeve.clock(),
  PRIMARY KEY (outbox_id, mark)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
CREATE INDEX outbox_taken_at ON reeve.outbox_taken (at);

-- Rows that cannot become a job of the tenant that they name, whole. Those that have a tenant become its dead letters.
CREATE TABLE reeve.outbox_refusal (
  outbox_id int NOT NULL REFERENCES reeve.outbox (id),
  row_id bigint NOT NULL,
  job_id bigint NOT NULL,
  login text,
  item jsonb NOT NULL,
  code text NOT NULL,
  reason text NOT NULL,
  at timestamptz NOT NULL DEFAULT reeve.clock(),
  PRIMARY KEY (outbox_id, row_id, at)
);

-- Ids that an outbox handed out for a key that was known here already: the same job as the first.
CREATE TABLE reeve.job_alias (
  id bigint PRIMARY KEY,
  job_id bigint NOT NULL CHECK (job_id <> id),
  tenant_id uuid NOT NULL,
  at timestamptz NOT NULL DEFAULT reeve.clock()
);
CREATE INDEX job_alias_at ON reeve.job_alias (at);

-- MARK: Operators

-- Names a service's database; or gives a known one a new place, login and secret. Returns its id.
CREATE FUNCTION reeve.add_outbox(p_name text, p_conninfo text, p_login text, p_secret bytea, p_tenant text, p_block_size int, p_reason text DEFAULT NULL) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid; v_status text; v_known record; v_id int;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may add outboxes' USING ERRCODE = '42501'; END IF;
  IF p_tenant IS NOT NULL THEN
    SELECT t.id, t.status INTO v_tenant, v_status FROM reeve.tenant t WHERE t.code = p_tenant COLLATE "C";
    IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_tenant, 80) USING ERRCODE = 'RV001'; END IF;
    IF v_status = 'archived' THEN RAISE EXCEPTION 'tenant "%" is archived', p_tenant USING ERRCODE = 'RV009'; END IF;
  END IF;
  SELECT o.id, o.tenant_id INTO v_known FROM reeve.outbox o WHERE o.name = p_name FOR UPDATE;
  IF FOUND THEN
    IF v_known.tenant_id IS DISTINCT FROM v_tenant THEN
      RAISE EXCEPTION 'outbox "%" is there for another tenant', p_name USING ERRCODE = 'RV012', HINT = 'Remove it first, or use another name.';
    END IF;
    UPDATE reeve.outbox o SET conninfo = p_conninfo, login = p_login, secret = p_secret, block_size = p_block_size, problem = NULL, problem_since = NULL
    WHERE o.id = v_known.id;
    v_id := v_known.id;
  ELSE
    INSERT INTO reeve.outbox (name, conninfo, login, secret, tenant_id, block_size)
    VALUES (p_name, p_conninfo, p_login, p_secret, v_tenant, p_block_size) RETURNING id INTO v_id;
  END IF;
  PERFORM reeve.audit(v_tenant, 'outbox.add', 'outbox ' || p_name, p_reason,
    jsonb_build_object('login', p_login, 'again', v_known.id IS NOT NULL));
  RETURN v_id;
END $$;

-- Forgets an outbox. What it still holds is not relayed; ids that it handed out are not handed out again.
CREATE FUNCTION reeve.remove_outbox(p_name text, p_reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may remove outboxes' USING ERRCODE = '42501'; END IF;
  SELECT o.id, o.tenant_id INTO v FROM reeve.outbox o WHERE o.name = p_name FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no outbox "%"', left(p_name, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve outbox list'; END IF;
  DELETE FROM reeve.outbox_refusal r WHERE r.outbox_id = v.id;
  DELETE FROM reeve.outbox_block b WHERE b.outbox_id = v.id;
  DELETE FROM reeve.outbox o WHERE o.id = v.id;
  PERFORM reeve.audit(v.tenant_id, 'outbox.remove', 'outbox ' || p_name, p_reason, '{}');
END $$;

-- Lets an outbox go on that was stopped since its rows or ids are not those that were known here: one of the databases was restored.
-- All rows that it still has are looked at again; those that were taken are known by their marks.
CREATE FUNCTION reeve.resume_outbox(p_name text, p_reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may do this' USING ERRCODE = '42501'; END IF;
  UPDATE reeve.outbox o SET stopped = false, renew = true, resumed_at = reeve.clock(), problem = NULL, problem_since = NULL, next_row = 1, last_row = NULL, last_mark = NULL, holder = NULL, lease_until = NULL
  WHERE o.name = p_name RETURNING o.id, o.tenant_id INTO v;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no outbox "%"', left(p_name, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve outbox list'; END IF;
  PERFORM reeve.audit(v.tenant_id, 'outbox.resume', 'outbox ' || p_name, p_reason, '{}');
END $$;

-- MARK: Relays

-- Says that a relaying process lives, and answers the outboxes that are its to relay until the lease is over: a fair share of those that
-- nobody else holds. The 50 most active of the fleet are to be listened to.
CREATE FUNCTION reeve.hold_outboxes(p_process uuid, p_node text, p_pid int, p_lease interval DEFAULT '15 s')
RETURNS TABLE (id int, name text, conninfo text, login text, secret bytea, tenant_id uuid, block_size int, next_row bigint, last_row bigint, last_mark uuid,
               renew boolean, listen boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
DECLARE v_now timestamptz := reeve.clock(); v_share int; v_held int;
BEGIN
  IF NOT EXISTS (SELECT FROM reeve.outbox) THEN RETURN; END IF;
  INSERT INTO reeve.relay_process AS p (id, node, pid, alive_until) VALUES (p_process, left(p_node, 200), p_pid, v_now + p_lease)
  ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until;
  DELETE FROM reeve.relay_process p WHERE p.id IN (SELECT d.id FROM reeve.relay_process d WHERE d.alive_until < v_now - interval '1 min' FOR UPDATE SKIP LOCKED);
  SELECT ceil((SELECT count(*) FROM reeve.outbox o WHERE NOT o.stopped)::numeric / greatest(1, count(*))) INTO v_share FROM reeve.relay_process p WHERE p.alive_until >= v_now;
  UPDATE reeve.outbox o SET lease_until = v_now + p_lease
  WHERE o.id IN (SELECT m.id FROM reeve.outbox m WHERE m.holder = p_process AND m.lease_until > v_now AND NOT m.stopped ORDER BY m.activity DESC, m.id LIMIT v_share FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS v_held = ROW_COUNT;
  UPDATE reeve.outbox o SET holder = p_process, lease_until = v_now + p_lease
  WHERE o.id IN (SELECT f.id FROM reeve.outbox f WHERE (f.lease_until IS NULL OR f.lease_until <= v_now) AND NOT f.stopped
                 ORDER BY f.activity DESC, f.id LIMIT greatest(0, v_share - v_held) FOR UPDATE SKIP LOCKED);
  RETURN QUERY
    SELECT o.id, o.name, o.conninfo, o.login, o.secret, o.tenant_id, o.block_size, o.next_row, o.last_row, o.last_mark, o.renew, o.place <= 50
    FROM (SELECT a.*, row_number() OVER (ORDER BY a.activity * power(0.5, extract(epoch FROM v_now - coalesce(a.relayed_at, a.created_at)) / 60) DESC, a.id) AS place
          FROM reeve.outbox a WHERE NOT a.stopped) o
    WHERE o.holder = p_process AND o.lease_until > v_now;
END $$;

-- Gives back what a process holds: it ends.
CREATE FUNCTION reeve.release_outboxes(p_process uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  UPDATE reeve.outbox o SET holder = NULL, lease_until = NULL
  WHERE o.id IN (SELECT m.id FROM reeve.outbox m WHERE m.holder = p_process ORDER BY m.id FOR UPDATE);
  DELETE FROM reeve.relay_process p WHERE p.id = p_process;
END $$;

-- The outbox, locked, when its lease is this process's.
CREATE FUNCTION reeve.held_outbox(p_outbox int, p_process uuid) RETURNS reeve.outbox
LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.outbox;
BEGIN
  SELECT * INTO v FROM reeve.outbox o WHERE o.id = p_outbox FOR UPDATE;
  IF v.id IS NULL OR v.holder IS DISTINCT FROM p_process OR v.lease_until <= reeve.clock() OR v.stopped THEN
    RAISE EXCEPTION 'the lease of outbox % is over', p_outbox USING ERRCODE = 'RV031';
  END IF;
  RETURN v;
END $$;

-- Where its relay was: the last row taken, and its mark.
CREATE FUNCTION reeve.outbox_place(p_outbox int, p_process uuid) RETURNS TABLE (last_row bigint, last_mark uuid)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT o.last_row, o.last_mark FROM reeve.held_outbox(p_outbox, p_process) o
$$;

-- Reserves a block of job ids for an outbox, as runs of numbers: others draw from the same sequence meanwhile.
CREATE FUNCTION reeve.reserve_ids(p_outbox int, p_process uuid, p_count int) RETURNS TABLE (first bigint, last bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
BEGIN
  PERFORM reeve.held_outbox(p_outbox, p_process);
  UPDATE reeve.outbox o SET renew = false WHERE o.id = p_outbox AND o.renew;
  RETURN QUERY
    WITH drawn AS MATERIALIZED (SELECT nextval('reeve.job_id') AS n FROM generate_series(1, least(p_count, 1000000))),
    run AS (SELECT min(d.n) AS first, max(d.n) AS last FROM (SELECT n, n - row_number() OVER (ORDER BY n) AS island FROM drawn) d GROUP BY d.island)
    INSERT INTO reeve.outbox_block AS b (outbox_id, first, last) SELECT p_outbox, r.first, r.last FROM run r ORDER BY r.first RETURNING b.first, b.last;
END $$;

-- Whether ids that an outbox holds were reserved for it: what an outbox says that was restored, or whose control database was, may differ.
CREATE FUNCTION reeve.knows_ids(p_outbox int, p_firsts bigint[], p_lasts bigint[]) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT NOT EXISTS (SELECT FROM unnest(p_firsts, p_lasts) AS g (first, last)
    WHERE NOT EXISTS (SELECT FROM reeve.outbox_block b WHERE b.outbox_id = p_outbox AND b.first <= g.first AND b.last >= g.last))
$$;

-- Makes sure that ids which an outbox still has from before a restore of this database are handed out to nobody else from now on. Not for a
-- tenant's database, which could name any.
CREATE FUNCTION reeve.pass_ids(p_outbox int, p_process uuid, p_last bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_box reeve.outbox := reeve.held_outbox(p_outbox, p_process); v_missing bigint := p_last - (SELECT s.last_value FROM reeve.job_id s);
BEGIN
  IF v_box.renew AND v_box.tenant_id IS NULL AND v_missing BETWEEN 1 AND 10000000 THEN
    PERFORM count(nextval('reeve.job_id')) FROM generate_series(1, v_missing);
  END IF;
END $$;

-- Takes rows of an outbox, in one transaction: each becomes the job whose id it was given, an alias of a job whose key is known, a dead letter of
-- its tenant, or a refusal. Rows that were taken before are left out. Raises RV031 when the lease is another's. Rows: {id, job, mark, login, item}.
CREATE FUNCTION reeve.take_outbox_rows(p_outbox int, p_process uuid, p_rows jsonb, p_next_row bigint) RETURNS TABLE (taken int, aliased int, refused int)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET lock_timeout = '5s' SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
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
      v_job := nextval('reeve.job_id');
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
END $$;

-- Says how an outbox is: what waits in it, or what is wrong with it. `p_stop` stops it until an operator resumes it.
CREATE FUNCTION reeve.note_outbox(p_outbox int, p_process uuid, p_waiting bigint, p_oldest timestamptz, p_ids_left bigint, p_problem text, p_stop boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_now timestamptz := reeve.clock(); v_box reeve.outbox := reeve.held_outbox(p_outbox, p_process);
BEGIN
  UPDATE reeve.outbox o SET waiting = CASE WHEN p_problem IS NULL THEN p_waiting ELSE o.waiting END, oldest_at = CASE WHEN p_problem IS NULL THEN p_oldest ELSE o.oldest_at END,
    ids_left = coalesce(p_ids_left, o.ids_left), seen_at = CASE WHEN p_problem IS NULL THEN v_now ELSE o.seen_at END,
    problem = left(p_problem, 2000), problem_since = CASE WHEN p_problem IS NOT NULL THEN coalesce(o.problem_since, v_now) END, stopped = p_stop
  WHERE o.id = p_outbox;
  IF p_stop THEN PERFORM reeve.audit(v_box.tenant_id, 'outbox.stop', 'outbox ' || v_box.name, left(p_problem, 2000), '{}'); END IF;
END $$;

-- What outboxes check against, and its digest; the facts are NULL when the digest is the known one.
CREATE FUNCTION reeve.outbox_facts(p_known text) RETURNS TABLE (digest text, facts jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
DECLARE v_digest text;
BEGIN
  SELECT md5(concat_ws('|', (SELECT concat_ws(',', count(*), sum(t.version), max(t.created_at)) FROM reeve.tenant t),
    (SELECT string_agg(b.tenant_id::text, ',' ORDER BY b.tenant_id) FROM reeve.tenant_backlog b WHERE b.is_full),
    (SELECT string_agg(r.tenant_id::text, ',' ORDER BY r.tenant_id) FROM reeve.purge_request r WHERE r.state IN ('frozen', 'final_backup', 'purging', 'verified')),
    (SELECT string_agg(k.name || k.registered_at, ',' ORDER BY k.name) FROM reeve.kind k),
    (SELECT string_agg(q.pattern || q.reason, ',' ORDER BY q.pattern) FROM reeve.queue_block q WHERE q.refuse))) INTO v_digest;
  IF v_digest = p_known THEN RETURN QUERY SELECT v_digest, NULL::jsonb; RETURN; END IF;
  RETURN QUERY SELECT v_digest, jsonb_build_object(
    'tenants', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', t.id, 'code', t.code, 'status', t.status, 'is_full', coalesce(b.is_full, false),
        'is_frozen', t.status IN ('churned', 'suspended') AND reeve.is_frozen(t.id))), '[]')
      FROM reeve.tenant t LEFT JOIN reeve.tenant_backlog b ON b.tenant_id = t.id),
    'kinds', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', k.name, 'queue', k.queue, 'schema', k.schema)), '[]') FROM reeve.kind k),
    'closed', (SELECT coalesce(jsonb_agg(jsonb_build_object('pattern', q.pattern, 'like_pattern', q.like_pattern, 'reason', q.reason)), '[]') FROM reeve.queue_block q WHERE q.refuse));
END $$;

-- The texts of the functions that outboxes use too, so that a refusal is the same wherever one enqueues.
CREATE FUNCTION reeve.outbox_functions() RETURNS SETOF text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT pg_get_functiondef(f) FROM unnest(ARRAY['reeve.args_problem(jsonb, jsonb, text)', 'reeve.pool_of(text, text)']::regprocedure[]) f
$$;

-- Forgets rows that no outbox has any more, refusals of 30 days ago, and aliases of jobs that left the history. Returns how many.
CREATE FUNCTION reeve.tend_outboxes(p_limit int DEFAULT 5000) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_count int; v_more int; v_now timestamptz := reeve.clock();
BEGIN
  DELETE FROM reeve.outbox_taken k WHERE k.ctid = ANY (ARRAY(SELECT x.ctid FROM reeve.outbox_taken x WHERE x.at < v_now - interval '7 days'
    AND NOT EXISTS (SELECT FROM reeve.outbox o WHERE o.id = x.outbox_id AND o.next_row <= x.row_id) ORDER BY x.at LIMIT p_limit FOR UPDATE OF x SKIP LOCKED));
  GET DIAGNOSTICS v_count = ROW_COUNT;
  DELETE FROM reeve.job_alias a WHERE a.id = ANY (ARRAY(SELECT x.id FROM reeve.job_alias x WHERE x.at < v_now - interval '30 days' ORDER BY x.at LIMIT p_limit FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS v_more = ROW_COUNT;
  DELETE FROM reeve.outbox_refusal r WHERE r.at < v_now - interval '30 days';
  RETURN v_count + v_more;
END $$;

-- MARK: Aliases

CREATE FUNCTION reeve.first_job(p_id bigint) RETURNS bigint LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT coalesce((SELECT a.job_id FROM reeve.job_alias a WHERE a.id = p_id), p_id)
$$;
-- As before; an id that an outbox gave out for a known key is the first job.
CREATE OR REPLACE FUNCTION reeve.job(id bigint) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT jsonb_build_object('id', j.id, 'tenant', t.code, 'queue', j.queue, 'kind', j.kind, 'state', j.state, 'hold_reason', j.hold_reason,
      'attempt', j.attempt, 'max_attempts', j.max_attempts, 'priority', j.priority, 'run_at', j.run_at, 'created_at', j.created_at, 'started_at', j.started_at,
      'finished_at', j.finished_at, 'worker_id', j.worker_id, 'lease_id', j.lease_id, 'retried_from', j.retried_from, 'retried_as', j.retried_as,
      'progress', j.progress, 'error', j.error, 'reason', j.reason, 'result', j.result,
      'steps', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', s.name, 'finished_at', s.finished_at) ORDER BY s.finished_at), '[]') FROM reeve.job_step s WHERE s.job_id = j.id),
      'artifacts', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', a.id, 'entity', a.entity, 'key', a.key, 'bytes', a.bytes, 'sha256', a.sha256,
          'created_at', a.created_at, 'expires_at', a.expires_at) ORDER BY a.created_at), '[]') FROM reeve.artifact a WHERE a.job_id = j.id))
  FROM (
    SELECT j.id, j.tenant_id, j.created_by, j.queue, j.kind, j.state, j.hold_reason, j.attempt, j.max_attempts, j.priority, j.run_at, j.created_at, j.started_at, NULL::timestamptz AS finished_at,
           j.worker_id, j.lease_id, j.retried_from, NULL::bigint AS retried_as, j.progress, j.last_error AS error, NULL::text AS reason, NULL::jsonb AS result
    FROM reeve.job j WHERE j.id = reeve.first_job(job.id)
    UNION ALL
    SELECT h.id, h.tenant_id, h.created_by, h.queue, h.kind, h.state, NULL, h.attempt, h.max_attempts, h.priority, h.run_at, h.created_at, h.started_at, h.finished_at,
           h.worker_id, h.lease_id, h.retried_from, NULL, NULL, h.last_error, NULL, h.result
    FROM reeve.job_history h WHERE h.id = reeve.first_job(job.id)
    UNION ALL
    SELECT d.id, d.tenant_id, d.created_by, d.queue, d.kind, d.state, NULL, d.attempt, d.max_attempts, d.priority, d.run_at, d.created_at, d.started_at, d.finished_at,
           d.worker_id, d.lease_id, d.retried_from, d.redriven_as, NULL, d.last_error, d.reason, NULL
    FROM reeve.dead_letter d WHERE d.id = reeve.first_job(job.id)) j
  LEFT JOIN reeve.tenant t ON t.id = j.tenant_id
  WHERE reeve.may_see(j.tenant_id, j.created_by)
$$;

-- As before, of the first job too.
CREATE OR REPLACE FUNCTION reeve.cancel(id bigint) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v record; v_owner uuid := (SELECT l.tenant_id FROM reeve.tenant_login l WHERE l.login = session_user);
BEGIN
  id := reeve.first_job(cancel.id);
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

CREATE VIEW reeve.outbox_list WITH (security_barrier) AS
SELECT o.id, o.name, o.conninfo, o.login, t.code AS tenant_code, o.block_size, o.created_at, o.created_by, o.relayed, o.aliased, o.refused, o.relayed_at,
  o.waiting, o.oldest_at, o.ids_left, o.seen_at, o.problem, o.problem_since,
  CASE WHEN o.stopped THEN 'stopped' WHEN o.problem IS NOT NULL THEN 'failing' WHEN o.holder IS NULL OR o.lease_until <= reeve.clock() THEN 'unattended' ELSE 'relaying' END AS state,
  p.node, p.pid
FROM reeve.outbox o LEFT JOIN reeve.tenant t ON t.id = o.tenant_id LEFT JOIN reeve.relay_process p ON p.id = o.holder AND o.lease_until > reeve.clock();
COMMENT ON VIEW reeve.outbox_list IS 'Services'' databases that enqueue, and how their relays stand.';

GRANT SELECT ON reeve.outbox_list, reeve.outbox_refusal TO reeve_operator;
GRANT SELECT ON reeve.outbox_list TO reeve_viewer, reeve_worker;
GRANT EXECUTE ON FUNCTION reeve.add_outbox(text, text, text, bytea, text, int, text), reeve.remove_outbox(text, text), reeve.resume_outbox(text, text) TO reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.outbox_functions(), reeve.outbox_facts(text) TO reeve_operator, reeve_worker;
GRANT EXECUTE ON FUNCTION reeve.hold_outboxes(uuid, text, int, interval), reeve.release_outboxes(uuid), reeve.outbox_place(int, uuid), reeve.reserve_ids(int, uuid, int),
  reeve.knows_ids(int, bigint[], bigint[]), reeve.pass_ids(int, uuid, bigint), reeve.take_outbox_rows(int, uuid, jsonb, bigint),
  reeve.note_outbox(int, uuid, bigint, timestamptz, bigint, text, boolean), reeve.tend_outboxes(int) TO reeve_worker;
