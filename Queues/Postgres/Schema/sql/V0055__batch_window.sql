-- A batch without a limit of its own keeps eight jobs in the queue for each slot of the fleet, and at least 200; the rest waits in the batch. A hundred
-- thousand tenants with a job each would all have their turn before any tenant's next job.
CREATE FUNCTION reeve.batch_window(p_max_running int) RETURNS int LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT coalesce(p_max_running, greatest(200, 8 * coalesce((SELECT sum(e.value::int) FROM reeve.worker w CROSS JOIN LATERAL jsonb_each_text(w.pools) e WHERE w.state = 'alive'), 0)::int))
$$;

CREATE OR REPLACE FUNCTION reeve.feed_batch(p_batch reeve.batch, p_limit int) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_now timestamptz := reeve.clock(); v_window int := reeve.batch_window(p_batch.max_running); v_room int; v_skip text; v_count int := 0; v_tenants uuid[] := '{}'; v_jobs jsonb[] := '{}';
BEGIN
  v_room := least(p_limit, v_window - (SELECT count(*) FROM (SELECT FROM reeve.batch_item i WHERE i.batch_id = p_batch.id AND i.state = 'enqueued' LIMIT v_window) x));
  FOR v IN SELECT i.tenant_id, t.code FROM reeve.batch_item i LEFT JOIN reeve.tenant t ON t.id = i.tenant_id
      WHERE i.batch_id = p_batch.id AND i.state = 'waiting' AND i.run_at <= v_now ORDER BY i.run_at, i.tenant_id LIMIT greatest(v_room, 0) LOOP
    v_count := v_count + 1;
    IF p_batch.schedule_id IS NOT NULL THEN
      v_skip := reeve.batch_overlap(p_batch, v.tenant_id);
      IF v_skip IS NOT NULL THEN
        UPDATE reeve.batch_item i SET state = 'skipped', ended_at = v_now, error = v_skip WHERE i.batch_id = p_batch.id AND i.tenant_id = v.tenant_id;
        CONTINUE;
      END IF;
    END IF;
    v_tenants := v_tenants || v.tenant_id;
    v_jobs := v_jobs || jsonb_build_object('queue', coalesce(v.code, 'unknown') || '.' || p_batch.queue, 'kind', p_batch.kind, 'args', p_batch.args, 'priority', p_batch.priority, 'tenant', v.tenant_id);
  END LOOP;
  IF v_jobs = '{}' THEN RETURN v_count; END IF;
  WITH tried AS MATERIALIZED (SELECT v_tenants[e.n] AS tenant_id, e.job, e.code, e.problem FROM reeve.enqueue_each(v_jobs) e),
  marked AS (UPDATE reeve.batch_item i
    SET state = CASE WHEN t.job IS NOT NULL THEN 'enqueued' WHEN t.code IN ('RV007', 'RV013') THEN 'waiting' ELSE 'refused' END, job_id = t.job,
      enqueued_at = CASE WHEN t.job IS NOT NULL THEN v_now END, ended_at = CASE WHEN t.job IS NULL AND t.code NOT IN ('RV007', 'RV013') THEN v_now END, error = t.problem,
      run_at = CASE WHEN t.code IN ('RV007', 'RV013') THEN v_now + interval '1 minute' ELSE i.run_at END
    FROM tried t WHERE i.batch_id = p_batch.id AND i.tenant_id = t.tenant_id RETURNING i.job_id)
  SELECT count(*) AS n INTO v FROM marked m;
  UPDATE reeve.job j SET batch_id = p_batch.id FROM reeve.batch_item i WHERE i.batch_id = p_batch.id AND i.tenant_id = ANY (v_tenants) AND i.state = 'enqueued' AND j.id = i.job_id;
  IF p_batch.schedule_id IS NOT NULL THEN
    PERFORM reeve.batch_enqueued(p_batch, i.tenant_id, i.job_id) FROM reeve.batch_item i WHERE i.batch_id = p_batch.id AND i.tenant_id = ANY (v_tenants) AND i.state = 'enqueued';
  END IF;
  RETURN v_count;
END $$;
