-- Erasure of a data subject (design section 7): requests with their state machine, the data maps they were approved with, and the ledger that is replayed
-- whenever a backup is restored. What identifies the subject is here as keyed hashes, which only the fleet's key can make, and sealed; the sealed text goes when
-- the request ends.

-- Data maps as they were used: never changed, found by the SHA-256 of their text.
CREATE TABLE reeve.data_map (
  digest text PRIMARY KEY CHECK (digest ~ '^[0-9a-f]{64}$'),
  application text NOT NULL CHECK (length(application) BETWEEN 1 AND 100),
  version int NOT NULL CHECK (version >= 1),
  document jsonb NOT NULL CHECK (jsonb_typeof(document) = 'object'),
  registered_at timestamptz NOT NULL DEFAULT reeve.clock(),
  registered_by text NOT NULL DEFAULT reeve.actor()
);
CREATE TRIGGER data_map_fixed BEFORE UPDATE OR DELETE ON reeve.data_map FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();
CREATE TRIGGER data_map_kept BEFORE TRUNCATE ON reeve.data_map FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();
ALTER TABLE reeve.data_map ENABLE ALWAYS TRIGGER data_map_fixed, ENABLE ALWAYS TRIGGER data_map_kept;

-- requested -> approved -> erasing -> completed; requested | approved -> cancelled; erasing -> failed -> approved. A request for access (a copy of the subject's
-- data) is requested -> completed | cancelled.
CREATE TABLE reeve.erasure_request (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id uuid NOT NULL REFERENCES reeve.tenant (id),
  purpose text NOT NULL CHECK (purpose IN ('erasure', 'access')),
  state text NOT NULL DEFAULT 'requested' CHECK (state IN ('requested', 'approved', 'erasing', 'completed', 'failed', 'cancelled')),
  map_digest text NOT NULL REFERENCES reeve.data_map (digest),
  sealed bytea,                                            -- the identifiers, under the fleet's key; gone when the request has ended
  found bytea,                                             -- what was found of the subject before anything was changed, sealed; gone then too
  reason text CHECK (length(reason) <= 2000),
  identity_reference text CHECK (length(identity_reference) BETWEEN 1 AND 400),  -- where it is kept how the person's identity was verified, not the document
  identity_by text,
  requested_by text NOT NULL DEFAULT reeve.actor(),
  requested_at timestamptz NOT NULL DEFAULT reeve.clock(),
  received_at timestamptz NOT NULL,                        -- when the person asked
  due_at timestamptz NOT NULL,
  extension_reason text CHECK (length(extension_reason) <= 2000),
  extended_by text,
  approved_by text,
  approved_at timestamptz,
  job_id bigint UNIQUE,
  began_at timestamptz,
  ended_at timestamptz,
  report jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(report) = 'object'),   -- counts and names of tables; nothing of the subject
  CHECK ((state IN ('completed', 'cancelled')) = (ended_at IS NOT NULL)),
  CHECK (ended_at IS NULL OR sealed IS NULL AND found IS NULL),
  CHECK (state NOT IN ('approved', 'erasing') OR approved_by IS NOT NULL AND identity_reference IS NOT NULL),
  CHECK (state <> 'erasing' OR job_id IS NOT NULL),
  CHECK (approved_by <> requested_by)
);
CREATE INDEX erasure_request_tenant ON reeve.erasure_request (tenant_id, requested_at);
CREATE INDEX erasure_request_open ON reeve.erasure_request (due_at) WHERE ended_at IS NULL;

-- Who it is about: HMAC-SHA256 over tenant, identifier's name and normalised value. Finds duplicates.
CREATE TABLE reeve.erasure_identifier (
  request_id uuid NOT NULL REFERENCES reeve.erasure_request (id),
  tenant_id uuid NOT NULL,
  name text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_]{0,39}$'),
  hash bytea NOT NULL CHECK (octet_length(hash) = 32),
  PRIMARY KEY (request_id, name, hash)
);
CREATE INDEX erasure_identifier_hash ON reeve.erasure_identifier (tenant_id, name, hash);

-- Who was erased. Written before the first row is changed; applies to every backup whose snapshot is older than the request's end.
CREATE TABLE reeve.erasure_ledger (
  tenant_id uuid NOT NULL,
  request_id uuid NOT NULL,
  name text NOT NULL,
  hash bytea NOT NULL CHECK (octet_length(hash) = 32),
  map_digest text NOT NULL,
  at timestamptz NOT NULL DEFAULT reeve.clock(),
  PRIMARY KEY (tenant_id, request_id, name, hash)
);
CREATE TRIGGER erasure_ledger_fixed BEFORE UPDATE OR DELETE ON reeve.erasure_ledger FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();
CREATE TRIGGER erasure_ledger_kept BEFORE TRUNCATE ON reeve.erasure_ledger FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();
ALTER TABLE reeve.erasure_ledger ENABLE ALWAYS TRIGGER erasure_ledger_fixed, ENABLE ALWAYS TRIGGER erasure_ledger_kept;

