-- A backup whose key was destroyed restores nothing, whatever was proven of it before, unless escrow recipients can read it, too. It is listed as `unreadable`, is not chosen by time, and
-- does not count as the last good one, which is kept whatever its age.
CREATE FUNCTION reeve.artifact_is_readable(p_tenant uuid, p_manifest jsonb) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT coalesce((
    SELECT k.state <> 'destroyed' OR cardinality(k.escrow) > 0 FROM reeve.tenant_key k, (SELECT p_manifest #>> '{encryption,key_id}' AS key_id) m
    WHERE k.tenant_id = p_tenant AND k.id = CASE WHEN m.key_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN m.key_id::uuid END), true)
$$;
GRANT EXECUTE ON FUNCTION reeve.artifact_is_readable(uuid, jsonb) TO reeve_viewer, reeve_operator, reeve_worker;

-- As in V0028, but for the first line of the proof.
CREATE OR REPLACE FUNCTION reeve.backup_retention(p_tenant uuid) RETURNS TABLE (backup bigint, artifacts uuid[], bytes bigint, created_at timestamptz,
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
      CASE WHEN q.bad OR NOT reeve.artifact_is_readable(a.tenant_id, a.manifest) OR EXISTS (SELECT FROM reeve.artifact_fault f WHERE f.artifact_id = a.id)
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

-- States: deleting, unreadable (its key was destroyed, and had no escrow), damaged (an object is missing or a proof failed), expired, kept.
CREATE OR REPLACE VIEW reeve.backup_list WITH (security_barrier) AS
  SELECT a.id, a.job_id AS backup, t.code AS tenant_code, a.manifest #>> '{store,server}' AS server, a.manifest #>> '{store,database}' AS database, a.bytes,
    (SELECT count(*) FROM jsonb_object_keys(CASE WHEN jsonb_typeof(a.manifest -> 'rows') = 'object' THEN a.manifest -> 'rows' ELSE '{}' END)) AS tables,
    (SELECT coalesce(sum(r.value::bigint), 0)::bigint FROM jsonb_each_text(CASE WHEN jsonb_typeof(a.manifest -> 'rows') = 'object' THEN a.manifest -> 'rows' ELSE '{}' END) r) AS rows,
    a.created_at, a.expires_at,
    CASE WHEN d.artifact_id IS NOT NULL THEN 'deleting' WHEN NOT reeve.artifact_is_readable(a.tenant_id, a.manifest) THEN 'unreadable'
         WHEN f.n > 0 OR q.bad THEN 'damaged' WHEN a.expires_at <= reeve.clock() THEN 'expired' ELSE 'kept' END AS state,
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

-- As in V0029; broken is also what cannot be read.
CREATE OR REPLACE VIEW reeve.backup_set WITH (security_barrier) AS
SELECT a.tenant_id, a.job_id, min(coalesce(to_timestamp((a.manifest ->> 'snapshot_at')::double precision), a.created_at)) AS at,
       max(a.created_at) AS made_at, count(*)::int AS databases, sum(a.bytes)::bigint AS bytes,
       CASE WHEN bool_and(coalesce(p.ok, false)) THEN max(p.at) END AS verified_at,
       CASE WHEN bool_and(p.ok AND p.drilled_at IS NOT NULL) THEN min(p.drilled_at) END AS proven_at,
       coalesce(bool_or(NOT p.ok OR NOT reeve.artifact_is_readable(a.tenant_id, a.manifest)), false) AS is_broken
FROM reeve.artifact a
CROSS JOIN LATERAL (
  SELECT bool_and(l.ok) AS ok, max(l.at) AS at, max(l.at) FILTER (WHERE l.kind = 'drill') AS drilled_at
  FROM (SELECT DISTINCT ON (x.kind) x.kind, x.ok, x.at FROM reeve.backup_proof x WHERE x.artifact_id = a.id ORDER BY x.kind, x.at DESC, x.id DESC) l) p
WHERE a.entity = 'backup' AND NOT EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = a.id)
GROUP BY a.tenant_id, a.job_id;
DO $$
BEGIN
  -- PostgreSQL 14 does not know it; there the views' grants alone decide.
  IF current_setting('server_version_num')::int >= 150000 THEN
    ALTER VIEW reeve.backup_list SET (security_invoker = true);
    ALTER VIEW reeve.backup_set SET (security_invoker = true);
  END IF;
END $$;
