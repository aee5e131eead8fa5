-- One answer to what storage has to show of a tenant, for a purge and for its plan: objects that are being deleted, or are known to be missing, need
-- not be there.
CREATE FUNCTION reeve.objects_of(p_tenant uuid) RETURNS TABLE (destination text, artifacts bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT d, count(*) FROM reeve.artifact a CROSS JOIN LATERAL unnest(reeve.artifact_destinations(a.manifest)) d
  WHERE a.tenant_id = p_tenant AND NOT EXISTS (SELECT FROM reeve.artifact_deletion x WHERE x.artifact_id = a.id)
    AND NOT EXISTS (SELECT FROM reeve.artifact_fault f WHERE f.artifact_id = a.id AND f.destination = d) GROUP BY d
$$;
CREATE OR REPLACE FUNCTION reeve.expected_objects(p_job bigint, p_lease uuid) RETURNS TABLE (destination text, artifacts bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT o.destination, o.artifacts FROM reeve.objects_of(reeve.tenant_of_attempt(p_job, p_lease)) o
$$;
GRANT EXECUTE ON FUNCTION reeve.objects_of(uuid) TO reeve_operator;
