-- A claim whose answer never came (the connection broke after the commit) leaves jobs that run for nobody for as long as their
-- worker lives. The worker says which claims it knows; what else runs in its name in that pool goes back, at no cost of an
-- attempt. Only the pool's one claimer calls this, between two claims. Returns how many.
CREATE FUNCTION reeve.return_lost_claims(p_worker uuid, p_pool text, p_known uuid[]) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenants uuid[];
BEGIN
  WITH lost AS MATERIALIZED (
    SELECT j.id FROM reeve.job j WHERE j.worker_id = p_worker AND j.state = 'running' AND j.pool = p_pool AND j.lease_id <> ALL (p_known)
    ORDER BY j.id FOR UPDATE),
  back AS (
    UPDATE reeve.job j SET state = 'available', worker_id = NULL, lease_id = NULL, attempt = j.attempt - 1
    FROM lost l WHERE j.id = l.id AND j.state = 'running' AND j.worker_id = p_worker AND j.lease_id <> ALL (p_known) RETURNING j.tenant_id)
  SELECT array_agg(b.tenant_id) INTO v_tenants FROM back b;
  IF v_tenants IS NULL THEN RETURN 0; END IF;
  PERFORM reeve.count_down(v_tenants);
  PERFORM reeve.wake(ARRAY[p_pool]);
  RETURN cardinality(v_tenants);
END $$;
GRANT EXECUTE ON FUNCTION reeve.return_lost_claims(uuid, text, uuid[]) TO reeve_worker;
