-- How many dumps run on each database server, in the whole fleet: a dump reads the whole catalog and locks every table it takes.
-- A row counts only while its job runs under its lease, so that nothing has to free what a dead worker took.
CREATE TABLE reeve.dump_slot (
  server text NOT NULL REFERENCES reeve.tenant_server (name) ON DELETE CASCADE,
  job_id bigint NOT NULL,
  lease_id uuid NOT NULL,
  slots int NOT NULL CHECK (slots >= 1),
  taken_at timestamptz NOT NULL DEFAULT reeve.clock(),
  PRIMARY KEY (server, job_id)
);
COMMENT ON TABLE reeve.dump_slot IS 'Dumps that run now, by database server and job. Written by reeve.take_dumps() and reeve.return_dumps() alone.';

-- How many dumps run on a server that count.
CREATE FUNCTION reeve.dumps_taken(p_server text) RETURNS int LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT coalesce(sum(d.slots), 0)::int FROM reeve.dump_slot d
  JOIN reeve.job j ON j.id = d.job_id AND j.state = 'running' AND j.lease_id = d.lease_id WHERE d.server = p_server
$$;

-- Takes up to p_wanted of a server's dumps for an attempt, which has them until it returns them or loses its job; one that has fewer gets
-- more. Returns how many it has now: 0 when none is free, NULL when the lease is not current.
CREATE FUNCTION reeve.take_dumps(p_job bigint, p_lease uuid, p_server text, p_wanted int) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_limit int; v_has int; v_free int;
BEGIN
  IF NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = p_job AND j.state = 'running' AND j.lease_id = p_lease) THEN RETURN NULL; END IF;
  SELECT d.slots INTO v_has FROM reeve.dump_slot d WHERE d.server = p_server AND d.job_id = p_job AND d.lease_id = p_lease;
  v_has := coalesce(v_has, 0);
  IF v_has >= p_wanted THEN RETURN v_has; END IF;
  SELECT s.dump_limit INTO v_limit FROM reeve.tenant_server s WHERE s.name = p_server;
  IF NOT FOUND THEN RAISE EXCEPTION 'no database server "%" is registered', left(p_server, 80) USING ERRCODE = 'RV004', HINT = 'See: reeve server list'; END IF;
  -- Those that wait look often: while nothing is free they lock nothing.
  IF reeve.dumps_taken(p_server) >= v_limit THEN RETURN v_has; END IF;
  SELECT s.dump_limit INTO v_limit FROM reeve.tenant_server s WHERE s.name = p_server FOR NO KEY UPDATE;
  v_free := least(p_wanted - v_has, v_limit - reeve.dumps_taken(p_server));
  IF v_free < 1 THEN RETURN v_has; END IF;
  DELETE FROM reeve.dump_slot d WHERE d.server = p_server
    AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = d.job_id AND j.state = 'running' AND j.lease_id = d.lease_id);
  INSERT INTO reeve.dump_slot AS d (server, job_id, lease_id, slots) VALUES (p_server, p_job, p_lease, v_has + v_free)
  ON CONFLICT (server, job_id) DO UPDATE SET slots = excluded.slots;
  RETURN v_has + v_free;
END $$;

-- Gives back what an attempt took on a server.
CREATE FUNCTION reeve.return_dumps(p_job bigint, p_lease uuid, p_server text) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS
  $$ DELETE FROM reeve.dump_slot d WHERE d.server = p_server AND d.job_id = p_job AND d.lease_id = p_lease $$;

-- What a tenant's last backup of a database was like: {bytes, plain_bytes, seconds}; NULL when there is none.
CREATE FUNCTION reeve.last_backup(p_tenant uuid, p_server text, p_database text) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT jsonb_build_object('seconds', a.manifest -> 'seconds',
    'bytes', coalesce(o.bytes + coalesce((a.manifest -> 'reference' ->> 'bytes')::bigint, 0), a.bytes), 'plain_bytes', coalesce(o.plain_bytes, a.bytes))
  FROM reeve.artifact a,
    LATERAL (SELECT sum((x ->> 'bytes')::bigint) AS bytes, sum((x ->> 'plain_bytes')::bigint) AS plain_bytes
      FROM jsonb_array_elements(CASE jsonb_typeof(a.manifest -> 'objects') WHEN 'array' THEN a.manifest -> 'objects' ELSE '[]' END) x) o
  WHERE a.tenant_id = p_tenant AND a.entity = 'backup' AND a.manifest -> 'store' ->> 'server' = p_server AND a.manifest -> 'store' ->> 'database' = p_database
  ORDER BY a.created_at DESC LIMIT 1
$$;

REVOKE EXECUTE ON FUNCTION reeve.dumps_taken(text), reeve.take_dumps(bigint, uuid, text, int), reeve.return_dumps(bigint, uuid, text),
  reeve.last_backup(uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION reeve.take_dumps(bigint, uuid, text, int), reeve.return_dumps(bigint, uuid, text), reeve.last_backup(uuid, text, text) TO reeve_worker;
GRANT SELECT ON reeve.dump_slot TO reeve_viewer, reeve_operator;
