-- Views for dashboards, autoscalers and checks (role reeve_viewer). Columns are added, never changed.
CREATE VIEW reeve.job_list WITH (security_barrier) AS
  SELECT j.id, t.code AS tenant_code, j.queue, j.kind, j.state::text AS state, j.hold_reason, j.attempt, j.priority, j.run_at, j.started_at,
         NULL::timestamptz AS finished_at, j.lease_id, j.worker_id, j.progress, j.last_error AS error, j.created_at
  FROM reeve.job j LEFT JOIN reeve.tenant t ON t.id = j.tenant_id
  UNION ALL
  SELECT h.id, t.code, h.queue, h.kind, h.state::text, NULL, h.attempt, h.priority, h.run_at, h.started_at, h.finished_at, h.lease_id, h.worker_id, NULL, h.last_error, h.created_at
  FROM reeve.job_history h LEFT JOIN reeve.tenant t ON t.id = h.tenant_id
  UNION ALL
  SELECT d.id, t.code, d.queue, d.kind, d.state::text, NULL, d.attempt, d.priority, d.run_at, d.started_at, d.finished_at, d.lease_id, d.worker_id, NULL, coalesce(d.reason || ': ' || d.last_error, d.reason), d.created_at
  FROM reeve.dead_letter d LEFT JOIN reeve.tenant t ON t.id = d.tenant_id;

CREATE VIEW reeve.queue_stats WITH (security_barrier) AS
  SELECT q.queue, t.code AS tenant_code, t.tier, q.available, q.scheduled, q.running, q.held, q.oldest_available_at,
         EXISTS (SELECT FROM reeve.queue_block b WHERE b.mode = 'pause' AND q.queue LIKE b.like_pattern) AS paused,
         EXISTS (SELECT FROM reeve.queue_block b WHERE b.mode = 'drain' AND q.queue LIKE b.like_pattern) AS draining
  FROM (SELECT j.queue, j.tenant_id, count(*) FILTER (WHERE j.state = 'available') AS available,
               count(*) FILTER (WHERE j.state = 'scheduled' AND j.hold_reason IS NULL) AS scheduled,
               count(*) FILTER (WHERE j.state = 'running') AS running, count(*) FILTER (WHERE j.hold_reason IS NOT NULL) AS held,
               min(j.run_at) FILTER (WHERE j.state = 'available') AS oldest_available_at
        FROM reeve.job j GROUP BY j.queue, j.tenant_id) q
  LEFT JOIN reeve.tenant t ON t.id = q.tenant_id;

CREATE VIEW reeve.tenant_stats WITH (security_barrier) AS
  SELECT t.code AS tenant_code, t.tier, t.status::text AS status, c.cap, c.running, coalesce(j.available, 0) AS available,
         coalesce(j.scheduled, 0) AS scheduled, coalesce(d.dead, 0) AS dead
  FROM reeve.tenant t JOIN reeve.tenant_counter c ON c.tenant_id = t.id
  LEFT JOIN (SELECT tenant_id, count(*) FILTER (WHERE state = 'available') AS available, count(*) FILTER (WHERE state = 'scheduled') AS scheduled
             FROM reeve.job GROUP BY tenant_id) j ON j.tenant_id = t.id
  LEFT JOIN (SELECT tenant_id, count(*) AS dead FROM reeve.dead_letter WHERE redriven_as IS NULL GROUP BY tenant_id) d ON d.tenant_id = t.id;

CREATE VIEW reeve.worker_list WITH (security_barrier) AS
  SELECT w.id, w.node, w.pid, w.version, w.region, w.pools, w.queues, w.state, w.started_at, w.lease_until, w.ended_at,
         (SELECT count(*) FROM reeve.job j WHERE j.worker_id = w.id AND j.state = 'running') AS running
  FROM reeve.worker w;

-- desired_slots: what would run now if there were room: the ready jobs that the caps allow, and those that run.
CREATE VIEW reeve.autoscale WITH (security_barrier) AS
  SELECT r.name AS tier, coalesce(s.ready, 0) AS ready, coalesce(s.running, 0) AS running, coalesce(s.desired, 0) AS desired_slots
  FROM reeve.tier r LEFT JOIN (
    SELECT t.tier, sum(coalesce(j.ready, 0))::bigint AS ready, sum(c.running)::bigint AS running,
           sum(least(c.cap, c.running + coalesce(j.ready, 0)))::bigint AS desired
    FROM reeve.tenant t JOIN reeve.tenant_counter c ON c.tenant_id = t.id
    LEFT JOIN (SELECT tenant_id, count(*) AS ready FROM reeve.job WHERE state = 'available' GROUP BY tenant_id) j ON j.tenant_id = t.id
    GROUP BY t.tier) s ON s.tier = r.name;

-- What must be empty: counters that differ from what they count (asserted after every fault run).
CREATE VIEW reeve.counter_fault WITH (security_barrier) AS
  SELECT c.tenant_id, c.running AS counted, coalesce(j.n, 0) AS actual, c.cap
  FROM reeve.tenant_counter c
  LEFT JOIN (SELECT tenant_id, count(*)::int AS n FROM reeve.job WHERE state = 'running' GROUP BY tenant_id) j ON j.tenant_id = c.tenant_id
  WHERE c.running <> coalesce(j.n, 0);
