-- Housekeeping needs no leader: each task skips locked rows or is a conditional change, so any number of workers may run it.

-- Makes due jobs available, oldest first, in the pool that their tenant has now. Returns how many.
CREATE FUNCTION reeve.promote(p_limit int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE v_pools text[]; v_count int;
BEGIN
  WITH due AS MATERIALIZED (
    SELECT j.id FROM reeve.job j WHERE j.state = 'scheduled' AND j.run_at <= reeve.clock() ORDER BY j.run_at, j.id LIMIT p_limit FOR UPDATE SKIP LOCKED),
  up AS (
    UPDATE reeve.job j SET state = 'available', hold_reason = NULL, pool = coalesce((SELECT t.tier FROM reeve.tenant t WHERE t.id = j.tenant_id), j.pool)
    FROM due d WHERE j.id = d.id AND j.state = 'scheduled' RETURNING j.pool)
  SELECT array_agg(DISTINCT u.pool), count(*) INTO v_pools, v_count FROM up u;
  IF v_count > 0 THEN PERFORM reeve.wake(v_pools); END IF;
  RETURN v_count;
END $$;

-- Releases what is held for a tenant whose status allows it again. Returns how many.
CREATE FUNCTION reeve.release_held(p_limit int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_count int;
BEGIN
  WITH free AS MATERIALIZED (
    SELECT j.id FROM reeve.job j JOIN reeve.tenant t ON t.id = j.tenant_id
    WHERE j.state = 'scheduled' AND j.hold_reason = 'tenant_suspended' AND t.status <> 'suspended' LIMIT p_limit FOR UPDATE OF j SKIP LOCKED)
  UPDATE reeve.job j SET run_at = reeve.clock() FROM free f WHERE j.id = f.id;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

-- Moves ready jobs into the pool of their tenant's tier (design section 4, tier changes). Returns how many.
CREATE FUNCTION reeve.move_pools(p_limit int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE v_count int; v_pools text[];
BEGIN
  WITH RECURSIVE pair AS (
    (SELECT j.pool, j.tenant_id FROM reeve.job j WHERE j.state = 'available' ORDER BY j.pool, j.tenant_id LIMIT 1)
    UNION ALL
    SELECT n.pool, n.tenant_id FROM pair p CROSS JOIN LATERAL (SELECT j.pool, j.tenant_id FROM reeve.job j
      WHERE j.state = 'available' AND (j.pool, j.tenant_id) > (p.pool, p.tenant_id) ORDER BY j.pool, j.tenant_id LIMIT 1) n),
  stray AS MATERIALIZED (
    SELECT s.id, t.tier FROM pair p JOIN reeve.tenant t ON t.id = p.tenant_id AND t.tier <> p.pool
    CROSS JOIN LATERAL (SELECT j.id FROM reeve.job j WHERE j.state = 'available' AND j.pool = p.pool AND j.tenant_id = p.tenant_id
                        LIMIT p_limit FOR UPDATE SKIP LOCKED) s LIMIT p_limit),
  moved AS (UPDATE reeve.job j SET pool = s.tier FROM stray s WHERE j.id = s.id AND j.state = 'available' RETURNING j.pool)
  SELECT count(*), array_agg(DISTINCT m.pool) INTO v_count, v_pools FROM moved m;
  IF v_count > 0 THEN PERFORM reeve.wake(v_pools); END IF;
  RETURN v_count;
END $$;

-- Cancels waiting jobs that were asked to be cancelled while another transaction held them, and forgets requests for jobs that ended.
CREATE FUNCTION reeve.tend_cancellations() RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_count int := 0;
BEGIN
  FOR v IN SELECT j.id, c.actor FROM reeve.cancel_request c JOIN reeve.job j ON j.id = c.job_id WHERE j.state <> 'running' ORDER BY j.id FOR UPDATE OF j SKIP LOCKED LOOP
    PERFORM reeve.end_cancelled(v.id, 'cancelled by ' || v.actor);
    v_count := v_count + 1;
  END LOOP;
  DELETE FROM reeve.cancel_request c WHERE NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = c.job_id);
  RETURN v_count;
END $$;

-- Forgets what nobody needs any more: keys, steps of ended jobs, idle marks and rows of workers that ended a day ago.
CREATE FUNCTION reeve.tend_leftovers(p_limit int DEFAULT 5000) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_now timestamptz := reeve.clock(); v_count int; v_all int := 0;
BEGIN
  DELETE FROM reeve.idempotency_key i WHERE i.hash IN (
    SELECT k.hash FROM reeve.idempotency_key k WHERE k.created_at < v_now - interval '24 h'
      AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = k.job_id) ORDER BY k.created_at LIMIT p_limit FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS v_count = ROW_COUNT; v_all := v_all + v_count;
  DELETE FROM reeve.job_step s WHERE s.finished_at < v_now - interval '1 h' AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = s.job_id);
  GET DIAGNOSTICS v_count = ROW_COUNT; v_all := v_all + v_count;
  DELETE FROM reeve.idle_pool i WHERE NOT EXISTS (SELECT FROM reeve.worker w WHERE w.id = i.worker_id AND w.state IN ('alive', 'stopping'));
  DELETE FROM reeve.worker w WHERE w.state IN ('stopped', 'dead') AND w.ended_at < v_now - interval '24 h'
    AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.worker_id = w.id AND j.state = 'running');
  GET DIAGNOSTICS v_count = ROW_COUNT; v_all := v_all + v_count;
  RETURN v_all;
