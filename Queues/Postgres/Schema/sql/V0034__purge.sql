-- The hard delete of a tenant (LIFE-3): requests with their state machine, their steps, the backup that is kept beyond it, and the tombstone.

-- What the fleet allows, in one row.
CREATE TABLE reeve.purge_policy (
  id boolean PRIMARY KEY DEFAULT true CHECK (id),
  grace interval NOT NULL DEFAULT '90 days' CHECK (grace BETWEEN '0' AND '3650 days'),        -- from churn until a purge without two approvers
  automatic boolean NOT NULL DEFAULT false,                                                   -- a request that files itself runs without approval
  backup_days int DEFAULT 90 CHECK (backup_days BETWEEN 1 AND 3650)                           -- of requests that file themselves; NULL: no final backup
);
INSERT INTO reeve.purge_policy DEFAULT VALUES;

CREATE TABLE reeve.purge_request (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id uuid NOT NULL,                                   -- no reference needed: the tombstone stays
  kind text NOT NULL CHECK (kind IN ('elapsed', 'explicit')),
  state text NOT NULL DEFAULT 'requested'
    CHECK (state IN ('requested', 'grace', 'frozen', 'final_backup', 'purging', 'verified', 'certified', 'cancelled')),
  requested_at timestamptz NOT NULL DEFAULT reeve.clock(),
  requested_by text NOT NULL DEFAULT reeve.actor(),
  requested_login text NOT NULL DEFAULT session_user,
  reason text NOT NULL CHECK (length(reason) <= 2000 AND btrim(reason) <> ''),
  owner text CHECK (length(owner) <= 200 AND btrim(owner) <> ''),                 -- who of the tenant asked
  identity_reference text CHECK (length(identity_reference) <= 200 AND btrim(identity_reference) <> ''),
  approvals_needed int NOT NULL CHECK (approvals_needed BETWEEN 0 AND 2),
  not_before timestamptz NOT NULL,
  backup_days int CHECK (backup_days BETWEEN 1 AND 3650),   -- how long the final backup is kept; NULL: there is none
  accept_unseen boolean NOT NULL DEFAULT false,              -- keys end although places of their identities cannot be seen
  job_id bigint,
  waits_for text,                                            -- why it does not go on; NULL while it does
  ended_at timestamptz,
  ended_by text,
  end_reason text CHECK (length(end_reason) <= 2000),
  CHECK (kind = 'elapsed' OR (owner IS NOT NULL AND identity_reference IS NOT NULL AND approvals_needed = 2)),
  CHECK ((ended_at IS NOT NULL) = (state IN ('certified', 'cancelled')))
);
CREATE UNIQUE INDEX purge_request_open ON reeve.purge_request (tenant_id) WHERE state NOT IN ('cancelled', 'certified');
CREATE INDEX purge_request_tenant ON reeve.purge_request (tenant_id, requested_at);

CREATE TABLE reeve.purge_approval (
  request_id uuid NOT NULL REFERENCES reeve.purge_request (id),
  login text NOT NULL DEFAULT session_user,
  approver text NOT NULL DEFAULT reeve.actor(),
  at timestamptz NOT NULL DEFAULT reeve.clock(),
  PRIMARY KEY (request_id, login)
);

-- The steps of a purge, as far as they were begun; a finished one is not done again.
CREATE TABLE reeve.purge_step (
  request_id uuid NOT NULL REFERENCES reeve.purge_request (id),
  name text NOT NULL,
  begun_at timestamptz NOT NULL DEFAULT reeve.clock(),
  attempts int NOT NULL DEFAULT 1,
  intent bigint NOT NULL,                                    -- the audit's entry before it
  finished_at timestamptz,
  result jsonb,
  PRIMARY KEY (request_id, name),
  CHECK ((finished_at IS NULL) = (result IS NULL))
);

-- The final backup of a tenant, outside of the tenant's prefix and encrypted to a key of its own.
CREATE TABLE reeve.retained_backup (
  request_id uuid PRIMARY KEY REFERENCES reeve.purge_request (id),
  tenant_id uuid NOT NULL,
  key_id uuid NOT NULL,
  recipient text CHECK (recipient ~ '^age1[02-9ac-hj-np-z]{58}$'),
  places jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(places) = 'array'),
  destination text NOT NULL,
  artifacts jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(artifacts) = 'array'),
  bytes bigint NOT NULL DEFAULT 0,
  made_at timestamptz,
  proven_at timestamptz,
  kept_until timestamptz,                                    -- set with the certificate, or by a cancellation
  deleted_at timestamptz,
  key_destroyed_at timestamptz,
  destruction jsonb
);
CREATE INDEX retained_backup_due ON reeve.retained_backup (kept_until) WHERE key_destroyed_at IS NULL;

-- A purged tenant's record stays for ever: its code and its id are never used again.
CREATE FUNCTION reeve.keep_tombstone() RETURNS trigger LANGUAGE plpgsql SET search_path = reeve, pg_temp AS $$
BEGIN
  IF TG_OP = 'DELETE' OR NEW.status <> 'archived' THEN
    RAISE EXCEPTION 'tenant "%" is archived: its record stays as it is', OLD.code USING ERRCODE = '42501';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER tenant_tombstone BEFORE UPDATE OR DELETE ON reeve.tenant FOR EACH ROW WHEN (OLD.status = 'archived') EXECUTE FUNCTION reeve.keep_tombstone();
ALTER TABLE reeve.tenant ENABLE ALWAYS TRIGGER tenant_tombstone;

CREATE FUNCTION reeve.is_approver() RETURNS boolean LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS
  $$ SELECT pg_has_role(session_user, 'reeve_approver', 'MEMBER') OR pg_has_role(session_user, 'reeve_owner', 'MEMBER') $$;

-- The steps in order, and the state in which each is done. What comes from `purging` on cannot be taken back.
CREATE FUNCTION reeve.purge_steps() RETURNS TABLE (n int, name text, state text) LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS $$
  SELECT * FROM (VALUES (1, 'freeze', 'frozen'), (2, 'drain', 'frozen'), (3, 'count', 'frozen'),
    (4, 'backup_key', 'final_backup'), (5, 'backup', 'final_backup'), (6, 'proof', 'final_backup'),
    (7, 'logins', 'purging'), (8, 'data', 'purging'), (9, 'objects', 'purging'), (10, 'hooks', 'purging'), (11, 'records', 'purging'),
    (12, 'roles', 'purging'), (13, 'keys', 'purging'), (14, 'verify', 'purging'), (15, 'tombstone', 'verified'), (16, 'certify', 'certified')) s
$$;

-- Which request a job may work on: NULL, or why not. Nothing that names none in the right state is enqueued, whoever asks.
CREATE FUNCTION reeve.purge_admits(p_args jsonb, p_tenant uuid) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record;
BEGIN
  SELECT r.id, r.state, r.not_before, r.job_id, r.ended_at, b.kept_until, b.key_destroyed_at INTO v
  FROM reeve.purge_request r LEFT JOIN reeve.retained_backup b ON b.request_id = r.id
  WHERE r.id::text = lower(p_args ->> 'request') AND r.tenant_id = p_tenant;
  IF NOT FOUND THEN RETURN 'it names no purge request of this tenant'; END IF;
  IF v.state = 'requested' THEN RETURN 'the purge request is not approved'; END IF;
  IF v.ended_at IS NOT NULL AND (v.kept_until IS NULL OR v.kept_until > reeve.clock() OR v.key_destroyed_at IS NOT NULL) THEN
    RETURN 'the purge request is ' || v.state;
  END IF;
  IF v.state = 'grace' AND v.not_before > reeve.clock() THEN RETURN 'the purge is not allowed before ' || to_char(v.not_before, 'YYYY-MM-DD HH24:MI TZ'); END IF;
  IF EXISTS (SELECT FROM reeve.job j WHERE j.id = v.job_id) THEN RETURN 'job ' || v.job_id || ' does that purge'; END IF;
  RETURN NULL;
END $$;

