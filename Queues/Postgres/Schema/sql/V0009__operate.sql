-- What operators and enqueuers do with jobs, queues and tenants. Everything that changes something is audited here.

CREATE FUNCTION reeve.is_operator() RETURNS boolean LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS
  $$ SELECT pg_has_role(session_user, 'reeve_operator', 'MEMBER') OR pg_has_role(session_user, 'reeve_owner', 'MEMBER') $$;

-- The patterns' form is checked by the table; this only words the refusal.
CREATE FUNCTION reeve.check_pattern(pattern text) RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = reeve, pg_temp AS $$
BEGIN
  IF pattern IS NULL OR pattern !~ '^(\*|[a-z0-9][a-z0-9-]*)\.(\*|[a-z0-9][a-z0-9-]*)$' THEN
    RAISE EXCEPTION '"%" is not a queue pattern', left(coalesce(pattern, ''), 120) USING ERRCODE = 'RV002', HINT = 'Use acme.reports, acme.*, *.backups or *.*';
  END IF;
END $$;

-- Cancels a job. One that waits is cancelled at once ('cancelled'); one that runs is asked to stop ('requested'): its own end
-- wins if it comes first. Locks no running job and no counter. Enqueuers may cancel what they enqueued.
CREATE FUNCTION reeve.cancel(id bigint) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v record;
BEGIN
  SELECT j.tenant_id, j.kind, j.queue, j.created_by INTO v FROM reeve.job j WHERE j.id = cancel.id;
  IF NOT FOUND THEN
    IF EXISTS (SELECT FROM reeve.job_history h WHERE h.id = cancel.id) OR EXISTS (SELECT FROM reeve.dead_letter d WHERE d.id = cancel.id) THEN
      RAISE EXCEPTION 'job % has ended', cancel.id USING ERRCODE = 'RV012', HINT = 'What has ended cannot be cancelled; see: reeve jobs show ' || cancel.id;
    END IF;
    RAISE EXCEPTION 'there is no job %', cancel.id USING ERRCODE = 'RV011';
  END IF;
  IF v.created_by <> session_user AND NOT reeve.is_operator() THEN
    RAISE EXCEPTION 'job % was enqueued by another login', cancel.id USING ERRCODE = '42501', HINT = 'Ask an operator (role reeve_operator).';
  END IF;
  PERFORM reeve.audit(v.tenant_id, 'job.cancel', 'job ' || cancel.id, NULL, jsonb_build_object('kind', v.kind, 'queue', v.queue));
  PERFORM 1 FROM reeve.job j WHERE j.id = cancel.id AND j.state <> 'running' FOR UPDATE SKIP LOCKED;
  IF FOUND THEN
    PERFORM reeve.end_cancelled(cancel.id, 'cancelled by ' || reeve.actor());
    RETURN 'cancelled';
  END IF;
  INSERT INTO reeve.cancel_request (job_id) VALUES (cancel.id) ON CONFLICT DO NOTHING;
  PERFORM pg_notify('reeve_cancel', '');
  RETURN 'requested';
END $$;

-- Tries a job again: one that waits for its next attempt runs at once (same id); one that ended runs as a new job with
-- retried_from. Returns the id that will run.
CREATE FUNCTION reeve.retry(id bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v record; v_id bigint; v_tenant record;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may retry jobs' USING ERRCODE = '42501'; END IF;
  UPDATE reeve.job j SET run_at = reeve.clock() WHERE j.id = retry.id AND j.state = 'scheduled' AND j.hold_reason IS NULL RETURNING j.tenant_id, j.kind INTO v;
  IF FOUND THEN
    PERFORM reeve.audit(v.tenant_id, 'job.retry', 'job ' || retry.id, NULL, jsonb_build_object('kind', v.kind));
    RETURN retry.id;
  END IF;
  IF EXISTS (SELECT FROM reeve.job j WHERE j.id = retry.id) THEN
    RAISE EXCEPTION 'job % has not ended', retry.id USING ERRCODE = 'RV012', HINT = 'See why it waits: reeve jobs show ' || retry.id;
  END IF;
  SELECT d.tenant_id, d.queue, d.kind, d.priority, d.max_attempts, d.traceparent, d.args, d.redriven_as INTO v FROM reeve.dead_letter d WHERE d.id = retry.id FOR UPDATE;
  IF NOT FOUND THEN
    SELECT h.tenant_id, h.queue, h.kind, h.priority, h.max_attempts, h.traceparent, h.args, NULL::bigint AS redriven_as INTO v FROM reeve.job_history h WHERE h.id = retry.id LIMIT 1;
    IF NOT FOUND THEN RAISE EXCEPTION 'there is no job %', retry.id USING ERRCODE = 'RV011'; END IF;
  END IF;
  IF v.redriven_as IS NOT NULL THEN
    RAISE EXCEPTION 'job % was retried as job %', retry.id, v.redriven_as USING ERRCODE = 'RV012', HINT = 'Retry that one, if it failed too.';
  END IF;
  SELECT t.tier, t.status INTO v_tenant FROM reeve.tenant t WHERE t.id = v.tenant_id;
  IF v_tenant.status = 'archived' THEN RAISE EXCEPTION 'the tenant of job % is archived', retry.id USING ERRCODE = 'RV009'; END IF;
  v_id := nextval('reeve.job_id');
  INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, priority, max_attempts, run_at, created_by, traceparent, args, retried_from)
  VALUES (v_id, v.tenant_id, v_tenant.tier, v.queue, v.kind, 'available', v.priority, v.max_attempts, reeve.clock(), session_user, v.traceparent, v.args, retry.id);
  UPDATE reeve.dead_letter d SET redriven_as = v_id WHERE d.id = retry.id;
  PERFORM reeve.audit(v.tenant_id, 'job.retry', 'job ' || retry.id, NULL, jsonb_build_object('kind', v.kind, 'as', v_id));
  PERFORM reeve.wake(ARRAY[v_tenant.tier]);
  RETURN v_id;
