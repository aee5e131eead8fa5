-- A batch's jobs come in no order of tenants: in the order of their ids they would run ahead of the claim's own turn through them.
CREATE OR REPLACE FUNCTION reeve.make_batch(p_kind text, p_queue text, p_args jsonb, p_priority int, p_selection jsonb, p_tenants uuid[], p_spread interval, p_max_running int, p_on_finish jsonb,
  p_from timestamptz, p_jitter interval, p_schedule bigint, p_tick timestamptz, p_retried_from bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v_id bigint;
BEGIN
  INSERT INTO reeve.batch (kind, queue, args, priority, selection, spread, max_running, on_finish, total, schedule_id, tick, retried_from, next_at)
  VALUES (p_kind, p_queue, p_args, p_priority, p_selection, p_spread, p_max_running, p_on_finish, cardinality(p_tenants), p_schedule, p_tick, p_retried_from, p_from)
  RETURNING id INTO v_id;
  INSERT INTO reeve.batch_item (batch_id, tenant_id, run_at)
  SELECT v_id, t, p_from + CASE WHEN p_spread > '0' THEN p_spread ELSE '-100 ms' END * reeve.share_of(coalesce(p_schedule, v_id) || ' ' || t) + p_jitter * reeve.share_of(extract(epoch FROM coalesce(p_tick, p_from)) || ' ' || t) FROM unnest(p_tenants) t;
  RETURN v_id;
END $$;