-- Kinds that do nothing without an approved request: why this job is not admitted, or NULL. Asked wherever a job comes to be.
CREATE FUNCTION reeve.admit_request(p_kind text, p_args jsonb, p_tenant uuid) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  IF p_kind = 'purge' THEN RETURN reeve.purge_admits(p_args, p_tenant); END IF;
  IF p_kind <> 'erasure' THEN RETURN NULL; END IF;
  IF to_regprocedure('reeve.erasure_admits(jsonb, uuid)') IS NULL THEN RETURN 'erasures are not known to this database'; END IF;
  RETURN reeve.erasure_admits(p_args, p_tenant);
END $$;

-- Whether a purge has frozen a tenant: nothing new is taken for it.
CREATE FUNCTION reeve.is_frozen(p_tenant uuid) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT EXISTS (SELECT FROM reeve.purge_request r WHERE r.tenant_id = p_tenant AND r.state IN ('frozen', 'final_backup', 'purging', 'verified'))
$$;

-- MARK: Requests

CREATE FUNCTION reeve.set_purge_policy(p_grace_days int, p_automatic boolean, p_backup_days int) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v jsonb;
BEGIN
  UPDATE reeve.purge_policy p SET grace = coalesce(p_grace_days * interval '1 day', p.grace), automatic = coalesce(p_automatic, p.automatic),
    backup_days = CASE WHEN p_backup_days = 0 THEN NULL ELSE coalesce(p_backup_days, p.backup_days) END
  RETURNING to_jsonb(p) - 'id' || jsonb_build_object('grace_days', extract(day FROM justify_hours(p.grace))) INTO v;
  IF p_grace_days IS NOT NULL OR p_automatic IS NOT NULL OR p_backup_days IS NOT NULL THEN
    PERFORM reeve.audit(NULL, 'purge.policy', 'purge policy', NULL, v);
  END IF;
  RETURN v;
EXCEPTION WHEN check_violation THEN
  RAISE EXCEPTION 'this policy is not valid' USING ERRCODE = 'RV010', HINT = 'Days of grace from 0 to 3650, of the final backup from 1 to 3650, or 0 for none.';
END $$;

-- Asks for a purge. Without an owner it is the one that the grace period after churn allows; with an owner it is explicit, at any time, and needs two
-- approvers. The confirmation is the tenant's code, typed.
CREATE FUNCTION reeve.request_purge(p_code text, p_reason text, p_confirmation text, p_owner text DEFAULT NULL, p_identity text DEFAULT NULL,
  p_backup_days int DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_policy record; v_id uuid; v_other uuid;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may ask for a purge' USING ERRCODE = '42501'; END IF;
  SELECT t.id, t.status, t.status_changed_at INTO v FROM reeve.tenant t WHERE t.code = p_code COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_code, 80) USING ERRCODE = 'RV001'; END IF;
  IF v.status = 'archived' THEN RAISE EXCEPTION 'tenant "%" is archived: it was purged', p_code USING ERRCODE = 'RV009'; END IF;
  IF p_confirmation IS DISTINCT FROM p_code THEN
    RAISE EXCEPTION 'the confirmation is not the tenant''s code' USING ERRCODE = 'RV020', HINT = 'Type it: --confirm ' || p_code;
  END IF;
  IF btrim(coalesce(p_reason, '')) = '' THEN RAISE EXCEPTION 'a purge needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  IF (p_owner IS NULL) <> (p_identity IS NULL) THEN
    RAISE EXCEPTION 'an explicit request names who of the tenant asked, and how that person''s identity was verified' USING ERRCODE = 'RV010',
      HINT = 'Give --owner and --identity, a reference such as a ticket''s number, never a document.';
  END IF;
  SELECT p.* INTO v_policy FROM reeve.purge_policy p;
  IF p_owner IS NULL AND v.status <> 'churned' THEN
    RAISE EXCEPTION 'tenant "%" is %: it is purged % after it churned, or on its owner''s explicit request', p_code, v.status, v_policy.grace USING ERRCODE = 'RV012',
      HINT = 'Churn it: reeve tenant churn ' || p_code || '; or name who asked: --owner --identity';
  END IF;
  SELECT r.id INTO v_other FROM reeve.purge_request r WHERE r.tenant_id = v.id AND r.state NOT IN ('cancelled', 'certified');
  IF FOUND THEN
    RAISE EXCEPTION 'tenant "%" has a purge request: %', p_code, v_other USING ERRCODE = 'RV012', HINT = 'See: reeve purge status ' || p_code;
  END IF;
  INSERT INTO reeve.purge_request (tenant_id, kind, reason, owner, identity_reference, approvals_needed, not_before, backup_days)
  VALUES (v.id, CASE WHEN p_owner IS NULL THEN 'elapsed' ELSE 'explicit' END, p_reason, p_owner, p_identity, CASE WHEN p_owner IS NULL THEN 1 ELSE 2 END,
    CASE WHEN p_owner IS NULL THEN v.status_changed_at + v_policy.grace ELSE reeve.clock() END,
    CASE WHEN p_backup_days = 0 THEN NULL ELSE coalesce(p_backup_days, v_policy.backup_days) END)
  RETURNING id INTO v_id;
  PERFORM reeve.audit(v.id, 'purge.request', 'purge ' || v_id, p_reason,
    jsonb_build_object('kind', CASE WHEN p_owner IS NULL THEN 'elapsed' ELSE 'explicit' END, 'identity_reference', p_identity));
  RETURN v_id;
EXCEPTION WHEN check_violation THEN
  RAISE EXCEPTION 'this request is not valid' USING ERRCODE = 'RV010', HINT = 'The final backup is kept from 1 to 3650 days, or 0 for none; owner and identity have 1 to 200 characters.';
END $$;

-- The open request of a tenant, locked, then its tenant: the order everywhere.
CREATE FUNCTION reeve.lock_purge(p_code text) RETURNS reeve.purge_request LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.purge_request; v_tenant uuid := (SELECT t.id FROM reeve.tenant t WHERE t.code = p_code COLLATE "C");
BEGIN
  IF v_tenant IS NULL THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_code, 80) USING ERRCODE = 'RV001'; END IF;
  SELECT r.* INTO v FROM reeve.purge_request r WHERE r.tenant_id = v_tenant AND r.state NOT IN ('cancelled', 'certified') FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" has no open purge request', p_code USING ERRCODE = 'RV011', HINT = 'Ask for one: reeve purge request ' || p_code; END IF;
  PERFORM FROM reeve.tenant t WHERE t.id = v_tenant FOR NO KEY UPDATE;
  RETURN v;
END $$;

