-- One order of locks in every function: workers, jobs by id, tiers, tenants by id, counters by key, refusals by key. Each change
-- below ends a deadlock that was provoked.

-- As before, but one worker for each call: the jobs of a second one would be locked after the counters of the first.
CREATE OR REPLACE FUNCTION reeve.rescue_expired() RETURNS TABLE (worker_id uuid, jobs int)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
DECLARE v_now timestamptz := reeve.clock();
BEGIN
  SELECT w.id INTO worker_id FROM reeve.worker w
  WHERE w.state IN ('alive', 'stopping') AND w.lease_until < v_now AND pg_postmaster_start_time() + w.lease < v_now
  ORDER BY w.id LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN RETURN; END IF;
  jobs := reeve.rescue(worker_id);
  RETURN NEXT;
END $$;

-- As before, but refusals are counted once, at the end and in key order.
-- Ends attempts in every way but plain success. Items: {id, lease, outcome, delay_ms, reason, error, result, artifacts, refused};
-- outcomes: finish (with artifacts), retry, snooze, wait, hold, release, cancel, dead. `refused` also counts a refused validation.
-- Answers like complete(). Attempts that did not count give theirs back: snooze, hold, release. A suspect that ended an attempt,
-- other than by `release` or by having to wait for another suspect (`wait`), crashed nothing: it is none any more.
CREATE OR REPLACE FUNCTION reeve.settle(p_items jsonb) RETURNS TABLE (id bigint, verdict text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
DECLARE
  v_refused jsonb := '[]';
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
    IF v.refused THEN v_refused := v_refused || jsonb_build_object('tenant_id', v_job.tenant_id, 'kind', v_job.kind, 'reason', left(v.reason, 200)); END IF;
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
          UPDATE reeve.job j SET state = 'scheduled', worker_id = NULL, lease_id = NULL, suspect_of = NULL, strikes = 0, struck_by = NULL, run_at = v_run_at, last_error = left(v.error, 2000) WHERE j.id = v.id;
        END IF;
      WHEN 'snooze' THEN
        UPDATE reeve.job j SET state = 'scheduled', worker_id = NULL, lease_id = NULL, suspect_of = NULL, strikes = 0, struck_by = NULL,
          attempt = j.attempt - 1, run_at = v_run_at WHERE j.id = v.id;
      WHEN 'wait' THEN
        UPDATE reeve.job j SET state = 'scheduled', worker_id = NULL, lease_id = NULL, attempt = j.attempt - 1, run_at = v_run_at WHERE j.id = v.id;
      WHEN 'hold' THEN
        UPDATE reeve.job j SET state = 'scheduled', worker_id = NULL, lease_id = NULL, suspect_of = NULL, strikes = 0, struck_by = NULL,
          attempt = j.attempt - 1, hold_reason = left(v.reason, 200),
          run_at = CASE WHEN v.delay_ms IS NULL THEN 'infinity' ELSE v_run_at END WHERE j.id = v.id;
      WHEN 'release' THEN
        UPDATE reeve.job j SET state = 'available', worker_id = NULL, lease_id = NULL, attempt = j.attempt - 1 WHERE j.id = v.id;
        PERFORM reeve.wake(ARRAY[v_job.pool]);
      ELSE RAISE EXCEPTION 'unknown outcome "%"', v.outcome USING ERRCODE = '22023';
    END CASE;
  END LOOP;
  IF cardinality(v_tenants) > 0 THEN PERFORM reeve.count_down(v_tenants); END IF;
  IF v_refused <> '[]' THEN
    INSERT INTO reeve.refusal AS r (tenant_id, kind, reason, minute, count)
    SELECT x.tenant_id, x.kind, x.reason, date_trunc('minute', v_now), count(*) FROM jsonb_to_recordset(v_refused) AS x (tenant_id uuid, kind text, reason text)
    GROUP BY x.tenant_id, x.kind, x.reason ORDER BY x.tenant_id, x.kind, x.reason
    ON CONFLICT (minute, tenant_id, kind, reason) DO UPDATE SET count = r.count + excluded.count;
  END IF;
END $$;

-- As before, but tenants are locked before their counters, as by those who change one tenant.
CREATE OR REPLACE FUNCTION reeve.tier_follow() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  PERFORM 1 FROM reeve.tenant t WHERE t.tier = NEW.name ORDER BY t.id FOR NO KEY UPDATE;
  UPDATE reeve.tenant t SET version = t.version WHERE t.tier = NEW.name;  -- features are part of what a claim knows
  PERFORM reeve.tend_caps();
  RETURN NULL;
END $$;

-- Gives every counter the cap that its tenant's tier and overrides say. A change of a tier and one of a tenant that commit side
-- by side cannot see each other, so housekeeping asks again. Returns how many differed.
CREATE FUNCTION reeve.tend_caps() RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_count int;
BEGIN
  UPDATE reeve.tenant_counter c SET cap = l.cap
  FROM (SELECT k.tenant_id, coalesce((t.overrides ->> 'concurrency')::int, r.concurrency) AS cap
        FROM reeve.tenant_counter k JOIN reeve.tenant t ON t.id = k.tenant_id JOIN reeve.tier r ON r.name = t.tier
        WHERE k.cap <> coalesce((t.overrides ->> 'concurrency')::int, r.concurrency) ORDER BY k.tenant_id FOR UPDATE OF k) l
  WHERE c.tenant_id = l.tenant_id AND c.cap <> l.cap;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;
GRANT EXECUTE ON FUNCTION reeve.tend_caps() TO reeve_worker;

-- As before, but one change for each call: two would lock counters in the order of their ids' changes. Housekeeping moves the jobs.
CREATE OR REPLACE FUNCTION reeve.tend_tier_changes() RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_was text;
BEGIN
  FOR v IN SELECT c.id, c.tenant_id, c.tier, c.reason, c.actor FROM reeve.tier_change c
      WHERE c.applied_at IS NULL AND c.withdrawn_at IS NULL AND c.due_at <= reeve.clock() ORDER BY c.id LIMIT 100 LOOP
    SELECT t.tier INTO v_was FROM reeve.tenant t WHERE t.id = v.tenant_id FOR NO KEY UPDATE SKIP LOCKED;
    CONTINUE WHEN NOT FOUND;
    UPDATE reeve.tier_change c SET applied_at = reeve.clock() WHERE c.id = v.id AND c.applied_at IS NULL AND c.withdrawn_at IS NULL;
    CONTINUE WHEN NOT FOUND;
    PERFORM set_config('reeve.actor', v.actor, true);
    UPDATE reeve.tenant t SET tier = v.tier WHERE t.id = v.tenant_id;
    PERFORM reeve.audit(v.tenant_id, 'tenant.tier', 'tenant ' || (SELECT t.code FROM reeve.tenant t WHERE t.id = v.tenant_id), v.reason,
      jsonb_build_object('was', v_was, 'became', v.tier, 'planned', true));
    PERFORM set_config('reeve.actor', '', true);
    RETURN 1;
  END LOOP;
  RETURN 0;
END $$;
