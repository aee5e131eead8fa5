-- Keys of tenants (ISO-E-001), and the pool of the workers that hold their identities.

-- A key: the recipient, which every worker may know, and where its identity was ever written. A pending one is being made: nothing
-- is encrypted to it. A retired one opens what was encrypted to it, until it is destroyed.
CREATE TABLE reeve.tenant_key (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id uuid NOT NULL REFERENCES reeve.tenant (id),
  recipient text NOT NULL CHECK (recipient ~ '^age1[02-9ac-hj-np-z]{58}$'),
  state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'current', 'retired', 'destroyed')),
  is_own boolean NOT NULL DEFAULT false,                     -- the tenant alone has the identity
  escrow text[] NOT NULL DEFAULT '{}',                       -- recipients beside it, who can read what the tenant's key can
  replaces uuid REFERENCES reeve.tenant_key (id),            -- what was current when this one was begun
  places jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(places) = 'array'),
  created_at timestamptz NOT NULL DEFAULT reeve.clock(),
  created_by text NOT NULL DEFAULT reeve.actor(),
  created_reason text CHECK (length(created_reason) <= 2000),
  retired_at timestamptz,
  retired_by text,
  retired_reason text CHECK (length(retired_reason) <= 2000),
  destroying_at timestamptz,                                 -- destroying it was begun, and may have removed some of it
  destroyed_at timestamptz,
  destroyed_by text,
  destroyed_reason text CHECK (length(destroyed_reason) <= 2000),
  destruction jsonb,                                         -- what was seen to be gone, and what was not
  CHECK (NOT is_own OR places = '[]'),
  CHECK ((state = 'destroyed') = (destroyed_at IS NOT NULL))
);
CREATE INDEX tenant_key_tenant ON reeve.tenant_key (tenant_id, created_at);
CREATE UNIQUE INDEX tenant_key_current ON reeve.tenant_key (tenant_id) WHERE state = 'current';
CREATE UNIQUE INDEX tenant_key_recipient ON reeve.tenant_key (recipient) WHERE NOT is_own;
UPDATE reeve.tier SET features = features || '{own_key}' WHERE name = 'enterprise' AND 'own_key' <> ALL (features);

-- Whether a legal hold keeps the tenant's data readable. The holds are of a later migration: before it nobody is held.
CREATE FUNCTION reeve.keys_are_held(p_tenant uuid) RETURNS boolean LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
BEGIN
  IF to_regprocedure('reeve.tenant_is_held(uuid)') IS NULL THEN RETURN false; END IF;
  RETURN reeve.tenant_is_held(p_tenant);
END $$;

-- The tenant whose keys are to change, locked against others that would change them.
CREATE FUNCTION reeve.lock_keys(p_code text) RETURNS uuid LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v record;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may change keys' USING ERRCODE = '42501'; END IF;
  SELECT t.id, t.status INTO v FROM reeve.tenant t WHERE t.code = p_code COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_code, 80) USING ERRCODE = 'RV001'; END IF;
  RETURN v.id;
END $$;

