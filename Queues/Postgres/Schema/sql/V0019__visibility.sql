-- Who sees what of a job: operators, viewers, approvers and workers all; a tenant's login its tenant's; anybody else what it
-- enqueued itself. To others a job does not exist: ids are easy to guess.
CREATE FUNCTION reeve.may_see(p_tenant uuid, p_created_by text) RETURNS boolean LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT reeve.is_operator() OR EXISTS (SELECT FROM unnest(ARRAY['reeve_viewer', 'reeve_worker', 'reeve_approver']) r WHERE pg_has_role(session_user, r, 'MEMBER'))
    OR CASE WHEN EXISTS (SELECT FROM reeve.tenant_login l WHERE l.login = session_user)
            THEN EXISTS (SELECT FROM reeve.tenant_login l WHERE l.login = session_user AND l.tenant_id = p_tenant)
            ELSE p_created_by = session_user END
$$;

-- As before, by that rule.
-- A job's state, attempt, progress, error and artifacts; NULL when there is none with this id. Never the arguments.
CREATE OR REPLACE FUNCTION reeve.job(id bigint) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT jsonb_build_object('id', j.id, 'tenant', t.code, 'queue', j.queue, 'kind', j.kind, 'state', j.state, 'hold_reason', j.hold_reason,
      'attempt', j.attempt, 'max_attempts', j.max_attempts, 'priority', j.priority, 'run_at', j.run_at, 'created_at', j.created_at, 'started_at', j.started_at,
      'finished_at', j.finished_at, 'worker_id', j.worker_id, 'lease_id', j.lease_id, 'retried_from', j.retried_from, 'retried_as', j.retried_as,
      'progress', j.progress, 'error', j.error, 'reason', j.reason, 'result', j.result,
      'steps', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', s.name, 'finished_at', s.finished_at) ORDER BY s.finished_at), '[]') FROM reeve.job_step s WHERE s.job_id = j.id),
      'artifacts', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', a.id, 'entity', a.entity, 'key', a.key, 'bytes', a.bytes, 'sha256', a.sha256,
          'created_at', a.created_at, 'expires_at', a.expires_at) ORDER BY a.created_at), '[]') FROM reeve.artifact a WHERE a.job_id = j.id))
  FROM (
    SELECT j.id, j.tenant_id, j.created_by, j.queue, j.kind, j.state, j.hold_reason, j.attempt, j.max_attempts, j.priority, j.run_at, j.created_at, j.started_at, NULL::timestamptz AS finished_at,
           j.worker_id, j.lease_id, j.retried_from, NULL::bigint AS retried_as, j.progress, j.last_error AS error, NULL::text AS reason, NULL::jsonb AS result
    FROM reeve.job j WHERE j.id = job.id
    UNION ALL
    SELECT h.id, h.tenant_id, h.created_by, h.queue, h.kind, h.state, NULL, h.attempt, h.max_attempts, h.priority, h.run_at, h.created_at, h.started_at, h.finished_at,
           h.worker_id, h.lease_id, h.retried_from, NULL, NULL, h.last_error, NULL, h.result
    FROM reeve.job_history h WHERE h.id = job.id
    UNION ALL
    SELECT d.id, d.tenant_id, d.created_by, d.queue, d.kind, d.state, NULL, d.attempt, d.max_attempts, d.priority, d.run_at, d.created_at, d.started_at, d.finished_at,
           d.worker_id, d.lease_id, d.retried_from, d.redriven_as, NULL, d.last_error, d.reason, NULL
    FROM reeve.dead_letter d WHERE d.id = job.id) j
  LEFT JOIN reeve.tenant t ON t.id = j.tenant_id
  WHERE reeve.may_see(j.tenant_id, j.created_by)
$$;

-- As before, by that rule; what a server says of itself is for operators.
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
  IF NOT reeve.may_see(v.tenant_id, v.created_by) THEN RAISE EXCEPTION 'there is no job %', explain.id USING ERRCODE = 'RV011'; END IF;
  SELECT t.code, t.status, t.tier INTO v_tenant FROM reeve.tenant t WHERE t.id = v.tenant_id;
  IF v.state = 'running' THEN
    RETURN format('it is running: attempt %s, since %s, on %s', v.attempt, to_char(v.started_at, 'HH24:MI:SS'),
      coalesce((SELECT format('%s (pid %s)', w.node, w.pid) FROM reeve.worker w WHERE w.id = v.worker_id), 'a worker that is gone'));
  END IF;
  IF v.hold_reason IS NOT NULL THEN
    IF v.hold_reason = 'circuit_open' THEN
      SELECT format(': database %s on %s does not answer%s', c.database, c.server, CASE WHEN reeve.is_operator() THEN ' (' || c.error || ')' ELSE '' END) INTO v_why
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
