-- Certificates of what was deleted for good, the public halves of the keys that sign them, and notices to people: rows written in the
-- transaction of what they tell, delivered by workers.

-- Public keys stay for ever: what a retired one signed can be verified.
CREATE TABLE reeve.signing_key (
  id text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{32}$'),        -- from the public key's DER form
  public_key text NOT NULL UNIQUE CHECK (public_key ~ '^-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=]{60}\n-----END PUBLIC KEY-----\n$'),
  created_at timestamptz NOT NULL DEFAULT reeve.clock(),
  created_by text NOT NULL DEFAULT reeve.actor(),
  created_reason text CHECK (length(created_reason) <= 2000),
  retired_at timestamptz,
  retired_by text,
  CHECK ((retired_at IS NULL) = (retired_by IS NULL))
);
CREATE UNIQUE INDEX signing_key_current ON reeve.signing_key ((true)) WHERE retired_at IS NULL;

CREATE FUNCTION reeve.signing_key_guard() RETURNS trigger LANGUAGE plpgsql SET search_path = reeve, pg_temp AS $$
BEGIN
  IF OLD.retired_at IS NOT NULL OR to_jsonb(NEW) - ARRAY['retired_at', 'retired_by'] <> to_jsonb(OLD) - ARRAY['retired_at', 'retired_by'] THEN
    RAISE EXCEPTION 'a published key never changes' USING ERRCODE = '42501';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER signing_key_fixed BEFORE UPDATE ON reeve.signing_key FOR EACH ROW EXECUTE FUNCTION reeve.signing_key_guard();
CREATE TRIGGER signing_key_kept BEFORE DELETE ON reeve.signing_key FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();
CREATE TRIGGER signing_key_stays BEFORE TRUNCATE ON reeve.signing_key FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();
ALTER TABLE reeve.signing_key ENABLE ALWAYS TRIGGER signing_key_fixed, ENABLE ALWAYS TRIGGER signing_key_kept, ENABLE ALWAYS TRIGGER signing_key_stays;