END $$;

-- Writes the new block version into the counter rows of the matched tenants: waits for claims in flight, so that once this
-- commits nothing more starts on those queues (design section 4, pause and drain).
CREATE FUNCTION reeve.touch_counters(pattern text) RETURNS int LANGUAGE plpgsql SET search_path = reeve, pg_temp AS $$
DECLARE v_count int; v_code text := split_part(pattern, '.', 1);
BEGIN
  UPDATE reeve.tenant_counter c SET block_version = c.block_version + 1
  FROM (SELECT k.tenant_id FROM reeve.tenant_counter k JOIN reeve.tenant t ON t.id = k.tenant_id
        WHERE v_code = '*' OR t.code = v_code COLLATE "C" ORDER BY k.tenant_id FOR UPDATE OF k) l
  WHERE c.tenant_id = l.tenant_id;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

-- Stops claiming from the queues that match; what runs goes on, new jobs are accepted and wait.
CREATE FUNCTION reeve.pause(pattern text, reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  PERFORM reeve.check_pattern(pattern);
  IF reason IS NULL OR btrim(reason) = '' THEN RAISE EXCEPTION 'a pause needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why, for those who find the queue standing.'; END IF;
  INSERT INTO reeve.queue_block AS b (pattern, mode, reason) VALUES (pattern, 'pause', reason)
  ON CONFLICT ON CONSTRAINT queue_block_pkey DO UPDATE SET reason = excluded.reason, actor = excluded.actor, since = excluded.since WHERE b.mode = 'pause';
  IF NOT FOUND THEN RAISE EXCEPTION '"%" is draining', pattern USING ERRCODE = 'RV012', HINT = 'Resume it first.'; END IF;
  PERFORM reeve.touch_counters(pattern);
  PERFORM reeve.audit((SELECT t.id FROM reeve.tenant t WHERE t.code = split_part(pattern, '.', 1) COLLATE "C"), 'queue.pause', 'queue ' || pattern, reason);
END $$;

-- Lets the queues of this pattern run again; the pattern must be one that was paused or drained.
CREATE FUNCTION reeve.resume(pattern text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  PERFORM reeve.check_pattern(pattern);
  DELETE FROM reeve.queue_block b WHERE b.pattern = resume.pattern;
  IF NOT FOUND THEN
    RAISE EXCEPTION '"%" is not paused', pattern USING ERRCODE = 'RV011', HINT = coalesce('Paused: ' || (SELECT string_agg(b.pattern, ', ' ORDER BY b.pattern) FROM reeve.queue_block b), 'Nothing is paused.');
  END IF;
  PERFORM reeve.touch_counters(pattern);
  PERFORM reeve.audit((SELECT t.id FROM reeve.tenant t WHERE t.code = split_part(pattern, '.', 1) COLLATE "C"), 'queue.resume', 'queue ' || pattern);
  PERFORM reeve.wake(ARRAY(SELECT DISTINCT i.pool FROM reeve.idle_pool i));
END $$;

-- A job's state, attempt, progress, error and artifacts; NULL when there is none with this id. Never the arguments.
CREATE FUNCTION reeve.job(id bigint) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT jsonb_build_object('id', j.id, 'tenant', t.code, 'queue', j.queue, 'kind', j.kind, 'state', j.state, 'hold_reason', j.hold_reason,
      'attempt', j.attempt, 'max_attempts', j.max_attempts, 'priority', j.priority, 'run_at', j.run_at, 'created_at', j.created_at, 'started_at', j.started_at,
      'finished_at', j.finished_at, 'worker_id', j.worker_id, 'lease_id', j.lease_id, 'retried_from', j.retried_from, 'retried_as', j.retried_as,
      'progress', j.progress, 'error', j.error, 'reason', j.reason, 'result', j.result,
      'steps', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', s.name, 'finished_at', s.finished_at) ORDER BY s.finished_at), '[]') FROM reeve.job_step s WHERE s.job_id = j.id),
      'artifacts', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', a.id, 'entity', a.entity, 'key', a.key, 'bytes', a.bytes, 'sha256', a.sha256,
          'created_at', a.created_at, 'expires_at', a.expires_at) ORDER BY a.created_at), '[]') FROM reeve.artifact a WHERE a.job_id = j.id))
  FROM (
    SELECT j.id, j.tenant_id, j.queue, j.kind, j.state, j.hold_reason, j.attempt, j.max_attempts, j.priority, j.run_at, j.created_at, j.started_at, NULL::timestamptz AS finished_at,
           j.worker_id, j.lease_id, j.retried_from, NULL::bigint AS retried_as, j.progress, j.last_error AS error, NULL::text AS reason, NULL::jsonb AS result
    FROM reeve.job j WHERE j.id = job.id
    UNION ALL
    SELECT h.id, h.tenant_id, h.queue, h.kind, h.state, NULL, h.attempt, h.max_attempts, h.priority, h.run_at, h.created_at, h.started_at, h.finished_at,
           h.worker_id, h.lease_id, h.retried_from, NULL, NULL, h.last_error, NULL, h.result
    FROM reeve.job_history h WHERE h.id = job.id
    UNION ALL
    SELECT d.id, d.tenant_id, d.queue, d.kind, d.state, NULL, d.attempt, d.max_attempts, d.priority, d.run_at, d.created_at, d.started_at, d.finished_at,
           d.worker_id, d.lease_id, d.retried_from, d.redriven_as, NULL, d.last_error, d.reason, NULL
    FROM reeve.dead_letter d WHERE d.id = job.id) j
  LEFT JOIN reeve.tenant t ON t.id = j.tenant_id
  WHERE reeve.is_operator() OR pg_has_role(session_user, 'reeve_viewer', 'MEMBER') OR pg_has_role(session_user, 'reeve_worker', 'MEMBER')
     OR NOT EXISTS (SELECT FROM reeve.tenant_login l WHERE l.login = session_user AND l.tenant_id <> j.tenant_id)
