-- Circuits (design sections 4 and 5): a worker that finds a tenant's database down says so here, for operators and for explain();
-- each worker keeps its own breaker, so that one worker's broken network stops nobody else. Jobs wait with hold_reason
-- 'circuit_open', at no cost of attempts, until the next try is due or the database is back.
CREATE TABLE reeve.circuit (
  server text NOT NULL,
  database text NOT NULL,
  failures int NOT NULL CHECK (failures >= 1),
  error text NOT NULL,
  opened_at timestamptz NOT NULL DEFAULT reeve.clock(),
  retry_at timestamptz NOT NULL,
  PRIMARY KEY (server, database)
);

CREATE FUNCTION reeve.open_circuit(p_server text, p_database text, p_failures int, p_retry_ms bigint, p_error text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_now timestamptz := reeve.clock();
BEGIN
  INSERT INTO reeve.circuit AS c (server, database, failures, error, retry_at)
  VALUES (left(p_server, 63), left(p_database, 63), p_failures, left(p_error, 500), v_now + p_retry_ms * interval '1 ms')
  ON CONFLICT (server, database) DO UPDATE SET failures = excluded.failures, error = excluded.error, retry_at = greatest(c.retry_at, excluded.retry_at),
    opened_at = CASE WHEN c.retry_at < v_now - interval '10 min' THEN v_now ELSE c.opened_at END;
END $$;

-- The database answers again: what waits for it may run. Returns how many jobs.
CREATE FUNCTION reeve.close_circuit(p_server text, p_database text) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_count int;
BEGIN
  DELETE FROM reeve.circuit c WHERE c.server = p_server AND c.database = p_database;
  UPDATE reeve.job j SET run_at = reeve.clock()
  FROM (SELECT h.id FROM reeve.tenant_store s JOIN reeve.job h ON h.tenant_id = s.tenant_id
        WHERE s.server = p_server AND s.database = p_database AND h.state = 'scheduled' AND h.hold_reason = 'circuit_open'
        ORDER BY h.id FOR UPDATE OF h SKIP LOCKED) f
  WHERE j.id = f.id AND j.state = 'scheduled';
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

-- A row whose next try is long over was left by a worker that is gone.
CREATE VIEW reeve.circuit_list WITH (security_barrier) AS
  SELECT c.server, c.database, c.failures, c.error, c.opened_at, c.retry_at,
         (SELECT count(*) FROM reeve.tenant_store s JOIN reeve.job j ON j.tenant_id = s.tenant_id AND j.state = 'scheduled' AND j.hold_reason = 'circuit_open'
          WHERE s.server = c.server AND s.database = c.database) AS held
  FROM reeve.circuit c WHERE c.retry_at > reeve.clock() - interval '10 min';

GRANT EXECUTE ON FUNCTION reeve.open_circuit(text, text, int, bigint, text), reeve.close_circuit(text, text) TO reeve_worker;
GRANT SELECT ON reeve.circuit_list TO reeve_viewer, reeve_operator, reeve_worker;

-- As before, and says which database is down, and that a suspect waits for its turn.
-- Why a job is not running, in one sentence.
CREATE OR REPLACE FUNCTION reeve.explain(id bigint) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v record; v_tenant record; v_block record; v_count record; v_ahead bigint; v_job jsonb; v_why text;
BEGIN
  SELECT j.* INTO v FROM reeve.job j WHERE j.id = explain.id;
  IF NOT FOUND THEN
    v_job := reeve.job(explain.id);
    IF v_job IS NULL THEN RAISE EXCEPTION 'there is no job %', explain.id USING ERRCODE = 'RV011'; END IF;
    RETURN format('job %s %s at %s%s', explain.id, CASE v_job ->> 'state' WHEN 'dead' THEN 'died' WHEN 'cancelled' THEN 'was cancelled' ELSE 'succeeded' END,
      v_job ->> 'finished_at', coalesce(': ' || coalesce(v_job ->> 'reason', v_job ->> 'error'), ''));
  END IF;
  IF EXISTS (SELECT FROM reeve.tenant_login l WHERE l.login = session_user AND l.tenant_id <> v.tenant_id) THEN
    RAISE EXCEPTION 'there is no job %', explain.id USING ERRCODE = 'RV011';
  END IF;
  SELECT t.code, t.status, t.tier INTO v_tenant FROM reeve.tenant t WHERE t.id = v.tenant_id;
  IF v.state = 'running' THEN
    RETURN format('it is running: attempt %s, since %s, on %s', v.attempt, to_char(v.started_at, 'HH24:MI:SS'),
      coalesce((SELECT format('%s (pid %s)', w.node, w.pid) FROM reeve.worker w WHERE w.id = v.worker_id), 'a worker that is gone'));
  END IF;
  IF v.hold_reason IS NOT NULL THEN
    IF v.hold_reason = 'circuit_open' THEN
      SELECT format(': database %s on %s does not answer (%s)', c.database, c.server, c.error) INTO v_why
      FROM reeve.tenant_store s JOIN reeve.circuit c ON c.server = s.server AND c.database = s.database WHERE s.tenant_id = v.tenant_id LIMIT 1;
    END IF;
    RETURN format('it is held: %s%s%s', replace(v.hold_reason, '_', ' '), coalesce(v_why, ''),
      CASE WHEN v.run_at = 'infinity' THEN '' ELSE ' until ' || to_char(v.run_at, 'YYYY-MM-DD HH24:MI:SS') END);
  END IF;
  IF v.suspect_of IS NOT NULL AND v.state = 'scheduled' THEN
    RETURN 'its worker crashed while it ran; such jobs run one at a time in each worker, and it waits for its turn';
  END IF;
  IF v.state = 'scheduled' THEN
    RETURN format('it is scheduled for %s%s', to_char(v.run_at, 'YYYY-MM-DD HH24:MI:SS'),
      CASE WHEN v.attempt > 0 THEN format(', attempt %s of %s, after: %s', v.attempt + 1, v.max_attempts + v.rescued, coalesce(v.last_error, 'a lost attempt')) ELSE '' END);
  END IF;
  SELECT b.pattern, b.mode, b.reason, b.actor INTO v_block FROM reeve.queue_block b WHERE v.queue LIKE b.like_pattern ORDER BY length(b.pattern) DESC LIMIT 1;
  IF FOUND THEN
    RETURN format('%s is %s by %s (%s): %s', v.queue, CASE v_block.mode WHEN 'pause' THEN 'paused' ELSE 'draining' END, v_block.actor, v_block.pattern, v_block.reason);
  END IF;
  IF NOT EXISTS (SELECT FROM reeve.worker w WHERE w.state = 'alive' AND w.lease_until > reeve.clock() AND w.pools ? v.pool) THEN
    RETURN format('no running worker serves the tier "%s"; start one with: reeve worker --tiers %s', v.pool, v.pool);
  END IF;
  IF NOT EXISTS (SELECT FROM reeve.worker w WHERE w.state = 'alive' AND w.lease_until > reeve.clock() AND w.pools ? v.pool
                 AND (w.queues IS NULL OR v.queue LIKE ANY (SELECT replace(q, '*', '%') FROM unnest(w.queues) q))) THEN
    RETURN format('no running worker serves the queue "%s"; start one with: reeve worker --queues %s', v.queue, v.queue);
  END IF;
  SELECT c.running, c.cap INTO v_count FROM reeve.tenant_counter c WHERE c.tenant_id = v.tenant_id;
  IF v_count.running >= v_count.cap THEN
    RETURN format('%s has %s of %s jobs running; the oldest started %s', v_tenant.code, v_count.running, v_count.cap,
      (SELECT to_char(min(j.started_at), 'HH24:MI') FROM reeve.job j WHERE j.state = 'running' AND j.tenant_id = v.tenant_id));
  END IF;
  SELECT count(*) INTO v_ahead FROM (SELECT 1 FROM reeve.job j WHERE j.state = 'available' AND j.pool = v.pool AND j.tenant_id = v.tenant_id AND j.queue = v.queue
    AND (j.priority, j.id) < (v.priority, v.id) LIMIT 10000) n;
  RETURN format('it waits for a free slot of the tier "%s": %s%s jobs of %s are before it, %s has %s of %s running',
    v.pool, v_ahead, CASE WHEN v_ahead = 10000 THEN ' or more' ELSE '' END, v.queue, v_tenant.code, v_count.running, v_count.cap);
END $$;
