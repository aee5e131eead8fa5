-- Retention of backups (ISO-S-003), pins, legal holds, and the sweep of objects that no artifact names. One rule, reeve.backup_retention, is
-- what a dry run shows and what a deletion asks again under the tenant's lock; holds, pins and deletions each take that lock, so one that
-- comes later sees what came before.

-- Legal holds. Nothing of a tenant that is held is deleted, by anybody. History is kept.
CREATE TABLE reeve.tenant_hold (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id uuid NOT NULL,                                 -- no reference: the history stays when the tenant's record goes
  reason text NOT NULL CHECK (length(reason) <= 2000 AND btrim(reason) <> ''),
  placed_by text NOT NULL DEFAULT reeve.actor(),
  placed_at timestamptz NOT NULL DEFAULT reeve.clock(),
  until timestamptz,                                       -- NULL: until it is released
  released_by text,
  released_at timestamptz,
  release_reason text CHECK (length(release_reason) <= 2000 AND btrim(release_reason) <> ''),
  CHECK ((released_at IS NULL) = (released_by IS NULL) AND (released_at IS NULL) = (release_reason IS NULL))
);
CREATE INDEX tenant_hold_tenant ON reeve.tenant_hold (tenant_id);
CREATE TRIGGER tenant_hold_kept BEFORE DELETE ON reeve.tenant_hold FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();
CREATE TRIGGER tenant_hold_stays BEFORE TRUNCATE ON reeve.tenant_hold FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();
ALTER TABLE reeve.tenant_hold ENABLE ALWAYS TRIGGER tenant_hold_kept, ENABLE ALWAYS TRIGGER tenant_hold_stays;

CREATE FUNCTION reeve.tenant_is_held(tenant uuid) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT EXISTS (SELECT FROM reeve.tenant_hold h WHERE h.tenant_id = tenant AND h.released_at IS NULL AND (h.until IS NULL OR h.until > reeve.clock()))
$$;

-- A pinned backup is kept for as long as the pin is there. The reference keeps the artifact's row itself.
CREATE TABLE reeve.artifact_pin (
  artifact_id uuid PRIMARY KEY REFERENCES reeve.artifact (id),
  reason text NOT NULL CHECK (length(reason) <= 2000 AND btrim(reason) <> ''),
  by text NOT NULL DEFAULT reeve.actor(),
  at timestamptz NOT NULL DEFAULT reeve.clock()
);

