-- The way out: every transition is guarded by the lease id (fencing). Lock order: jobs by id, counters by key.

-- Gives back what ended: one update of the counters, locked in key order.
CREATE FUNCTION reeve.count_down(p_tenants uuid[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
  UPDATE reeve.tenant_counter c SET running = c.running - l.n
  FROM (SELECT k.tenant_id, n.n FROM (SELECT u AS tenant_id, count(*)::int AS n FROM unnest(p_tenants) u GROUP BY 1) n
        JOIN reeve.tenant_counter k ON k.tenant_id = n.tenant_id ORDER BY k.tenant_id FOR UPDATE OF k) l
  WHERE c.tenant_id = l.tenant_id;
END $$;

-- Completes jobs that succeeded, each if its lease is still current. Answers only for the others: 'busy' (locked by another
-- transaction: try again) or 'lost' (the lease is not current). One that this lease completed before counts as done, so a lost
-- acknowledgement is simply sent again.
CREATE FUNCTION reeve.complete(p_ids bigint[], p_leases uuid[], p_results jsonb[]) RETURNS TABLE (id bigint, verdict text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
#variable_conflict use_column
DECLARE v_tenants uuid[]; v_done bigint[];
BEGIN
  -- With hash and merge joins off, the join is a walk over the primary key (a hash join over the whole table halved the rate).
  WITH mine AS MATERIALIZED (
    SELECT j.id, u.result FROM unnest(p_ids, p_leases, p_results) AS u (id, lease_id, result)
    JOIN reeve.job j ON j.id = u.id AND j.lease_id = u.lease_id                              -- a lease id means running (CHECK)
    ORDER BY j.id FOR UPDATE OF j SKIP LOCKED),
  gone AS (DELETE FROM reeve.job j USING mine m WHERE j.id = m.id RETURNING j.*, m.result),
  kept AS (
    INSERT INTO reeve.job_history (id, tenant_id, pool, queue, kind, state, priority, attempt, max_attempts, run_at, created_at, started_at,
                                   worker_id, lease_id, retried_from, created_by, traceparent, last_error, args, result)
    SELECT g.id, g.tenant_id, g.pool, g.queue, g.kind, 'succeeded', g.priority, g.attempt, g.max_attempts, g.run_at, g.created_at, g.started_at,
           g.worker_id, g.lease_id, g.retried_from, g.created_by, g.traceparent, g.last_error, g.args, g.result
    FROM gone g)
  SELECT array_agg(g.tenant_id), array_agg(g.id) INTO v_tenants, v_done FROM gone g;
  IF v_done IS NOT NULL THEN PERFORM reeve.count_down(v_tenants); END IF;
  IF coalesce(cardinality(v_done), 0) < cardinality(p_ids) THEN
    RETURN QUERY
    SELECT u.id, CASE WHEN EXISTS (SELECT FROM reeve.job j WHERE j.id = u.id AND j.lease_id = u.lease_id) THEN 'busy' ELSE 'lost' END
    FROM unnest(p_ids, p_leases) AS u (id, lease_id)
    WHERE u.id <> ALL (coalesce(v_done, '{}')) AND NOT reeve.ended_by(u.id, u.lease_id);
  END IF;
END $$;

-- Whether this lease already ended this job: what a repeated acknowledgement asks.
CREATE FUNCTION reeve.ended_by(p_id bigint, p_lease uuid) RETURNS boolean LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT EXISTS (SELECT FROM reeve.job_history h WHERE h.id = p_id AND h.lease_id = p_lease)
      OR EXISTS (SELECT FROM reeve.dead_letter d WHERE d.id = p_id AND d.lease_id = p_lease)
$$;

-- Moves a locked job to the history as cancelled. The caller holds the row's lock.
CREATE FUNCTION reeve.end_cancelled(p_id bigint, p_reason text) RETURNS void LANGUAGE plpgsql SET search_path = reeve, pg_temp AS $$
BEGIN
  WITH gone AS (DELETE FROM reeve.job j WHERE j.id = p_id RETURNING j.*)
  INSERT INTO reeve.job_history (id, tenant_id, pool, queue, kind, state, priority, attempt, max_attempts, run_at, created_at, started_at,
                                 worker_id, lease_id, retried_from, created_by, traceparent, last_error, args, result)
  SELECT g.id, g.tenant_id, g.pool, g.queue, g.kind, 'cancelled', g.priority, g.attempt, g.max_attempts, g.run_at, g.created_at, g.started_at,
         g.worker_id, g.lease_id, g.retried_from, g.created_by, g.traceparent, coalesce(left(p_reason, 2000), g.last_error), g.args, NULL
  FROM gone g;
  DELETE FROM reeve.cancel_request c WHERE c.job_id = p_id;
END $$;

-- Moves a locked job to the dead letters. The caller holds the row's lock.
CREATE FUNCTION reeve.end_dead(p_id bigint, p_reason text, p_error text) RETURNS void LANGUAGE plpgsql SET search_path = reeve, pg_temp AS $$
BEGIN
  WITH gone AS (DELETE FROM reeve.job j WHERE j.id = p_id RETURNING j.*)
  INSERT INTO reeve.dead_letter (id, tenant_id, pool, queue, kind, priority, attempt, max_attempts, run_at, created_at, started_at,
                                 worker_id, lease_id, retried_from, created_by, traceparent, last_error, args, reason)
  SELECT g.id, g.tenant_id, g.pool, g.queue, g.kind, g.priority, g.attempt, g.max_attempts, g.run_at, g.created_at, g.started_at,
         g.worker_id, g.lease_id, g.retried_from, g.created_by, g.traceparent, coalesce(left(p_error, 2000), g.last_error), g.args, left(p_reason, 200)
  FROM gone g;
  DELETE FROM reeve.cancel_request c WHERE c.job_id = p_id;
END $$;

-- Ends attempts in every way but plain success. Items: {id, lease, outcome, delay_ms, reason, error, result, artifacts, refused};
-- outcomes: finish (with artifacts), retry, snooze, hold, release, cancel, dead. `refused` also counts a refused validation.
-- Answers like complete(). Attempts that did not count give theirs back: snooze, hold, release.
CREATE FUNCTION reeve.settle(p_items jsonb) RETURNS TABLE (id bigint, verdict text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
DECLARE
  v record; v_job record; v_tenants uuid[] := '{}'; v_now timestamptz := reeve.clock(); v_run_at timestamptz; v_status reeve.tenant_status;
BEGIN
  FOR v IN SELECT x.* FROM jsonb_to_recordset(p_items) AS x (id bigint, lease uuid, outcome text, delay_ms bigint, reason text, error text,
      result jsonb, artifacts jsonb, refused boolean) ORDER BY x.id LOOP
    SELECT j.tenant_id, j.kind, j.pool, j.attempt, j.rescued, j.max_attempts INTO v_job FROM reeve.job j
    WHERE j.id = v.id AND j.state = 'running' AND j.lease_id = v.lease FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
      IF NOT reeve.ended_by(v.id, v.lease) THEN
        id := v.id;
        verdict := CASE WHEN EXISTS (SELECT FROM reeve.job j WHERE j.id = v.id AND j.lease_id = v.lease) THEN 'busy' ELSE 'lost' END;
        RETURN NEXT;
      END IF;
      CONTINUE;
    END IF;
    v_tenants := v_tenants || v_job.tenant_id;
    v_run_at := v_now + coalesce(v.delay_ms, 0) * interval '1 ms';
    IF v.refused THEN
      INSERT INTO reeve.refusal AS r (tenant_id, kind, reason, minute) VALUES (v_job.tenant_id, v_job.kind, left(v.reason, 200), date_trunc('minute', v_now))
      ON CONFLICT (minute, tenant_id, kind, reason) DO UPDATE SET count = r.count + 1;
    END IF;
    CASE v.outcome
      WHEN 'finish' THEN
        INSERT INTO reeve.artifact (id, job_id, tenant_id, entity, key, bytes, sha256, manifest, expires_at)
        SELECT a.id, v.id, v_job.tenant_id, a.entity, a.key, a.bytes, a.sha256, a.manifest, v_now + a.kept_ms * interval '1 ms'
        FROM jsonb_to_recordset(coalesce(v.artifacts, '[]')) AS a (id uuid, entity text, key text, bytes bigint, sha256 text, manifest jsonb, kept_ms bigint);
        WITH gone AS (DELETE FROM reeve.job j WHERE j.id = v.id RETURNING j.*)
        INSERT INTO reeve.job_history (id, tenant_id, pool, queue, kind, state, priority, attempt, max_attempts, run_at, created_at, started_at,
                                       worker_id, lease_id, retried_from, created_by, traceparent, last_error, args, result)
        SELECT g.id, g.tenant_id, g.pool, g.queue, g.kind, 'succeeded', g.priority, g.attempt, g.max_attempts, g.run_at, g.created_at, g.started_at,
               g.worker_id, g.lease_id, g.retried_from, g.created_by, g.traceparent, g.last_error, g.args, v.result FROM gone g;
      WHEN 'cancel' THEN PERFORM reeve.end_cancelled(v.id, v.reason);
      WHEN 'dead' THEN PERFORM reeve.end_dead(v.id, v.reason, v.error);
      WHEN 'retry' THEN
        IF v_job.attempt - v_job.rescued >= v_job.max_attempts THEN
          PERFORM reeve.end_dead(v.id, 'attempts exhausted', v.error);
        ELSE
          UPDATE reeve.job j SET state = 'scheduled', worker_id = NULL, lease_id = NULL, run_at = v_run_at, last_error = left(v.error, 2000) WHERE j.id = v.id;
        END IF;
      WHEN 'snooze' THEN
        UPDATE reeve.job j SET state = 'scheduled', worker_id = NULL, lease_id = NULL, attempt = j.attempt - 1, run_at = v_run_at WHERE j.id = v.id;
      WHEN 'hold' THEN
        UPDATE reeve.job j SET state = 'scheduled', worker_id = NULL, lease_id = NULL, attempt = j.attempt - 1, hold_reason = left(v.reason, 200),
          run_at = CASE WHEN v.delay_ms IS NULL THEN 'infinity' ELSE v_run_at END WHERE j.id = v.id;
      WHEN 'release' THEN
        UPDATE reeve.job j SET state = 'available', worker_id = NULL, lease_id = NULL, attempt = j.attempt - 1 WHERE j.id = v.id;
        PERFORM reeve.wake(ARRAY[v_job.pool]);
      ELSE RAISE EXCEPTION 'unknown outcome "%"', v.outcome USING ERRCODE = '22023';
    END CASE;
  END LOOP;
  IF cardinality(v_tenants) > 0 THEN PERFORM reeve.count_down(v_tenants); END IF;
END $$;

-- Records progress; false when the lease is not current.
CREATE FUNCTION reeve.record_progress(p_id bigint, p_lease uuid, p_progress jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  UPDATE reeve.job j SET progress = p_progress WHERE j.id = p_id AND j.state = 'running' AND j.lease_id = p_lease;
  RETURN FOUND;
END $$;

-- Records a finished step; false when the lease is not current. The job's row is locked, so that a successor cannot start between.
CREATE FUNCTION reeve.record_step(p_id bigint, p_lease uuid, p_name text, p_result jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  PERFORM 1 FROM reeve.job j WHERE j.id = p_id AND j.state = 'running' AND j.lease_id = p_lease FOR SHARE;
  IF NOT FOUND THEN RETURN false; END IF;
  INSERT INTO reeve.job_step (job_id, name, result, lease_id) VALUES (p_id, p_name, p_result, p_lease)
  ON CONFLICT (job_id, name) DO NOTHING;
  RETURN true;
END $$;

CREATE FUNCTION reeve.step_result(p_id bigint, p_name text) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS
  $$ SELECT s.result FROM reeve.job_step s WHERE s.job_id = p_id AND s.name = p_name $$;
