-- Crash strikes (design section 4): the jobs of a worker that crashed are suspects; suspects run one at a time in each worker
-- (the worker sees to that), and a job that was the single suspect in three crashes is dead. No strike: a lease lost with the
-- process alive, a database outage, a release.
ALTER TABLE reeve.job
  ADD COLUMN suspect_of uuid,                            -- the crashed worker that made this job a suspect
  ADD COLUMN strikes smallint NOT NULL DEFAULT 0,        -- crashes in a row in which it was the only suspect
  ADD COLUMN struck_by uuid;
CREATE INDEX job_suspect ON reeve.job (suspect_of) WHERE suspect_of IS NOT NULL;

-- The session that renews the lease. While it is there the process is taken to be alive: a killed process's sessions end at
-- once, a stopped one's and a partitioned one's stay. Behind a pooler that keeps sessions nobody is ever struck.
ALTER TABLE reeve.worker ADD COLUMN backend_pid int;

CREATE OR REPLACE FUNCTION reeve.register_worker(p_id uuid, p_node text, p_pid int, p_version text, p_region text, p_pools jsonb, p_queues text[], p_lease interval)
RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  INSERT INTO reeve.worker (id, node, pid, version, region, pools, queues, lease, lease_until, backend_pid)
  VALUES (p_id, p_node, p_pid, p_version, p_region, p_pools, p_queues, p_lease, reeve.clock() + p_lease, pg_backend_pid())
$$;

-- Renews the lease and says which of the worker's running jobs are to be cancelled. NULL: declared dead, which is final; but
-- since the process lives, whatever its end was held against its jobs is taken back.
CREATE OR REPLACE FUNCTION reeve.renew_lease(p_id uuid, p_pools jsonb, p_stopping boolean) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  UPDATE reeve.worker w SET lease_until = reeve.clock() + w.lease, pools = p_pools, backend_pid = pg_backend_pid(),
    state = CASE WHEN p_stopping THEN 'stopping' ELSE w.state END
  WHERE w.id = p_id AND w.state IN ('alive', 'stopping');
  IF NOT FOUND THEN
    UPDATE reeve.job j SET suspect_of = NULL, strikes = j.strikes - (j.struck_by IS NOT DISTINCT FROM p_id)::int, struck_by = NULL
    FROM (SELECT s.id FROM reeve.job s WHERE s.suspect_of = p_id ORDER BY s.id FOR UPDATE SKIP LOCKED) s WHERE j.id = s.id;
    RETURN NULL;
  END IF;
  RETURN reeve.cancellations(p_id);
END $$;

-- Ends a worker and gives its jobs back: the lock on its row waits for claims in flight. Attempts that ended this way do not count
-- towards max_attempts. After a crash they are suspects, and one that is so for the third time alone is dead. Returns the number of jobs, or NULL when it had ended before.
CREATE OR REPLACE FUNCTION reeve.rescue(p_id uuid, p_state text DEFAULT 'dead') RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenants uuid[]; v_pools text[]; v_backend int; v_crashed boolean; v_only bigint;
BEGIN
  SELECT w.backend_pid INTO v_backend FROM reeve.worker w WHERE w.id = p_id AND w.state IN ('alive', 'stopping') FOR UPDATE;
  IF NOT FOUND THEN RETURN NULL; END IF;
  v_crashed := p_state = 'dead' AND v_backend IS NOT NULL AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = v_backend);
  UPDATE reeve.worker w SET state = p_state, ended_at = reeve.clock() WHERE w.id = p_id;
  DELETE FROM reeve.idle_pool i WHERE i.worker_id = p_id;
  IF v_crashed THEN
    -- Locks the jobs by id. The only suspect: the only job there was, or the only one that was a suspect before.
    SELECT CASE WHEN count(*) = 1 THEN min(m.id) WHEN count(m.suspect_of) = 1 THEN min(m.id) FILTER (WHERE m.suspect_of IS NOT NULL) END INTO v_only
    FROM (SELECT j.id, j.suspect_of FROM reeve.job j WHERE j.worker_id = p_id AND j.state = 'running' ORDER BY j.id FOR UPDATE) m;
  END IF;
  WITH mine AS MATERIALIZED (SELECT j.id FROM reeve.job j WHERE j.worker_id = p_id AND j.state = 'running' ORDER BY j.id FOR UPDATE),
  back AS (
    UPDATE reeve.job j SET state = 'available', worker_id = NULL, lease_id = NULL, rescued = j.rescued + 1,
      suspect_of = CASE WHEN v_crashed THEN p_id ELSE j.suspect_of END, strikes = j.strikes + (j.id IS NOT DISTINCT FROM v_only)::int,
      struck_by = CASE WHEN j.id = v_only THEN p_id WHEN v_crashed THEN NULL ELSE j.struck_by END,
      last_error = 'the worker that ran it ended without a word'
    FROM mine m WHERE j.id = m.id AND j.state = 'running' RETURNING j.tenant_id, j.pool)
  SELECT array_agg(b.tenant_id), array_agg(DISTINCT b.pool) INTO v_tenants, v_pools FROM back b;
  IF v_tenants IS NULL THEN RETURN 0; END IF;
  PERFORM reeve.count_down(v_tenants);
  IF v_only IS NOT NULL AND (SELECT j.strikes >= 3 FROM reeve.job j WHERE j.id = v_only) THEN
    PERFORM reeve.end_dead(v_only, 'crashed its worker three times', NULL);
  END IF;
  PERFORM reeve.wake(v_pools);
  RETURN cardinality(v_tenants);