-- Approves a purge, by another login than the one that asked and, of two, each by its own: a login is what the database can tell apart. The last
-- approval of an explicit request churns the tenant. Returns the request's state.
CREATE FUNCTION reeve.approve_purge(p_code text, p_confirmation text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.purge_request; v_count int; v_status reeve.tenant_status;
BEGIN
  IF NOT reeve.is_approver() THEN RAISE EXCEPTION 'only approvers may approve a purge' USING ERRCODE = '42501', HINT = 'They are members of reeve_approver.'; END IF;
  v := reeve.lock_purge(p_code);
  IF p_confirmation IS DISTINCT FROM p_code THEN
    RAISE EXCEPTION 'the confirmation is not the tenant''s code' USING ERRCODE = 'RV020', HINT = 'Type it: --confirm ' || p_code;
  END IF;
  IF v.state <> 'requested' THEN RAISE EXCEPTION 'the purge of "%" is % and needs no approval', p_code, v.state USING ERRCODE = 'RV012'; END IF;
  IF v.requested_login = session_user OR v.requested_by = reeve.actor() THEN
    RAISE EXCEPTION 'who asks for a purge does not approve it' USING ERRCODE = '42501', HINT = 'Another member of reeve_approver must, by a login of its own.';
  END IF;
  IF EXISTS (SELECT FROM reeve.purge_approval a WHERE a.request_id = v.id AND (a.login = session_user OR a.approver = reeve.actor())) THEN
    RAISE EXCEPTION 'this approver approved the purge already' USING ERRCODE = '42501', HINT = 'The second approval is another person''s, by a login of its own.';
  END IF;
  IF reeve.tenant_is_held(v.tenant_id) THEN
    RAISE EXCEPTION 'tenant "%" is under a legal hold', p_code USING ERRCODE = 'RV020', HINT = 'See: reeve tenant show ' || p_code;
  END IF;
  INSERT INTO reeve.purge_approval (request_id) VALUES (v.id);
  SELECT count(*) INTO v_count FROM reeve.purge_approval a WHERE a.request_id = v.id;
  PERFORM reeve.audit(v.tenant_id, 'purge.approve', 'purge ' || v.id, v.reason, jsonb_build_object('approvals', v_count, 'needed', v.approvals_needed));
  IF v_count < v.approvals_needed THEN RETURN v.state; END IF;
  UPDATE reeve.purge_request r SET state = 'grace', waits_for = NULL WHERE r.id = v.id;
  SELECT t.status INTO v_status FROM reeve.tenant t WHERE t.id = v.tenant_id;
  IF v_status NOT IN ('churned', 'archived') THEN
    PERFORM set_config('reeve.reason', left(v.reason, 2000), true);
    UPDATE reeve.tenant t SET status = 'churned' WHERE t.id = v.tenant_id;
    PERFORM reeve.audit(v.tenant_id, 'tenant.status', 'tenant ' || p_code, v.reason, jsonb_build_object('was', v_status, 'became', 'churned', 'purge', v.id));
  END IF;
  PERFORM reeve.tend_purges();
  RETURN 'grace';
END $$;

-- Takes a request back, at any time before the tenant's data begins to go. What it froze runs again; the final backup goes with its key.
CREATE FUNCTION reeve.cancel_purge(p_code text, p_reason text) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.purge_request;
BEGIN
  IF NOT (reeve.is_operator() OR reeve.is_approver()) THEN RAISE EXCEPTION 'only operators and approvers may cancel a purge' USING ERRCODE = '42501'; END IF;
  IF btrim(coalesce(p_reason, '')) = '' THEN RAISE EXCEPTION 'a cancellation needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  v := reeve.lock_purge(p_code);
  IF v.state NOT IN ('requested', 'grace', 'frozen', 'final_backup') THEN
    RAISE EXCEPTION 'the purge of "%" is %: its first irreversible step has begun', p_code, v.state USING ERRCODE = 'RV012', HINT = 'See: reeve purge status ' || p_code;
  END IF;
  UPDATE reeve.purge_request r SET state = 'cancelled', ended_at = reeve.clock(), ended_by = reeve.actor(), end_reason = p_reason, waits_for = NULL WHERE r.id = v.id;
  UPDATE reeve.retained_backup b SET kept_until = reeve.clock() WHERE b.request_id = v.id;
  DELETE FROM reeve.queue_block b WHERE b.pattern LIKE p_code || '.%' AND b.mode = 'pause' AND b.reason LIKE '%(purge ' || v.id || ')';
  IF FOUND THEN
    PERFORM reeve.touch_counters(p_code || '.*');
    PERFORM reeve.wake(ARRAY(SELECT DISTINCT i.pool FROM reeve.idle_pool i));
  END IF;
  UPDATE reeve.job j SET run_at = reeve.clock(), hold_reason = NULL FROM (
    SELECT o.id FROM reeve.job o WHERE o.tenant_id = v.tenant_id AND o.state = 'scheduled' AND o.hold_reason = 'purge' ORDER BY o.id FOR UPDATE SKIP LOCKED) l
  WHERE j.id = l.id;
  IF v.job_id IS NOT NULL AND EXISTS (SELECT FROM reeve.job j WHERE j.id = v.job_id) THEN
    INSERT INTO reeve.cancel_request (job_id) VALUES (v.job_id) ON CONFLICT DO NOTHING;
    PERFORM pg_notify('reeve_cancel', '');
  END IF;
  PERFORM reeve.audit(v.tenant_id, 'purge.cancel', 'purge ' || v.id, p_reason, jsonb_build_object('was', v.state));
  RETURN v.id;
END $$;

-- Goes on with a purge whose job died. With p_accept_unseen keys end although places that held their identities cannot be seen.
CREATE FUNCTION reeve.resume_purge(p_code text, p_reason text, p_accept_unseen boolean DEFAULT false) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.purge_request; v_job bigint;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may resume a purge' USING ERRCODE = '42501'; END IF;
  v := reeve.lock_purge(p_code);
  IF p_accept_unseen THEN UPDATE reeve.purge_request r SET accept_unseen = true WHERE r.id = v.id; END IF;
  PERFORM reeve.audit(v.tenant_id, 'purge.resume', 'purge ' || v.id, p_reason, jsonb_build_object('accept_unseen', p_accept_unseen, 'state', v.state));
  IF EXISTS (SELECT FROM reeve.job j WHERE j.id = v.job_id) THEN RETURN v.job_id; END IF;
  v_job := reeve.enqueue(p_code || '.purges', 'purge', jsonb_build_object('request', v.id), tenant => v.tenant_id);
  UPDATE reeve.purge_request r SET job_id = v_job, waits_for = NULL WHERE r.id = v.id;
  RETURN v_job;
END $$;

-- Housekeeping: files the requests whose grace period is over, and enqueues what is due. Returns how many.
CREATE FUNCTION reeve.tend_purges() RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_count int := 0; v_job bigint; v_policy record;
BEGIN
  -- A worker is newer than its kinds' records for a moment when it starts.
  IF NOT EXISTS (SELECT FROM reeve.kind k WHERE k.name = 'purge') THEN RETURN 0; END IF;
  SELECT p.* INTO v_policy FROM reeve.purge_policy p;
  FOR v IN SELECT t.id, t.code, t.status_changed_at FROM reeve.tenant t
      WHERE t.status = 'churned' AND t.status_changed_at + v_policy.grace <= reeve.clock()
        AND NOT EXISTS (SELECT FROM reeve.purge_request r WHERE r.tenant_id = t.id AND (r.state <> 'cancelled' OR r.ended_at > t.status_changed_at + v_policy.grace))
      ORDER BY t.id LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED LOOP
    INSERT INTO reeve.purge_request AS r (tenant_id, kind, state, requested_by, requested_login, reason, approvals_needed, not_before, backup_days)
    VALUES (v.id, 'elapsed', CASE WHEN v_policy.automatic THEN 'grace' ELSE 'requested' END, 'reeve', 'reeve', 'the grace period after churn is over',
      CASE WHEN v_policy.automatic THEN 0 ELSE 1 END, v.status_changed_at + v_policy.grace, v_policy.backup_days)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
      PERFORM reeve.audit(v.id, 'purge.request', 'tenant ' || v.code, 'the grace period after churn is over', jsonb_build_object('kind', 'elapsed', 'automatic', v_policy.automatic));
      v_count := v_count + 1;
    END IF;
  END LOOP;
  FOR v IN SELECT r.id, r.tenant_id, t.code FROM reeve.purge_request r JOIN reeve.tenant t ON t.id = r.tenant_id
      LEFT JOIN reeve.retained_backup b ON b.request_id = r.id
      WHERE (r.state = 'grace' AND r.not_before <= reeve.clock() AND r.job_id IS NULL)
         OR (r.ended_at IS NOT NULL AND b.kept_until <= reeve.clock() AND b.key_destroyed_at IS NULL
             AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = r.job_id)
             AND NOT EXISTS (SELECT FROM reeve.dead_letter d WHERE d.id = r.job_id AND d.created_at > r.ended_at AND d.finished_at > reeve.clock() - interval '1 hour'))
      ORDER BY r.id LIMIT 100 FOR UPDATE OF r SKIP LOCKED LOOP
    IF reeve.purge_admits(jsonb_build_object('request', v.id), v.tenant_id) IS NOT NULL THEN CONTINUE; END IF;
    v_job := reeve.enqueue(v.code || '.purges', 'purge', jsonb_build_object('request', v.id), tenant => v.tenant_id);
    UPDATE reeve.purge_request r SET job_id = v_job WHERE r.id = v.id;
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

-- MARK: The job's side. Every call is fenced by the job's lease.

