-- What ran while a person was erased may have read them before: a report that is published afterwards, a backup, a restore that puts
-- older data into place. An erasure looks at artifacts, backups and rows only once all of it has ended.

-- How many jobs of the attempt's tenant run since before a moment, erasures apart.
CREATE FUNCTION reeve.running_since_before(p_job bigint, p_lease uuid, p_moment timestamptz) RETURNS int
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  RETURN (SELECT count(*) FROM reeve.job j
    WHERE j.tenant_id = v_tenant AND j.state = 'running' AND j.started_at <= p_moment AND j.id <> p_job AND j.kind <> 'erasure');
END $$;

GRANT EXECUTE ON FUNCTION reeve.running_since_before(bigint, uuid, timestamptz) TO reeve_worker;