$$;

-- Why a job is not running, in one sentence.
CREATE FUNCTION reeve.explain(id bigint) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v record; v_tenant record; v_block record; v_count record; v_ahead bigint; v_job jsonb;
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
    RETURN format('it is held: %s%s', replace(v.hold_reason, '_', ' '), CASE WHEN v.run_at = 'infinity' THEN '' ELSE ' until ' || to_char(v.run_at, 'YYYY-MM-DD HH24:MI:SS') END);
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

-- Changes a tenant's status (design section 2); the change, its time and its reason are kept.
CREATE FUNCTION reeve.set_tenant_status(code text, status reeve.tenant_status, reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v record;
BEGIN
  SELECT t.id, t.status INTO v FROM reeve.tenant t WHERE t.code = set_tenant_status.code COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(code, 80) USING ERRCODE = 'RV001'; END IF;
  IF v.status = status THEN RETURN; END IF;
  IF NOT (CASE v.status WHEN 'trial' THEN status IN ('active', 'suspended', 'churned') WHEN 'active' THEN status IN ('suspended', 'churned')
      WHEN 'suspended' THEN status IN ('trial', 'active', 'churned') WHEN 'churned' THEN status IN ('active', 'archived') ELSE false END) THEN
    RAISE EXCEPTION 'a tenant cannot go from % to %', v.status, status USING ERRCODE = 'RV012';
  END IF;
  PERFORM set_config('reeve.reason', coalesce(reason, ''), true);
  UPDATE reeve.tenant t SET status = set_tenant_status.status WHERE t.id = v.id;
  PERFORM reeve.audit(v.id, 'tenant.status', 'tenant ' || code, reason, jsonb_build_object('was', v.status, 'became', status));
END $$;

-- Moves a tenant to another tier: its cap binds the next claim, its ready jobs move to the new pool.
CREATE FUNCTION reeve.set_tenant_tier(code text, tier text, reason text DEFAULT NULL) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v record;
BEGIN
  SELECT t.id, t.tier INTO v FROM reeve.tenant t WHERE t.code = set_tenant_tier.code COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(code, 80) USING ERRCODE = 'RV001'; END IF;
  IF NOT EXISTS (SELECT FROM reeve.tier r WHERE r.name = set_tenant_tier.tier) THEN
    RAISE EXCEPTION 'tier "%" is unknown', left(tier, 80) USING ERRCODE = 'RV010', HINT = 'Tiers: ' || (SELECT string_agg(r.name, ', ' ORDER BY r.concurrency) FROM reeve.tier r);
  END IF;
  UPDATE reeve.tenant t SET tier = set_tenant_tier.tier WHERE t.id = v.id;
  PERFORM reeve.audit(v.id, 'tenant.tier', 'tenant ' || code, reason, jsonb_build_object('was', v.tier, 'became', tier));
  RETURN reeve.move_pools(10000);
END $$;