-- Publishes the public half of a key and signs with it from now on. With p_rotate it takes the current one's place, without there must be none.
CREATE FUNCTION reeve.publish_signing_key(p_id text, p_public_key text, p_rotate boolean, p_reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_old text;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may publish signing keys' USING ERRCODE = '42501'; END IF;
  LOCK TABLE reeve.signing_key IN SHARE ROW EXCLUSIVE MODE;
  UPDATE reeve.signing_key k SET retired_at = reeve.clock(), retired_by = reeve.actor() WHERE k.retired_at IS NULL RETURNING k.id INTO v_old;
  IF FOUND AND NOT p_rotate THEN
    RAISE EXCEPTION 'the fleet has a signing key' USING ERRCODE = 'RV012', HINT = 'A new one takes its place with: reeve keys signing rotate';
  ELSIF v_old IS NULL AND p_rotate THEN
    RAISE EXCEPTION 'the fleet has no signing key' USING ERRCODE = 'RV012', HINT = 'Make one with: reeve keys signing create';
  END IF;
  INSERT INTO reeve.signing_key (id, public_key, created_reason) VALUES (p_id, p_public_key, p_reason);
  PERFORM reeve.audit(NULL, CASE WHEN p_rotate THEN 'signing_key.rotate' ELSE 'signing_key.create' END, 'signing key ' || p_id, p_reason,
    jsonb_build_object('retired', v_old));
END $$;

-- Certificates: kept for ever, without personal data. The canonical text is what is signed; the body is the same, to be searched.
CREATE TABLE reeve.certificate (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,                                  -- no reference: it outlives the tenant's record
  kind text NOT NULL CHECK (kind IN ('purge', 'purge_backup', 'erasure')),
  request_id uuid NOT NULL,
  job_id bigint NOT NULL,
  body jsonb NOT NULL CHECK (jsonb_typeof(body) = 'object'),
  canonical text NOT NULL CHECK (octet_length(canonical) <= 16777216),
  signature text NOT NULL CHECK (signature ~ '^[A-Za-z0-9+/]{86}==$'),
  key_id text NOT NULL REFERENCES reeve.signing_key (id),
  issued_at timestamptz NOT NULL DEFAULT reeve.clock(),
  UNIQUE (request_id, kind)
);
CREATE INDEX certificate_tenant ON reeve.certificate (tenant_id, issued_at);
CREATE TRIGGER certificate_fixed BEFORE UPDATE OR DELETE ON reeve.certificate FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();
CREATE TRIGGER certificate_kept BEFORE TRUNCATE ON reeve.certificate FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();
ALTER TABLE reeve.certificate ENABLE ALWAYS TRIGGER certificate_fixed, ENABLE ALWAYS TRIGGER certificate_kept;
REVOKE UPDATE, DELETE, TRUNCATE ON reeve.certificate FROM reeve_owner;

-- Records a certificate for a running attempt, whose lease fences it, of the tenant of its job. Once for each request and kind: when there is one
-- already, its id comes back and nothing changes.
CREATE FUNCTION reeve.record_certificate(p_job bigint, p_lease uuid, p_id uuid, p_kind text, p_request uuid, p_canonical text, p_signature text, p_key_id text)
RETURNS uuid LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v_body jsonb := p_canonical::jsonb; v_id uuid;
BEGIN
  IF v_body ->> 'certificate_id' IS DISTINCT FROM p_id::text OR v_body ->> 'key_id' IS DISTINCT FROM p_key_id THEN
    RAISE EXCEPTION 'the certificate does not name itself and its key' USING ERRCODE = 'RV010';
  END IF;
  -- One that was retired while the attempt was signing is taken.
  IF NOT EXISTS (SELECT FROM reeve.signing_key k WHERE k.id = p_key_id AND (k.retired_at IS NULL OR k.retired_at > reeve.clock() - interval '1 hour')) THEN
    RAISE EXCEPTION 'signing key % is not current', left(p_key_id, 40) USING ERRCODE = 'RV012', HINT = 'See: reeve keys signing list';
  END IF;
  INSERT INTO reeve.certificate (id, tenant_id, kind, request_id, job_id, body, canonical, signature, key_id)
  VALUES (p_id, v_tenant, p_kind, p_request, p_job, v_body, p_canonical, p_signature, p_key_id)
  ON CONFLICT (request_id, kind) DO NOTHING RETURNING id INTO v_id;
  IF NOT FOUND THEN
    SELECT c.id INTO v_id FROM reeve.certificate c WHERE c.request_id = p_request AND c.kind = p_kind AND c.tenant_id = v_tenant;
    IF NOT FOUND THEN RAISE EXCEPTION 'request % is another tenant''s', p_request USING ERRCODE = '42501'; END IF;
    RETURN v_id;
  END IF;
  PERFORM reeve.audit(v_tenant, 'certificate.issue', 'certificate ' || p_id, NULL, jsonb_build_object('kind', p_kind, 'request', p_request, 'job', p_job, 'key', p_key_id));
  RETURN v_id;
END $$;

-- Notices to people. Each is a row of the transaction that it tells of; workers deliver it, again and again until every one of its targets took it.
CREATE TABLE reeve.notice (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id uuid,
  topic text NOT NULL CHECK (topic ~ '^[a-z][a-z0-9_.-]{1,79}$'),
  subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 200 AND subject !~ '[[:cntrl:]]'),
  body jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(body) = 'object' AND octet_length(body::text) <= 262144),
  recipients text NOT NULL CHECK (recipients IN ('compliance', 'technical')),
  created_at timestamptz NOT NULL DEFAULT reeve.clock(),
  state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'dropped')),
  next_at timestamptz NOT NULL DEFAULT reeve.clock(),
  tries int NOT NULL DEFAULT 0,
  error text CHECK (length(error) <= 2000),
  delivered text[] NOT NULL DEFAULT '{}',                   -- targets that took it; a tenant's contact is called `technical`
  claim uuid,                                               -- whoever delivers it now, for as long as next_at says
  ended_at timestamptz,
  CHECK ((state = 'waiting') = (ended_at IS NULL))
);
CREATE INDEX notice_due ON reeve.notice (next_at) WHERE state = 'waiting';
CREATE INDEX notice_tenant ON reeve.notice (tenant_id, id);

-- Tells people of the fleet (`compliance`) or a tenant's technical contact, in this transaction. No personal data beyond what the body says. Returns the
-- notice's id.
CREATE FUNCTION reeve.notify_people(p_tenant uuid, p_topic text, p_subject text, p_body jsonb DEFAULT '{}', p_recipients text DEFAULT 'compliance') RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_id bigint;
BEGIN
  IF p_recipients NOT IN ('compliance', 'technical') THEN
    RAISE EXCEPTION 'nobody is called "%"', left(p_recipients, 40) USING ERRCODE = 'RV010', HINT = 'Recipients are compliance or technical.';
  END IF;
  IF p_recipients = 'technical' AND NOT EXISTS (SELECT FROM reeve.tenant t WHERE t.id = p_tenant) THEN
    RAISE EXCEPTION 'a technical contact is a tenant''s, and that tenant is unknown' USING ERRCODE = 'RV001';
  END IF;
  INSERT INTO reeve.notice (tenant_id, topic, subject, body, recipients)
  VALUES (p_tenant, p_topic, left(regexp_replace(p_subject, '[[:cntrl:]]+', ' ', 'g'), 200), coalesce(p_body, '{}'), p_recipients) RETURNING id INTO v_id;
  RETURN v_id;
END $$;