-- Records that a key is about to be made, and where its identity is about to be written, before it is. Nothing is encrypted to
-- it until it is activated. With p_rotate it takes the current one's place, without there must be none.
CREATE FUNCTION reeve.begin_key(p_code text, p_id uuid, p_recipient text, p_own boolean, p_escrow text[], p_places jsonb, p_rotate boolean, p_reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.lock_keys(p_code); v_current uuid; v_other text; v_recipient text;
BEGIN
  IF EXISTS (SELECT FROM reeve.tenant t WHERE t.id = v_tenant AND t.status = 'archived') THEN
    RAISE EXCEPTION 'tenant "%" is archived', p_code USING ERRCODE = 'RV009', HINT = 'Its data is purged; nothing is encrypted for it any more.';
  END IF;
  IF p_own AND NOT EXISTS (SELECT FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = v_tenant AND ('own_key' = ANY (r.features) OR t.flags -> 'own_key' = 'true')) THEN
    RAISE EXCEPTION 'tenant "%" may not bring its own recipient: its tier lacks the feature own_key', p_code USING ERRCODE = 'RV020',
      HINT = 'Tiers that have it: ' || coalesce((SELECT string_agg(r.name, ', ' ORDER BY r.name) FROM reeve.tier r WHERE 'own_key' = ANY (r.features)), 'none');
  END IF;
  SELECT k.id INTO v_current FROM reeve.tenant_key k WHERE k.tenant_id = v_tenant AND k.state = 'current';
  IF FOUND AND NOT p_rotate THEN
    RAISE EXCEPTION 'tenant "%" has a key', p_code USING ERRCODE = 'RV012', HINT = 'A new one takes its place with: reeve keys rotate ' || p_code;
  ELSIF NOT FOUND AND p_rotate THEN
    RAISE EXCEPTION 'tenant "%" has no key', p_code USING ERRCODE = 'RV012', HINT = 'Make one with: reeve keys create ' || p_code;
  END IF;
  FOREACH v_recipient IN ARRAY p_recipient || p_escrow LOOP
    IF v_recipient IS NULL OR v_recipient !~ '^age1[02-9ac-hj-np-z]{58}$' THEN
      RAISE EXCEPTION '"%" is not an age recipient', left(coalesce(v_recipient, ''), 80) USING ERRCODE = 'RV010', HINT = 'age1 and 58 more characters, as age-keygen prints them.';
    END IF;
    SELECT t.code INTO v_other FROM reeve.tenant_key k JOIN reeve.tenant t ON t.id = k.tenant_id
    WHERE k.recipient = v_recipient AND (NOT k.is_own OR k.tenant_id = v_tenant) LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION 'that recipient is a key of tenant "%" already', v_other USING ERRCODE = 'RV012', HINT = 'A recipient is one key''s: what it opens goes when that is destroyed.';
    END IF;
  END LOOP;
  INSERT INTO reeve.tenant_key (id, tenant_id, recipient, is_own, escrow, replaces, places, created_reason)
  VALUES (p_id, v_tenant, p_recipient, p_own, p_escrow, v_current, p_places, p_reason);
  PERFORM reeve.audit(v_tenant, CASE WHEN p_rotate THEN 'key.rotate' ELSE 'key.create' END, 'key ' || p_id, p_reason,
    jsonb_build_object('outcome', 'intent', 'own', p_own, 'escrow', p_escrow, 'places', p_places));
END $$;

-- Encrypts what comes from now on to a key whose identity is safe where it was to be written; the one before is retired.
CREATE FUNCTION reeve.activate_key(p_id uuid, p_places jsonb DEFAULT '[]') RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_current uuid; v_now timestamptz := reeve.clock();
BEGIN
  PERFORM reeve.lock_keys(t.code) FROM reeve.tenant_key k JOIN reeve.tenant t ON t.id = k.tenant_id WHERE k.id = p_id;
  SELECT k.* INTO v FROM reeve.tenant_key k WHERE k.id = p_id AND k.state = 'pending';
  IF NOT FOUND THEN RAISE EXCEPTION 'key % is not one that is being made', p_id USING ERRCODE = 'RV012'; END IF;
  UPDATE reeve.tenant_key k SET state = 'retired', retired_at = v_now, retired_by = reeve.actor(), retired_reason = v.created_reason
  WHERE k.tenant_id = v.tenant_id AND k.state = 'current' RETURNING k.id INTO v_current;
  IF v_current IS DISTINCT FROM v.replaces THEN
    RAISE EXCEPTION 'another key of this tenant became current meanwhile' USING ERRCODE = 'RV012', HINT = 'Look at them: reeve keys list';
  END IF;
  UPDATE reeve.tenant_key k SET state = 'current', places = k.places || p_places WHERE k.id = p_id;
  PERFORM reeve.audit(v.tenant_id, CASE WHEN v.replaces IS NULL THEN 'key.create' ELSE 'key.rotate' END, 'key ' || p_id, v.created_reason,
    jsonb_build_object('outcome', 'done', 'retired', v_current, 'places', v.places || p_places));
END $$;

-- Begins to destroy one key of a tenant, or all: from here on nothing is encrypted to them. Called again it gives those that are
-- not destroyed yet. Whose identity the tenant alone has is not here to be destroyed.
CREATE FUNCTION reeve.begin_destroy(p_code text, p_key uuid, p_reason text) RETURNS SETOF reeve.tenant_key
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.lock_keys(p_code); v_now timestamptz := reeve.clock(); v_ids uuid[];
BEGIN
  IF p_reason IS NULL OR btrim(p_reason) = '' THEN RAISE EXCEPTION 'destroying a key needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why, for the audit.'; END IF;
  IF reeve.keys_are_held(v_tenant) THEN
    RAISE EXCEPTION 'tenant "%" is under a legal hold', p_code USING ERRCODE = 'RV020', HINT = 'What is held must stay readable; see: reeve tenant show ' || p_code;
  END IF;
  PERFORM FROM reeve.tenant_key k WHERE k.tenant_id = v_tenant AND (p_key IS NULL OR k.id = p_key) AND k.state <> 'destroyed';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'tenant "%" has no % to destroy', p_code, coalesce('key ' || p_key, 'key') USING ERRCODE = 'RV011', HINT = 'See: reeve keys list ' || p_code;
  END IF;
  SELECT array_agg(k.id) INTO v_ids FROM reeve.tenant_key k WHERE k.tenant_id = v_tenant AND (p_key IS NULL OR k.id = p_key) AND k.state <> 'destroyed' AND NOT k.is_own;
  IF v_ids IS NULL THEN
    RAISE EXCEPTION 'tenant "%" brings its own recipient: only the tenant has the identity, and destroying it is the tenant''s act', p_code USING ERRCODE = 'RV020',
      HINT = 'To encrypt to another key from now on: reeve keys rotate ' || p_code;
  END IF;
  PERFORM reeve.audit(v_tenant, 'key.destroy', 'tenant ' || p_code, p_reason, jsonb_build_object('outcome', 'intent', 'keys', v_ids));
  RETURN QUERY UPDATE reeve.tenant_key k SET state = 'retired', retired_at = coalesce(k.retired_at, v_now), retired_by = coalesce(k.retired_by, reeve.actor()),
      retired_reason = coalesce(k.retired_reason, p_reason), destroying_at = coalesce(k.destroying_at, v_now), destroyed_reason = p_reason
    WHERE k.id = ANY (v_ids) RETURNING k.*;
END $$;

-- Records that a key is destroyed, with what was seen to be gone and what could not be seen.
CREATE FUNCTION reeve.finish_destroy(p_id uuid, p_destruction jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record;
BEGIN
  PERFORM reeve.lock_keys(t.code) FROM reeve.tenant_key k JOIN reeve.tenant t ON t.id = k.tenant_id WHERE k.id = p_id;
  UPDATE reeve.tenant_key k SET state = 'destroyed', destroyed_at = reeve.clock(), destroyed_by = reeve.actor(), destruction = p_destruction
  WHERE k.id = p_id AND k.destroying_at IS NOT NULL AND k.state = 'retired' RETURNING k.tenant_id, k.destroyed_reason INTO v;
  IF NOT FOUND THEN RAISE EXCEPTION 'key % is not being destroyed', p_id USING ERRCODE = 'RV012'; END IF;
  PERFORM reeve.audit(v.tenant_id, 'key.destroy', 'key ' || p_id, v.destroyed_reason, p_destruction || '{"outcome": "done"}');
END $$;

-- To whom a worker encrypts what it makes for a tenant: no row without a current key.
CREATE FUNCTION reeve.tenant_recipients(p_tenant uuid) RETURNS TABLE (key_id uuid, recipients text[], is_own boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT k.id, k.recipient || k.escrow, k.is_own FROM reeve.tenant_key k WHERE k.tenant_id = p_tenant AND k.state = 'current'
$$;

-- What a restore worker asks before it looks for an identity: no row when the key is another tenant's.
CREATE FUNCTION reeve.key_facts(p_tenant uuid, p_key uuid) RETURNS TABLE (recipient text, state text, is_own boolean, destroying boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT k.recipient, k.state, k.is_own, k.destroying_at IS NOT NULL FROM reeve.tenant_key k WHERE k.tenant_id = p_tenant AND k.id = p_key
$$;

-- Keys without where their identities are.
CREATE VIEW reeve.key_list WITH (security_barrier) AS
  SELECT t.code AS tenant_code, k.id, k.state, k.is_own, k.recipient, cardinality(k.escrow) AS escrow, k.created_at, k.retired_at, k.destroying_at, k.destroyed_at
  FROM reeve.tenant_key k JOIN reeve.tenant t ON t.id = k.tenant_id;

GRANT EXECUTE ON FUNCTION reeve.begin_key(text, uuid, text, boolean, text[], jsonb, boolean, text), reeve.activate_key(uuid, jsonb),
  reeve.begin_destroy(text, uuid, text), reeve.finish_destroy(uuid, jsonb) TO reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.tenant_recipients(uuid), reeve.key_facts(uuid, uuid) TO reeve_worker, reeve_operator;
GRANT SELECT ON reeve.tenant_key TO reeve_operator;
GRANT SELECT ON reeve.key_list TO reeve_viewer, reeve_operator, reeve_worker;

-- The restore workers' pool: the jobs of every tenant's queue `restores`, whatever its tier.
CREATE FUNCTION reeve.pool_of(tier text, queue text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
  $$ SELECT CASE WHEN queue LIKE '%.restores' THEN 'restore' ELSE tier END $$;
ALTER TABLE reeve.tier ADD CONSTRAINT tier_is_not_the_restore_pool CHECK (name <> 'restore');
UPDATE reeve.job j SET pool = 'restore' WHERE j.queue LIKE '%.restores' AND j.state IN ('available', 'scheduled');

-- As before, in the queue's pool. A kind whose registered queue is `restores` runs there alone, and nothing else does: a restore worker
-- holds the tenants' identities, a plain one cannot do its work.
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
      SELECT k.name, k.queue, k.schema, k.max_attempts INTO v_kind FROM reeve.kind k WHERE k.name = v.kind;
      IF NOT FOUND THEN
        RAISE EXCEPTION 'kind "%" is not registered%', left(coalesce(v.kind, ''), 80), v_at USING ERRCODE = 'RV004',
          HINT = 'Known kinds: ' || coalesce((SELECT string_agg(k.name, ', ' ORDER BY k.name) FROM reeve.kind k), 'none yet; start a worker or run reeve migrate up');
      END IF;
    END IF;
    IF (v_kind.queue = 'restores') <> (reeve.pool_of('', v.queue) = 'restore') THEN
      RAISE EXCEPTION 'kind "%" does not run on queue "%"%', v.kind, v.queue, v_at USING ERRCODE = 'RV002',
        HINT = 'Its queue is ' || v_code || '.' || v_kind.queue || '; what needs the tenants'' identities, and nothing else, runs on <tenant code>.restores.';
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
END $$;

-- As before, in the queue's pool.
CREATE OR REPLACE FUNCTION reeve.retry(id bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v record; v_id bigint; v_tenant record;
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
  IF v_tenant.status = 'archived' THEN RAISE EXCEPTION 'the tenant of job % is archived', retry.id USING ERRCODE = 'RV009'; END IF;
  v_id := nextval('reeve.job_id');
  INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, priority, max_attempts, run_at, created_by, traceparent, args, retried_from)
  VALUES (v_id, v.tenant_id, reeve.pool_of(v_tenant.tier, v.queue), v.queue, v.kind, 'available', v.priority, v.max_attempts, reeve.clock(), session_user, v.traceparent, v.args, retry.id);
  UPDATE reeve.dead_letter d SET redriven_as = v_id WHERE d.id = retry.id;
  PERFORM reeve.audit(v.tenant_id, 'job.retry', 'job ' || retry.id, NULL, jsonb_build_object('kind', v.kind, 'as', v_id));
  PERFORM reeve.wake(ARRAY[reeve.pool_of(v_tenant.tier, v.queue)]);
  RETURN v_id;
END $$;

-- As before, in the queue's pool.
CREATE OR REPLACE FUNCTION reeve.promote(p_limit int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE v_pools text[]; v_count int; v_now timestamptz := reeve.clock();
BEGIN
  WITH due AS MATERIALIZED (
    SELECT j.id FROM reeve.job j WHERE j.state = 'scheduled' AND j.run_at <= v_now ORDER BY j.run_at, j.id LIMIT p_limit FOR UPDATE SKIP LOCKED),
  up AS (
    UPDATE reeve.job j SET state = 'available', hold_reason = NULL, pool = coalesce((SELECT reeve.pool_of(t.tier, j.queue) FROM reeve.tenant t WHERE t.id = j.tenant_id), j.pool)
    FROM due d WHERE j.id = d.id AND j.state = 'scheduled' RETURNING j.pool)
  SELECT array_agg(DISTINCT u.pool), count(*) INTO v_pools, v_count FROM up u;
  IF v_count > 0 THEN PERFORM reeve.wake(v_pools); END IF;
  RETURN v_count;
END $$;

-- As before; the pool of the restore workers is no tier's.
CREATE OR REPLACE FUNCTION reeve.move_pools(p_limit int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE v_count int; v_pools text[];
BEGIN
  WITH RECURSIVE pair AS (
    (SELECT j.pool, j.tenant_id FROM reeve.job j WHERE j.state = 'available' ORDER BY j.pool, j.tenant_id LIMIT 1)
    UNION ALL
    SELECT n.pool, n.tenant_id FROM pair p CROSS JOIN LATERAL (SELECT j.pool, j.tenant_id FROM reeve.job j
      WHERE j.state = 'available' AND (j.pool, j.tenant_id) > (p.pool, p.tenant_id) ORDER BY j.pool, j.tenant_id LIMIT 1) n),
  stray AS MATERIALIZED (
    SELECT s.id, t.tier FROM pair p JOIN reeve.tenant t ON t.id = p.tenant_id AND t.tier <> p.pool AND p.pool <> 'restore'
    CROSS JOIN LATERAL (SELECT j.id FROM reeve.job j WHERE j.state = 'available' AND j.pool = p.pool AND j.tenant_id = p.tenant_id
                        LIMIT p_limit FOR UPDATE SKIP LOCKED) s LIMIT p_limit),
  moved AS (UPDATE reeve.job j SET pool = reeve.pool_of(s.tier, j.queue) FROM stray s WHERE j.id = s.id AND j.state = 'available' RETURNING j.pool)
  SELECT count(*), array_agg(DISTINCT m.pool) INTO v_count, v_pools FROM moved m;
  IF v_count > 0 THEN PERFORM reeve.wake(v_pools); END IF;
  RETURN v_count;
END $$;

-- As before; what waits for a restore worker is backlog too.
CREATE OR REPLACE FUNCTION reeve.tend_backlog(p_budget interval DEFAULT '20 ms') RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE v record; v_n bigint; v_count int := 0; v_until timestamptz := reeve.clock() + p_budget;
BEGIN
  FOR v IN SELECT b.tenant_id, b.waiting, b.is_full, t.tier, coalesce((t.overrides ->> 'backlog_limit')::bigint, r.backlog_limit) AS most
      FROM reeve.tenant_backlog b JOIN reeve.tenant t ON t.id = b.tenant_id JOIN reeve.tier r ON r.name = t.tier
      ORDER BY b.counted_at LIMIT 200 FOR UPDATE OF b SKIP LOCKED LOOP
    SELECT count(*) INTO v_n FROM (
      SELECT 1 FROM reeve.job j WHERE j.state = 'available' AND j.pool = ANY (ARRAY[v.tier, 'restore']) AND j.tenant_id = v.tenant_id
      UNION ALL
      SELECT 1 FROM reeve.job j WHERE j.state = 'scheduled' AND j.tenant_id = v.tenant_id
      LIMIT v.most) n;
    UPDATE reeve.tenant_backlog b SET waiting = v_n, is_full = (v_n >= v.most), counted_at = reeve.clock() WHERE b.tenant_id = v.tenant_id;
    v_count := v_count + 1;
    EXIT WHEN reeve.clock() > v_until;
  END LOOP;
  RETURN v_count;
END $$;

-- As before, with the words for the restore workers.
CREATE OR REPLACE FUNCTION reeve.wake(pools text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_pool text;
BEGIN
  FOREACH v_pool IN ARRAY pools LOOP
    IF EXISTS (SELECT FROM reeve.idle_pool i WHERE i.pool = v_pool) THEN
      PERFORM pg_notify('reeve_work', v_pool);
    ELSIF NOT EXISTS (SELECT FROM reeve.worker w WHERE w.state = 'alive' AND w.lease_until > reeve.clock() AND w.pools ? v_pool) THEN
      IF v_pool = 'restore' THEN
        RAISE NOTICE 'accepted, but no restore worker is running' USING HINT = 'Start one with: reeve worker --role restore';
      ELSE
        RAISE NOTICE 'accepted, but no running worker serves the tier "%"', v_pool USING HINT = 'Start one with: reeve worker --tiers ' || v_pool;
      END IF;
    END IF;
  END LOOP;
END $$;

-- As before, with the words for the restore workers.
CREATE OR REPLACE FUNCTION reeve.explain(id bigint) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v record; v_tenant record; v_block record; v_count record; v_ahead bigint; v_job jsonb; v_why text;
BEGIN
  SELECT j.* INTO v FROM reeve.job j WHERE j.id = explain.id;
  IF NOT FOUND THEN
    v_job := reeve.job(explain.id);
    IF v_job IS NULL THEN RAISE EXCEPTION 'there is no job %', explain.id USING ERRCODE = 'RV011'; END IF;
    RETURN format('job %s %s at %s%s', explain.id, CASE v_job ->> 'state' WHEN 'dead' THEN 'died' WHEN 'cancelled' THEN 'was cancelled' ELSE 'succeeded' END,
      v_job ->> 'finished_at', coalesce(': ' || coalesce(v_job ->> 'reason', v_job ->> 'error'), ''));
  END IF;
  IF NOT reeve.may_see(v.tenant_id, v.created_by) THEN RAISE EXCEPTION 'there is no job %', explain.id USING ERRCODE = 'RV011'; END IF;
  SELECT t.code, t.status, t.tier INTO v_tenant FROM reeve.tenant t WHERE t.id = v.tenant_id;
  IF v.state = 'running' THEN
    RETURN format('it is running: attempt %s, since %s, on %s', v.attempt, to_char(v.started_at, 'HH24:MI:SS'),
      coalesce((SELECT format('%s (pid %s)', w.node, w.pid) FROM reeve.worker w WHERE w.id = v.worker_id), 'a worker that is gone'));
  END IF;
  IF v.hold_reason IS NOT NULL THEN
    IF v.hold_reason = 'circuit_open' THEN
      SELECT format(': database %s on %s does not answer%s', c.database, c.server, CASE WHEN reeve.is_operator() THEN ' (' || c.error || ')' ELSE '' END) INTO v_why
      FROM reeve.tenant_store s JOIN reeve.circuit c ON c.server = s.server AND c.database = s.database WHERE s.tenant_id = v.tenant_id LIMIT 1;
    END IF;
    RETURN format('it is held: %s%s%s', replace(v.hold_reason, '_', ' '), coalesce(v_why, ''),
      CASE WHEN v.run_at = 'infinity' THEN '' ELSE ' until ' || to_char(v.run_at, 'YYYY-MM-DD HH24:MI:SS') END);
  END IF;
  IF v.suspect_of IS NOT NULL AND v.state = 'scheduled' THEN
    RETURN 'its worker crashed while it ran; such jobs run one at a time in each worker, and it waits for its turn';
  END IF;
  IF v.state = 'scheduled' THEN
    RETURN format('it is scheduled for %s%s', to_char(v.run_at, 'YYYY-MM-DD HH24:MI:SS'),
      CASE WHEN v.attempt > 0 THEN format(', attempt %s of %s, after: %s', v.attempt + 1, v.max_attempts + v.rescued, coalesce(v.last_error, 'a lost attempt')) ELSE '' END);
  END IF;
  SELECT b.pattern, b.mode, b.reason, b.actor INTO v_block FROM reeve.queue_block b WHERE v.queue LIKE b.like_pattern ORDER BY length(b.pattern) DESC LIMIT 1;
  IF FOUND THEN
    RETURN format('%s is %s by %s (%s): %s', v.queue, CASE v_block.mode WHEN 'pause' THEN 'paused' ELSE 'draining' END, v_block.actor, v_block.pattern, v_block.reason);
  END IF;
  IF NOT EXISTS (SELECT FROM reeve.worker w WHERE w.state = 'alive' AND w.lease_until > reeve.clock() AND w.pools ? v.pool) THEN
    RETURN CASE WHEN v.pool = 'restore' THEN 'no restore worker is running; start one with: reeve worker --role restore'
      ELSE format('no running worker serves the tier "%s"; start one with: reeve worker --tiers %s', v.pool, v.pool) END;
  END IF;
  IF NOT EXISTS (SELECT FROM reeve.worker w WHERE w.state = 'alive' AND w.lease_until > reeve.clock() AND w.pools ? v.pool
                 AND (w.queues IS NULL OR v.queue LIKE ANY (SELECT replace(q, '*', '%') FROM unnest(w.queues) q))) THEN
    RETURN format('no running worker serves the queue "%s"; start one with: reeve worker --queues %s', v.queue, v.queue);
  END IF;
  SELECT c.running, c.cap INTO v_count FROM reeve.tenant_counter c WHERE c.tenant_id = v.tenant_id;
  IF v_count.running >= v_count.cap THEN
    RETURN format('%s has %s of %s jobs running; the oldest started %s', v_tenant.code, v_count.running, v_count.cap,
      (SELECT to_char(min(j.started_at), 'HH24:MI') FROM reeve.job j WHERE j.state = 'running' AND j.tenant_id = v.tenant_id));
  END IF;
  SELECT count(*) INTO v_ahead FROM (SELECT 1 FROM reeve.job j WHERE j.state = 'available' AND j.pool = v.pool AND j.tenant_id = v.tenant_id AND j.queue = v.queue
    AND (j.priority, j.id) < (v.priority, v.id) LIMIT 10000) n;
  RETURN format('it waits for a free slot of %s: %s%s jobs of %s are before it, %s has %s of %s running',
    CASE WHEN v.pool = 'restore' THEN 'the restore workers' ELSE format('the tier "%s"', v.pool) END, v_ahead, CASE WHEN v_ahead = 10000 THEN ' or more' ELSE '' END, v.queue, v_tenant.code, v_count.running, v_count.cap);
END $$;

-- As before, but the restore workers' pool is a row of its own, and no tier counts its jobs.
CREATE OR REPLACE VIEW reeve.autoscale WITH (security_barrier) AS
  SELECT r.name AS tier, coalesce(s.ready, 0) AS ready, coalesce(s.running, 0) AS running, coalesce(s.desired, 0) AS desired_slots
  FROM reeve.tier r LEFT JOIN (
    SELECT t.tier, sum(coalesce(j.ready, 0))::bigint AS ready, sum(c.running - coalesce(o.running, 0))::bigint AS running,
           sum(least(c.cap, c.running + coalesce(j.ready, 0)) - least(c.cap, coalesce(o.running, 0)))::bigint AS desired
    FROM reeve.tenant t JOIN reeve.tenant_counter c ON c.tenant_id = t.id
    LEFT JOIN (SELECT tenant_id, count(*) AS ready FROM reeve.job WHERE state = 'available' AND pool <> 'restore' GROUP BY tenant_id) j ON j.tenant_id = t.id
    LEFT JOIN (SELECT tenant_id, count(*) AS running FROM reeve.job WHERE state = 'running' AND pool = 'restore' GROUP BY tenant_id) o ON o.tenant_id = t.id
    GROUP BY t.tier) s ON s.tier = r.name
  UNION ALL
  SELECT 'restore', count(*) FILTER (WHERE j.state = 'available'), count(*) FILTER (WHERE j.state = 'running'), count(*)
  FROM reeve.job j WHERE j.pool = 'restore' AND j.state IN ('available', 'running');