CREATE FUNCTION reeve.purge_request_json(p_request uuid) RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT to_jsonb(r) || jsonb_build_object('tenant', t.code, 'status', t.status, 'held', reeve.tenant_is_held(r.tenant_id),
    'irreversible_from', (SELECT s.name FROM reeve.purge_steps() s WHERE s.state = 'purging' ORDER BY s.n LIMIT 1),
    'approvals', (SELECT coalesce(jsonb_agg(jsonb_build_object('approver', a.approver, 'login', a.login, 'at', a.at) ORDER BY a.at), '[]') FROM reeve.purge_approval a WHERE a.request_id = r.id),
    'steps', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', s.name, 'begun_at', p.begun_at, 'attempts', p.attempts, 'finished_at', p.finished_at, 'result', p.result) ORDER BY s.n), '[]')
              FROM reeve.purge_steps() s JOIN reeve.purge_step p ON p.name = s.name AND p.request_id = r.id),
    'backup', (SELECT to_jsonb(b) - 'artifacts' FROM reeve.retained_backup b WHERE b.request_id = r.id))
  FROM reeve.purge_request r JOIN reeve.tenant t ON t.id = r.tenant_id WHERE r.id = p_request
$$;

-- The request locked, for the job that does it; raises for any other.
CREATE FUNCTION reeve.purge_of_attempt(p_job bigint, p_lease uuid, p_request uuid) RETURNS reeve.purge_request
LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v reeve.purge_request;
BEGIN
  SELECT r.* INTO v FROM reeve.purge_request r WHERE r.id = p_request AND r.tenant_id = v_tenant AND r.job_id = p_job FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'job % does not do this purge', p_job USING ERRCODE = 'RV012'; END IF;
  PERFORM FROM reeve.tenant t WHERE t.id = v_tenant FOR NO KEY UPDATE;
  -- Asked again behind the locks: an attempt that waited here may have lost its lease meanwhile.
  PERFORM reeve.tenant_of_attempt(p_job, p_lease);
  RETURN v;
END $$;

-- What this job is to do, once it is the one that does it: the request; NULL when there is none for it.
CREATE FUNCTION reeve.purge_work(p_job bigint, p_lease uuid, p_request uuid) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v record;
BEGIN
  SELECT r.job_id, r.state INTO v FROM reeve.purge_request r WHERE r.id = p_request AND r.tenant_id = v_tenant FOR UPDATE;
  IF NOT FOUND OR v.state = 'requested' THEN RETURN NULL; END IF;
  IF v.job_id IS DISTINCT FROM p_job THEN
    IF EXISTS (SELECT FROM reeve.job j WHERE j.id = v.job_id) THEN RETURN NULL; END IF;
    UPDATE reeve.purge_request r SET job_id = p_job WHERE r.id = p_request;
  END IF;
  RETURN reeve.purge_request_json(p_request);
END $$;

-- Whether a step may be done now: {"verdict": "go" | "done" | "held" | "early" | "busy" | "ended"}, with the result of one that is done. Reads the
-- request's state and the tenant's holds behind their locks, and audits the intent.
CREATE FUNCTION reeve.begin_purge_step(p_job bigint, p_lease uuid, p_request uuid, p_step text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request); v_step record; v_done record; v_missing text; v_status reeve.tenant_status; v_running int;
BEGIN
  SELECT s.* INTO v_step FROM reeve.purge_steps() s WHERE s.name = p_step;
  IF NOT FOUND THEN RAISE EXCEPTION 'a purge has no step "%"', left(p_step, 80) USING ERRCODE = 'RV010'; END IF;
  SELECT p.* INTO v_done FROM reeve.purge_step p WHERE p.request_id = p_request AND p.name = p_step;
  IF v_done.finished_at IS NOT NULL THEN RETURN jsonb_build_object('verdict', 'done', 'result', v_done.result); END IF;
  IF v.ended_at IS NOT NULL THEN RETURN '{"verdict": "ended"}'; END IF;
  SELECT s.name INTO v_missing FROM reeve.purge_steps() s LEFT JOIN reeve.purge_step p ON p.request_id = p_request AND p.name = s.name
  WHERE s.n < v_step.n AND p.finished_at IS NULL ORDER BY s.n LIMIT 1;
  IF FOUND OR v.state = 'requested' THEN RAISE EXCEPTION 'step % of a purge comes after %', p_step, coalesce(v_missing, 'its approval') USING ERRCODE = 'RV012'; END IF;
  IF reeve.tenant_is_held(v.tenant_id) THEN
    UPDATE reeve.purge_request r SET waits_for = 'a legal hold' WHERE r.id = p_request;
    RETURN '{"verdict": "held"}';
  END IF;
  IF v.state = 'grace' AND v.not_before > reeve.clock() THEN RETURN '{"verdict": "early"}'; END IF;
  SELECT t.status INTO v_status FROM reeve.tenant t WHERE t.id = v.tenant_id;
  IF v_status <> (CASE WHEN p_step = 'certify' THEN 'archived' ELSE 'churned' END)::reeve.tenant_status THEN
    UPDATE reeve.purge_request r SET waits_for = format('the tenant is %s', v_status) WHERE r.id = p_request;
    RETURN '{"verdict": "held"}';
  END IF;
  IF v_step.n > 2 THEN
    SELECT count(*) INTO v_running FROM reeve.job j WHERE j.tenant_id = v.tenant_id AND j.state = 'running' AND j.id <> p_job;
    IF v_running > 0 THEN
      UPDATE reeve.purge_request r SET waits_for = format('%s running jobs of the tenant', v_running) WHERE r.id = p_request;
      RETURN '{"verdict": "busy"}';
    END IF;
  END IF;
  UPDATE reeve.purge_step p SET attempts = p.attempts + 1 WHERE p.request_id = p_request AND p.name = p_step;
  IF NOT FOUND THEN
    INSERT INTO reeve.purge_step (request_id, name, intent)
    VALUES (p_request, p_step, reeve.audit(v.tenant_id, 'purge.step', 'purge ' || p_request, v.reason, jsonb_build_object('step', p_step, 'outcome', 'intent', 'job', p_job)));
  END IF;
  IF v_step.state NOT IN ('verified', 'certified') AND v.state <> v_step.state THEN
    PERFORM reeve.audit(v.tenant_id, 'purge.state', 'purge ' || p_request, v.reason, jsonb_build_object('was', v.state, 'became', v_step.state));
  END IF;
  UPDATE reeve.purge_request r SET waits_for = NULL, state = CASE WHEN v_step.state IN ('verified', 'certified') THEN r.state ELSE v_step.state END WHERE r.id = p_request;
  RETURN '{"verdict": "go"}';
END $$;

-- Between the parts of a long step: NULL, or why it has to stop. Locks nothing.
CREATE FUNCTION reeve.purge_must_stop(p_job bigint, p_lease uuid, p_request uuid) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  IF reeve.tenant_is_held(v_tenant) THEN RETURN 'held'; END IF;
  IF NOT EXISTS (SELECT FROM reeve.purge_request r WHERE r.id = p_request AND r.job_id = p_job AND r.ended_at IS NULL) THEN RETURN 'ended'; END IF;
  RETURN NULL;
END $$;

