-- Where tenants' objects go, when not to the storage that every worker is configured with (ISO-S-001, ISO-S-003).

-- A store by name: a folder, or <remote>:<path> for rclone, whose credentials are in the workers' environment and never here.
CREATE TABLE reeve.destination (
  name text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9-]{0,39}$' AND name <> 'default'),
  url text NOT NULL UNIQUE CHECK (length(url) BETWEEN 1 AND 1000 AND url !~ '[[:cntrl:]]' AND url ~ '^(/|[A-Za-z0-9_][A-Za-z0-9_.-]*:)' AND url !~ '(^|[:/])\.\.(/|$)'),
  region text NOT NULL CHECK (region ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
  sse text CHECK (sse IN ('AES256', 'aws:kms')),
  kms_key_id text CHECK (length(kms_key_id) <= 2048 AND kms_key_id ~ '^[!-,.-~][!-~]*$'),
  created_at timestamptz NOT NULL DEFAULT reeve.clock(),
  created_by text NOT NULL DEFAULT reeve.actor(),
  CHECK (kms_key_id IS NULL OR sse IS NOT DISTINCT FROM 'aws:kms'),
  CHECK (sse IS NULL OR url !~ '^/')
);

-- Whose objects go there: the tenant's rules before its tier's, those before its region's. A primary holds them, copies hold them too.
-- A tier has tenants in many regions, so a rule is for those tenants that the destination's region is allowed for.
CREATE TABLE reeve.destination_rule (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  scope text NOT NULL CHECK (scope IN ('tier', 'region', 'tenant')),
  tier text REFERENCES reeve.tier (name) ON UPDATE CASCADE ON DELETE CASCADE,
  region text,
  tenant_id uuid REFERENCES reeve.tenant (id) ON DELETE CASCADE,
  role text NOT NULL CHECK (role IN ('primary', 'copy')),
  destination text NOT NULL REFERENCES reeve.destination (name),
  kms_key_id text CHECK (length(kms_key_id) <= 2048 AND kms_key_id ~ '^[!-,.-~][!-~]*$'),
  created_at timestamptz NOT NULL DEFAULT reeve.clock(),
  created_by text NOT NULL DEFAULT reeve.actor(),
  CHECK ((scope = 'tier') = (tier IS NOT NULL) AND (scope = 'region') = (region IS NOT NULL) AND (scope = 'tenant') = (tenant_id IS NOT NULL)),
  CHECK (kms_key_id IS NULL OR scope = 'tenant')                                       -- a key of one's own
);
CREATE UNIQUE INDEX destination_rule_once ON reeve.destination_rule (scope, coalesce(tier, region, tenant_id::text), destination);
CREATE INDEX destination_rule_tenant ON reeve.destination_rule (tenant_id) WHERE tenant_id IS NOT NULL;
CREATE INDEX destination_rule_destination ON reeve.destination_rule (destination);

-- The regions beside its own in which copies of a tenant's objects may be (data residency).
ALTER TABLE reeve.tenant ADD COLUMN copy_regions text[] NOT NULL DEFAULT '{}'
  CHECK (cardinality(copy_regions) <= 20 AND array_to_string(copy_regions, ' ', '?') ~ '^([a-z0-9][a-z0-9-]{0,39}( |$))*$');

-- Every use of a destination that its tenant's record does not allow is refused here, whatever the rules say.
CREATE FUNCTION reeve.destination_problem(p_region text, p_role text, p_tenant reeve.tenant) RETURNS text
LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT CASE
    WHEN p_region = p_tenant.region THEN NULL
    WHEN p_role = 'primary' THEN format('it is in region %s, and data of tenant %s stays in %s', p_region, p_tenant.code, p_tenant.region)
    WHEN p_region = ANY (p_tenant.copy_regions) THEN NULL
    ELSE format('it is in region %s, where copies of data of tenant %s are not allowed', p_region, p_tenant.code) END
$$;

