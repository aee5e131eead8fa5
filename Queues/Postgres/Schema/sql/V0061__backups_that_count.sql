-- As in V0029, but a backup that is broken (its key was destroyed and had no escrow, or its last proof failed) is none: a tenant that has no other since
-- yesterday is overdue, whatever was made in the night.
CREATE OR REPLACE VIEW reeve.backup_status WITH (security_barrier) AS
SELECT t.code AS tenant_code, s.last_backup_at, s.last_verified_at, d.last_proven_at, d.last_rto_seconds,
  coalesce(CASE WHEN s.tenants_own THEN s.last_verified_at ELSE d.last_proven_at END, '-infinity')
    < reeve.clock() - coalesce(nullif(current_setting('reeve.proof_limit', true), '')::interval, interval '35 days') AS unproven
FROM reeve.tenant t
LEFT JOIN LATERAL (
  SELECT max(b.made_at) AS last_backup_at, max(b.verified_at) AS last_verified_at,
    (SELECT a.manifest @> '{"encryption": {"tenants_own": true}}' FROM reeve.artifact a WHERE a.tenant_id = t.id AND a.entity = 'backup'
     ORDER BY a.created_at DESC LIMIT 1) AS tenants_own
  FROM reeve.backup_set b WHERE b.tenant_id = t.id AND NOT b.is_broken) s ON true
LEFT JOIN LATERAL (
  SELECT p.at AS last_proven_at, (SELECT sum(o.seconds) FROM reeve.backup_proof o WHERE o.job_id = p.job_id AND o.tenant_id = t.id) AS last_rto_seconds
  FROM reeve.backup_proof p
  WHERE p.tenant_id = t.id AND p.kind = 'drill' AND p.ok
    AND NOT EXISTS (SELECT FROM reeve.backup_proof o WHERE o.job_id = p.job_id AND o.tenant_id = t.id AND NOT o.ok)
  ORDER BY p.at DESC, p.id DESC LIMIT 1) d ON true
WHERE t.status <> 'archived';

DO $$
BEGIN
  -- PostgreSQL 14 does not know it; there the views' grants alone decide.
  IF current_setting('server_version_num')::int >= 150000 THEN
    ALTER VIEW reeve.backup_status SET (security_invoker = true);
  END IF;
END $$;