-- Requests for operators; nothing of the subject.
CREATE VIEW reeve.erasure_list WITH (security_barrier) AS
  SELECT r.id, t.code AS tenant_code, r.purpose, r.state, r.requested_by, r.requested_at, r.received_at, r.due_at, r.extension_reason, r.identity_reference, r.identity_by,
    r.approved_by, r.approved_at, r.job_id, r.began_at, r.ended_at, r.reason, m.application, m.version AS map_version, r.map_digest, r.report,
    r.ended_at IS NULL AND r.due_at < reeve.clock() AS is_overdue
  FROM reeve.erasure_request r JOIN reeve.tenant t ON t.id = r.tenant_id JOIN reeve.data_map m ON m.digest = r.map_digest;
DO $$
BEGIN
  IF current_setting('server_version_num')::int >= 150000 THEN ALTER VIEW reeve.erasure_list SET (security_invoker = true); END IF;
END $$;

-- The text of a request that is not there.
CREATE FUNCTION reeve.erasure_row(p_id uuid) RETURNS reeve.erasure_request LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.erasure_request;
BEGIN
  SELECT r.* INTO v FROM reeve.erasure_request r WHERE r.id = p_id FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no erasure request %', p_id USING ERRCODE = 'RV011', HINT = 'See: reeve erasure list'; END IF;
  RETURN v;
END $$;

-- Files a request. p_identifiers: [{"name", "hash" (64 hex digits)}]; p_map: {application, version, document, digest}. Refuses one about somebody about whom an open
-- request of this purpose is (RV012); one that was completed is named in the answer.
CREATE FUNCTION reeve.request_erasure(p_tenant text, p_purpose text, p_identifiers jsonb, p_sealed bytea, p_map jsonb, p_received timestamptz, p_identity text, p_reason text)
RETURNS jsonb LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant reeve.tenant; v reeve.erasure_request; v_other uuid; v_before uuid; v_received timestamptz := coalesce(p_received, reeve.clock());
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may file requests' USING ERRCODE = '42501'; END IF;
  -- Requests of one tenant wait for each other, so that of two at once one is the duplicate.
  SELECT t.* INTO v_tenant FROM reeve.tenant t WHERE t.code = p_tenant COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_tenant, 80) USING ERRCODE = 'RV001', HINT = 'See: reeve tenant list'; END IF;
  IF v_tenant.status = 'archived' THEN RAISE EXCEPTION 'tenant "%" is archived: nothing of it is left', p_tenant USING ERRCODE = 'RV009'; END IF;
  IF jsonb_array_length(p_identifiers) = 0 OR p_sealed IS NULL THEN
    RAISE EXCEPTION 'a request names at least one identifier' USING ERRCODE = 'RV010', HINT = 'For example email=ann@example.com.';
  END IF;
  IF p_received > reeve.clock() OR p_received < reeve.clock() - interval '1 year' THEN
    RAISE EXCEPTION 'a request was received within the last year' USING ERRCODE = 'RV010', HINT = 'Say when with --received 2026-11-02.';
  END IF;
  INSERT INTO reeve.data_map (digest, application, version, document)
  VALUES (p_map ->> 'digest', p_map ->> 'application', (p_map ->> 'version')::int, p_map -> 'document') ON CONFLICT DO NOTHING;
  SELECT r.id INTO v_other FROM reeve.erasure_identifier i JOIN reeve.erasure_request r ON r.id = i.request_id
    JOIN jsonb_array_elements(p_identifiers) e ON e ->> 'name' = i.name AND decode(e ->> 'hash', 'hex') = i.hash
  WHERE i.tenant_id = v_tenant.id AND r.purpose = p_purpose AND r.ended_at IS NULL LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'request % about the same person is open', v_other USING ERRCODE = 'RV012', HINT = 'See: reeve erasure show ' || v_other;
  END IF;
  SELECT r.id INTO v_before FROM reeve.erasure_identifier i JOIN reeve.erasure_request r ON r.id = i.request_id
    JOIN jsonb_array_elements(p_identifiers) e ON e ->> 'name' = i.name AND decode(e ->> 'hash', 'hex') = i.hash
  WHERE i.tenant_id = v_tenant.id AND r.purpose = p_purpose AND r.state = 'completed' ORDER BY r.ended_at DESC LIMIT 1;
  INSERT INTO reeve.erasure_request (tenant_id, purpose, map_digest, sealed, reason, identity_reference, identity_by, received_at, due_at)
  VALUES (v_tenant.id, p_purpose, p_map ->> 'digest', p_sealed, p_reason, nullif(btrim(p_identity), ''), CASE WHEN btrim(coalesce(p_identity, '')) <> '' THEN reeve.actor() END,
          v_received, v_received + interval '1 month') RETURNING * INTO v;
  INSERT INTO reeve.erasure_identifier (request_id, tenant_id, name, hash)
  SELECT DISTINCT v.id, v_tenant.id, e ->> 'name', decode(e ->> 'hash', 'hex') FROM jsonb_array_elements(p_identifiers) e;
  PERFORM reeve.audit(v_tenant.id, 'erasure.request', 'request ' || v.id, p_reason,
    jsonb_strip_nulls(jsonb_build_object('purpose', p_purpose, 'due_at', v.due_at, 'map', v.map_digest, 'identity_verified', v.identity_reference IS NOT NULL, 'completed_before', v_before)));
  RETURN jsonb_strip_nulls(jsonb_build_object('id', v.id, 'due_at', v.due_at, 'completed_before', v_before));