CREATE FUNCTION reeve.end_purge_step(p_tenant uuid, p_job bigint, p_request uuid, p_step text, p_result jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v record;
BEGIN
  UPDATE reeve.purge_step p SET finished_at = reeve.clock(), result = p_result WHERE p.request_id = p_request AND p.name = p_step AND p.finished_at IS NULL RETURNING p.* INTO v;
  IF NOT FOUND THEN RAISE EXCEPTION 'step % of this purge is not under way', p_step USING ERRCODE = 'RV012'; END IF;
  PERFORM reeve.audit(p_tenant, 'purge.step', 'purge ' || p_request, NULL,
    jsonb_build_object('step', p_step, 'outcome', 'done', 'intent', v.intent, 'job', p_job, 'attempts', v.attempts), v.begun_at);
END $$;

CREATE FUNCTION reeve.finish_purge_step(p_job bigint, p_lease uuid, p_request uuid, p_step text, p_result jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request);
BEGIN
  IF p_step IN ('tombstone', 'certify') THEN RAISE EXCEPTION 'step % has a function of its own', p_step USING ERRCODE = 'RV012'; END IF;
  PERFORM reeve.end_purge_step(v.tenant_id, p_job, p_request, p_step, p_result);
END $$;

-- What was found left by the verification is deleted again: these steps and all that come after them are to be done once more.
CREATE FUNCTION reeve.repeat_purge_steps(p_job bigint, p_lease uuid, p_request uuid, p_from text, p_why jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request);
BEGIN
  IF v.state <> 'purging' THEN RAISE EXCEPTION 'the purge is %', v.state USING ERRCODE = 'RV012'; END IF;
  UPDATE reeve.purge_step p SET finished_at = NULL, result = NULL FROM reeve.purge_steps() s, reeve.purge_steps() f
  WHERE p.request_id = p_request AND s.name = p.name AND f.name = p_from AND s.n >= f.n AND s.state = 'purging' AND p.name <> 'keys';
  PERFORM reeve.audit(v.tenant_id, 'purge.repeat', 'purge ' || p_request, NULL, jsonb_build_object('from', p_from, 'left', p_why));
END $$;

-- Keeps the tenant's other jobs from starting and returns how many run: all its queues are blocked but the one that this job is on, which takes
-- nothing else, and nothing new is accepted while the request is frozen. May be called again: a queue that appeared meanwhile is blocked, too.
CREATE FUNCTION reeve.freeze_for_purge(p_job bigint, p_lease uuid, p_request uuid) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request); v_code text := (SELECT t.code FROM reeve.tenant t WHERE t.id = v.tenant_id);
BEGIN
  IF v.state <> 'frozen' THEN RAISE EXCEPTION 'the purge is %', v.state USING ERRCODE = 'RV012'; END IF;
  INSERT INTO reeve.queue_block (pattern, mode, reason)
  SELECT q.queue, 'pause', format('%s is being purged (purge %s)', v_code, p_request) FROM (
    SELECT v_code || '.' || k.queue AS queue FROM reeve.kind k UNION SELECT j.queue FROM reeve.job j WHERE j.tenant_id = v.tenant_id) q
  WHERE q.queue <> v_code || '.purges' ORDER BY 1 ON CONFLICT DO NOTHING;
  IF FOUND THEN PERFORM reeve.touch_counters(v_code || '.*'); END IF;
  -- What waits on this job's own queue is held by id, as is all that another block is lifted from.
  UPDATE reeve.job j SET state = 'scheduled', run_at = 'infinity', hold_reason = 'purge' FROM (
    SELECT o.id FROM reeve.job o WHERE o.tenant_id = v.tenant_id AND o.id <> p_job AND o.state IN ('available', 'scheduled') AND o.queue = v_code || '.purges'
    ORDER BY o.id FOR UPDATE SKIP LOCKED) l WHERE j.id = l.id;
  RETURN (SELECT count(*) FROM reeve.job j WHERE j.tenant_id = v.tenant_id AND j.state = 'running' AND j.id <> p_job);
END $$;

-- Whether the final backup's time is over: 'go', 'held', 'kept', or 'certified' when its end is done. Asked before anything of it goes, behind the request's lock; audits the intent.
CREATE FUNCTION reeve.begin_backup_end(p_job bigint, p_lease uuid, p_request uuid) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request);
BEGIN
  IF v.ended_at IS NULL OR NOT EXISTS (SELECT FROM reeve.retained_backup b WHERE b.request_id = p_request AND b.kept_until <= reeve.clock()) THEN
    RETURN 'kept';
  END IF;
  IF EXISTS (SELECT FROM reeve.certificate c WHERE c.request_id = p_request AND c.kind = 'purge_backup') THEN RETURN 'certified'; END IF;
  IF reeve.tenant_is_held(v.tenant_id) THEN RETURN 'held'; END IF;
  PERFORM reeve.audit(v.tenant_id, 'purge.backup', 'purge ' || p_request, v.end_reason, '{"outcome": "intent", "changed": ["deleted", "destruction"]}');
  RETURN 'go';
END $$;

-- The final backup's record, changed by the parts that are named in p_change.
CREATE FUNCTION reeve.record_retained(p_job bigint, p_lease uuid, p_request uuid, p_change jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request); v_row jsonb;
BEGIN
  IF p_change ?| '{deleted, destruction}' AND NOT EXISTS (SELECT FROM reeve.retained_backup b WHERE b.request_id = p_request AND b.kept_until <= reeve.clock()) THEN
    RAISE EXCEPTION 'the final backup is still kept' USING ERRCODE = 'RV012';
  END IF;
  IF p_change ? 'key_id' THEN
    INSERT INTO reeve.retained_backup (request_id, tenant_id, key_id, destination) VALUES (p_request, v.tenant_id, (p_change ->> 'key_id')::uuid, p_change ->> 'destination')
    ON CONFLICT (request_id) DO NOTHING;
  END IF;
  UPDATE reeve.retained_backup b SET
    recipient = coalesce(p_change ->> 'recipient', b.recipient),
    places = coalesce(p_change -> 'places', b.places),
    artifacts = coalesce(p_change -> 'artifacts', b.artifacts),
    bytes = coalesce((p_change ->> 'bytes')::bigint, b.bytes),
    made_at = CASE WHEN p_change ? 'artifacts' THEN reeve.clock() ELSE b.made_at END,
    proven_at = CASE WHEN p_change ? 'proven' THEN reeve.clock() ELSE b.proven_at END,
    deleted_at = CASE WHEN p_change ? 'deleted' THEN coalesce(b.deleted_at, reeve.clock()) ELSE b.deleted_at END,
    key_destroyed_at = CASE WHEN p_change ? 'destruction' THEN coalesce(b.key_destroyed_at, reeve.clock()) ELSE b.key_destroyed_at END,
    destruction = coalesce(p_change -> 'destruction', b.destruction)
  WHERE b.request_id = p_request RETURNING to_jsonb(b) INTO v_row;
  IF p_change <> '{}' THEN
    PERFORM reeve.audit(v.tenant_id, 'purge.backup', 'purge ' || p_request, NULL, jsonb_build_object('changed', (SELECT jsonb_agg(k ORDER BY k) FROM jsonb_object_keys(p_change) k)));
  END IF;
  RETURN v_row;
END $$;

-- Tables of this schema that keep what they say of a tenant: evidence of what was done, and what the tombstone needs.
CREATE FUNCTION reeve.purge_keeps(p_table text) RETURNS boolean LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT p_table IN ('tenant_hold', 'tenant_key', 'tenant_status_change', 'tenant_counter', 'tenant_store', 'artifact_deleted', 'purge_request',
                     'retained_backup', 'certificate', 'notice', 'lifecycle_event')
    OR p_table LIKE 'audit%' OR p_table LIKE 'erasure%'
$$;

-- Every table of the schema with rows of tenants that a purge deletes, those of later migrations too.
CREATE FUNCTION reeve.purged_tables() RETURNS SETOF text LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.atttypid = 'uuid'::regtype AND NOT a.attisdropped
  WHERE c.relnamespace = 'reeve'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND NOT reeve.purge_keeps(c.relname::text) ORDER BY 1
$$;

-- The tables in which a purge's own jobs stay: those say nothing of the tenant but the request's id.
CREATE FUNCTION reeve.keeps_purge_jobs(p_table text) RETURNS boolean LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS $$
  SELECT p_table IN ('job', 'job_history', 'dead_letter')
$$;

-- How many rows the control database has of a tenant in what a purge deletes, by table.
CREATE FUNCTION reeve.tenant_records(p_tenant uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_table text; v_n bigint; v jsonb := '{}';
BEGIN
  FOR v_table IN SELECT * FROM reeve.purged_tables() LOOP
    EXECUTE format('SELECT count(*) FROM reeve.%I x WHERE x.tenant_id = $1 AND (NOT $2 OR to_jsonb(x) ->> ''kind'' <> ''purge'')', v_table)
      INTO v_n USING p_tenant, reeve.keeps_purge_jobs(v_table);
    IF v_n > 0 THEN v := v || jsonb_build_object(v_table, v_n); END IF;
  END LOOP;
  RETURN v;
END $$;

-- Deletes some of them, p_limit rows of a table at most, and returns how many by table: {} when nothing is left. What refers to them goes first.
CREATE FUNCTION reeve.purge_records(p_job bigint, p_lease uuid, p_request uuid, p_limit int DEFAULT 5000) RETURNS jsonb
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
  FOR v_table IN SELECT * FROM reeve.purged_tables() LOOP
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
        WHERE y.tenant_id = $1 AND (NOT $3 OR to_jsonb(y) ->> ''kind'' <> ''purge'') LIMIT $2)', v_table, v_table)
        USING v.tenant_id, p_limit, reeve.keeps_purge_jobs(v_table);
      GET DIAGNOSTICS v_n = ROW_COUNT;
      IF v_n > 0 THEN v_gone := v_gone || jsonb_build_object(v_table, v_n); END IF;
    EXCEPTION WHEN foreign_key_violation THEN NULL;          -- another table's turn comes first
    END;
  END LOOP;
  RETURN v_gone;