-- What came of reading a backup back (verify, integrity) or of restoring it (drill). Kept when the backup is gone.
CREATE TABLE reeve.backup_proof (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  artifact_id uuid NOT NULL,
  tenant_id uuid NOT NULL,
  kind text NOT NULL CHECK (kind IN ('verify', 'drill', 'integrity')),
  ok boolean NOT NULL,
  at timestamptz NOT NULL DEFAULT reeve.clock(),
  seconds double precision,
  job_id bigint,
  detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX backup_proof_artifact ON reeve.backup_proof (artifact_id, kind, at);
CREATE INDEX backup_proof_tenant ON reeve.backup_proof (tenant_id, at);

-- Artifacts whose objects are being deleted: no longer offered to anybody. A row goes when the last object is gone, or stays with the error.
CREATE TABLE reeve.artifact_deletion (
  artifact_id uuid PRIMARY KEY REFERENCES reeve.artifact (id),
  tenant_id uuid NOT NULL,
  reason text NOT NULL,
  intent bigint NOT NULL,                                  -- the audit's entry before it
  since timestamptz NOT NULL DEFAULT reeve.clock(),
  tries int NOT NULL DEFAULT 0,
  error text
);
CREATE INDEX artifact_deletion_tenant ON reeve.artifact_deletion (tenant_id);

-- Artifacts that were deleted: what was there, where, and why it went.
CREATE TABLE reeve.artifact_deleted (
  id uuid PRIMARY KEY,
  job_id bigint NOT NULL,
  tenant_id uuid NOT NULL,
  entity text NOT NULL,
  key text NOT NULL,
  keys text[] NOT NULL,
  destinations text[] NOT NULL,
  bytes bigint NOT NULL,
  sha256 text NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz,
  deleted_at timestamptz NOT NULL DEFAULT reeve.clock(),
  reason text NOT NULL,
  intent bigint NOT NULL
);
CREATE INDEX artifact_deleted_tenant ON reeve.artifact_deleted (tenant_id, deleted_at);
CREATE INDEX artifact_deleted_job ON reeve.artifact_deleted (job_id);
CREATE TRIGGER artifact_deleted_fixed BEFORE UPDATE OR DELETE ON reeve.artifact_deleted FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();
CREATE TRIGGER artifact_deleted_kept BEFORE TRUNCATE ON reeve.artifact_deleted FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();
ALTER TABLE reeve.artifact_deleted ENABLE ALWAYS TRIGGER artifact_deleted_fixed, ENABLE ALWAYS TRIGGER artifact_deleted_kept;

-- Objects of artifacts that storage does not have, or has in another size. A row goes when the object is found again, or with its artifact.
CREATE TABLE reeve.artifact_fault (
  artifact_id uuid NOT NULL REFERENCES reeve.artifact (id) ON DELETE CASCADE,
  tenant_id uuid NOT NULL,
  destination text NOT NULL,
  key text NOT NULL,
  fault text NOT NULL CHECK (fault IN ('missing', 'size')),
  found_at timestamptz NOT NULL DEFAULT reeve.clock(),
  PRIMARY KEY (artifact_id, destination, key)
);
CREATE INDEX artifact_fault_tenant ON reeve.artifact_fault (tenant_id, destination);

-- How many of a tenant's newest sound backups are kept however old they are.
ALTER TABLE reeve.tier ADD COLUMN backup_minimum int NOT NULL DEFAULT 1 CHECK (backup_minimum BETWEEN 0 AND 1000);

-- Every key that is an artifact's: its own, its manifest's, its objects' and that of its reference schemas.
CREATE FUNCTION reeve.artifact_keys(p_key text, p_manifest jsonb) RETURNS SETOF text LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS $$
  SELECT p_key UNION SELECT p_key || '.manifest.json'
  UNION SELECT o ->> 'key' FROM jsonb_array_elements(CASE WHEN jsonb_typeof(p_manifest -> 'objects') = 'array' THEN p_manifest -> 'objects' ELSE '[]' END) o
    WHERE o ->> 'key' IS NOT NULL
  UNION SELECT p_manifest #>> '{reference,key}' WHERE p_manifest #>> '{reference,key}' IS NOT NULL
$$;

-- The names of the stores that hold an artifact, the first one first. Those made before destinations had names are in `default`.
CREATE FUNCTION reeve.artifact_destinations(p_manifest jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS $$
  SELECT ARRAY[coalesce(p_manifest ->> 'destination', 'default')] || ARRAY(
    SELECT c FROM jsonb_array_elements_text(CASE WHEN jsonb_typeof(p_manifest -> 'copies') = 'array' THEN p_manifest -> 'copies' ELSE '[]' END) c
    WHERE c <> coalesce(p_manifest ->> 'destination', 'default'))
$$;

-- The rule. A backup is all artifacts of one job, since one of several databases restores nothing. Verdicts: `keep` and why, `delete`, and
-- `deleting` once that has begun. Its proof is that of its weakest artifact: 3 restored or read back and well by the latest word of each kind,
-- 2 only checked for integrity, 1 nothing known, 0 damaged, missing, or found bad. The best one is never deleted, whatever its age.
CREATE FUNCTION reeve.backup_retention(p_tenant uuid) RETURNS TABLE (backup bigint, artifacts uuid[], bytes bigint, created_at timestamptz,
    expires_at timestamptz, verdict text, why text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  WITH t AS MATERIALIZED (
    SELECT t.id, t.code, t.tier, r.backup_minimum, reeve.tenant_is_held(t.id) AS held FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = p_tenant),
  -- Jobs that read backups. A running one may read any of them; one that waits, those that its arguments name.
  reader AS MATERIALIZED (
    SELECT true AS runs, j.args FROM reeve.job j JOIN t ON j.tenant_id = t.id WHERE j.state = 'running' AND j.queue = t.code || '.restores'
    UNION ALL SELECT false, j.args FROM reeve.job j JOIN t ON j.tenant_id = t.id WHERE j.state = 'available' AND j.pool IN ('restore', t.tier) AND j.queue = t.code || '.restores'
    UNION ALL SELECT false, j.args FROM reeve.job j JOIN t ON j.tenant_id = t.id WHERE j.state = 'scheduled' AND j.queue = t.code || '.restores'),
  one AS (
    SELECT a.job_id, a.id, a.bytes, a.created_at, a.expires_at, d.artifact_id IS NOT NULL AS deleting, p.artifact_id IS NOT NULL AS pinned,
      CASE WHEN q.bad OR EXISTS (SELECT FROM reeve.artifact_fault f WHERE f.artifact_id = a.id)
             AND NOT EXISTS (SELECT FROM unnest(reeve.artifact_destinations(a.manifest)) n
                             WHERE NOT EXISTS (SELECT FROM reeve.artifact_fault f WHERE f.artifact_id = a.id AND f.destination = n)) THEN 0
           WHEN q.proven THEN 3 WHEN q.checked THEN 2 ELSE 1 END AS proof
    FROM t JOIN reeve.artifact a ON a.tenant_id = t.id AND a.entity = 'backup'
    LEFT JOIN reeve.artifact_deletion d ON d.artifact_id = a.id
    LEFT JOIN reeve.artifact_pin p ON p.artifact_id = a.id
    CROSS JOIN LATERAL (
      SELECT coalesce(bool_or(NOT l.ok), false) AS bad, bool_or(l.kind <> 'integrity') AS proven, count(*) > 0 AS checked
      FROM (SELECT DISTINCT ON (x.kind) x.kind, x.ok FROM reeve.backup_proof x WHERE x.artifact_id = a.id ORDER BY x.kind, x.at DESC, x.id DESC) l) q),
  whole AS (
    SELECT o.job_id, array_agg(o.id ORDER BY o.id) AS ids, sum(o.bytes)::bigint AS bytes, max(o.created_at) AS made,
      CASE WHEN bool_and(o.expires_at IS NOT NULL) THEN max(o.expires_at) END AS expires, bool_or(o.deleting) AS deleting, bool_or(o.pinned) AS pinned, min(o.proof) AS proof
    FROM one o GROUP BY o.job_id),
  ranked AS (
    SELECT w.*, row_number() OVER (PARTITION BY w.deleting ORDER BY w.proof DESC, w.made DESC, w.job_id DESC) AS best,
      row_number() OVER (PARTITION BY w.deleting, w.proof > 0 ORDER BY w.made DESC, w.job_id DESC) AS newest
    FROM whole w),
  judged AS (
    SELECT r.*, array_remove(ARRAY[
        CASE WHEN t.held THEN 'held' END,
        CASE WHEN r.pinned THEN 'pinned' END,
        CASE WHEN r.best = 1 THEN (ARRAY['last', 'last', 'last_checked', 'last_verified'])[r.proof + 1] END,
        CASE WHEN r.proof > 0 AND r.newest <= t.backup_minimum THEN 'newest' END,
        CASE WHEN r.expires IS NULL THEN 'no_expiry' WHEN r.expires > reeve.clock() THEN 'not_expired' END,
        CASE WHEN EXISTS (SELECT FROM reader e WHERE e.runs OR jsonb_path_exists(e.args, '$.** ? (@ == $number || @ == $text || @ == $ids[*])',
          jsonb_build_object('number', r.job_id, 'text', r.job_id::text, 'ids', to_jsonb(r.ids)))) THEN 'in_use' END], NULL) AS keeps,
      t.held
    FROM ranked r CROSS JOIN t)
  SELECT j.job_id, j.ids, j.bytes, j.made, j.expires, CASE WHEN j.deleting THEN 'deleting' WHEN j.keeps = '{}' THEN 'delete' ELSE 'keep' END,
    CASE WHEN j.deleting AND j.held THEN '{held}' WHEN j.deleting THEN '{deletion_begun}' WHEN j.keeps = '{}' THEN '{expired}' ELSE j.keeps END
  FROM judged j ORDER BY j.made, j.job_id
$$;

-- Holds a tenant. Several may hold it, each ends by itself. Answers {id, deleting}: how many artifacts were being deleted already.
CREATE FUNCTION reeve.hold_tenant(code text, reason text, until timestamptz DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_tenant uuid; v_id bigint; v_deleting bigint;
BEGIN
  IF btrim(coalesce(reason, '')) = '' THEN RAISE EXCEPTION 'a hold needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  IF until <= reeve.clock() THEN RAISE EXCEPTION 'the end of a hold must be in the future' USING ERRCODE = 'RV010', HINT = 'Leave it out for a hold that lasts until it is released.'; END IF;
  SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.code = hold_tenant.code COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(code, 80) USING ERRCODE = 'RV001'; END IF;
  INSERT INTO reeve.tenant_hold (tenant_id, reason, until) VALUES (v_tenant, left(reason, 2000), until) RETURNING id INTO v_id;
  SELECT count(*) INTO v_deleting FROM reeve.artifact_deletion d WHERE d.tenant_id = v_tenant;
  PERFORM reeve.audit(v_tenant, 'tenant.hold', 'tenant ' || code, reason, jsonb_build_object('hold', v_id, 'until', until, 'deletions_begun', v_deleting));
  RETURN jsonb_build_object('id', v_id, 'deleting', v_deleting);
END $$;

-- Ends a hold; which one must be said when several are in force. Returns its id.
CREATE FUNCTION reeve.release_tenant(code text, reason text, hold bigint DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_tenant uuid; v_ids bigint[];
BEGIN
  IF btrim(coalesce(reason, '')) = '' THEN RAISE EXCEPTION 'a release needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.code = release_tenant.code COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(code, 80) USING ERRCODE = 'RV001'; END IF;
  SELECT coalesce(array_agg(h.id ORDER BY h.id), '{}') INTO v_ids FROM reeve.tenant_hold h
  WHERE h.tenant_id = v_tenant AND h.released_at IS NULL AND (h.until IS NULL OR h.until > reeve.clock()) AND (hold IS NULL OR h.id = hold);
  IF v_ids = '{}' THEN
    RAISE EXCEPTION 'tenant "%" is not held%', code, coalesce(' by ' || hold, '') USING ERRCODE = 'RV011', HINT = 'See: reeve tenant show ' || code;
  END IF;
  IF cardinality(v_ids) > 1 THEN
    RAISE EXCEPTION 'tenant "%" is held more than once: %', code, array_to_string(v_ids, ', ') USING ERRCODE = 'RV012', HINT = 'Say which one with --hold ID; see: reeve tenant show ' || code;
  END IF;
  UPDATE reeve.tenant_hold h SET released_at = reeve.clock(), released_by = reeve.actor(), release_reason = left(reason, 2000) WHERE h.id = v_ids[1];
  PERFORM reeve.audit(v_tenant, 'tenant.release', 'tenant ' || code, reason, jsonb_build_object('hold', v_ids[1]));
  RETURN v_ids[1];
END $$;

-- The job of a backup that is named by its job's id or by an artifact's; raises when there is none.
CREATE FUNCTION reeve.backup_named(p_backup text) RETURNS bigint LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
DECLARE v_job bigint;
BEGIN
  SELECT a.job_id INTO v_job FROM reeve.artifact a WHERE a.entity = 'backup'
    AND (a.job_id = CASE WHEN p_backup ~ '^[0-9]{1,18}$' THEN p_backup::bigint END
      OR a.id = CASE WHEN p_backup ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN p_backup::uuid END) LIMIT 1;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no backup %', left(p_backup, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve backup list'; END IF;
  RETURN v_job;
END $$;

-- Pins all artifacts of a backup; returns its job. One whose deletion has begun is gone already.
CREATE FUNCTION reeve.pin_backup(backup text, reason text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_job bigint := reeve.backup_named(backup); v_tenant uuid; v_ids uuid[];
BEGIN
  IF btrim(coalesce(reason, '')) = '' THEN RAISE EXCEPTION 'a pin needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.id = (SELECT a.tenant_id FROM reeve.artifact a WHERE a.job_id = v_job LIMIT 1) FOR NO KEY UPDATE;
  SELECT array_agg(a.id ORDER BY a.id) INTO v_ids FROM reeve.artifact a WHERE a.job_id = v_job AND a.entity = 'backup';
  IF v_ids IS NULL OR EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = ANY (v_ids)) THEN
    RAISE EXCEPTION 'the deletion of backup % has begun', v_job USING ERRCODE = 'RV012', HINT = 'See: reeve backup show ' || v_job;
  END IF;
  INSERT INTO reeve.artifact_pin (artifact_id, reason) SELECT u, left(reason, 2000) FROM unnest(v_ids) u ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN RAISE EXCEPTION 'backup % is pinned already', v_job USING ERRCODE = 'RV012', HINT = 'See: reeve backup show ' || v_job; END IF;
  PERFORM reeve.audit(v_tenant, 'backup.pin', 'backup ' || v_job, reason, jsonb_build_object('artifacts', to_jsonb(v_ids)));
  RETURN v_job;
END $$;

CREATE FUNCTION reeve.unpin_backup(backup text, reason text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_job bigint := reeve.backup_named(backup); v_tenant uuid;
BEGIN
  IF btrim(coalesce(reason, '')) = '' THEN RAISE EXCEPTION 'taking a pin away needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.id = (SELECT a.tenant_id FROM reeve.artifact a WHERE a.job_id = v_job LIMIT 1) FOR NO KEY UPDATE;
  DELETE FROM reeve.artifact_pin p USING reeve.artifact a WHERE a.id = p.artifact_id AND a.job_id = v_job;
  IF NOT FOUND THEN RAISE EXCEPTION 'backup % is not pinned', v_job USING ERRCODE = 'RV011', HINT = 'See: reeve backup show ' || v_job; END IF;
  PERFORM reeve.audit(v_tenant, 'backup.unpin', 'backup ' || v_job, reason);
  RETURN v_job;
END $$;

-- What follows is called by jobs, with their lease: a lost one raises RV014 and changes nothing.
CREATE FUNCTION reeve.retention_tenant(p_job bigint, p_lease uuid) RETURNS uuid LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid;
BEGIN
  SELECT j.tenant_id INTO v_tenant FROM reeve.job j WHERE j.id = p_job AND j.state = 'running' AND j.lease_id = p_lease;
  IF NOT FOUND THEN RAISE EXCEPTION 'the lease of job % is no longer current', p_job USING ERRCODE = 'RV014'; END IF;
  RETURN v_tenant;
END $$;

-- What this attempt's tenant has to delete; NULL while an earlier attempt of the same kind and tenant runs.
CREATE FUNCTION reeve.retention_work(p_job bigint, p_lease uuid) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease);
BEGIN
  -- Claims of one tenant take turns by its counter, so their order is that of their times.
  IF EXISTS (SELECT FROM reeve.job j JOIN reeve.job m ON m.id = p_job WHERE j.state = 'running' AND j.tenant_id = v_tenant AND j.kind = m.kind
             AND (j.started_at, j.id) < (m.started_at, m.id)) THEN RETURN NULL; END IF;
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('backup', r.backup, 'verdict', r.verdict) ORDER BY r.created_at, r.backup), '[]')
          FROM reeve.backup_retention(v_tenant) r WHERE r.verdict <> 'keep');
END $$;

-- The first step of a deletion: asks the rule again and marks the backup, with the intent audited; or goes on with one that was marked before.
-- Answers what to delete and where; nothing when it has to stay. An object that another artifact refers to stays.
CREATE FUNCTION reeve.begin_backup_deletion(p_job bigint, p_lease uuid, p_backup bigint) RETURNS TABLE (artifact_id uuid, destinations text[], keys text[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record; v_reason text;
BEGIN
  PERFORM FROM reeve.tenant t WHERE t.id = v_tenant FOR NO KEY UPDATE;
  SELECT r.* INTO v FROM reeve.backup_retention(v_tenant) r WHERE r.backup = p_backup;
  IF NOT FOUND OR v.verdict = 'keep' OR v.why = '{held}' THEN RETURN; END IF;
  IF v.verdict = 'delete' THEN
    v_reason := 'expired ' || to_char(v.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"');
    INSERT INTO reeve.artifact_deletion (artifact_id, tenant_id, reason, intent)
    SELECT a.id, v_tenant, v_reason, reeve.audit(v_tenant, 'backup.delete', 'artifact ' || a.id, v_reason, jsonb_build_object('outcome', 'intent', 'backup', p_backup,
      'job', p_job, 'bytes', a.bytes, 'created_at', a.created_at, 'destinations', to_jsonb(reeve.artifact_destinations(a.manifest))))
    FROM reeve.artifact a WHERE a.id = ANY (v.artifacts) ORDER BY a.id;
  END IF;
  RETURN QUERY
  SELECT a.id, reeve.artifact_destinations(a.manifest), ARRAY(
    SELECT k FROM reeve.artifact_keys(a.key, a.manifest) k
    WHERE k IS DISTINCT FROM a.manifest #>> '{reference,key}' OR NOT EXISTS (
      SELECT FROM reeve.artifact o WHERE o.tenant_id = v_tenant AND o.id <> a.id AND o.manifest #>> '{reference,key}' = k
        AND NOT EXISTS (SELECT FROM reeve.artifact_deletion e WHERE e.artifact_id = o.id))
    ORDER BY k)
  FROM reeve.artifact a JOIN reeve.artifact_deletion d ON d.artifact_id = a.id WHERE a.job_id = p_backup AND a.tenant_id = v_tenant ORDER BY a.id;
END $$;

-- The last step: every object is gone, so the artifact goes, with the outcome audited. False when another attempt was first.
CREATE FUNCTION reeve.finish_artifact_deletion(p_job bigint, p_lease uuid, p_artifact uuid, p_detail jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record;
BEGIN
  DELETE FROM reeve.artifact_deletion d WHERE d.artifact_id = p_artifact AND d.tenant_id = v_tenant RETURNING d.* INTO v;
  IF NOT FOUND THEN RETURN false; END IF;
  WITH gone AS (DELETE FROM reeve.artifact a WHERE a.id = p_artifact RETURNING a.*)
  INSERT INTO reeve.artifact_deleted (id, job_id, tenant_id, entity, key, keys, destinations, bytes, sha256, created_at, expires_at, reason, intent)
  SELECT g.id, g.job_id, g.tenant_id, g.entity, g.key, ARRAY(SELECT reeve.artifact_keys(g.key, g.manifest) ORDER BY 1), reeve.artifact_destinations(g.manifest),
         g.bytes, g.sha256, g.created_at, g.expires_at, v.reason, v.intent FROM gone g;
  PERFORM reeve.audit(v_tenant, 'backup.delete', 'artifact ' || p_artifact, v.reason, p_detail || jsonb_build_object('outcome', 'done', 'intent', v.intent, 'job', p_job), v.since);
  RETURN true;
END $$;

-- A deletion that storage refused stays, and is tried again by the next run. Audited when the error is a new one.
CREATE FUNCTION reeve.fail_artifact_deletion(p_job bigint, p_lease uuid, p_artifact uuid, p_error text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record;
BEGIN
  SELECT d.* INTO v FROM reeve.artifact_deletion d WHERE d.artifact_id = p_artifact AND d.tenant_id = v_tenant FOR UPDATE;
  IF NOT FOUND THEN RETURN; END IF;
  UPDATE reeve.artifact_deletion d SET tries = d.tries + 1, error = left(p_error, 2000) WHERE d.artifact_id = p_artifact;
  IF v.error IS DISTINCT FROM left(p_error, 2000) THEN
    PERFORM reeve.audit(v_tenant, 'backup.delete', 'artifact ' || p_artifact, v.reason, jsonb_build_object('outcome', 'failed', 'intent', v.intent, 'job', p_job, 'error', left(p_error, 2000)));
  END IF;
END $$;

-- Takes a mark back while the tenant is held: of a backup that still has all of its objects, as the caller has seen.
CREATE FUNCTION reeve.withdraw_backup_deletion(p_job bigint, p_lease uuid, p_backup bigint) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record; v_count int := 0;
BEGIN
  PERFORM FROM reeve.tenant t WHERE t.id = v_tenant FOR NO KEY UPDATE;
  IF NOT reeve.tenant_is_held(v_tenant) THEN RETURN 0; END IF;
  FOR v IN DELETE FROM reeve.artifact_deletion d USING reeve.artifact a WHERE a.id = d.artifact_id AND a.job_id = p_backup AND a.tenant_id = v_tenant RETURNING d.* LOOP
    PERFORM reeve.audit(v_tenant, 'backup.delete', 'artifact ' || v.artifact_id, 'the tenant is held', jsonb_build_object('outcome', 'withdrawn', 'intent', v.intent, 'job', p_job), v.since);
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

-- Every object that the tenant's artifacts name, and its size where it is known. `named` ones are a backup's own: an artifact's key is none when
-- its objects have others. Rows without artifact are destinations that deleted ones were in.
CREATE FUNCTION reeve.known_objects(p_job bigint, p_lease uuid) RETURNS TABLE (artifact_id uuid, backup bigint, destinations text[], key text, bytes bigint,
    named boolean, deleting boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease);
BEGIN
  RETURN QUERY
  SELECT a.id, a.job_id, reeve.artifact_destinations(a.manifest), k, CASE WHEN o.n > 0 THEN o.bytes WHEN k = a.key THEN a.bytes END,
    a.entity = 'backup' AND (k <> a.key OR o.n > 0 OR NOT EXISTS (SELECT FROM jsonb_path_query(a.manifest, '$.objects[*].key'))), d.artifact_id IS NOT NULL
  FROM reeve.artifact a CROSS JOIN LATERAL reeve.artifact_keys(a.key, a.manifest) k
  CROSS JOIN LATERAL (SELECT count(*) AS n, max((x ->> 'bytes')::bigint) AS bytes FROM jsonb_path_query(a.manifest, '$.objects[*]') x WHERE x ->> 'key' = k) o
  LEFT JOIN reeve.artifact_deletion d ON d.artifact_id = a.id
  WHERE a.tenant_id = v_tenant
  UNION ALL
  SELECT NULL, NULL, x.destinations, NULL, NULL, false, false FROM (SELECT DISTINCT g.destinations FROM reeve.artifact_deleted g WHERE g.tenant_id = v_tenant) x;
END $$;

-- Which of these objects nobody needs, with the intent audited; {intent, keys}, or NULL when there are none. Needed is what an artifact names;
-- what is younger than the age, or than any running attempt of the tenant by an hour (clocks differ), since an attempt publishes its objects
-- when it completes; and a whole backup (`wholes`) until its tenant's retention is over: a control database restored from an older copy has
-- forgotten some.
CREATE FUNCTION reeve.begin_sweep(p_job bigint, p_lease uuid, p_destination text, p_keys text[], p_modified timestamptz[], p_wholes boolean[], p_age interval)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v_before timestamptz; v_whole timestamptz; v_keys text[];
BEGIN
  PERFORM FROM reeve.tenant t WHERE t.id = v_tenant FOR NO KEY UPDATE;
  IF reeve.tenant_is_held(v_tenant) THEN RETURN NULL; END IF;
  v_before := least(reeve.clock() - greatest(p_age, interval '0'), (SELECT min(j.started_at) - interval '1 hour' FROM reeve.job j
    WHERE j.state = 'running' AND j.tenant_id = v_tenant AND j.kind <> 'backup-retention'));
  SELECT least(v_before, reeve.clock() - coalesce((t.overrides ->> 'backup_retention_days')::int, r.backup_retention_days) * interval '1 day') INTO v_whole
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = v_tenant;
  WITH known AS MATERIALIZED (
    SELECT k FROM reeve.artifact a CROSS JOIN LATERAL reeve.artifact_keys(a.key, a.manifest) k WHERE a.tenant_id = v_tenant)
  SELECT array_agg(u.key ORDER BY u.key) INTO v_keys FROM unnest(p_keys, p_modified, p_wholes) AS u (key, modified, whole)
  WHERE u.key LIKE v_tenant::text || '/%' AND u.modified < v_before AND NOT EXISTS (SELECT FROM known n WHERE n.k = u.key)
    AND (NOT u.whole OR u.modified < v_whole OR EXISTS (SELECT FROM reeve.artifact_deleted g WHERE g.tenant_id = v_tenant AND u.key = ANY (g.keys)));
  IF v_keys IS NULL THEN RETURN NULL; END IF;
  RETURN jsonb_build_object('keys', to_jsonb(v_keys), 'intent', reeve.audit(v_tenant, 'storage.sweep', 'destination ' || p_destination, 'no artifact names them',
    jsonb_build_object('outcome', 'intent', 'job', p_job, 'objects', cardinality(v_keys), 'keys', to_jsonb(v_keys[1:100]))));
END $$;

CREATE FUNCTION reeve.finish_sweep(p_job bigint, p_lease uuid, p_intent bigint, p_destination text, p_removed int, p_error text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease);
BEGIN
  PERFORM reeve.audit(v_tenant, 'storage.sweep', 'destination ' || p_destination, 'no artifact names them', jsonb_strip_nulls(jsonb_build_object(
    'outcome', CASE WHEN p_error IS NULL THEN 'done' ELSE 'failed' END, 'intent', p_intent, 'job', p_job, 'removed', p_removed, 'error', left(p_error, 2000))));
END $$;

-- What a destination lacks, as [{artifact, key, fault}], in the place of what was known before. Each new one and each that is back is audited
-- once. Returns how many are new.
CREATE FUNCTION reeve.record_artifact_faults(p_job bigint, p_lease uuid, p_destination text, p_faults jsonb) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record; v_count int := 0;
BEGIN
  FOR v IN DELETE FROM reeve.artifact_fault f WHERE f.tenant_id = v_tenant AND f.destination = p_destination
      AND NOT p_faults @> jsonb_build_array(jsonb_build_object('artifact', f.artifact_id, 'key', f.key, 'fault', f.fault)) RETURNING f.* LOOP
    PERFORM reeve.audit(v_tenant, 'backup.fault', 'artifact ' || v.artifact_id, NULL, jsonb_build_object('destination', p_destination, 'key', v.key, 'fault', v.fault, 'outcome', 'gone'));
  END LOOP;
  FOR v IN INSERT INTO reeve.artifact_fault (artifact_id, tenant_id, destination, key, fault)
      SELECT x.artifact, v_tenant, p_destination, x.key, x.fault FROM jsonb_to_recordset(p_faults) AS x (artifact uuid, key text, fault text)
      JOIN reeve.artifact a ON a.id = x.artifact AND a.tenant_id = v_tenant
      WHERE NOT EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = a.id)
      ON CONFLICT DO NOTHING RETURNING * LOOP
    PERFORM reeve.audit(v_tenant, 'backup.fault', 'artifact ' || v.artifact_id, NULL, jsonb_build_object('destination', p_destination, 'key', v.key, 'fault', v.fault, 'outcome', 'found'));
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

-- Backups, one row for each database of a tenant. States: deleting, damaged (an object is missing or a proof failed), expired, kept.
CREATE VIEW reeve.backup_list WITH (security_barrier) AS
  SELECT a.id, a.job_id AS backup, t.code AS tenant_code, a.manifest #>> '{store,server}' AS server, a.manifest #>> '{store,database}' AS database, a.bytes,
    (SELECT count(*) FROM jsonb_object_keys(CASE WHEN jsonb_typeof(a.manifest -> 'rows') = 'object' THEN a.manifest -> 'rows' ELSE '{}' END)) AS tables,
    (SELECT coalesce(sum(r.value::bigint), 0)::bigint FROM jsonb_each_text(CASE WHEN jsonb_typeof(a.manifest -> 'rows') = 'object' THEN a.manifest -> 'rows' ELSE '{}' END) r) AS rows,
    a.created_at, a.expires_at,
    CASE WHEN d.artifact_id IS NOT NULL THEN 'deleting' WHEN f.n > 0 OR q.bad THEN 'damaged' WHEN a.expires_at <= reeve.clock() THEN 'expired' ELSE 'kept' END AS state,
    q.verified_at, q.drilled_at, p.reason AS pin_reason, p.by AS pinned_by, p.at AS pinned_at,
    (SELECT string_agg(h.reason, '; ' ORDER BY h.id) FROM reeve.tenant_hold h
     WHERE h.tenant_id = a.tenant_id AND h.released_at IS NULL AND (h.until IS NULL OR h.until > reeve.clock())) AS hold_reason,
    coalesce(a.manifest ->> 'destination', 'default') AS destination,
    ARRAY(SELECT jsonb_array_elements_text(CASE WHEN jsonb_typeof(a.manifest -> 'copies') = 'array' THEN a.manifest -> 'copies' ELSE '[]' END)) AS copies,
    a.manifest #>> '{encryption,key_id}' AS key_id, a.key, d.error AS deletion_error
  FROM reeve.artifact a JOIN reeve.tenant t ON t.id = a.tenant_id
  LEFT JOIN reeve.artifact_deletion d ON d.artifact_id = a.id
  LEFT JOIN reeve.artifact_pin p ON p.artifact_id = a.id
  CROSS JOIN LATERAL (SELECT count(*) AS n FROM reeve.artifact_fault f WHERE f.artifact_id = a.id) f
  CROSS JOIN LATERAL (
    SELECT coalesce(bool_or(NOT l.ok), false) AS bad, max(l.at) FILTER (WHERE l.ok) AS verified_at, max(l.at) FILTER (WHERE l.ok AND l.kind = 'drill') AS drilled_at
    FROM (SELECT DISTINCT ON (x.kind) x.kind, x.ok, x.at FROM reeve.backup_proof x WHERE x.artifact_id = a.id ORDER BY x.kind, x.at DESC, x.id DESC) l) q
  WHERE a.entity = 'backup';
DO $$
BEGIN
  -- PostgreSQL 14 does not know it; there the view's grants alone decide.
  IF current_setting('server_version_num')::int >= 150000 THEN ALTER VIEW reeve.backup_list SET (security_invoker = true); END IF;
END $$;

GRANT EXECUTE ON FUNCTION reeve.tenant_is_held(uuid) TO reeve_viewer, reeve_operator, reeve_worker, reeve_approver;
GRANT EXECUTE ON FUNCTION reeve.backup_retention(uuid) TO reeve_viewer, reeve_operator, reeve_worker;
GRANT EXECUTE ON FUNCTION reeve.hold_tenant(text, text, timestamptz), reeve.release_tenant(text, text, bigint), reeve.pin_backup(text, text),
  reeve.unpin_backup(text, text) TO reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.retention_work(bigint, uuid), reeve.begin_backup_deletion(bigint, uuid, bigint),
  reeve.finish_artifact_deletion(bigint, uuid, uuid, jsonb), reeve.fail_artifact_deletion(bigint, uuid, uuid, text),
  reeve.withdraw_backup_deletion(bigint, uuid, bigint), reeve.known_objects(bigint, uuid),
  reeve.begin_sweep(bigint, uuid, text, text[], timestamptz[], boolean[], interval), reeve.finish_sweep(bigint, uuid, bigint, text, int, text),
  reeve.record_artifact_faults(bigint, uuid, text, jsonb) TO reeve_worker;
GRANT SELECT ON reeve.tenant_hold, reeve.artifact_pin, reeve.backup_proof, reeve.artifact_deletion, reeve.artifact_deleted, reeve.artifact_fault, reeve.backup_list
  TO reeve_viewer, reeve_operator;