-- Where new objects of a tenant go: one row for the primary at most, one for each copy. No row for the primary means the
-- storage that the workers are configured with. A tenant's own rule whose destination is refused is told with its problem, since
-- nothing else may be taken in its place.
CREATE FUNCTION reeve.placement(p_tenant uuid)
RETURNS TABLE (role text, name text, url text, region text, sse text, kms_key_id text, problem text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  WITH fit AS (
    SELECT u.*, d.name, d.url, d.region AS at, d.sse, coalesce(u.kms_key_id, d.kms_key_id) AS key, reeve.destination_problem(d.region, u.role, t) AS refusal,
           CASE u.scope WHEN 'tenant' THEN 1 WHEN 'tier' THEN 2 ELSE 3 END AS rank
    FROM reeve.tenant t
    JOIN reeve.destination_rule u ON u.tenant_id = t.id OR u.tier = t.tier OR u.region = t.region
    JOIN reeve.destination d ON d.name = u.destination
    WHERE t.id = p_tenant),
  best AS (
    SELECT f.*, min(f.rank) OVER (PARTITION BY f.role) AS first FROM fit f WHERE f.refusal IS NULL OR f.scope = 'tenant')
  SELECT b.role, b.name, b.url, b.at, b.sse, CASE b.sse WHEN 'aws:kms' THEN b.key END, b.refusal
  FROM best b WHERE b.rank = b.first
    AND (b.role = 'primary' OR b.name IS DISTINCT FROM (SELECT p.name FROM best p WHERE p.role = 'primary' AND p.rank = p.first LIMIT 1))
  ORDER BY b.role DESC, b.name
$$;

-- The destination that a manifest names, for a tenant; with the problem when its objects may not be there.
CREATE FUNCTION reeve.destination_for(p_name text, p_tenant uuid)
RETURNS TABLE (name text, url text, region text, sse text, kms_key_id text, problem text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT d.name, d.url, d.region, d.sse,
         CASE d.sse WHEN 'aws:kms' THEN coalesce((SELECT u.kms_key_id FROM reeve.destination_rule u WHERE u.tenant_id = t.id AND u.destination = d.name), d.kms_key_id) END,
         reeve.destination_problem(d.region, 'copy', t)
  FROM reeve.destination d, reeve.tenant t WHERE d.name = p_name AND t.id = p_tenant
$$;

-- The destinations of a region, for those who tend them.
CREATE FUNCTION reeve.destinations_in(p_region text) RETURNS TABLE (name text, url text, region text, sse text, kms_key_id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS
  $$ SELECT d.name, d.url, d.region, d.sse, d.kms_key_id FROM reeve.destination d WHERE d.region = p_region ORDER BY d.name $$;

CREATE FUNCTION reeve.add_destination(p_name text, p_url text, p_region text, p_sse text DEFAULT NULL, p_kms_key_id text DEFAULT NULL, p_reason text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  INSERT INTO reeve.destination (name, url, region, sse, kms_key_id) VALUES (p_name, p_url, p_region, p_sse, p_kms_key_id);
  PERFORM reeve.audit(NULL, 'destination.add', 'destination ' || p_name, p_reason,
    jsonb_build_object('url', p_url, 'region', p_region, 'sse', p_sse, 'kms_key_id', p_kms_key_id));
EXCEPTION
  WHEN unique_violation THEN
    RAISE EXCEPTION 'destination "%" or its place is taken', left(p_name, 40) USING ERRCODE = 'RV012', HINT = 'See: reeve destination list';
  WHEN check_violation THEN
    RAISE EXCEPTION 'destination "%" is not valid', left(p_name, 40) USING ERRCODE = 'RV010',
      HINT = 'A name of a-z, 0-9 and -, not default; a folder from / on or <remote>:<path>; a key id only with aws:kms, which only S3 remotes take.';
END $$;

-- Refused while something is kept there, or rules name it.
CREATE FUNCTION reeve.remove_destination(p_name text, p_reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_count bigint;
BEGIN
  PERFORM FROM reeve.destination d WHERE d.name = p_name FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no destination "%"', left(p_name, 40) USING ERRCODE = 'RV011', HINT = 'See: reeve destination list'; END IF;
  SELECT count(*) INTO v_count FROM reeve.destination_rule u WHERE u.destination = p_name;
  IF v_count > 0 THEN
    RAISE EXCEPTION 'destination "%" is assigned by % rules', p_name, v_count USING ERRCODE = 'RV012', HINT = 'Take them away with: reeve destination unassign';
  END IF;
  SELECT count(*) INTO v_count FROM reeve.artifact a WHERE a.manifest ->> 'destination' = p_name OR a.manifest -> 'copies' ? p_name;
  IF v_count > 0 THEN
    RAISE EXCEPTION 'destination "%" holds % artifacts', p_name, v_count USING ERRCODE = 'RV012', HINT = 'It can go when their retention is over.';
  END IF;
  DELETE FROM reeve.destination d WHERE d.name = p_name;
  PERFORM reeve.audit(NULL, 'destination.remove', 'destination ' || p_name, p_reason);
END $$;

-- Assigns a destination. One primary for a tenant; for a tier or region one in each region.
CREATE FUNCTION reeve.assign_destination(p_name text, p_scope text, p_subject text, p_role text DEFAULT 'primary', p_kms_key_id text DEFAULT NULL, p_reason text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_tenant reeve.tenant; v_problem text; v_other text;
BEGIN
  LOCK TABLE reeve.destination_rule IN SHARE ROW EXCLUSIVE MODE;                        -- two could each find no primary yet
  SELECT d.* INTO v FROM reeve.destination d WHERE d.name = p_name FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no destination "%"', left(p_name, 40) USING ERRCODE = 'RV011', HINT = 'See: reeve destination list'; END IF;
  IF p_scope = 'tenant' THEN
    SELECT t.* INTO v_tenant FROM reeve.tenant t WHERE t.code = p_subject COLLATE "C" FOR SHARE;
    IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_subject, 80) USING ERRCODE = 'RV001'; END IF;
    v_problem := reeve.destination_problem(v.region, p_role, v_tenant);
  ELSIF p_scope = 'tier' AND NOT EXISTS (SELECT FROM reeve.tier r WHERE r.name = p_subject) THEN
    RAISE EXCEPTION 'tier "%" is unknown', left(p_subject, 80) USING ERRCODE = 'RV010', HINT = 'See: reeve tiers list';
  ELSIF p_scope = 'region' AND p_role = 'primary' AND v.region <> p_subject THEN
    v_problem := format('it is in region %s, and data of region %s stays there', v.region, p_subject);
  END IF;
  IF v_problem IS NOT NULL THEN
    RAISE EXCEPTION 'destination "%" is refused: %', p_name, v_problem USING ERRCODE = 'RV003',
      HINT = CASE p_role WHEN 'copy' THEN 'Copies elsewhere are allowed by: reeve destination allow <tenant> <region>' ELSE 'Take one in that region; see: reeve destination list' END;
  END IF;
  IF p_kms_key_id IS NOT NULL AND v.sse IS DISTINCT FROM 'aws:kms' THEN
    RAISE EXCEPTION 'destination "%" does not encrypt with keys of a key service', p_name USING ERRCODE = 'RV010', HINT = 'Add it with --sse aws:kms.';
  END IF;
  SELECT u.destination INTO v_other FROM reeve.destination_rule u JOIN reeve.destination d ON d.name = u.destination
  WHERE u.scope = p_scope AND u.role = 'primary' AND p_role = 'primary' AND d.region = v.region
    AND coalesce(u.tier, u.region, u.tenant_id::text) = CASE p_scope WHEN 'tenant' THEN v_tenant.id::text ELSE p_subject END;
  IF v_other IS NOT NULL AND v_other <> p_name THEN
    RAISE EXCEPTION '% % has the primary destination "%"', p_scope, left(p_subject, 80), v_other USING ERRCODE = 'RV012',
      HINT = 'Take it away first: reeve destination unassign ' || v_other;
  END IF;
  INSERT INTO reeve.destination_rule (scope, tier, region, tenant_id, role, destination, kms_key_id)
  VALUES (p_scope, CASE p_scope WHEN 'tier' THEN p_subject END, CASE p_scope WHEN 'region' THEN p_subject END, v_tenant.id, p_role, p_name, p_kms_key_id)
  ON CONFLICT (scope, coalesce(tier, region, tenant_id::text), destination) DO UPDATE SET role = excluded.role, kms_key_id = excluded.kms_key_id;
  PERFORM reeve.audit(v_tenant.id, 'destination.assign', format('destination %s', p_name), p_reason,
    jsonb_build_object('scope', p_scope, 'subject', p_subject, 'role', p_role, 'kms_key_id', p_kms_key_id));
EXCEPTION WHEN check_violation THEN
  RAISE EXCEPTION 'this assignment of destination "%" is not valid', left(p_name, 40) USING ERRCODE = 'RV010', HINT = 'A key id is a tenant''s, of 1 to 2048 printable characters.';
END $$;

CREATE FUNCTION reeve.unassign_destination(p_name text, p_scope text, p_subject text, p_reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := (SELECT t.id FROM reeve.tenant t WHERE p_scope = 'tenant' AND t.code = p_subject COLLATE "C");
BEGIN
  DELETE FROM reeve.destination_rule u WHERE u.destination = p_name AND u.scope = p_scope
    AND coalesce(u.tier, u.region, u.tenant_id::text) = CASE p_scope WHEN 'tenant' THEN v_tenant::text ELSE p_subject END;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'destination "%" is not assigned to % %', left(p_name, 40), p_scope, left(p_subject, 80) USING ERRCODE = 'RV011', HINT = 'See: reeve destination list';
  END IF;
  PERFORM reeve.audit(v_tenant, 'destination.unassign', format('destination %s', p_name), p_reason, jsonb_build_object('scope', p_scope, 'subject', p_subject));
END $$;

-- Allows copies of a tenant's objects in another region, or no longer; what is there already stays until its retention is over.
CREATE FUNCTION reeve.allow_copies(p_code text, p_region text, p_allowed boolean, p_reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.tenant;
BEGIN
  SELECT t.* INTO v FROM reeve.tenant t WHERE t.code = p_code COLLATE "C" FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_code, 80) USING ERRCODE = 'RV001'; END IF;
  IF p_region !~ '^[a-z0-9][a-z0-9-]{0,39}$' THEN RAISE EXCEPTION '"%" is no region', left(p_region, 40) USING ERRCODE = 'RV010'; END IF;
  UPDATE reeve.tenant t SET copy_regions = array_remove(t.copy_regions, p_region) || CASE WHEN p_allowed THEN ARRAY[p_region] ELSE '{}' END WHERE t.id = v.id;
  PERFORM reeve.audit(v.id, CASE WHEN p_allowed THEN 'destination.allow' ELSE 'destination.forbid' END, 'tenant ' || p_code, p_reason, jsonb_build_object('region', p_region));
END $$;

REVOKE ALL ON FUNCTION reeve.destination_problem(text, text, reeve.tenant), reeve.placement(uuid), reeve.destination_for(text, uuid), reeve.destinations_in(text),
  reeve.add_destination(text, text, text, text, text, text), reeve.remove_destination(text, text), reeve.assign_destination(text, text, text, text, text, text),
  reeve.unassign_destination(text, text, text, text), reeve.allow_copies(text, text, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION reeve.placement(uuid), reeve.destination_for(text, uuid), reeve.destinations_in(text) TO reeve_worker, reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.add_destination(text, text, text, text, text, text), reeve.remove_destination(text, text), reeve.assign_destination(text, text, text, text, text, text),
  reeve.unassign_destination(text, text, text, text), reeve.allow_copies(text, text, boolean, text) TO reeve_operator;
GRANT SELECT ON reeve.destination, reeve.destination_rule TO reeve_viewer, reeve_operator;
