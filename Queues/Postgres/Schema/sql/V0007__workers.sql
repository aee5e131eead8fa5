-- The lease belongs to the worker: one row each, renewed by one update however many jobs run.

CREATE FUNCTION reeve.register_worker(p_id uuid, p_node text, p_pid int, p_version text, p_region text, p_pools jsonb, p_queues text[], p_lease interval)
RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  INSERT INTO reeve.worker (id, node, pid, version, region, pools, queues, lease, lease_until)
  VALUES (p_id, p_node, p_pid, p_version, p_region, p_pools, p_queues, p_lease, reeve.clock() + p_lease)
$$;

-- Renews the lease and says which of the worker's running jobs are to be cancelled. NULL: declared dead, which is final.
CREATE FUNCTION reeve.renew_lease(p_id uuid, p_pools jsonb, p_stopping boolean) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  UPDATE reeve.worker w SET lease_until = reeve.clock() + w.lease, pools = p_pools,
    state = CASE WHEN p_stopping THEN 'stopping' ELSE w.state END
  WHERE w.id = p_id AND w.state IN ('alive', 'stopping');
  IF NOT FOUND THEN RETURN NULL; END IF;
  RETURN reeve.cancellations(p_id);
END $$;

CREATE FUNCTION reeve.cancellations(p_id uuid) RETURNS bigint[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT coalesce(array_agg(c.job_id), '{}') FROM reeve.cancel_request c JOIN reeve.job j ON j.id = c.job_id AND j.worker_id = p_id AND j.state = 'running'
$$;

-- Says that a pool has nothing to do, or has again; enqueue then wakes it.
CREATE FUNCTION reeve.set_idle(p_id uuid, p_pool text, p_idle boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  IF p_idle THEN
    INSERT INTO reeve.idle_pool (pool, worker_id) VALUES (p_pool, p_id) ON CONFLICT DO NOTHING;
  ELSE
    DELETE FROM reeve.idle_pool i WHERE i.pool = p_pool AND i.worker_id = p_id;
  END IF;
END $$;

-- Ends a worker and gives its jobs back: the lock on its row waits for claims in flight. Attempts that ended this way do not count
-- towards max_attempts. Returns the number of jobs, or NULL when it had ended before.
CREATE FUNCTION reeve.rescue(p_id uuid, p_state text DEFAULT 'dead') RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenants uuid[]; v_pools text[];
BEGIN
  PERFORM 1 FROM reeve.worker w WHERE w.id = p_id AND w.state IN ('alive', 'stopping') FOR UPDATE;
  IF NOT FOUND THEN RETURN NULL; END IF;
  UPDATE reeve.worker w SET state = p_state, ended_at = reeve.clock() WHERE w.id = p_id;
  DELETE FROM reeve.idle_pool i WHERE i.worker_id = p_id;
  WITH mine AS MATERIALIZED (SELECT j.id FROM reeve.job j WHERE j.worker_id = p_id AND j.state = 'running' ORDER BY j.id FOR UPDATE),
  back AS (
    UPDATE reeve.job j SET state = 'available', worker_id = NULL, lease_id = NULL, rescued = j.rescued + 1,
      last_error = 'the worker that ran it ended without a word'
    FROM mine m WHERE j.id = m.id AND j.state = 'running' RETURNING j.tenant_id, j.pool)
  SELECT array_agg(b.tenant_id), array_agg(DISTINCT b.pool) INTO v_tenants, v_pools FROM back b;
  IF v_tenants IS NULL THEN RETURN 0; END IF;
  PERFORM reeve.count_down(v_tenants);
  PERFORM reeve.wake(v_pools);
  RETURN cardinality(v_tenants);
END $$;

-- Ends every worker whose lease is over. Nobody is declared dead before one lease length has passed since the server's start.
CREATE FUNCTION reeve.rescue_expired() RETURNS TABLE (worker_id uuid, jobs int)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
DECLARE v_id uuid; v_jobs int; v_now timestamptz := reeve.clock();
BEGIN
  FOR v_id IN SELECT w.id FROM reeve.worker w
      WHERE w.state IN ('alive', 'stopping') AND w.lease_until < v_now AND pg_postmaster_start_time() + w.lease < v_now
      ORDER BY w.id FOR UPDATE SKIP LOCKED LOOP
    v_jobs := reeve.rescue(v_id);
    IF v_jobs IS NOT NULL THEN worker_id := v_id; jobs := v_jobs; RETURN NEXT; END IF;
  END LOOP;
END $$;

-- Gives back running jobs whose worker is not alive, whatever the cause: the net under rescue().
CREATE FUNCTION reeve.rescue_orphans() RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenants uuid[];
BEGIN
  WITH orphan AS MATERIALIZED (
    SELECT j.id FROM reeve.job j WHERE j.state = 'running'
      AND NOT EXISTS (SELECT FROM reeve.worker w WHERE w.id = j.worker_id AND w.state IN ('alive', 'stopping'))
    ORDER BY j.id FOR UPDATE SKIP LOCKED),
  back AS (
    UPDATE reeve.job j SET state = 'available', worker_id = NULL, lease_id = NULL, rescued = j.rescued + 1
    FROM orphan o WHERE j.id = o.id AND j.state = 'running' RETURNING j.tenant_id)
  SELECT array_agg(b.tenant_id) INTO v_tenants FROM back b;
  IF v_tenants IS NULL THEN RETURN 0; END IF;
  PERFORM reeve.count_down(v_tenants);
  RETURN cardinality(v_tenants);
END $$;
