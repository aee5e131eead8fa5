-- The tenants below their cap, from p_after on and then from the beginning, with what they run: NULL when there are more than p_limit.
-- One pass over the counters: a few milliseconds for 20,000 tenants, where a walk past so many in the index of ready jobs takes 200 or more.
CREATE FUNCTION reeve.tenants_with_room(p_after uuid, p_idle_only boolean, p_limit int, OUT tenants uuid[], OUT running int[])
LANGUAGE sql STABLE SET search_path = reeve, pg_temp SET enable_seqscan = on AS $$
  SELECT CASE WHEN count(*) <= p_limit THEN array_agg(s.tenant_id ORDER BY s.tenant_id <= p_after, s.tenant_id) END,
         array_agg(s.running ORDER BY s.tenant_id <= p_after, s.tenant_id)
  FROM (SELECT c.tenant_id, c.running FROM reeve.tenant_counter c
        WHERE c.running < c.cap AND (c.running = 0 OR NOT p_idle_only) LIMIT p_limit + 1) s
$$;

-- As before, with two changes. First jobs take general permits first: the last free permits are the reserved ones, however many tenants are
-- noisy. And a walk that met 100 tenants that cannot run looks at the tenants with room instead, when those are few.
-- Claims up to p_general + p_reserved jobs of a pool for a worker. Lock order: worker, counters in key order (waiting), jobs
-- (skipping locked ones). A tenant's first running job may take either kind of permit, a general one while there is one; every other
-- job only a general one. Each row carries the cursor for the next claim and whether this one ran out of time before a full lap (then:
-- repeat at once); with nothing claimed in that case there is one row without an id. A suspect is told, so that the worker runs one at
-- a time.
CREATE OR REPLACE FUNCTION reeve.claim(p_worker uuid, p_pool text, p_general int, p_reserved int, p_cursor uuid DEFAULT NULL, p_queues text[] DEFAULT NULL)
RETURNS TABLE (id bigint, tenant_id uuid, tenant_version bigint, queue text, kind text, attempt int, first boolean, lease_id uuid,
               args text, traceparent text, next_cursor uuid, stopped_early boolean, suspect boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
  v_lease uuid := gen_random_uuid();
  v_now timestamptz := reeve.clock();
  v_until timestamptz := v_now + interval '10 ms';
  v_want int := p_general + p_reserved;
  v_enough int := least(p_general + p_reserved, 64);                   -- lanes that one claim looks at for jobs
  v_after uuid := coalesce(p_cursor, '00000000-0000-0000-0000-000000000000');
  v_upto uuid := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
  v_patience int := 100;                                               -- tenants that cannot run, before the walk is given up
  v_wrapped boolean := false; v_shut int; v_open uuid[]; v_open_load int[];
  v_filtered boolean; v_free int := 0; v_early boolean := false; v_last uuid; v_next uuid;
  v_lanes uuid[] := '{}'; v_load int[] := '{}'; v_part_lanes uuid[]; v_part_load int[]; v_part_free int;
  v_tenants uuid[]; v_running int[]; v_room int[]; v_share int;
BEGIN
  IF v_want < 1 THEN RETURN; END IF;
  PERFORM 1 FROM reeve.worker w WHERE w.id = p_worker AND w.state IN ('alive', 'stopping') AND w.lease_until > v_now FOR KEY SHARE;
  IF NOT FOUND THEN RAISE EXCEPTION 'worker % is dead or its lease has ended', p_worker USING ERRCODE = '55000'; END IF;
  v_filtered := p_queues IS NOT NULL OR EXISTS (SELECT FROM reeve.queue_block);

  -- The ring: distinct ready tenants from the cursor, by loose index scan, then from the beginning up to the cursor. It ends when
  -- as many tenants with nothing running are found as there are permits (at most 64): those go before any that has one running.
  LOOP
    WITH RECURSIVE ring AS (
      SELECT n.tenant_id, l.running, l.runnable, (l.runnable AND l.running = 0)::int AS free, (l.runnable IS NOT TRUE)::int AS shut, 1 AS place
      FROM (SELECT j.tenant_id FROM reeve.job j WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id > v_after AND j.tenant_id <= v_upto
            ORDER BY j.tenant_id LIMIT 1) n
      LEFT JOIN LATERAL (SELECT c.running, c.running < c.cap AND (p_general > 0 OR c.running = 0)
          AND (NOT v_filtered OR reeve.lane_is_open(p_pool, n.tenant_id, p_queues)) AS runnable
        FROM reeve.tenant_counter c WHERE c.tenant_id = n.tenant_id) l ON true
      UNION ALL
      SELECT n.tenant_id, l.running, l.runnable, r.free + (l.runnable AND l.running = 0)::int, r.shut + (l.runnable IS NOT TRUE)::int, r.place + 1
      FROM ring r
      CROSS JOIN LATERAL (SELECT j.tenant_id FROM reeve.job j WHERE j.state = 'available' AND j.pool = p_pool
          AND j.tenant_id > r.tenant_id AND j.tenant_id <= v_upto ORDER BY j.tenant_id LIMIT 1) n
      LEFT JOIN LATERAL (SELECT c.running, c.running < c.cap AND (p_general > 0 OR c.running = 0)
          AND (NOT v_filtered OR reeve.lane_is_open(p_pool, n.tenant_id, p_queues)) AS runnable
        FROM reeve.tenant_counter c WHERE c.tenant_id = n.tenant_id) l ON true
      WHERE r.free + v_free < v_enough AND r.shut < v_patience AND reeve.clock() < v_until)
    SELECT coalesce(array_agg(r.tenant_id ORDER BY r.place) FILTER (WHERE r.runnable), '{}'),
           coalesce(array_agg(r.running ORDER BY r.place) FILTER (WHERE r.runnable), '{}'),
           coalesce(max(r.free), 0), coalesce((array_agg(r.tenant_id ORDER BY r.place DESC))[1], v_last), max(r.shut)
    INTO v_part_lanes, v_part_load, v_part_free, v_last, v_shut FROM ring r;
    v_lanes := v_lanes || v_part_lanes;
    v_load := v_load || v_part_load;
    v_free := v_free + v_part_free;
    EXIT WHEN v_free >= v_enough;
    IF v_shut >= v_patience THEN
      SELECT w.tenants, w.running INTO v_open, v_open_load
      FROM reeve.tenants_with_room(coalesce(p_cursor, v_after), p_general = 0, 2000) w;
      IF v_open IS NOT NULL OR v_open_load IS NULL THEN
        -- Whoever has room and work: a full lap.
        SELECT coalesce(array_agg(u.tenant_id ORDER BY u.i), '{}'), coalesce(array_agg(u.running ORDER BY u.i), '{}') INTO v_lanes, v_load
        FROM unnest(v_open, v_open_load) WITH ORDINALITY AS u (tenant_id, running, i)
        CROSS JOIN LATERAL (SELECT FROM reeve.job j WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = u.tenant_id LIMIT 1) j
        WHERE NOT v_filtered OR reeve.lane_is_open(p_pool, u.tenant_id, p_queues);
        v_free := 0;
        EXIT;
      END IF;
      v_patience := 2147483647;
      v_after := v_last;
      CONTINUE;
    END IF;
    v_early := reeve.clock() >= v_until;
    EXIT WHEN v_early OR v_wrapped OR p_cursor IS NULL;
    v_wrapped := true;
    v_upto := p_cursor;
    v_after := '00000000-0000-0000-0000-000000000000';
  END LOOP;

  v_next := v_last;
  IF cardinality(v_lanes) > 0 THEN
    -- The least loaded lanes; in a full lap the next claim starts behind the last of them, so that equals take turns.
    SELECT array_agg(l.tenant_id), CASE WHEN v_free >= v_enough OR v_early THEN v_last ELSE (array_agg(l.tenant_id ORDER BY l.place DESC))[1] END
    INTO v_lanes, v_next
    FROM (SELECT u.tenant_id, u.place FROM unnest(v_lanes, v_load) WITH ORDINALITY AS u (tenant_id, load, place) ORDER BY u.load, u.place LIMIT 64) l;

    SELECT coalesce(array_agg(l.tenant_id), '{}'), array_agg(l.running), array_agg(l.room), ceil(v_want::numeric / greatest(count(*), 1))::int
    INTO v_tenants, v_running, v_room, v_share
    FROM (SELECT c.tenant_id, c.running, c.cap - c.running AS room FROM reeve.tenant_counter c
          WHERE c.tenant_id = ANY (v_lanes) ORDER BY c.tenant_id FOR UPDATE) l
    WHERE l.room > 0;
    v_now := reeve.clock();

    -- A statement of its own, so that it sees every pause that was committed before the counters were locked.
    RETURN QUERY
    WITH RECURSIVE lane AS MATERIALIZED (SELECT r.* FROM unnest(v_tenants, v_running, v_room) AS r (tenant_id, running, room)),
    open_queue AS (
      SELECT l.tenant_id, n.queue, 1 AS i FROM lane l CROSS JOIN LATERAL (SELECT j.queue FROM reeve.job j
        WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = l.tenant_id ORDER BY j.queue LIMIT 1) n
      UNION ALL
      SELECT q.tenant_id, n.queue, q.i + 1 FROM open_queue q CROSS JOIN LATERAL (SELECT j.queue FROM reeve.job j
        WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = q.tenant_id AND j.queue > q.queue ORDER BY j.queue LIMIT 1) n),
    candidate AS (
      SELECT j.id, l.room, l.running, row_number() OVER (PARTITION BY l.tenant_id ORDER BY j.place, q.queue) AS nth
      FROM open_queue q JOIN lane l USING (tenant_id) CROSS JOIN LATERAL (
        SELECT y.id, row_number() OVER () AS place FROM (
          SELECT j.id FROM reeve.job j WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id = l.tenant_id AND j.queue = q.queue
          ORDER BY j.priority, j.id LIMIT least(l.room, v_share) FOR UPDATE SKIP LOCKED) y) j
      WHERE (p_queues IS NULL OR q.queue LIKE ANY (p_queues))
        AND NOT EXISTS (SELECT FROM reeve.queue_block b WHERE q.queue LIKE b.like_pattern)),
    ranked AS (
      SELECT c.id, c.running + c.nth AS rank, row_number() OVER (ORDER BY c.running + c.nth, c.id) AS taken
      FROM candidate c WHERE c.nth <= c.room),
    pick AS MATERIALIZED (SELECT k.id, k.rank FROM ranked k WHERE k.rank = 1 OR k.taken <= p_general ORDER BY k.rank, k.id LIMIT v_want),
    claimed AS (
      UPDATE reeve.job j SET state = 'running', attempt = j.attempt + 1, worker_id = p_worker, lease_id = v_lease, started_at = v_now, progress = NULL
      FROM pick k WHERE j.id = k.id AND j.state = 'available'
      RETURNING j.id, j.tenant_id, j.queue, j.kind, j.attempt, k.rank = 1 AS first, j.args::text AS args, j.traceparent, j.suspect_of IS NOT NULL AS suspect),
    bump AS (
      UPDATE reeve.tenant_counter c SET running = c.running + n.n FROM (SELECT d.tenant_id, count(*)::int AS n FROM claimed d GROUP BY 1) n
      WHERE c.tenant_id = n.tenant_id)
    SELECT d.id, d.tenant_id, t.version, d.queue, d.kind, d.attempt, d.first, v_lease, d.args, d.traceparent, v_next, v_early, d.suspect
    FROM claimed d JOIN reeve.tenant t ON t.id = d.tenant_id;
    IF FOUND THEN RETURN; END IF;
  END IF;
  IF v_early THEN
    RETURN QUERY SELECT NULL::bigint, NULL::uuid, NULL::bigint, NULL::text, NULL::text, NULL::int, NULL::boolean, NULL::uuid, NULL::text, NULL::text, v_next, true, false;
  END IF;
END $$;
