-- Artifacts that tenants' people take away (reports, exports): how long they are kept, their deletion by the retention of V0028, links that
-- expire and can be revoked, and the record of who downloaded what.

ALTER TABLE reeve.tier
  ADD COLUMN export_retention_days int NOT NULL DEFAULT 7 CHECK (export_retention_days BETWEEN 1 AND 36500);
UPDATE reeve.tier SET export_retention_days = 14 WHERE name = 'professional';
UPDATE reeve.tier SET export_retention_days = 30 WHERE name = 'enterprise';
-- Exports that a schedule asks for.
UPDATE reeve.tier SET features = features || '{scheduled_exports}' WHERE name IN ('professional', 'enterprise') AND NOT 'scheduled_exports' = ANY (features);

-- How long a new artifact of this tenant is kept, in days; NULL: no rule of a tier's.
CREATE FUNCTION reeve.artifact_days(p_tenant uuid, p_entity text) RETURNS int LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT CASE p_entity WHEN 'report' THEN r.report_retention_days WHEN 'export' THEN r.export_retention_days END
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = p_tenant
$$;

-- Until when a churned tenant may still fetch its data (LIFE-2: 90 days). NULL: it is not churned.
CREATE FUNCTION reeve.grace_ends_at(p_tenant uuid) RETURNS timestamptz LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT t.status_changed_at + interval '90 days' FROM reeve.tenant t WHERE t.id = p_tenant AND t.status = 'churned'
$$;

-- Whether people of a tenant in this status may fetch such artifacts: exports until its data is deleted, everything else while it may work.
CREATE FUNCTION reeve.may_fetch(p_tenant uuid, p_entity text) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT CASE t.status WHEN 'trial' THEN true WHEN 'active' THEN true WHEN 'suspended' THEN p_entity = 'export'
      WHEN 'churned' THEN p_entity = 'export' AND reeve.clock() < reeve.grace_ends_at(t.id) ELSE false END
  FROM reeve.tenant t WHERE t.id = p_tenant
$$;

-- Links that were made. What is not here opens nothing, whatever its signature; history is kept.
CREATE TABLE reeve.artifact_link (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  artifact_id uuid NOT NULL,                               -- no reference: the history stays when the artifact goes
  tenant_id uuid NOT NULL,
  purpose text NOT NULL CHECK (purpose ~ '^[A-Za-z0-9][A-Za-z0-9 ._:@/-]{0,99}$'),
  created_by text NOT NULL DEFAULT reeve.actor(),
  created_at timestamptz NOT NULL DEFAULT reeve.clock(),
  expires_at timestamptz NOT NULL,
  downloads bigint NOT NULL DEFAULT 0,
  last_download_at timestamptz,
  revoked_by text,
  revoked_at timestamptz,
  revoke_reason text CHECK (length(revoke_reason) <= 2000 AND btrim(revoke_reason) <> ''),
  CHECK ((revoked_at IS NULL) = (revoked_by IS NULL) AND (revoked_at IS NULL) = (revoke_reason IS NULL))
);
CREATE INDEX artifact_link_artifact ON reeve.artifact_link (artifact_id);
CREATE TRIGGER artifact_link_kept BEFORE DELETE ON reeve.artifact_link FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();
CREATE TRIGGER artifact_link_stays BEFORE TRUNCATE ON reeve.artifact_link FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();
ALTER TABLE reeve.artifact_link ENABLE ALWAYS TRIGGER artifact_link_kept, ENABLE ALWAYS TRIGGER artifact_link_stays;