END $$;

-- As before, and says which jobs are suspects.
-- Claims up to p_general + p_reserved jobs of a pool for a worker. Lock order: worker, counters in key order (waiting), jobs
-- (skipping locked ones). A tenant's first running job may take either kind of permit, every other one only a general one.
-- Each row carries the cursor for the next claim and whether this one ran out of time before a full lap (then: repeat at
-- once); with nothing claimed in that case there is one row without an id. A suspect is told, so that the worker runs one at a time.
DROP FUNCTION reeve.claim(uuid, text, int, int, uuid, text[]);
CREATE FUNCTION reeve.claim(p_worker uuid, p_pool text, p_general int, p_reserved int, p_cursor uuid DEFAULT NULL, p_queues text[] DEFAULT NULL)
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
  FOR v_round IN 1..2 LOOP
    WITH RECURSIVE ring AS (
      SELECT n.tenant_id, l.running, l.runnable, (l.runnable AND l.running = 0)::int AS free, 1 AS place
      FROM (SELECT j.tenant_id FROM reeve.job j WHERE j.state = 'available' AND j.pool = p_pool AND j.tenant_id > v_after AND j.tenant_id <= v_upto
            ORDER BY j.tenant_id LIMIT 1) n
      LEFT JOIN LATERAL (SELECT c.running, c.running < c.cap AND (p_general > 0 OR c.running = 0)
          AND (NOT v_filtered OR reeve.lane_is_open(p_pool, n.tenant_id, p_queues)) AS runnable
        FROM reeve.tenant_counter c WHERE c.tenant_id = n.tenant_id) l ON true
      UNION ALL
      SELECT n.tenant_id, l.running, l.runnable, r.free + (l.runnable AND l.running = 0)::int, r.place + 1
      FROM ring r
      CROSS JOIN LATERAL (SELECT j.tenant_id FROM reeve.job j WHERE j.state = 'available' AND j.pool = p_pool
          AND j.tenant_id > r.tenant_id AND j.tenant_id <= v_upto ORDER BY j.tenant_id LIMIT 1) n
      LEFT JOIN LATERAL (SELECT c.running, c.running < c.cap AND (p_general > 0 OR c.running = 0)
          AND (NOT v_filtered OR reeve.lane_is_open(p_pool, n.tenant_id, p_queues)) AS runnable
        FROM reeve.tenant_counter c WHERE c.tenant_id = n.tenant_id) l ON true
      WHERE r.free + v_free < v_enough AND reeve.clock() < v_until)
    SELECT coalesce(array_agg(r.tenant_id ORDER BY r.place) FILTER (WHERE r.runnable), '{}'),
           coalesce(array_agg(r.running ORDER BY r.place) FILTER (WHERE r.runnable), '{}'),
           coalesce(max(r.free), 0), coalesce((array_agg(r.tenant_id ORDER BY r.place DESC))[1], v_last)
    INTO v_part_lanes, v_part_load, v_part_free, v_last FROM ring r;
    v_lanes := v_lanes || v_part_lanes;
    v_load := v_load || v_part_load;
    v_free := v_free + v_part_free;
    EXIT WHEN v_free >= v_enough;
    v_early := reeve.clock() >= v_until;
    EXIT WHEN v_early OR p_cursor IS NULL;
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
      SELECT c.id, c.running + c.nth AS rank, count(*) FILTER (WHERE c.running + c.nth > 1) OVER (ORDER BY c.running + c.nth, c.id) AS busy
      FROM candidate c WHERE c.nth <= c.room),
    pick AS MATERIALIZED (SELECT k.id, k.rank FROM ranked k WHERE k.rank = 1 OR k.busy <= p_general ORDER BY k.rank, k.id LIMIT v_want),
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
GRANT EXECUTE ON FUNCTION reeve.claim(uuid, text, int, int, uuid, text[]) TO reeve_worker;

-- As before, and clears suspects.
-- Ends attempts in every way but plain success. Items: {id, lease, outcome, delay_ms, reason, error, result, artifacts, refused};
-- outcomes: finish (with artifacts), retry, snooze, wait, hold, release, cancel, dead. `refused` also counts a refused validation.
-- Answers like complete(). Attempts that did not count give theirs back: snooze, hold, release. A suspect that ended an attempt,
-- other than by `release` or by having to wait for another suspect (`wait`), crashed nothing: it is none any more.
CREATE OR REPLACE FUNCTION reeve.settle(p_items jsonb) RETURNS TABLE (id bigint, verdict text)
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
END $$;