END $$;

-- Says where it is kept how the person's identity was verified.
CREATE FUNCTION reeve.identify_erasure(p_id uuid, p_reference text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.erasure_request := reeve.erasure_row(p_id);
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may do this' USING ERRCODE = '42501'; END IF;
  IF v.state <> 'requested' THEN RAISE EXCEPTION 'request % is %', p_id, v.state USING ERRCODE = 'RV012'; END IF;
  IF btrim(coalesce(p_reference, '')) = '' THEN
    RAISE EXCEPTION 'the reference is missing' USING ERRCODE = 'RV010', HINT = 'Say where the verification is kept: a ticket, not the document.';
  END IF;
  UPDATE reeve.erasure_request r SET identity_reference = p_reference, identity_by = reeve.actor() WHERE r.id = p_id;
  PERFORM reeve.audit(v.tenant_id, 'erasure.identify', 'request ' || p_id, NULL, jsonb_build_object('reference', p_reference));
END $$;

-- Moves the deadline once, by one or two more months, while the first month lasts.
CREATE FUNCTION reeve.extend_erasure(p_id uuid, p_months int, p_reason text) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.erasure_request := reeve.erasure_row(p_id);
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may do this' USING ERRCODE = '42501'; END IF;
  IF v.ended_at IS NOT NULL THEN RAISE EXCEPTION 'request % is %', p_id, v.state USING ERRCODE = 'RV012'; END IF;
  IF v.extension_reason IS NOT NULL THEN RAISE EXCEPTION 'request % was extended before', p_id USING ERRCODE = 'RV012', HINT = 'The law knows one extension.'; END IF;
  IF v.due_at < reeve.clock() THEN RAISE EXCEPTION 'the deadline of request % has passed', p_id USING ERRCODE = 'RV012', HINT = 'The person had to be told within the first month.'; END IF;
  IF p_months NOT IN (1, 2) OR p_months IS NULL THEN RAISE EXCEPTION 'an extension is of 1 or 2 months' USING ERRCODE = 'RV010'; END IF;
  IF btrim(coalesce(p_reason, '')) = '' THEN RAISE EXCEPTION 'an extension needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the person has to be told.'; END IF;
  UPDATE reeve.erasure_request r SET due_at = r.received_at + make_interval(months => 1 + p_months), extension_reason = p_reason, extended_by = reeve.actor()
  WHERE r.id = p_id RETURNING r.due_at INTO v.due_at;
  PERFORM reeve.audit(v.tenant_id, 'erasure.extend', 'request ' || p_id, p_reason, jsonb_build_object('due_at', v.due_at, 'months', p_months));
  RETURN v.due_at;
END $$;

-- Approves a request, or one that failed once more, and enqueues its job, whose id comes back. By somebody else than who filed it.
CREATE FUNCTION reeve.approve_erasure(p_id uuid, p_confirm text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.erasure_request := reeve.erasure_row(p_id); v_code text; v_job bigint;
BEGIN
  IF NOT (pg_has_role(session_user, 'reeve_approver', 'MEMBER') OR pg_has_role(session_user, 'reeve_owner', 'MEMBER')) THEN
    RAISE EXCEPTION 'only approvers may approve' USING ERRCODE = '42501';
  END IF;
  SELECT t.code INTO v_code FROM reeve.tenant t WHERE t.id = v.tenant_id;
  IF v.purpose <> 'erasure' THEN RAISE EXCEPTION 'request % asks for a copy, which needs no approval', p_id USING ERRCODE = 'RV012', HINT = 'Make it with: reeve erasure export ' || p_id; END IF;
  -- One whose job ended before its time, a dead letter for instance, is approved anew.
  IF NOT (v.state IN ('requested', 'failed') OR v.state IN ('approved', 'erasing') AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = v.job_id)) THEN
    RAISE EXCEPTION 'request % is %', p_id, v.state USING ERRCODE = 'RV012';
  END IF;
  IF reeve.actor() = v.requested_by OR session_user = v.requested_by THEN
    RAISE EXCEPTION 'request % was filed by %, who cannot approve it', p_id, v.requested_by USING ERRCODE = 'RV012', HINT = 'Somebody else has to.';
  END IF;
  IF v.identity_reference IS NULL THEN
    RAISE EXCEPTION 'nobody has verified the identity behind request %', p_id USING ERRCODE = 'RV012', HINT = format('Say where that is kept: reeve erasure identify %s --reference TICKET', p_id);
  END IF;
  IF p_confirm IS DISTINCT FROM v_code THEN RAISE EXCEPTION 'the confirmation is not the code of the tenant' USING ERRCODE = 'RV010', HINT = 'Say --confirm ' || v_code; END IF;
  IF reeve.tenant_is_held(v.tenant_id) THEN RAISE EXCEPTION 'tenant "%" is under a legal hold', v_code USING ERRCODE = 'RV012', HINT = 'See: reeve tenant show ' || v_code; END IF;
  UPDATE reeve.erasure_request r SET state = 'approved', approved_by = reeve.actor(), approved_at = reeve.clock(), job_id = NULL WHERE r.id = p_id;
  v_job := reeve.enqueue(v_code || '.erasures', 'erasure', jsonb_build_object('request', p_id), tenant => v.tenant_id);
  UPDATE reeve.erasure_request r SET job_id = v_job WHERE r.id = p_id;
  PERFORM reeve.audit(v.tenant_id, 'erasure.approve', 'request ' || p_id, NULL, jsonb_build_object('job', v_job, 'requested_by', v.requested_by));
  RETURN v_job;
END $$;

-- Cancels a request before anything was changed.
CREATE FUNCTION reeve.cancel_erasure(p_id uuid, p_reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.erasure_request := reeve.erasure_row(p_id);
BEGIN
  IF NOT (reeve.is_operator() OR pg_has_role(session_user, 'reeve_approver', 'MEMBER')) THEN RAISE EXCEPTION 'only operators may do this' USING ERRCODE = '42501'; END IF;
  IF v.state NOT IN ('requested', 'approved') OR v.began_at IS NOT NULL THEN
    RAISE EXCEPTION 'request % is %', p_id, v.state USING ERRCODE = 'RV012', HINT = 'It can be cancelled until its job begins: what is erased does not come back.';
  END IF;
  IF btrim(coalesce(p_reason, '')) = '' THEN RAISE EXCEPTION 'cancelling needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason.'; END IF;
  UPDATE reeve.erasure_request r SET state = 'cancelled', ended_at = reeve.clock(), sealed = NULL, found = NULL,
    report = r.report || jsonb_build_object('cancelled_by', reeve.actor(), 'why', p_reason) WHERE r.id = p_id;
  PERFORM reeve.audit(v.tenant_id, 'erasure.cancel', 'request ' || p_id, p_reason);
END $$;

-- Whether a job of kind erasure may be enqueued with these arguments: NULL, or why not. A request has one job, which its approval enqueues.
CREATE FUNCTION reeve.erasure_admits(p_args jsonb, p_tenant uuid) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM reeve.erasure_request r WHERE r.id::text = p_args ->> 'request' AND r.tenant_id = p_tenant AND r.state = 'approved' AND r.job_id IS NULL) THEN RETURN NULL; END IF;
  RETURN 'an erasure runs for an approved request alone; ask with: reeve erasure request';
END $$;

-- What an attempt of the job has to do: the request's row is locked and its state read anew; the first time the ledger is written and the intent audited. NULL when
-- the job is not the request's; {"state": …} alone when there is nothing to do; {"held": true} while a legal hold is in force.
CREATE FUNCTION reeve.erasure_work(p_job bigint, p_lease uuid, p_request uuid) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v reeve.erasure_request;
BEGIN
  SELECT r.* INTO v FROM reeve.erasure_request r WHERE r.id = p_request AND r.tenant_id = v_tenant AND r.job_id = p_job FOR UPDATE;
  IF NOT FOUND THEN RETURN NULL; END IF;
  IF v.state NOT IN ('approved', 'erasing') THEN RETURN jsonb_build_object('state', v.state, 'report', v.report); END IF;
  IF reeve.tenant_is_held(v_tenant) THEN RETURN jsonb_build_object('state', v.state, 'held', true); END IF;
  IF v.state = 'approved' THEN
    UPDATE reeve.erasure_request r SET state = 'erasing', began_at = coalesce(r.began_at, reeve.clock()) WHERE r.id = p_request RETURNING r.* INTO v;
    INSERT INTO reeve.erasure_ledger (tenant_id, request_id, name, hash, map_digest)
    SELECT i.tenant_id, i.request_id, i.name, i.hash, v.map_digest FROM reeve.erasure_identifier i WHERE i.request_id = p_request ON CONFLICT DO NOTHING;
    PERFORM reeve.audit(v_tenant, 'erasure.run', 'request ' || p_request, NULL,
      jsonb_build_object('outcome', 'intent', 'job', p_job, 'map', v.map_digest, 'approved_by', v.approved_by));
  END IF;
  RETURN jsonb_build_object('state', v.state, 'sealed', encode(v.sealed, 'hex'), 'found', encode(v.found, 'hex'), 'map_digest', v.map_digest,
    'map', (SELECT m.document FROM reeve.data_map m WHERE m.digest = v.map_digest), 'requested_by', v.requested_by, 'approved_by', v.approved_by,
    'requested_at', v.requested_at, 'received_at', v.received_at, 'approved_at', v.approved_at, 'began_at', v.began_at, 'due_at', v.due_at,
    'identity_reference', v.identity_reference);
END $$;

-- Keeps, sealed, what was found of the subject before anything is changed.
CREATE FUNCTION reeve.remember_found(p_job bigint, p_lease uuid, p_request uuid, p_found bytea) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  UPDATE reeve.erasure_request r SET found = p_found WHERE r.id = p_request AND r.tenant_id = v_tenant AND r.job_id = p_job AND r.state = 'erasing';
  IF NOT FOUND THEN RAISE EXCEPTION 'request % is not being erased by job %', p_request, p_job USING ERRCODE = 'RV012'; END IF;
END $$;

-- The request of an export of one subject's data: what is sealed, and the map. Of the attempt's own tenant.
CREATE FUNCTION reeve.subject_request(p_job bigint, p_lease uuid, p_request uuid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT jsonb_build_object('sealed', encode(r.sealed, 'hex'), 'map', m.document) FROM reeve.erasure_request r JOIN reeve.data_map m ON m.digest = r.map_digest
  WHERE r.id = p_request AND r.tenant_id = reeve.tenant_of_attempt(p_job, p_lease) AND r.sealed IS NOT NULL
$$;

-- Asks for the export of a subject's data; returns its job's id. Needs a verified identity: the copy is handed out.
CREATE FUNCTION reeve.export_subject(p_id uuid, p_encrypted boolean) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.erasure_request := reeve.erasure_row(p_id); v_code text; v_job bigint;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may do this' USING ERRCODE = '42501'; END IF;
  SELECT t.code INTO v_code FROM reeve.tenant t WHERE t.id = v.tenant_id;
  IF v.state NOT IN ('requested', 'approved') OR v.sealed IS NULL THEN
    RAISE EXCEPTION 'request % is %', p_id, v.state USING ERRCODE = 'RV012', HINT = 'File one for a copy: reeve erasure request ' || v_code || ' --access';
  END IF;
  IF v.identity_reference IS NULL THEN
    RAISE EXCEPTION 'nobody has verified the identity behind request %', p_id USING ERRCODE = 'RV012', HINT = format('Say where that is kept: reeve erasure identify %s --reference TICKET', p_id);
  END IF;
  v_job := reeve.enqueue(v_code || '.exports', 'export', jsonb_build_object('subject', p_id::text, 'encrypted', p_encrypted), tenant => v.tenant_id);
  PERFORM reeve.audit(v.tenant_id, 'erasure.export', 'request ' || p_id, NULL, jsonb_build_object('job', v_job, 'encrypted', p_encrypted));
  RETURN v_job;
END $$;

-- Ends a request for a copy once the copy was handed out.
CREATE FUNCTION reeve.close_access(p_id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.erasure_request := reeve.erasure_row(p_id);
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may do this' USING ERRCODE = '42501'; END IF;
  IF v.purpose <> 'access' OR v.state <> 'requested' THEN RAISE EXCEPTION 'request % is no open request for a copy', p_id USING ERRCODE = 'RV012'; END IF;
  UPDATE reeve.erasure_request r SET state = 'completed', ended_at = reeve.clock(), sealed = NULL, found = NULL WHERE r.id = p_id;
  PERFORM reeve.audit(v.tenant_id, 'erasure.close', 'request ' || p_id, NULL);
END $$;

-- Where in this schema something of the tenant may mention a person: tables, and leaves of partitioned ones, with the columns of text, JSON and arrays.
-- `redact` says what may be replaced there; elsewhere it can only be reported.
CREATE FUNCTION reeve.mention_places(p_job bigint, p_lease uuid) RETURNS TABLE (place text, columns text[], redact text[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
BEGIN
  PERFORM reeve.tenant_of_attempt(p_job, p_lease);
  RETURN QUERY
  SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum),
    coalesce(array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE coalesce(p.relname, c.relname) IN ('job_history', 'dead_letter', 'job_step', 'rejected_messages')
      AND a.attname IN ('args', 'result', 'last_error', 'reason', 'error', 'payload', 'value', 'headers', 'body', 'message') AND t.typcategory IN ('S', 'U')), '{}')
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_inherits h ON h.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = h.inhparent
  WHERE c.relnamespace = 'reeve'::regnamespace AND c.relkind = 'r' AND (t.typcategory IN ('S', 'A') OR t.typname IN ('json', 'jsonb'))
    AND EXISTS (SELECT FROM pg_attribute k WHERE k.attrelid = c.oid AND k.attname IN ('tenant_id', 'job_id') AND NOT k.attisdropped)
    AND c.relname NOT IN ('erasure_request', 'erasure_identifier', 'erasure_ledger', 'tenant_store', 'tenant_key', 'idempotency_key')
  GROUP BY c.relname ORDER BY 1;
END $$;

-- Whether a table of this schema has a column.
CREATE FUNCTION reeve.has_column(p_table text, p_column text) RETURNS boolean LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT EXISTS (SELECT FROM pg_attribute k JOIN pg_class c ON c.oid = k.attrelid WHERE c.relnamespace = 'reeve'::regnamespace AND c.relname = p_table
    AND k.attname = p_column AND NOT k.attisdropped)
$$;

-- The tenant's jobs, for tables that know a row's job alone.
CREATE FUNCTION reeve.mention_jobs(p_tenant uuid) RETURNS SETOF bigint LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT j.id FROM reeve.job j WHERE j.tenant_id = p_tenant UNION ALL SELECT j.id FROM reeve.job_history j WHERE j.tenant_id = p_tenant
  UNION ALL SELECT j.id FROM reeve.dead_letter j WHERE j.tenant_id = p_tenant
$$;

-- How many rows of a place mention the subject, by column; patterns are of LIKE, in lower case. {} for none.
CREATE FUNCTION reeve.find_mentions(p_job bigint, p_lease uuid, p_place text, p_patterns text[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v_found jsonb;
BEGIN
  IF NOT EXISTS (SELECT FROM reeve.mention_places(p_job, p_lease) m WHERE m.place = p_place) THEN RETURN '{}'; END IF;
  IF reeve.has_column(p_place, 'tenant_id') THEN
    EXECUTE format('SELECT jsonb_object_agg(s.k, s.n) FROM (SELECT e.key AS k, count(*) AS n FROM reeve.%I x CROSS JOIN LATERAL jsonb_each_text(to_jsonb(x)) e '
      'WHERE x.tenant_id = $2 AND lower(e.value COLLATE "C") LIKE ANY ($1) GROUP BY 1) s', p_place) INTO v_found USING p_patterns, v_tenant;
  ELSE
    EXECUTE format('SELECT jsonb_object_agg(s.k, s.n) FROM (SELECT e.key AS k, count(*) AS n FROM reeve.%I x CROSS JOIN LATERAL jsonb_each_text(to_jsonb(x)) e '
      'WHERE x.job_id IN (SELECT reeve.mention_jobs($2)) AND lower(e.value COLLATE "C") LIKE ANY ($1) GROUP BY 1) s', p_place) INTO v_found USING p_patterns, v_tenant;
  END IF;
  RETURN coalesce(v_found, '{}');
END $$;

-- Replaces what matches in a place by [erased]; returns how many values changed. Only where mention_places says that it may.
CREATE FUNCTION reeve.redact_mentions(p_job bigint, p_lease uuid, p_place text, p_patterns text[], p_regex text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v_column text; v_count bigint; v_all bigint := 0;
BEGIN
  FOR v_column IN SELECT unnest(m.redact) FROM reeve.mention_places(p_job, p_lease) m WHERE m.place = p_place LOOP
    IF reeve.has_column(p_place, 'tenant_id') THEN
      EXECUTE format('UPDATE reeve.%1$I x SET %2$I = (jsonb_populate_record(x, jsonb_build_object(%2$L, CASE jsonb_typeof(to_jsonb(x.%2$I)) WHEN ''string'' THEN '
        'to_jsonb(regexp_replace(x.%2$I::text, $2, ''[erased]'', ''gi'')) ELSE regexp_replace(x.%2$I::text, $2, ''[erased]'', ''gi'')::jsonb END))).%2$I '
        'WHERE x.tenant_id = $3 AND lower(x.%2$I::text COLLATE "C") LIKE ANY ($1)', p_place, v_column) USING p_patterns, p_regex, v_tenant;
    ELSE
      EXECUTE format('UPDATE reeve.%1$I x SET %2$I = (jsonb_populate_record(x, jsonb_build_object(%2$L, CASE jsonb_typeof(to_jsonb(x.%2$I)) WHEN ''string'' THEN '
        'to_jsonb(regexp_replace(x.%2$I::text, $2, ''[erased]'', ''gi'')) ELSE regexp_replace(x.%2$I::text, $2, ''[erased]'', ''gi'')::jsonb END))).%2$I '
        'WHERE x.job_id IN (SELECT reeve.mention_jobs($3)) AND lower(x.%2$I::text COLLATE "C") LIKE ANY ($1)', p_place, v_column) USING p_patterns, p_regex, v_tenant;
    END IF;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    v_all := v_all + v_count;
  END LOOP;
  RETURN v_all;
END $$;

-- Cancels the tenant's waiting jobs that mention the subject, and says how many that mention them still run: {cancelled, running}.
CREATE FUNCTION reeve.cancel_mentions(p_job bigint, p_lease uuid, p_patterns text[]) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v record; v_cancelled int := 0; v_running int := 0;
BEGIN
  FOR v IN SELECT j.id, j.state FROM reeve.job j WHERE j.tenant_id = v_tenant AND j.id <> p_job
      AND (lower(j.args::text COLLATE "C") LIKE ANY (p_patterns) OR lower(j.last_error COLLATE "C") LIKE ANY (p_patterns) OR lower(j.progress::text COLLATE "C") LIKE ANY (p_patterns))
      ORDER BY j.id LOOP
    IF v.state = 'running' THEN v_running := v_running + 1;
    ELSIF reeve.cancel(v.id) = 'cancelled' THEN v_cancelled := v_cancelled + 1;
    ELSE v_running := v_running + 1;
    END IF;
  END LOOP;
  IF v_cancelled > 0 THEN
    PERFORM reeve.audit(v_tenant, 'erasure.cancel_jobs', 'job ' || p_job, 'they mention an erased person', jsonb_build_object('jobs', v_cancelled));
  END IF;
  RETURN jsonb_build_object('cancelled', v_cancelled, 'running', v_running);
END $$;

-- Reports and exports of the tenant that may hold the subject: those that are still there.
CREATE FUNCTION reeve.erasure_artifacts(p_job bigint, p_lease uuid) RETURNS TABLE (id uuid, entity text, format text, encryption jsonb, destinations text[], keys text[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  RETURN QUERY SELECT a.id, a.entity, a.manifest ->> 'format', a.manifest -> 'encryption', reeve.artifact_destinations(a.manifest),
    ARRAY(SELECT reeve.artifact_keys(a.key, a.manifest) ORDER BY 1)
  FROM reeve.artifact a WHERE a.tenant_id = v_tenant AND a.entity <> 'backup' ORDER BY a.created_at, a.id;
END $$;

-- Marks one of them for deletion, with the intent audited; nothing happens to one that is marked.
CREATE FUNCTION reeve.mark_erased_artifact(p_job bigint, p_lease uuid, p_artifact uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  PERFORM FROM reeve.tenant t WHERE t.id = v_tenant FOR NO KEY UPDATE;
  IF reeve.tenant_is_held(v_tenant) THEN RAISE EXCEPTION 'the tenant is under a legal hold' USING ERRCODE = 'RV012'; END IF;
  INSERT INTO reeve.artifact_deletion (artifact_id, tenant_id, reason, intent)
  SELECT a.id, v_tenant, 'an erased person is in it', reeve.audit(v_tenant, 'artifact.delete', 'artifact ' || a.id, 'an erased person is in it',
    jsonb_build_object('outcome', 'intent', 'entity', a.entity, 'job', p_job, 'bytes', a.bytes, 'created_at', a.created_at, 'destinations', to_jsonb(reeve.artifact_destinations(a.manifest))))
  FROM reeve.artifact a WHERE a.id = p_artifact AND a.tenant_id = v_tenant AND a.entity <> 'backup'
    AND NOT EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = a.id);
END $$;

-- Records what came of it and ends the request: 'completed', which wipes what is sealed, or 'failed', which keeps it for another approval.
CREATE FUNCTION reeve.finish_erasure(p_job bigint, p_lease uuid, p_request uuid, p_outcome text, p_report jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v reeve.erasure_request;
BEGIN
  IF p_outcome NOT IN ('completed', 'failed') THEN RAISE EXCEPTION 'an erasure ends completed or failed' USING ERRCODE = 'RV010'; END IF;
  SELECT r.* INTO v FROM reeve.erasure_request r WHERE r.id = p_request AND r.tenant_id = v_tenant AND r.job_id = p_job FOR UPDATE;
  IF NOT FOUND OR v.state <> 'erasing' THEN RAISE EXCEPTION 'request % is not being erased by job %', p_request, p_job USING ERRCODE = 'RV012'; END IF;
  UPDATE reeve.erasure_request r SET state = p_outcome, report = p_report, ended_at = CASE p_outcome WHEN 'completed' THEN reeve.clock() END,
    sealed = CASE p_outcome WHEN 'failed' THEN r.sealed END, found = CASE p_outcome WHEN 'failed' THEN r.found END WHERE r.id = p_request;
  PERFORM reeve.audit(v_tenant, 'erasure.run', 'request ' || p_request, NULL, p_report || jsonb_build_object('outcome', CASE p_outcome WHEN 'completed' THEN 'done' ELSE 'failed' END, 'job', p_job), v.began_at);
  IF to_regprocedure('reeve.notify_people(uuid,text,text,jsonb,text)') IS NOT NULL THEN
    PERFORM reeve.notify_people(v_tenant, 'erasure.' || p_outcome, format('Erasure request %s is %s', p_request, p_outcome),
      jsonb_build_object('request', p_request, 'state', p_outcome, 'due_at', v.due_at), 'compliance');
  END IF;
END $$;

-- Backups of the tenant that may still hold the subject: how many, and when the last of them expires; NULL when one is pinned, held or kept without a date.
CREATE FUNCTION reeve.erasure_backups(p_job bigint, p_lease uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  RETURN (SELECT jsonb_build_object('backups', count(DISTINCT a.job_id), 'pinned', count(DISTINCT a.job_id) FILTER (WHERE p.artifact_id IS NOT NULL),
    'last_expires_at', CASE WHEN bool_or(p.artifact_id IS NOT NULL OR a.expires_at IS NULL) THEN NULL ELSE max(a.expires_at) END)
    FROM reeve.artifact a LEFT JOIN reeve.artifact_pin p ON p.artifact_id = a.id WHERE a.tenant_id = v_tenant AND a.entity = 'backup');
END $$;

-- Who has to be erased from a backup of this time, for a restore: [{"map": …, "hashes": [{"name", "hash"}]}], in the order of the requests. A margin of ten minutes
-- covers clocks that differ.
CREATE FUNCTION reeve.ledger_replay(p_job bigint, p_lease uuid, p_snapshot timestamptz) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('map', m.document, 'requests', g.requests, 'hashes', g.hashes) ORDER BY g.at), '[]') FROM (
    SELECT l.map_digest, min(l.at) AS at, count(DISTINCT l.request_id) AS requests, jsonb_agg(jsonb_build_object('name', l.name, 'hash', encode(l.hash, 'hex'))) AS hashes
    FROM reeve.erasure_ledger l LEFT JOIN reeve.erasure_request r ON r.id = l.request_id
    WHERE l.tenant_id = v_tenant AND (r.ended_at IS NULL OR p_snapshot < r.ended_at + interval '10 minutes') GROUP BY l.map_digest) g
    JOIN reeve.data_map m ON m.digest = g.map_digest);
END $$;

REVOKE ALL ON FUNCTION reeve.erasure_row(uuid), reeve.mention_jobs(uuid), reeve.has_column(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION reeve.request_erasure(text, text, jsonb, bytea, jsonb, timestamptz, text, text), reeve.identify_erasure(uuid, text), reeve.extend_erasure(uuid, int, text),
  reeve.export_subject(uuid, boolean), reeve.close_access(uuid) TO reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.approve_erasure(uuid, text) TO reeve_approver;
GRANT EXECUTE ON FUNCTION reeve.cancel_erasure(uuid, text) TO reeve_operator, reeve_approver;
GRANT EXECUTE ON FUNCTION reeve.erasure_work(bigint, uuid, uuid), reeve.remember_found(bigint, uuid, uuid, bytea), reeve.subject_request(bigint, uuid, uuid),
  reeve.mention_places(bigint, uuid), reeve.find_mentions(bigint, uuid, text, text[]), reeve.redact_mentions(bigint, uuid, text, text[], text),
  reeve.cancel_mentions(bigint, uuid, text[]), reeve.erasure_artifacts(bigint, uuid), reeve.mark_erased_artifact(bigint, uuid, uuid),
  reeve.finish_erasure(bigint, uuid, uuid, text, jsonb), reeve.erasure_backups(bigint, uuid), reeve.ledger_replay(bigint, uuid, timestamptz) TO reeve_worker;
GRANT SELECT ON reeve.erasure_list, reeve.data_map TO reeve_viewer, reeve_operator, reeve_approver;
GRANT SELECT (id, tenant_id, purpose, state, map_digest, reason, identity_reference, identity_by, requested_by, requested_at, received_at, due_at, extension_reason, extended_by,
  approved_by, approved_at, job_id, began_at, ended_at, report) ON reeve.erasure_request TO reeve_viewer, reeve_approver;
GRANT SELECT (id, code) ON reeve.tenant TO reeve_approver;
GRANT SELECT ON reeve.erasure_request TO reeve_operator;