END $$;

-- Begins to destroy the tenant's keys: nothing is encrypted to them any more, and no identity is lent. Those whose identity the tenant alone has are
-- only retired.
CREATE FUNCTION reeve.begin_purge_keys(p_job bigint, p_lease uuid, p_request uuid) RETURNS SETOF reeve.tenant_key
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request); v_now timestamptz := reeve.clock(); v_reason text := 'purge ' || p_request;
BEGIN
  IF v.state <> 'purging' THEN RAISE EXCEPTION 'the purge is %', v.state USING ERRCODE = 'RV012'; END IF;
  PERFORM reeve.audit(v.tenant_id, 'key.destroy', 'tenant ' || (SELECT t.code FROM reeve.tenant t WHERE t.id = v.tenant_id), v_reason,
    jsonb_build_object('outcome', 'intent', 'keys', (SELECT coalesce(jsonb_agg(k.id), '[]') FROM reeve.tenant_key k WHERE k.tenant_id = v.tenant_id AND k.state <> 'destroyed' AND NOT k.is_own)));
  UPDATE reeve.tenant_key k SET state = 'retired', retired_at = coalesce(k.retired_at, v_now), retired_by = coalesce(k.retired_by, reeve.actor()),
    retired_reason = coalesce(k.retired_reason, v_reason), destroying_at = CASE WHEN k.is_own THEN k.destroying_at ELSE coalesce(k.destroying_at, v_now) END,
    destroyed_reason = v_reason
  WHERE k.tenant_id = v.tenant_id AND k.state <> 'destroyed';
  RETURN QUERY SELECT k.* FROM reeve.tenant_key k WHERE k.tenant_id = v.tenant_id ORDER BY k.created_at;
END $$;

CREATE FUNCTION reeve.finish_purge_key(p_job bigint, p_lease uuid, p_request uuid, p_key uuid, p_destruction jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request);
BEGIN
  UPDATE reeve.tenant_key k SET state = 'destroyed', destroyed_at = reeve.clock(), destroyed_by = reeve.actor(), destruction = p_destruction
  WHERE k.id = p_key AND k.tenant_id = v.tenant_id AND k.destroying_at IS NOT NULL AND k.state = 'retired';
  IF FOUND THEN PERFORM reeve.audit(v.tenant_id, 'key.destroy', 'key ' || p_key, 'purge ' || p_request, p_destruction || '{"outcome": "done"}'); END IF;
END $$;

-- The tombstone: what is left of the tenant is its id, its code, and when it was what. Refused while the control database has more of it.
CREATE FUNCTION reeve.bury_tenant(p_job bigint, p_lease uuid, p_request uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request); v_left jsonb; v_code text;
BEGIN
  IF NOT EXISTS (SELECT FROM reeve.purge_step p WHERE p.request_id = p_request AND p.name = 'verify' AND p.finished_at IS NOT NULL) THEN
    RAISE EXCEPTION 'nothing is buried before it was verified' USING ERRCODE = 'RV012';
  END IF;
  IF reeve.tenant_is_held(v.tenant_id) THEN RAISE EXCEPTION 'the tenant is under a legal hold' USING ERRCODE = 'RV020'; END IF;
  v_left := reeve.tenant_records(v.tenant_id);
  -- Housekeeping counts a backlog for every tenant.
  IF v_left - 'tenant_backlog' <> '{}' THEN RAISE EXCEPTION 'the control database still has rows of the tenant: %', v_left USING ERRCODE = 'RV012'; END IF;
  DELETE FROM reeve.tenant_store o WHERE o.tenant_id = v.tenant_id;
  PERFORM set_config('reeve.reason', 'purge ' || p_request, true);
  UPDATE reeve.tenant t SET status = 'archived', name = 'purged', external_code = NULL, contacts = '{}', flags = '{}', overrides = '{}', timezone = 'UTC', locale = 'en',
    currency = 'EUR', fiscal_year_start = 1, first_weekday = 1, parent_id = NULL, trial_ends_at = NULL
  WHERE t.id = v.tenant_id RETURNING t.code INTO v_code;
  DELETE FROM reeve.queue_block b WHERE b.pattern LIKE v_code || '.%';
  UPDATE reeve.purge_request r SET state = 'verified' WHERE r.id = p_request;
  PERFORM reeve.audit(v.tenant_id, 'tenant.status', 'tenant ' || v_code, 'purge ' || p_request, '{"was": "churned", "became": "archived"}');
  PERFORM reeve.audit(v.tenant_id, 'purge.state', 'purge ' || p_request, v.reason, '{"was": "purging", "became": "verified"}');
  PERFORM reeve.emit_lifecycle(v.tenant_id, 'tenant.purged', jsonb_build_object('request', p_request));
  PERFORM reeve.end_purge_step(v.tenant_id, p_job, p_request, 'tombstone', jsonb_build_object('code', v_code));
END $$;

-- Keeps a certificate and ends what it certifies, with the notice to compliance in the same transaction: of the purge, or of the final backup's end.
CREATE FUNCTION reeve.certify_purge(p_job bigint, p_lease uuid, p_request uuid, p_part text, p_certificate uuid, p_canonical text, p_signature text, p_key text)
RETURNS uuid LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.purge_request := reeve.purge_of_attempt(p_job, p_lease, p_request); v_code text := (SELECT t.code FROM reeve.tenant t WHERE t.id = v.tenant_id); v_id uuid;
BEGIN
  IF p_part = 'purge' THEN
    IF v.state <> 'verified' THEN RAISE EXCEPTION 'the purge is %', v.state USING ERRCODE = 'RV012'; END IF;
    PERFORM reeve.end_purge_step(v.tenant_id, p_job, p_request, 'certify', jsonb_build_object('certificate', p_certificate));
    UPDATE reeve.purge_request r SET state = 'certified', ended_at = reeve.clock(), ended_by = reeve.actor(), waits_for = NULL WHERE r.id = p_request;
    UPDATE reeve.retained_backup b SET kept_until = reeve.clock() + v.backup_days * interval '1 day' WHERE b.request_id = p_request;
  ELSIF p_part <> 'purge_backup' OR NOT EXISTS (SELECT FROM reeve.retained_backup b WHERE b.request_id = p_request AND b.deleted_at IS NOT NULL AND b.key_destroyed_at IS NOT NULL) THEN
    RAISE EXCEPTION 'there is nothing of this purge to certify' USING ERRCODE = 'RV012';
  END IF;
  v_id := reeve.record_certificate(p_job, p_lease, p_certificate, p_part, p_request, p_canonical, p_signature, p_key);
  PERFORM reeve.notify_people(v.tenant_id, 'purge.' || CASE p_part WHEN 'purge' THEN 'certified' ELSE 'backup_ended' END,
    CASE p_part WHEN 'purge' THEN format('Tenant %s was purged', v_code) ELSE format('The final backup of tenant %s was deleted', v_code) END,
    jsonb_build_object('tenant', v_code, 'request', p_request, 'certificate', p_certificate));
  PERFORM reeve.audit(v.tenant_id, 'purge.certify', 'purge ' || p_request, v.reason, jsonb_build_object('certificate', p_certificate, 'part', p_part, 'key', p_key));
  RETURN v_id;
END $$;