-- The artifact that a link may be made of; raises why not. Backups have no links: they are restored.
CREATE FUNCTION reeve.linkable(p_artifact text) RETURNS reeve.artifact LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.artifact;
BEGIN
  SELECT a.* INTO v FROM reeve.artifact a WHERE a.id = CASE WHEN p_artifact ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN p_artifact::uuid END;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no artifact %', left(p_artifact, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve artifacts list'; END IF;
  IF v.entity = 'backup' THEN RAISE EXCEPTION 'a backup has no link' USING ERRCODE = 'RV012', HINT = 'Export the tenant''s data instead: reeve export CODE'; END IF;
  IF v.expires_at <= reeve.clock() OR EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = v.id) THEN
    RAISE EXCEPTION 'artifact % has expired', v.id USING ERRCODE = 'RV012', HINT = 'Make a new one.';
  END IF;
  IF NOT reeve.may_fetch(v.tenant_id, v.entity) THEN
    RAISE EXCEPTION 'the tenant''s status allows no download of its %s', v.entity USING ERRCODE = 'RV012', HINT = 'See: reeve tenant list';
  END IF;
  RETURN v;
END $$;

-- Makes a link: {link, artifact, tenant, purpose, expires} is what the caller signs; `expires` counts seconds since 1970. It ends with its artifact.
CREATE FUNCTION reeve.make_link(p_artifact text, p_purpose text, p_for interval) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.artifact := reeve.linkable(p_artifact); v_link reeve.artifact_link;
BEGIN
  IF p_purpose IS NULL OR p_purpose !~ '^[A-Za-z0-9][A-Za-z0-9 ._:@/-]{0,99}$' THEN
    RAISE EXCEPTION 'a purpose is 1 to 100 letters, digits, spaces and ._:@/-' USING ERRCODE = 'RV010', HINT = 'For example: download, or ticket 4711.';
  END IF;
  IF p_for IS NULL OR p_for <= interval '0' OR p_for > interval '30 days' THEN RAISE EXCEPTION 'a link lasts up to 30 days' USING ERRCODE = 'RV010', HINT = 'For example 24h.'; END IF;
  INSERT INTO reeve.artifact_link (artifact_id, tenant_id, purpose, expires_at)
  VALUES (v.id, v.tenant_id, p_purpose, date_trunc('second', least(reeve.clock() + p_for, v.expires_at))) RETURNING * INTO v_link;
  PERFORM reeve.audit(v.tenant_id, 'artifact.link', 'artifact ' || v.id, NULL, jsonb_build_object('link', v_link.id, 'purpose', p_purpose, 'expires_at', v_link.expires_at, 'entity', v.entity));
  RETURN jsonb_build_object('link', v_link.id, 'artifact', v.id, 'tenant', v.tenant_id, 'purpose', p_purpose, 'expires', extract(epoch FROM v_link.expires_at)::bigint);
END $$;

-- Where an artifact is, for a link that its store signs itself; audited, since it can't be revoked and its downloads are not seen.
CREATE FUNCTION reeve.presign(p_artifact text, p_purpose text, p_for interval) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.artifact := reeve.linkable(p_artifact);
BEGIN
  IF p_for IS NULL OR p_for <= interval '0' OR p_for > interval '15 minutes' THEN
    RAISE EXCEPTION 'a link that the store signs lasts up to 15 minutes' USING ERRCODE = 'RV010', HINT = 'It can''t be revoked. Without --presigned a link may last longer.';
  END IF;
  PERFORM reeve.audit(v.tenant_id, 'artifact.presign', 'artifact ' || v.id, NULL, jsonb_build_object('purpose', p_purpose, 'for', p_for, 'entity', v.entity));
  RETURN jsonb_build_object('tenant', v.tenant_id, 'key', v.key, 'destinations', to_jsonb(reeve.artifact_destinations(v.manifest)));
END $$;

