-- Upkeep that stays cheap and goes on whatever one row holds.

-- As before, but the clock is read once: as a volatile call in the condition it made every call walk all scheduled jobs (200 ms
-- with 500,000, every 250 ms in each worker).
-- Makes due jobs available, oldest first, in the pool that their tenant has now. Returns how many.
CREATE OR REPLACE FUNCTION reeve.promote(p_limit int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE v_pools text[]; v_count int; v_now timestamptz := reeve.clock();
BEGIN
  WITH due AS MATERIALIZED (
    SELECT j.id FROM reeve.job j WHERE j.state = 'scheduled' AND j.run_at <= v_now ORDER BY j.run_at, j.id LIMIT p_limit FOR UPDATE SKIP LOCKED),
  up AS (
    UPDATE reeve.job j SET state = 'available', hold_reason = NULL, pool = coalesce((SELECT t.tier FROM reeve.tenant t WHERE t.id = j.tenant_id), j.pool)
    FROM due d WHERE j.id = d.id AND j.state = 'scheduled' RETURNING j.pool)
  SELECT array_agg(DISTINCT u.pool), count(*) INTO v_pools, v_count FROM up u;
  IF v_count > 0 THEN PERFORM reeve.wake(v_pools); END IF;
  RETURN v_count;
END $$;

-- The overrides of a tier's numbers are whole numbers: anything else would stop what counts for every tenant.
CREATE FUNCTION reeve.is_count(value jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS $$
  SELECT value IS NULL OR CASE WHEN jsonb_typeof(value) = 'number' THEN value::numeric BETWEEN 0 AND 1e15 AND value::numeric = trunc(value::numeric) ELSE false END
$$;
ALTER TABLE reeve.tenant ADD CONSTRAINT tenant_overrides_are_counts CHECK (
  reeve.is_count(overrides -> 'concurrency') AND reeve.is_count(overrides -> 'backlog_limit') AND reeve.is_count(overrides -> 'backup_retention_days')
  AND reeve.is_count(overrides -> 'audit_retention_years') AND reeve.is_count(overrides -> 'scheduled_reports')) NOT VALID;

-- A drain remembers the pause that it took over.
ALTER TABLE reeve.queue_block ADD COLUMN pause jsonb CHECK (pause IS NULL OR mode = 'drain');
-- Starts a drain and returns its id. Once this commits nothing more starts on those queues: the counters' locks wait for the
-- claims in flight. A paused pattern becomes a draining one, and a paused one
-- again when the drain expires; a drain that is under way takes the new reason and options.
CREATE OR REPLACE FUNCTION reeve.drain(pattern text, reason text, refuse boolean DEFAULT false, expires interval DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_id bigint; v_now timestamptz := reeve.clock();
BEGIN
  PERFORM reeve.check_pattern(pattern);
  IF reason IS NULL OR btrim(reason) = '' THEN RAISE EXCEPTION 'a drain needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why, for those who find the queue standing.'; END IF;
  IF expires <= interval '0' THEN RAISE EXCEPTION 'a drain must expire later than now' USING ERRCODE = 'RV010'; END IF;
  INSERT INTO reeve.queue_block AS b (pattern, mode, reason, refuse, expires_at) VALUES (pattern, 'drain', reason, coalesce(refuse, false), v_now + expires)
  ON CONFLICT ON CONSTRAINT queue_block_pkey DO UPDATE SET mode = 'drain', reason = excluded.reason, actor = excluded.actor, since = excluded.since,
    refuse = excluded.refuse, expires_at = excluded.expires_at, done_at = NULL,
    pause = CASE WHEN b.mode = 'pause' THEN jsonb_build_object('reason', b.reason, 'actor', b.actor, 'since', b.since) ELSE b.pause END
  RETURNING b.id INTO v_id;
  PERFORM reeve.touch_counters(pattern);
  PERFORM reeve.audit((SELECT t.id FROM reeve.tenant t WHERE t.code = split_part(pattern, '.', 1) COLLATE "C"), 'queue.drain', 'queue ' || pattern, reason,
    jsonb_build_object('drain', v_id, 'refuse', coalesce(refuse, false), 'expires_at', v_now + expires));
  RETURN v_id;
END $$;

-- Housekeeping: ends drains that expired and marks those that are done. Returns how many changed.
CREATE OR REPLACE FUNCTION reeve.tend_drains() RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_count int := 0;
BEGIN
  FOR v IN SELECT b.id, b.pattern, b.expires_at <= reeve.clock() AS is_over FROM reeve.queue_block b
      WHERE b.mode = 'drain' AND (b.done_at IS NULL OR b.expires_at <= reeve.clock()) ORDER BY b.pattern FOR UPDATE SKIP LOCKED LOOP
    IF v.is_over THEN
      DELETE FROM reeve.queue_block b WHERE b.id = v.id AND b.pause IS NULL;
      UPDATE reeve.queue_block b SET mode = 'pause', refuse = false, expires_at = NULL, done_at = NULL, reason = b.pause ->> 'reason',
        actor = b.pause ->> 'actor', since = (b.pause ->> 'since')::timestamptz, pause = NULL WHERE b.id = v.id;
      PERFORM reeve.audit((SELECT t.id FROM reeve.tenant t WHERE t.code = split_part(v.pattern, '.', 1) COLLATE "C"), 'queue.drain_expired', 'queue ' || v.pattern,
        NULL, jsonb_build_object('drain', v.id));
      PERFORM reeve.wake(ARRAY(SELECT DISTINCT i.pool FROM reeve.idle_pool i));
      v_count := v_count + 1;
    ELSIF reeve.drain_status(v.id) ->> 'state' = 'drained' THEN
      v_count := v_count + 1;
    END IF;
  END LOOP;
  RETURN v_count;
END $$;