-- One of a tenant's contacts as {email, name}: the first of these that has an address. A contact is an address, or an object with `email` and perhaps `name`.
CREATE FUNCTION reeve.contact_of(p_contacts jsonb, p_names text[]) RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS $$
  SELECT CASE jsonb_typeof(p_contacts -> n) WHEN 'string' THEN jsonb_build_object('email', p_contacts ->> n)
           ELSE jsonb_build_object('email', p_contacts -> n ->> 'email', 'name', p_contacts -> n ->> 'name') END
  FROM unnest(p_names) WITH ORDINALITY u (n, o)
  WHERE coalesce(CASE jsonb_typeof(p_contacts -> n) WHEN 'string' THEN p_contacts ->> n WHEN 'object' THEN p_contacts -> n ->> 'email' END, '') <> ''
  ORDER BY o LIMIT 1
$$;

-- Takes notices that are due, the oldest first, for this long; a worker that dies gives them back by not settling. p_recipients are those that this worker
-- can reach.
CREATE FUNCTION reeve.claim_notices(p_recipients text[], p_limit int DEFAULT 20, p_hold interval DEFAULT '10 min') RETURNS TABLE (
    id bigint, claim uuid, tenant_id uuid, tenant_code text, topic text, subject text, body jsonb, recipients text, created_at timestamptz, contact jsonb, delivered text[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
DECLARE v_claim uuid := gen_random_uuid(); v_now timestamptz := reeve.clock();
BEGIN
  -- A tenant that is purged has no contact any more.
  UPDATE reeve.notice n SET state = 'dropped', ended_at = v_now, error = 'the tenant is archived'
  FROM reeve.tenant t WHERE n.state = 'waiting' AND n.next_at <= v_now AND n.recipients = 'technical' AND t.id = n.tenant_id AND t.status = 'archived';
  RETURN QUERY
  WITH due AS MATERIALIZED (
    SELECT n.id FROM reeve.notice n WHERE n.state = 'waiting' AND n.next_at <= v_now AND n.recipients = ANY (p_recipients)
    ORDER BY n.next_at, n.id LIMIT p_limit FOR UPDATE SKIP LOCKED),
  taken AS (
    UPDATE reeve.notice n SET claim = v_claim, tries = n.tries + 1, next_at = v_now + p_hold FROM due d WHERE n.id = d.id RETURNING n.*)
  SELECT x.id, x.claim, x.tenant_id, t.code, x.topic, x.subject, x.body, x.recipients, x.created_at, reeve.contact_of(t.contacts, '{technical,primary,owner}'), x.delivered
  FROM taken x LEFT JOIN reeve.tenant t ON t.id = x.tenant_id ORDER BY x.id;
END $$;

-- Records to whom a claimed notice was delivered. Without an error it is done; with one it is tried again, later each time, up to every six hours. False
-- when another worker has it by now.
CREATE FUNCTION reeve.settle_notice(p_id bigint, p_claim uuid, p_delivered text[], p_error text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  UPDATE reeve.notice n SET claim = NULL, delivered = ARRAY(SELECT DISTINCT d FROM unnest(n.delivered || p_delivered) d ORDER BY d), error = left(p_error, 2000),
    state = CASE WHEN p_error IS NULL THEN 'sent' ELSE 'waiting' END, ended_at = CASE WHEN p_error IS NULL THEN reeve.clock() END,
    next_at = reeve.clock() + least(interval '6 h', interval '15 s' * power(2, least(n.tries, 20) - 1)) * (0.8 + 0.4 * random())
  WHERE n.id = p_id AND n.claim = p_claim AND n.state = 'waiting';
  RETURN FOUND;
END $$;

-- Tries a waiting notice again now.
CREATE FUNCTION reeve.retry_notice(p_id bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may retry notices' USING ERRCODE = '42501'; END IF;
  SELECT n.state, n.tenant_id INTO v FROM reeve.notice n WHERE n.id = p_id FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no notice %', p_id USING ERRCODE = 'RV011', HINT = 'See: reeve notice list'; END IF;
  IF v.state <> 'waiting' THEN RAISE EXCEPTION 'notice % is % already', p_id, v.state USING ERRCODE = 'RV012'; END IF;
  UPDATE reeve.notice n SET next_at = reeve.clock() WHERE n.id = p_id AND n.claim IS NULL;
  PERFORM reeve.audit(v.tenant_id, 'notice.retry', 'notice ' || p_id);
END $$;

GRANT EXECUTE ON FUNCTION reeve.publish_signing_key(text, text, boolean, text), reeve.retry_notice(bigint) TO reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.record_certificate(bigint, uuid, uuid, text, uuid, text, text, text), reeve.claim_notices(text[], int, interval),
  reeve.settle_notice(bigint, uuid, text[], text) TO reeve_worker;
GRANT EXECUTE ON FUNCTION reeve.notify_people(uuid, text, text, jsonb, text) TO reeve_worker, reeve_operator;
GRANT SELECT ON reeve.signing_key, reeve.certificate TO reeve_viewer, reeve_operator, reeve_worker, reeve_approver;
GRANT SELECT ON reeve.notice TO reeve_viewer, reeve_operator, reeve_worker;