-- Opens a link whose signature the caller has checked, and records the download, or why there is none: {verdict, …}. Verdicts: ok, unknown,
-- revoked, expired, gone, status.
CREATE FUNCTION reeve.open_link(p_link uuid, p_artifact uuid, p_tenant uuid, p_purpose text, p_expires bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_link reeve.artifact_link; v reeve.artifact; v_verdict text;
BEGIN
  SELECT l.* INTO v_link FROM reeve.artifact_link l WHERE l.id = p_link AND l.artifact_id = p_artifact AND l.tenant_id = p_tenant AND l.purpose = p_purpose
    AND extract(epoch FROM l.expires_at)::bigint = p_expires FOR UPDATE;
  -- Not audited: whom it belongs to is not known.
  IF NOT FOUND THEN RETURN '{"verdict": "unknown"}'; END IF;
  SELECT a.* INTO v FROM reeve.artifact a WHERE a.id = p_artifact AND a.tenant_id = p_tenant;
  v_verdict := CASE
    WHEN v_link.revoked_at IS NOT NULL THEN 'revoked'
    WHEN v_link.expires_at <= reeve.clock() THEN 'expired'
    WHEN v.id IS NULL OR v.expires_at <= reeve.clock() OR EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = p_artifact) THEN 'gone'
    WHEN NOT coalesce(reeve.may_fetch(p_tenant, v.entity), false) THEN 'status'
    ELSE 'ok' END;
  PERFORM reeve.audit(p_tenant, 'artifact.download', 'artifact ' || p_artifact, NULL,
    jsonb_build_object('link', p_link, 'purpose', p_purpose, 'verdict', v_verdict, 'entity', v.entity, 'bytes', v.bytes));
  IF v_verdict <> 'ok' THEN RETURN jsonb_build_object('verdict', v_verdict); END IF;
  UPDATE reeve.artifact_link l SET downloads = l.downloads + 1, last_download_at = reeve.clock() WHERE l.id = p_link;
  RETURN jsonb_build_object('verdict', 'ok', 'artifact', v.id, 'tenant', v.tenant_id, 'entity', v.entity, 'key', v.key, 'bytes', v.bytes, 'sha256', v.sha256,
    'destinations', to_jsonb(reeve.artifact_destinations(v.manifest)), 'encrypted', coalesce(v.manifest -> 'encryption', 'null') <> 'null', 'media_type', v.manifest -> 'media_type');
END $$;

-- Revokes one link, or every link of an artifact that is in force; returns how many.
CREATE FUNCTION reeve.revoke_links(p_id uuid, p_reason text) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.artifact_link; v_count int := 0;
BEGIN
  IF btrim(coalesce(p_reason, '')) = '' THEN RAISE EXCEPTION 'revoking needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  IF NOT EXISTS (SELECT FROM reeve.artifact_link l WHERE p_id IN (l.id, l.artifact_id)) THEN
    RAISE EXCEPTION 'there is no link %', p_id USING ERRCODE = 'RV011', HINT = 'See: reeve artifacts links';
  END IF;
  FOR v IN UPDATE reeve.artifact_link l SET revoked_at = reeve.clock(), revoked_by = reeve.actor(), revoke_reason = left(p_reason, 2000)
      WHERE p_id IN (l.id, l.artifact_id) AND l.revoked_at IS NULL RETURNING l.* LOOP
    PERFORM reeve.audit(v.tenant_id, 'artifact.revoke', 'artifact ' || v.artifact_id, p_reason, jsonb_build_object('link', v.id, 'purpose', v.purpose));
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

-- Reports and exports, and what platforms' own kinds made. States: deleting, damaged (an object is missing), expired, kept.
CREATE VIEW reeve.artifact_list WITH (security_barrier) AS
  SELECT a.id, a.job_id AS job, t.code AS tenant_code, a.entity, a.manifest ->> 'name' AS name, a.manifest ->> 'format' AS format, a.bytes, a.created_at, a.expires_at,
    CASE WHEN d.artifact_id IS NOT NULL THEN 'deleting' WHEN EXISTS (SELECT FROM reeve.artifact_fault f WHERE f.artifact_id = a.id) THEN 'damaged'
         WHEN a.expires_at <= reeve.clock() THEN 'expired' ELSE 'kept' END AS state,
    coalesce(a.manifest -> 'encryption', 'null') <> 'null' AS encrypted, l.links, l.downloads, a.key,
    coalesce(a.manifest ->> 'destination', 'default') AS destination, a.sha256, d.error AS deletion_error
  FROM reeve.artifact a JOIN reeve.tenant t ON t.id = a.tenant_id
  LEFT JOIN reeve.artifact_deletion d ON d.artifact_id = a.id
  CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE x.revoked_at IS NULL AND x.expires_at > reeve.clock()) AS links, coalesce(sum(x.downloads), 0)::bigint AS downloads
    FROM reeve.artifact_link x WHERE x.artifact_id = a.id) l
  WHERE a.entity <> 'backup';