END $$;

-- Counts the backlog of the tenants counted longest ago, for at most p_budget, so that enqueue can refuse without counting.
CREATE FUNCTION reeve.tend_backlog(p_budget interval DEFAULT '20 ms') RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE v record; v_n bigint; v_count int := 0; v_until timestamptz := reeve.clock() + p_budget;
BEGIN
  FOR v IN SELECT b.tenant_id, b.waiting, b.is_full, t.tier, coalesce((t.overrides ->> 'backlog_limit')::bigint, r.backlog_limit) AS most
      FROM reeve.tenant_backlog b JOIN reeve.tenant t ON t.id = b.tenant_id JOIN reeve.tier r ON r.name = t.tier
      ORDER BY b.counted_at LIMIT 200 FOR UPDATE OF b SKIP LOCKED LOOP
    SELECT count(*) INTO v_n FROM (SELECT 1 FROM reeve.job j WHERE j.state = 'available' AND j.pool = v.tier AND j.tenant_id = v.tenant_id LIMIT v.most) n;
    UPDATE reeve.tenant_backlog b SET waiting = v_n, is_full = (v_n >= v.most), counted_at = reeve.clock() WHERE b.tenant_id = v.tenant_id;
    v_count := v_count + 1;
    EXIT WHEN reeve.clock() > v_until;
  END LOOP;
  RETURN v_count;
END $$;

-- Writes the audit entries of refusals whose minute is over, with their counts (design section 6).
CREATE FUNCTION reeve.tend_refusals() RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_count int := 0;
BEGIN
  FOR v IN DELETE FROM reeve.refusal r USING (SELECT f.minute, f.tenant_id, f.kind, f.reason FROM reeve.refusal f
        WHERE f.minute < date_trunc('minute', reeve.clock()) FOR UPDATE SKIP LOCKED) d
      WHERE (r.minute, r.tenant_id, r.kind, r.reason) = (d.minute, d.tenant_id, d.kind, d.reason) RETURNING r.* LOOP
    PERFORM reeve.audit(v.tenant_id, 'job.refused', 'kind ' || v.kind, v.reason, jsonb_build_object('count', v.count, 'minute', v.minute));
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

-- Makes the history's partitions 14 days ahead and drops those older than p_keep, with a short lock_timeout: a DROP that waits
-- behind a reader makes inserts into other partitions wait (measured: 1.4 s). What could not be locked is left for the next time.
CREATE FUNCTION reeve.tend_history(p_keep interval DEFAULT '30 days') RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET lock_timeout = '100ms' SET timezone = 'UTC' AS $$
DECLARE v_day timestamptz; v_name text; v_count int := 0; v_today timestamptz := date_trunc('day', reeve.clock());
BEGIN
  IF NOT pg_try_advisory_xact_lock(7364501) THEN RETURN 0; END IF;
  FOR v_day IN SELECT generate_series(v_today, v_today + interval '14 days', '1 day') LOOP
    v_name := 'job_history_' || to_char(v_day, 'YYYYMMDD');
    IF to_regclass('reeve.' || v_name) IS NULL THEN
      BEGIN
        EXECUTE format('CREATE TABLE reeve.%I (LIKE reeve.job_history INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', v_name);
        EXECUTE format('ALTER TABLE reeve.job_history ATTACH PARTITION reeve.%I FOR VALUES FROM (%L) TO (%L)', v_name, v_day, v_day + interval '1 day');
        v_count := v_count + 1;
      EXCEPTION WHEN lock_not_available OR check_violation THEN NULL;  -- check_violation: the default partition has rows of that day
      END;
    END IF;
  END LOOP;
  FOR v_name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
      WHERE i.inhparent = 'reeve.job_history'::regclass AND c.relname ~ '^job_history_\d{8}$'
        AND to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= v_today - p_keep LOOP
    BEGIN
      EXECUTE format('DROP TABLE reeve.%I', v_name);
      v_count := v_count + 1;
    EXCEPTION WHEN lock_not_available THEN NULL;
    END;
  END LOOP;
  RETURN v_count;
END $$;
