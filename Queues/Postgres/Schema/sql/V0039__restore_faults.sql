-- What restores and keys do when something fails on the way: damaged objects beside whole copies, scratch databases of killed attempts, room for
-- them, and keys that are destroyed while an attempt encrypts to them.

-- How many bytes the scratch databases of restores may take on a server at once; NULL where only the disk says so.
ALTER TABLE reeve.tenant_server ADD COLUMN scratch_limit bigint CHECK (scratch_limit > 0);

-- `damaged`: an object of the right size that was read and was not what was written. Only reading it again whole, or its artifact's end, ends that.
ALTER TABLE reeve.artifact_fault DROP CONSTRAINT artifact_fault_fault_check;
ALTER TABLE reeve.artifact_fault ADD CONSTRAINT artifact_fault_fault_check CHECK (fault IN ('missing', 'size', 'damaged'));

-- As before; what a listing shows says nothing about the bytes of an object that was found damaged.
CREATE OR REPLACE FUNCTION reeve.record_artifact_faults(p_job bigint, p_lease uuid, p_destination text, p_faults jsonb) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record; v_count int := 0;
BEGIN
  FOR v IN DELETE FROM reeve.artifact_fault f WHERE f.tenant_id = v_tenant AND f.destination = p_destination AND f.fault <> 'damaged'
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

-- What an attempt that read a backup found of its own tenant's artifact: objects that a destination holds damaged, [{destination, key, code}], and
-- objects that it read whole, [{destination, key}]. Each change is audited once.
CREATE FUNCTION reeve.record_reading(p_job bigint, p_lease uuid, p_artifact uuid, p_damaged jsonb, p_whole jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v record;
BEGIN
  IF NOT EXISTS (SELECT FROM reeve.artifact a WHERE a.id = p_artifact AND a.tenant_id = v_tenant) THEN
    RAISE EXCEPTION 'artifact % is not one of this job''s tenant', p_artifact USING ERRCODE = '42501';
  END IF;
  FOR v IN DELETE FROM reeve.artifact_fault f USING jsonb_to_recordset(p_whole) AS x (destination text, key text)
      WHERE f.artifact_id = p_artifact AND f.destination = x.destination AND f.key = x.key RETURNING f.* LOOP
    PERFORM reeve.audit(v_tenant, 'backup.fault', 'artifact ' || p_artifact, NULL, jsonb_build_object('destination', v.destination, 'key', v.key, 'fault', v.fault, 'outcome', 'gone'));
  END LOOP;
  FOR v IN INSERT INTO reeve.artifact_fault (artifact_id, tenant_id, destination, key, fault)
      SELECT p_artifact, v_tenant, x.destination, x.key, CASE x.code WHEN 'backup_missing' THEN 'missing' ELSE 'damaged' END
      FROM jsonb_to_recordset(p_damaged) AS x (destination text, key text, code text)
      JOIN reeve.artifact a ON a.id = p_artifact AND x.destination = ANY (reeve.artifact_destinations(a.manifest))
        AND x.key IN (SELECT reeve.artifact_keys(a.key, a.manifest))
      ON CONFLICT DO NOTHING RETURNING * LOOP
    PERFORM reeve.audit(v_tenant, 'backup.fault', 'artifact ' || p_artifact, NULL, jsonb_build_object('destination', v.destination, 'key', v.key, 'fault', v.fault, 'outcome', 'found'));
  END LOOP;
END $$;

-- Of these scratch databases of a server, those that attempts of this registry were about to make, and for whom: one whose maker died before it could
-- write its comment says nothing itself.
CREATE FUNCTION reeve.scratch_makers(p_server text, p_names text[]) RETURNS TABLE (name text, tenant_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT DISTINCT n, e.tenant_id FROM unnest(p_names) n
  JOIN reeve.audit_entry e ON e.action = 'admin.make_scratch' AND e.object = p_server || ': database ' || n AND e.tenant_id IS NOT NULL
$$;

-- An artifact that is encrypted to a key that is being destroyed, or was, would be taken for a backup and be none. Waits for a destruction
-- that is beginning at this moment; one that begins later finds the artifact among those that become unreadable.
CREATE FUNCTION reeve.refuse_unreadable() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record;
BEGIN
  SELECT k.id, k.tenant_id, k.destroying_at INTO v FROM reeve.tenant_key k WHERE k.id::text = NEW.manifest #>> '{encryption,key_id}' FOR SHARE;
  IF NOT FOUND THEN RETURN NEW; END IF;
  IF v.tenant_id <> NEW.tenant_id THEN
    RAISE EXCEPTION 'artifact % is encrypted to a key of another tenant', NEW.id USING ERRCODE = '23514', CONSTRAINT = 'artifact_is_readable';
  END IF;
  IF v.destroying_at IS NOT NULL THEN
    RAISE EXCEPTION 'key % was destroyed while artifact % was encrypted to it', v.id, NEW.id USING ERRCODE = '23514', CONSTRAINT = 'artifact_is_readable',
      HINT = 'Nobody could read it. Make a key for the tenant, if it is to have one: reeve keys create';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER artifact_is_readable BEFORE INSERT ON reeve.artifact FOR EACH ROW EXECUTE FUNCTION reeve.refuse_unreadable();

REVOKE ALL ON FUNCTION reeve.record_reading(bigint, uuid, uuid, jsonb, jsonb), reeve.scratch_makers(text, text[]), reeve.refuse_unreadable() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION reeve.record_reading(bigint, uuid, uuid, jsonb, jsonb), reeve.scratch_makers(text, text[]) TO reeve_worker;