DO $$
BEGIN
  IF current_setting('server_version_num')::int >= 150000 THEN ALTER VIEW reeve.artifact_list SET (security_invoker = true); END IF;
END $$;

-- Which artifacts that are no backups this attempt's tenant has to delete: those that have expired and those whose deletion has begun.
-- None of a tenant that is held.
CREATE FUNCTION reeve.expired_artifacts(p_job bigint, p_lease uuid) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease);
BEGIN
  IF reeve.tenant_is_held(v_tenant) THEN RETURN; END IF;
  RETURN QUERY SELECT a.id FROM reeve.artifact a WHERE a.tenant_id = v_tenant AND a.entity <> 'backup'
    AND (a.expires_at <= reeve.clock() OR EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = a.id)) ORDER BY a.created_at, a.id;
END $$;

-- Marks one of them with the intent audited, or goes on with one that is marked; nothing when it has to stay.
CREATE FUNCTION reeve.begin_artifact_deletion(p_job bigint, p_lease uuid, p_artifact uuid) RETURNS TABLE (artifact_id uuid, destinations text[], keys text[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v_reason text;
BEGIN
  PERFORM FROM reeve.tenant t WHERE t.id = v_tenant FOR NO KEY UPDATE;
  IF reeve.tenant_is_held(v_tenant) THEN RETURN; END IF;
  SELECT 'expired ' || to_char(a.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') INTO v_reason
  FROM reeve.artifact a WHERE a.id = p_artifact AND a.tenant_id = v_tenant AND a.entity <> 'backup' AND a.expires_at <= reeve.clock()
    AND NOT EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = a.id);
  IF FOUND THEN
    INSERT INTO reeve.artifact_deletion (artifact_id, tenant_id, reason, intent)
    SELECT a.id, v_tenant, v_reason, reeve.audit(v_tenant, 'artifact.delete', 'artifact ' || a.id, v_reason, jsonb_build_object('outcome', 'intent', 'entity', a.entity,
      'job', p_job, 'bytes', a.bytes, 'created_at', a.created_at, 'destinations', to_jsonb(reeve.artifact_destinations(a.manifest))))
    FROM reeve.artifact a WHERE a.id = p_artifact;
  END IF;
  RETURN QUERY SELECT a.id, reeve.artifact_destinations(a.manifest), ARRAY(SELECT reeve.artifact_keys(a.key, a.manifest) ORDER BY 1)
  FROM reeve.artifact a JOIN reeve.artifact_deletion d ON d.artifact_id = a.id WHERE a.id = p_artifact AND a.tenant_id = v_tenant AND a.entity <> 'backup';
END $$;

CREATE OR REPLACE FUNCTION reeve.finish_artifact_deletion(p_job bigint, p_lease uuid, p_artifact uuid, p_detail jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record; v_entity text;
BEGIN
  DELETE FROM reeve.artifact_deletion d WHERE d.artifact_id = p_artifact AND d.tenant_id = v_tenant RETURNING d.* INTO v;
  IF NOT FOUND THEN RETURN false; END IF;
  WITH gone AS (DELETE FROM reeve.artifact a WHERE a.id = p_artifact RETURNING a.*)
  INSERT INTO reeve.artifact_deleted AS x (id, job_id, tenant_id, entity, key, keys, destinations, bytes, sha256, created_at, expires_at, reason, intent)
  SELECT g.id, g.job_id, g.tenant_id, g.entity, g.key, ARRAY(SELECT reeve.artifact_keys(g.key, g.manifest) ORDER BY 1), reeve.artifact_destinations(g.manifest),
         g.bytes, g.sha256, g.created_at, g.expires_at, v.reason, v.intent FROM gone g RETURNING x.entity INTO v_entity;
  PERFORM reeve.audit(v_tenant, CASE v_entity WHEN 'backup' THEN 'backup.delete' ELSE 'artifact.delete' END, 'artifact ' || p_artifact, v.reason,
    p_detail || jsonb_build_object('outcome', 'done', 'intent', v.intent, 'job', p_job), v.since);
  RETURN true;
END $$;

CREATE OR REPLACE FUNCTION reeve.fail_artifact_deletion(p_job bigint, p_lease uuid, p_artifact uuid, p_error text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record;
BEGIN
  SELECT d.*, a.entity INTO v FROM reeve.artifact_deletion d JOIN reeve.artifact a ON a.id = d.artifact_id
  WHERE d.artifact_id = p_artifact AND d.tenant_id = v_tenant FOR UPDATE OF d;
  IF NOT FOUND THEN RETURN; END IF;
  UPDATE reeve.artifact_deletion d SET tries = d.tries + 1, error = left(p_error, 2000) WHERE d.artifact_id = p_artifact;
  IF v.error IS DISTINCT FROM left(p_error, 2000) THEN
    PERFORM reeve.audit(v_tenant, CASE v.entity WHEN 'backup' THEN 'backup.delete' ELSE 'artifact.delete' END, 'artifact ' || p_artifact, v.reason,
      jsonb_build_object('outcome', 'failed', 'intent', v.intent, 'job', p_job, 'error', left(p_error, 2000)));
  END IF;
END $$;

-- Of a report or an export the object itself must be there; its manifest may.
CREATE OR REPLACE FUNCTION reeve.known_objects(p_job bigint, p_lease uuid) RETURNS TABLE (artifact_id uuid, backup bigint, destinations text[], key text, bytes bigint,
    named boolean, deleting boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease);
BEGIN
  RETURN QUERY
  SELECT a.id, a.job_id, reeve.artifact_destinations(a.manifest), k, CASE WHEN o.n > 0 THEN o.bytes WHEN k = a.key THEN a.bytes END,
    CASE a.entity WHEN 'backup' THEN k <> a.key OR o.n > 0 OR NOT EXISTS (SELECT FROM jsonb_path_query(a.manifest, '$.objects[*].key'))
      ELSE (k = a.key OR o.n > 0) AND a.entity IN ('report', 'export') END, d.artifact_id IS NOT NULL
  FROM reeve.artifact a CROSS JOIN LATERAL reeve.artifact_keys(a.key, a.manifest) k
  CROSS JOIN LATERAL (SELECT count(*) AS n, max((x ->> 'bytes')::bigint) AS bytes FROM jsonb_path_query(a.manifest, '$.objects[*]') x WHERE x ->> 'key' = k) o
  LEFT JOIN reeve.artifact_deletion d ON d.artifact_id = a.id
  WHERE a.tenant_id = v_tenant
  UNION ALL
  SELECT NULL, NULL, x.destinations, NULL, NULL, false, false FROM (SELECT DISTINCT g.destinations FROM reeve.artifact_deleted g WHERE g.tenant_id = v_tenant) x;
END $$;

GRANT EXECUTE ON FUNCTION reeve.artifact_days(uuid, text), reeve.grace_ends_at(uuid), reeve.may_fetch(uuid, text) TO reeve_worker, reeve_operator, reeve_viewer;
GRANT EXECUTE ON FUNCTION reeve.make_link(text, text, interval), reeve.presign(text, text, interval), reeve.revoke_links(uuid, text) TO reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.open_link(uuid, uuid, uuid, text, bigint) TO reeve_operator, reeve_worker;
GRANT EXECUTE ON FUNCTION reeve.expired_artifacts(bigint, uuid), reeve.begin_artifact_deletion(bigint, uuid, uuid) TO reeve_worker;
GRANT SELECT ON reeve.artifact_link, reeve.artifact_list TO reeve_viewer, reeve_operator;