-- The queues whose jobs need the tenants' identities, or the fleet's signing key: served by restore workers alone.
CREATE OR REPLACE FUNCTION reeve.pool_of(tier text, queue text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
  $$ SELECT CASE WHEN queue LIKE '%.restores' OR queue LIKE '%.purges' OR queue LIKE '%.erasures' THEN 'restore' ELSE tier END $$;
UPDATE reeve.job j SET pool = 'restore' WHERE (j.queue LIKE '%.purges' OR j.queue LIKE '%.erasures') AND j.state IN ('available', 'scheduled');

-- As before; but a purge or an erasure is taken only for a request that allows it, and nothing for a tenant that a purge has frozen. What
-- restore workers run is on its own kind's queue.
CREATE OR REPLACE FUNCTION reeve.enqueue_many(jobs jsonb) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  v_now timestamptz := reeve.clock();
  v_owner uuid := (SELECT l.tenant_id FROM reeve.tenant_login l WHERE l.login = session_user);
  v record; v_tenant record; v_kind record; v_block record; v_code text; v_problem text; v_hash bytea; v_digest bytea; v_known record; v_id bigint; v_refusal text; v_size int;
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

-- As before, under the same conditions.
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
    RAISE EXCEPTION 'job % is not retried: %', retry.id, v_refusal USING ERRCODE = 'RV020', HINT = 'See: reeve ' || CASE v.kind WHEN 'erasure' THEN 'erasure' ELSE 'purge' END || ' status';
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

-- As before; but what makes a tenant archived is its purge alone, and one that is being purged stays churned.
CREATE OR REPLACE FUNCTION reeve.set_tenant_status(code text, status reeve.tenant_status, reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v record;
BEGIN
  SELECT t.id, t.status INTO v FROM reeve.tenant t WHERE t.code = set_tenant_status.code COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(code, 80) USING ERRCODE = 'RV001'; END IF;
  IF v.status = status THEN RETURN; END IF;
  IF NOT (CASE v.status WHEN 'trial' THEN status IN ('active', 'suspended', 'churned') WHEN 'active' THEN status IN ('suspended', 'churned')
      WHEN 'suspended' THEN status IN ('trial', 'active', 'churned') WHEN 'churned' THEN status = 'active' ELSE false END) THEN
    RAISE EXCEPTION 'a tenant cannot go from % to %', v.status, status USING ERRCODE = 'RV012';
  END IF;
  IF EXISTS (SELECT FROM reeve.purge_request r WHERE r.tenant_id = v.id AND r.state NOT IN ('requested', 'cancelled', 'certified')) THEN
    RAISE EXCEPTION 'tenant "%" is being purged', left(code, 80) USING ERRCODE = 'RV012', HINT = 'Cancel that first: reeve purge cancel ' || code;
  END IF;
  PERFORM set_config('reeve.reason', coalesce(reason, ''), true);
  UPDATE reeve.tenant t SET status = set_tenant_status.status WHERE t.id = v.id;
  PERFORM reeve.audit(v.id, 'tenant.status', 'tenant ' || code, reason, jsonb_build_object('was', v.status, 'became', status));
END $$;

-- MARK: Churn and return (LIFE-2)

-- Caches and other systems beside databases and stores, as restore workers have them configured: a purge is not done by one that lacks any.
CREATE TABLE reeve.hook (
  name text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 60),
  occasions text[] NOT NULL CHECK (occasions <@ ARRAY['suspend', 'churn', 'purge']),
  registered_at timestamptz NOT NULL DEFAULT reeve.clock()
);

CREATE FUNCTION reeve.register_hooks(p_hooks jsonb) RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  INSERT INTO reeve.hook (name, occasions)
  SELECT h ->> 'name', ARRAY(SELECT jsonb_array_elements_text(h -> 'occasions')) FROM jsonb_array_elements(p_hooks) h ORDER BY 1
  ON CONFLICT (name) DO UPDATE SET occasions = excluded.occasions, registered_at = excluded.registered_at
$$;

CREATE FUNCTION reeve.forget_hook(p_name text, p_reason text) RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may forget a hook' USING ERRCODE = '42501'; END IF;
  DELETE FROM reeve.hook h WHERE h.name = p_name;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no hook "%"', left(p_name, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve purge hooks'; END IF;
  PERFORM reeve.audit(NULL, 'hook.forget', 'hook ' || p_name, p_reason);
END $$;

-- What happened to a tenant, in order: for whoever wants to follow (a notification on reeve_lifecycle tells of each).
CREATE TABLE reeve.lifecycle_event (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id uuid NOT NULL,
  tenant_code text NOT NULL,
  type text NOT NULL CHECK (type IN ('tenant.suspended', 'tenant.churned', 'tenant.returned', 'tenant.purged')),
  at timestamptz NOT NULL DEFAULT reeve.clock(),
  detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX lifecycle_event_tenant ON reeve.lifecycle_event (tenant_id, id);

CREATE FUNCTION reeve.emit_lifecycle(p_tenant uuid, p_type text, p_detail jsonb DEFAULT '{}') RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
BEGIN
  INSERT INTO reeve.lifecycle_event (tenant_id, tenant_code, type, detail) SELECT t.id, t.code, p_type, p_detail FROM reeve.tenant t WHERE t.id = p_tenant;
  PERFORM pg_notify('reeve_lifecycle', p_type);
END $$;

-- A tenant's way out, or a suspension: what a job does of it, step by step.
CREATE TABLE reeve.offboarding (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id uuid NOT NULL,
  occasion text NOT NULL CHECK (occasion IN ('suspend', 'churn')),
  reason text CHECK (length(reason) <= 2000),
  requested_by text NOT NULL DEFAULT reeve.actor(),
  requested_at timestamptz NOT NULL DEFAULT reeve.clock(),
  job_id bigint,
  archive_job bigint,                                        -- the backup that is kept until the purge
  finished_at timestamptz,
  ended_by text                                              -- the tenant came back, or was purged, before it was finished
);
CREATE INDEX offboarding_tenant ON reeve.offboarding (tenant_id, requested_at);

-- Begins it, with the job that does the rest. What only the database has is done here: the tenant's queues stop, but for those that backups, exports and
-- deletion need.
CREATE FUNCTION reeve.begin_offboarding(p_tenant uuid, p_occasion text, p_reason text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v_id uuid; v_job bigint; v_code text := (SELECT t.code FROM reeve.tenant t WHERE t.id = p_tenant);
BEGIN
  IF NOT EXISTS (SELECT FROM reeve.kind k WHERE k.name = 'offboarding') THEN RETURN NULL; END IF;
  UPDATE reeve.offboarding o SET finished_at = reeve.clock(), ended_by = p_occasion WHERE o.tenant_id = p_tenant AND o.finished_at IS NULL;
  INSERT INTO reeve.offboarding (tenant_id, occasion, reason) VALUES (p_tenant, p_occasion, left(p_reason, 2000)) RETURNING id INTO v_id;
  IF p_occasion = 'churn' THEN
    INSERT INTO reeve.queue_block (pattern, mode, reason)
    SELECT q.queue, 'pause', format('%s has churned (churn %s)', v_code, v_id) FROM (
      SELECT v_code || '.' || k.queue AS queue FROM reeve.kind k UNION SELECT j.queue FROM reeve.job j WHERE j.tenant_id = p_tenant) q
    WHERE split_part(q.queue, '.', 2) NOT IN ('backups', 'exports', 'restores', 'purges', 'erasures') ORDER BY 1 ON CONFLICT DO NOTHING;
    PERFORM reeve.touch_counters(v_code || '.*');
  END IF;
  v_job := reeve.enqueue(v_code || '.purges', 'offboarding', jsonb_build_object('offboarding', v_id), tenant => p_tenant);
  UPDATE reeve.offboarding o SET job_id = v_job WHERE o.id = v_id;
  RETURN v_job;
END $$;

-- What this job is to do; NULL when it is over.
CREATE FUNCTION reeve.offboarding_work(p_job bigint, p_lease uuid, p_id uuid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT to_jsonb(o) FROM reeve.offboarding o JOIN reeve.tenant t ON t.id = o.tenant_id
  WHERE o.id = p_id AND o.tenant_id = reeve.tenant_of_attempt(p_job, p_lease) AND o.job_id = p_job AND o.finished_at IS NULL
    AND t.status = CASE o.occasion WHEN 'churn' THEN 'churned' ELSE 'suspended' END::reeve.tenant_status
$$;

-- Keeps the archive of a churn until the purge: pins what the backup made.
CREATE FUNCTION reeve.keep_archive(p_job bigint, p_lease uuid, p_id uuid, p_backup bigint) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v_count int;
BEGIN
  UPDATE reeve.offboarding o SET archive_job = p_backup WHERE o.id = p_id AND o.tenant_id = v_tenant AND o.job_id = p_job AND o.finished_at IS NULL;
  IF NOT FOUND THEN RETURN 0; END IF;
  INSERT INTO reeve.artifact_pin (artifact_id, reason)
  SELECT a.id, format('the archive of a tenant that has churned, kept until its purge (churn %s)', p_id) FROM reeve.artifact a
  WHERE a.job_id = p_backup AND a.tenant_id = v_tenant AND a.entity = 'backup' ORDER BY a.id ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

-- The new password of a tenant's login, sealed: whoever knew the old one is locked out.
CREATE FUNCTION reeve.replace_login_secret(p_job bigint, p_lease uuid, p_server text, p_database text, p_secret bytea) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  IF NOT EXISTS (SELECT FROM reeve.offboarding o WHERE o.tenant_id = v_tenant AND o.job_id = p_job AND o.finished_at IS NULL) THEN
    RAISE EXCEPTION 'job % locks no logins', p_job USING ERRCODE = '42501';
  END IF;
  UPDATE reeve.tenant_store o SET secret = p_secret WHERE o.tenant_id = v_tenant AND o.server = p_server AND o.database = p_database;
  RETURN FOUND;
END $$;

CREATE FUNCTION reeve.finish_offboarding(p_job bigint, p_lease uuid, p_id uuid, p_detail jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v record;
BEGIN
  UPDATE reeve.offboarding o SET finished_at = reeve.clock() WHERE o.id = p_id AND o.tenant_id = v_tenant AND o.job_id = p_job AND o.finished_at IS NULL RETURNING o.* INTO v;
  IF NOT FOUND THEN RETURN; END IF;
  PERFORM reeve.emit_lifecycle(v_tenant, CASE v.occasion WHEN 'churn' THEN 'tenant.churned' ELSE 'tenant.suspended' END, p_detail);
  PERFORM reeve.audit(v_tenant, 'tenant.' || v.occasion, (SELECT 'tenant ' || t.code FROM reeve.tenant t WHERE t.id = v_tenant), v.reason, p_detail || '{"outcome": "done"}', v.requested_at);
END $$;

-- Brings a tenant back within the grace period: active, its queues run, its logins may enqueue, its archive is a backup like others.
CREATE FUNCTION reeve.return_tenant(p_code text, p_reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_grace interval := (SELECT p.grace FROM reeve.purge_policy p); v_request reeve.purge_request;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may bring a tenant back' USING ERRCODE = '42501'; END IF;
  IF btrim(coalesce(p_reason, '')) = '' THEN RAISE EXCEPTION 'a return needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  SELECT r.* INTO v_request FROM reeve.purge_request r JOIN reeve.tenant t ON t.id = r.tenant_id
  WHERE t.code = p_code COLLATE "C" AND r.state NOT IN ('cancelled', 'certified') FOR UPDATE OF r;
  IF FOUND THEN
    RAISE EXCEPTION 'a purge of tenant "%" is %', p_code, v_request.state USING ERRCODE = 'RV012', HINT = 'Cancel it first: reeve purge cancel ' || p_code;
  END IF;
  SELECT t.id, t.status, t.status_changed_at INTO v FROM reeve.tenant t WHERE t.code = p_code COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_code, 80) USING ERRCODE = 'RV001'; END IF;
  IF v.status <> 'churned' THEN RAISE EXCEPTION 'tenant "%" is %, it has not churned', p_code, v.status USING ERRCODE = 'RV012'; END IF;
  IF v.status_changed_at + v_grace < reeve.clock() THEN
    RAISE EXCEPTION 'the grace period of tenant "%" ended at %', p_code, to_char(v.status_changed_at + v_grace, 'YYYY-MM-DD HH24:MI TZ') USING ERRCODE = 'RV012',
      HINT = 'A longer one: reeve purge policy --grace-days';
  END IF;
  PERFORM reeve.set_tenant_status(p_code, 'active', p_reason);
END $$;

-- What a change of status brings with it, whoever changes it by whatever function.
CREATE FUNCTION reeve.tenant_departs() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_reason text := nullif(current_setting('reeve.reason', true), ''); v_ids uuid[];
BEGIN
  IF NEW.status = 'churned' THEN
    PERFORM reeve.begin_offboarding(NEW.id, 'churn', v_reason);
  ELSIF NEW.status = 'suspended' AND EXISTS (SELECT FROM reeve.hook h WHERE 'suspend' = ANY (h.occasions)) THEN
    PERFORM reeve.begin_offboarding(NEW.id, 'suspend', v_reason);
  ELSIF OLD.status = 'churned' AND NEW.status <> 'archived' THEN
    UPDATE reeve.offboarding o SET finished_at = coalesce(o.finished_at, reeve.clock()), ended_by = 'return' WHERE o.tenant_id = NEW.id AND o.ended_by IS NULL;
    DELETE FROM reeve.queue_block b WHERE b.pattern LIKE NEW.code || '.%' AND b.mode = 'pause' AND b.reason LIKE '%(churn %)';
    DELETE FROM reeve.artifact_pin p USING reeve.artifact a WHERE a.id = p.artifact_id AND a.tenant_id = NEW.id AND p.reason LIKE 'the archive of a tenant that has churned%';
    PERFORM reeve.touch_counters(NEW.code || '.*');
    PERFORM reeve.wake(ARRAY(SELECT DISTINCT i.pool FROM reeve.idle_pool i));
    PERFORM reeve.emit_lifecycle(NEW.id, 'tenant.returned');
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER tenant_departs AFTER UPDATE ON reeve.tenant FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION reeve.tenant_departs();

GRANT EXECUTE ON FUNCTION reeve.request_purge(text, text, text, text, text, int), reeve.resume_purge(text, text, boolean), reeve.set_purge_policy(int, boolean, int),
  reeve.cancel_purge(text, text), reeve.tenant_records(uuid), reeve.return_tenant(text, text), reeve.forget_hook(text, text) TO reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.approve_purge(text, text), reeve.cancel_purge(text, text) TO reeve_approver;
GRANT EXECUTE ON FUNCTION reeve.is_approver() TO reeve_operator, reeve_approver;
GRANT EXECUTE ON FUNCTION reeve.purge_request_json(uuid) TO reeve_viewer, reeve_operator, reeve_approver;
GRANT EXECUTE ON FUNCTION reeve.tend_purges(), reeve.purge_work(bigint, uuid, uuid), reeve.begin_purge_step(bigint, uuid, uuid, text), reeve.purge_must_stop(bigint, uuid, uuid),
  reeve.finish_purge_step(bigint, uuid, uuid, text, jsonb), reeve.repeat_purge_steps(bigint, uuid, uuid, text, jsonb), reeve.freeze_for_purge(bigint, uuid, uuid),
  reeve.begin_backup_end(bigint, uuid, uuid), reeve.record_retained(bigint, uuid, uuid, jsonb), reeve.tenant_records(uuid), reeve.purge_records(bigint, uuid, uuid, int), reeve.begin_purge_keys(bigint, uuid, uuid),
  reeve.finish_purge_key(bigint, uuid, uuid, uuid, jsonb), reeve.bury_tenant(bigint, uuid, uuid),
  reeve.certify_purge(bigint, uuid, uuid, text, uuid, text, text, text), reeve.register_hooks(jsonb), reeve.offboarding_work(bigint, uuid, uuid),
  reeve.keep_archive(bigint, uuid, uuid, bigint), reeve.replace_login_secret(bigint, uuid, text, text, bytea), reeve.finish_offboarding(bigint, uuid, uuid, jsonb) TO reeve_worker;
GRANT SELECT ON reeve.purge_request, reeve.purge_approval, reeve.purge_step, reeve.retained_backup, reeve.purge_policy TO reeve_viewer, reeve_operator, reeve_approver;
GRANT SELECT ON reeve.hook, reeve.lifecycle_event, reeve.offboarding TO reeve_viewer, reeve_operator, reeve_worker;
