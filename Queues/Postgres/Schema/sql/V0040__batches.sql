-- Batches: one job of one kind for each of many tenants, chosen at one moment, fed into the queue as their time comes and as the batch's
-- own limit allows. Feeding needs no leader: a batch is fed by whoever locks its row.

CREATE TABLE reeve.batch (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL REFERENCES reeve.kind (name),
  queue text NOT NULL,                                     -- the part after the tenant's code
  args jsonb NOT NULL DEFAULT '{}',
  priority int NOT NULL DEFAULT 0 CHECK (priority BETWEEN -1000000 AND 1000000),
  selection jsonb NOT NULL CHECK (jsonb_typeof(selection) = 'object'),
  spread interval NOT NULL DEFAULT '0' CHECK (spread BETWEEN interval '0' AND interval '366 days'),
  max_running int CHECK (max_running BETWEEN 1 AND 1000000),
  on_finish jsonb CHECK (jsonb_typeof(on_finish) = 'object'),
  state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'paused', 'cancelling', 'cancelled', 'finished')),
  reason text CHECK (length(reason) <= 2000),
  total int NOT NULL CHECK (total >= 0),
  retried_from bigint REFERENCES reeve.batch (id),
  schedule_id bigint,
  tick timestamptz,
  created_by text NOT NULL DEFAULT reeve.actor(),
  created_at timestamptz NOT NULL DEFAULT reeve.clock(),
  next_at timestamptz NOT NULL DEFAULT reeve.clock(),      -- when the next of its tenants is due
  finished_at timestamptz,
  completion_job bigint,
  CHECK ((finished_at IS NULL) = (state NOT IN ('cancelled', 'finished'))),
  CHECK ((schedule_id IS NULL) = (tick IS NULL))
);
CREATE INDEX batch_due ON reeve.batch (next_at) WHERE state IN ('running', 'cancelling');

CREATE TABLE reeve.batch_item (
  batch_id bigint NOT NULL REFERENCES reeve.batch (id) ON DELETE CASCADE,
  tenant_id uuid NOT NULL,                                 -- no reference: the record stays when the tenant is purged
  run_at timestamptz NOT NULL,
  state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'enqueued', 'succeeded', 'cancelled', 'dead', 'refused', 'skipped')),
  job_id bigint,
  enqueued_at timestamptz,
  ended_at timestamptz,
  error text CHECK (length(error) <= 2000),
  PRIMARY KEY (batch_id, tenant_id),
  CHECK ((job_id IS NULL) = (enqueued_at IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX batch_item_waiting ON reeve.batch_item (batch_id, run_at, tenant_id) WHERE state = 'waiting';
CREATE INDEX batch_item_enqueued ON reeve.batch_item (batch_id, job_id) WHERE state = 'enqueued';

-- A job of a batch says so for as long as it lives; its end is left here for the batch to collect, so that no completion waits for another.
ALTER TABLE reeve.job ADD COLUMN batch_id bigint;
CREATE TABLE reeve.batch_end (batch_id bigint NOT NULL, job_id bigint NOT NULL);
CREATE INDEX batch_end_batch ON reeve.batch_end (batch_id);

CREATE FUNCTION reeve.note_batch_end() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  INSERT INTO reeve.batch_end (batch_id, job_id) VALUES (OLD.batch_id, OLD.id);
  RETURN NULL;
END $$;
CREATE TRIGGER job_ends_in_batch AFTER DELETE ON reeve.job FOR EACH ROW WHEN (OLD.batch_id IS NOT NULL) EXECUTE FUNCTION reeve.note_batch_end();

-- What a selection of tenants may say: {"tier": [..], "status": [..], "isolation": [..], "code": [..], "timezone": [..]}; each a word or an array of words,
-- all of them have to hold. Returns it with arrays, or raises RV010.
CREATE FUNCTION reeve.checked_selection(p_selection jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_out jsonb := '{}'; v_known text[];
BEGIN
  IF jsonb_typeof(p_selection) = 'array' THEN p_selection := jsonb_build_object('code', p_selection); END IF;
  IF jsonb_typeof(p_selection) IS DISTINCT FROM 'object' THEN
    RAISE EXCEPTION 'a selection of tenants is an object or an array of codes' USING ERRCODE = 'RV010', HINT = 'For example {"tier": "professional", "status": ["active", "trial"]}, or {} for all.';
  END IF;
  FOR v IN SELECT e.key, CASE jsonb_typeof(e.value) WHEN 'string' THEN jsonb_build_array(e.value) ELSE e.value END AS words FROM jsonb_each(p_selection) e LOOP
    IF v.key NOT IN ('tier', 'status', 'isolation', 'code', 'timezone') THEN
      RAISE EXCEPTION 'tenants cannot be selected by "%"', left(v.key, 80) USING ERRCODE = 'RV010', HINT = 'By tier, status, isolation, code or timezone.';
    END IF;
    IF jsonb_typeof(v.words) <> 'array' OR jsonb_array_length(v.words) = 0 OR EXISTS (SELECT FROM jsonb_array_elements(v.words) w WHERE jsonb_typeof(w) <> 'string') THEN
      RAISE EXCEPTION 'what a selection asks of "%" is a word or an array of words', v.key USING ERRCODE = 'RV010';
    END IF;
    v_known := CASE v.key WHEN 'tier' THEN ARRAY(SELECT t.name FROM reeve.tier t ORDER BY 1) WHEN 'status' THEN enum_range(NULL::reeve.tenant_status)::text[]
      WHEN 'isolation' THEN enum_range(NULL::reeve.isolation)::text[] END;
    IF v_known IS NOT NULL AND EXISTS (SELECT FROM jsonb_array_elements_text(v.words) w WHERE w <> ALL (v_known)) THEN
      RAISE EXCEPTION 'there is no % "%"', v.key, (SELECT left(w, 80) FROM jsonb_array_elements_text(v.words) w WHERE w <> ALL (v_known) LIMIT 1)
        USING ERRCODE = 'RV010', HINT = 'Known: ' || array_to_string(v_known, ', ');
    END IF;
    v_out := v_out || jsonb_build_object(v.key, v.words);
  END LOOP;
  RETURN v_out;
END $$;

-- The tenants that a checked selection names; without a status those whose status the kind allows. Never archived ones.
CREATE FUNCTION reeve.selected_tenants(p_selection jsonb, p_kind text) RETURNS SETOF uuid LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT t.id FROM reeve.tenant t
  WHERE t.status <> 'archived'
    AND (NOT p_selection ? 'tier' OR t.tier = ANY (ARRAY(SELECT jsonb_array_elements_text(p_selection -> 'tier'))))
    AND (NOT p_selection ? 'isolation' OR t.isolation::text = ANY (ARRAY(SELECT jsonb_array_elements_text(p_selection -> 'isolation'))))
    AND (NOT p_selection ? 'code' OR t.code = ANY (ARRAY(SELECT jsonb_array_elements_text(p_selection -> 'code'))))
    AND (NOT p_selection ? 'timezone' OR t.timezone = ANY (ARRAY(SELECT jsonb_array_elements_text(p_selection -> 'timezone'))))
    AND CASE WHEN p_selection ? 'status' THEN t.status::text = ANY (ARRAY(SELECT jsonb_array_elements_text(p_selection -> 'status')))
             ELSE t.status = ANY ((SELECT k.statuses FROM reeve.kind k WHERE k.name = p_kind)::reeve.tenant_status[]) END
$$;

-- A number from 0 up to 1 that is the same for the same text: who comes when in a spread does not change between attempts.
CREATE FUNCTION reeve.share_of(p_text text) RETURNS double precision LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS
  $$ SELECT (('x' || left(md5(p_text), 8))::bit(32)::bigint & 4294967295) / 4294967296.0::double precision $$;

-- Checks what a batch or a schedule is to enqueue; returns the queue's name.
CREATE FUNCTION reeve.checked_work(p_kind text, p_queue text, p_args jsonb) RETURNS text LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_problem text;
BEGIN
  SELECT k.name, k.queue, k.schema INTO v FROM reeve.kind k WHERE k.name = p_kind;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'kind "%" is not registered', left(coalesce(p_kind, ''), 80) USING ERRCODE = 'RV004',
      HINT = 'Known kinds: ' || coalesce((SELECT string_agg(k.name, ', ' ORDER BY k.name) FROM reeve.kind k), 'none yet; start a worker or run reeve migrate up');
  END IF;
  IF p_queue IS NOT NULL AND (p_queue !~ '^[a-z0-9][a-z0-9-]{0,60}$' OR p_queue IN ('events', 'audit', 'jobs')) THEN
    RAISE EXCEPTION 'queue "%" is not a queue''s name without the tenant', left(p_queue, 80) USING ERRCODE = 'RV002', HINT = 'For example reports: each tenant''s job runs on <its code>.reports.';
  END IF;
  v_problem := reeve.args_problem(v.schema, coalesce(p_args, '{}'));
  IF v_problem IS NOT NULL THEN
    RAISE EXCEPTION 'the arguments do not match kind "%": %', p_kind, v_problem USING ERRCODE = 'RV005', HINT = 'See: reeve kind show ' || p_kind;
  END IF;
  RETURN coalesce(p_queue, v.queue);
END $$;

-- Makes a batch of tenants that were chosen; what is common to start_batch, retry_batch and schedules.
CREATE FUNCTION reeve.make_batch(p_kind text, p_queue text, p_args jsonb, p_priority int, p_selection jsonb, p_tenants uuid[], p_spread interval, p_max_running int,
    p_on_finish jsonb, p_from timestamptz, p_jitter interval, p_schedule bigint, p_tick timestamptz, p_retried_from bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v_id bigint;
BEGIN
  INSERT INTO reeve.batch (kind, queue, args, priority, selection, spread, max_running, on_finish, total, schedule_id, tick, retried_from, next_at)
  VALUES (p_kind, p_queue, p_args, p_priority, p_selection, p_spread, p_max_running, p_on_finish, cardinality(p_tenants), p_schedule, p_tick, p_retried_from, p_from)
  RETURNING id INTO v_id;
  INSERT INTO reeve.batch_item (batch_id, tenant_id, run_at)
  SELECT v_id, t, p_from + p_spread * reeve.share_of(coalesce(p_schedule, v_id) || ' ' || t) + p_jitter * reeve.share_of(coalesce(p_tick, p_from) || ' ' || t) FROM unnest(p_tenants) t;
  RETURN v_id;
END $$;

-- Starts a batch: one job of this kind for each tenant that is selected now (design section 4). `spread` is the window over which they start,
-- `max_running` how many of them are in the queue at once, `on_finish` a job {queue, kind, args} that is enqueued once when the last one has ended.
CREATE FUNCTION reeve.start_batch(kind text, args jsonb, tenants jsonb, spread interval DEFAULT '0', max_running int DEFAULT NULL, queue text DEFAULT NULL,
    on_finish jsonb DEFAULT NULL, priority int DEFAULT 0) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_selection jsonb := reeve.checked_selection(tenants); v_queue text := reeve.checked_work(kind, queue, args); v_tenants uuid[]; v_id bigint;
BEGIN
  IF spread IS NULL OR spread NOT BETWEEN interval '0' AND interval '366 days' THEN RAISE EXCEPTION 'a spread is from 0 to 366 days' USING ERRCODE = 'RV010'; END IF;
  IF max_running NOT BETWEEN 1 AND 1000000 THEN RAISE EXCEPTION 'max_running is from 1 to 1000000' USING ERRCODE = 'RV010'; END IF;
  IF priority IS NULL OR priority NOT BETWEEN -1000000 AND 1000000 THEN RAISE EXCEPTION 'priority must be from -1000000 to 1000000' USING ERRCODE = 'RV010'; END IF;
  IF on_finish IS NOT NULL THEN PERFORM reeve.checked_finish(on_finish); END IF;
  PERFORM FROM jsonb_array_elements_text(v_selection -> 'code') c WHERE NOT EXISTS (SELECT FROM reeve.tenant t WHERE t.code = c);
  IF FOUND THEN
    RAISE EXCEPTION 'tenant "%" is unknown', (SELECT left(c, 80) FROM jsonb_array_elements_text(v_selection -> 'code') c WHERE NOT EXISTS (SELECT FROM reeve.tenant t WHERE t.code = c) LIMIT 1)
      USING ERRCODE = 'RV001', HINT = 'See: reeve tenant list';
  END IF;
  v_tenants := ARRAY(SELECT reeve.selected_tenants(v_selection, kind));
  IF cardinality(v_tenants) = 0 THEN
    RAISE EXCEPTION 'no tenant is selected by %', v_selection USING ERRCODE = 'RV011',
      HINT = 'Without a status those are selected whose status the kind allows; see: reeve tenant list, reeve kind show ' || kind;
  END IF;
  v_id := reeve.make_batch(kind, v_queue, coalesce(args, '{}'), priority, v_selection, v_tenants, spread, max_running, on_finish, reeve.clock(), '0', NULL, NULL, NULL);
  PERFORM reeve.audit(NULL, 'batch.start', 'batch ' || v_id, NULL, jsonb_build_object('kind', kind, 'selection', v_selection, 'tenants', cardinality(v_tenants), 'spread', spread, 'max_running', max_running));
  RETURN v_id;
END $$;

-- What is enqueued when a batch ends must be acceptable when it starts.
CREATE FUNCTION reeve.checked_finish(p_job jsonb) RETURNS void LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
BEGIN
  IF jsonb_typeof(p_job) IS DISTINCT FROM 'object' OR p_job - ARRAY['queue', 'kind', 'args'] <> '{}' OR NOT p_job ?& ARRAY['queue', 'kind']
     OR jsonb_typeof(p_job -> 'queue') <> 'string' OR jsonb_typeof(p_job -> 'kind') <> 'string' THEN
    RAISE EXCEPTION 'on_finish is a job' USING ERRCODE = 'RV010', HINT = 'For example {"queue": "acme.reports", "kind": "report", "args": {}}.';
  END IF;
  PERFORM reeve.checked_work(p_job ->> 'kind', split_part(p_job ->> 'queue', '.', 2), p_job -> 'args');
  IF NOT EXISTS (SELECT FROM reeve.tenant t WHERE t.code = split_part(p_job ->> 'queue', '.', 1) AND t.status <> 'archived') THEN
    RAISE EXCEPTION 'tenant "%" is unknown', left(split_part(p_job ->> 'queue', '.', 1), 80) USING ERRCODE = 'RV001';
  END IF;
END $$;

CREATE FUNCTION reeve.locked_batch(p_id bigint) RETURNS reeve.batch LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.batch;
BEGIN
  SELECT b.* INTO v FROM reeve.batch b WHERE b.id = p_id FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no batch %', p_id USING ERRCODE = 'RV011', HINT = 'See: reeve batch list'; END IF;
  RETURN v;
END $$;

-- Stops feeding a batch; what is in the queue already goes on.
CREATE FUNCTION reeve.pause_batch(id bigint, reason text) RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v reeve.batch := reeve.locked_batch(id);
BEGIN
  IF v.state <> 'running' THEN RAISE EXCEPTION 'batch % is %', id, v.state USING ERRCODE = 'RV012'; END IF;
  UPDATE reeve.batch b SET state = 'paused', reason = left(pause_batch.reason, 2000) WHERE b.id = v.id;
  PERFORM reeve.audit(NULL, 'batch.pause', 'batch ' || id, reason);
END $$;

CREATE FUNCTION reeve.resume_batch(id bigint) RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v reeve.batch := reeve.locked_batch(id);
BEGIN
  IF v.state <> 'paused' THEN RAISE EXCEPTION 'batch % is %', id, v.state USING ERRCODE = 'RV012', HINT = 'Only a paused batch can be resumed.'; END IF;
  UPDATE reeve.batch b SET state = 'running', reason = NULL, next_at = reeve.clock() WHERE b.id = v.id;
  PERFORM reeve.audit(NULL, 'batch.resume', 'batch ' || id);
END $$;

-- Cancels what waits and what is queued; what runs is asked to stop.
CREATE FUNCTION reeve.cancel_batch(id bigint, reason text) RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v reeve.batch := reeve.locked_batch(id);
BEGIN
  IF v.state NOT IN ('running', 'paused') THEN RAISE EXCEPTION 'batch % is %', id, v.state USING ERRCODE = 'RV012'; END IF;
  UPDATE reeve.batch b SET state = 'cancelling', reason = left(cancel_batch.reason, 2000), next_at = reeve.clock() WHERE b.id = v.id;
  UPDATE reeve.batch_item i SET state = 'cancelled', ended_at = reeve.clock(), error = 'the batch was cancelled' WHERE i.batch_id = v.id AND i.state = 'waiting';
  PERFORM reeve.audit(NULL, 'batch.cancel', 'batch ' || id, reason);
END $$;

-- Tries again what failed: within the batch while it runs, as a new batch once it has ended (one id ends once). Returns the batch's id.
CREATE FUNCTION reeve.retry_batch(id bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v reeve.batch := reeve.locked_batch(id); v_tenants uuid[]; v_id bigint;
BEGIN
  v_tenants := ARRAY(SELECT i.tenant_id FROM reeve.batch_item i WHERE i.batch_id = v.id AND i.state IN ('dead', 'refused', 'cancelled'));
  IF cardinality(v_tenants) = 0 THEN RAISE EXCEPTION 'nothing of batch % has failed', id USING ERRCODE = 'RV012'; END IF;
  IF v.finished_at IS NULL THEN
    IF v.state = 'cancelling' THEN RAISE EXCEPTION 'batch % is being cancelled', id USING ERRCODE = 'RV012', HINT = 'Retry it when it has ended.'; END IF;
    UPDATE reeve.batch_item i SET state = 'waiting', job_id = NULL, enqueued_at = NULL, ended_at = NULL, error = NULL, run_at = reeve.clock()
    WHERE i.batch_id = v.id AND i.state IN ('dead', 'refused', 'cancelled');
    UPDATE reeve.batch b SET next_at = reeve.clock() WHERE b.id = v.id;
    v_id := v.id;
  ELSE
    v_id := reeve.make_batch(v.kind, v.queue, v.args, v.priority, v.selection, v_tenants, '0', v.max_running, v.on_finish, reeve.clock(), '0', NULL, NULL, v.id);
  END IF;
  PERFORM reeve.audit(NULL, 'batch.retry', 'batch ' || id, NULL, jsonb_build_object('as', v_id, 'tenants', cardinality(v_tenants)));
  RETURN v_id;
END $$;

-- Takes the ends of a batch's jobs to its tenants. A job that is nowhere any more was removed with its tenant.
CREATE FUNCTION reeve.collect_batch_ends(p_batch bigint, p_limit int) RETURNS int LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v_count int;
BEGIN
  WITH gone AS (
    DELETE FROM reeve.batch_end e WHERE e.ctid = ANY (ARRAY(SELECT x.ctid FROM reeve.batch_end x WHERE x.batch_id = p_batch LIMIT p_limit FOR UPDATE SKIP LOCKED)) RETURNING e.job_id),
  ended AS (
    SELECT i.tenant_id, coalesce(h.state::text, CASE WHEN d.id IS NOT NULL THEN 'dead' END, 'cancelled') AS state, coalesce(d.last_error, h.last_error, CASE WHEN h.id IS NULL AND d.id IS NULL THEN 'the job was removed' END) AS error
    FROM gone g JOIN reeve.batch_item i ON i.batch_id = p_batch AND i.job_id = g.job_id AND i.state = 'enqueued'
    LEFT JOIN LATERAL (SELECT x.id, x.state, x.last_error FROM reeve.job_history x WHERE x.id = g.job_id AND x.finished_at >= i.enqueued_at - interval '1 minute' LIMIT 1) h ON true
    LEFT JOIN reeve.dead_letter d ON d.id = g.job_id)
  UPDATE reeve.batch_item i SET state = e.state, error = left(e.error, 2000), ended_at = reeve.clock() FROM ended e WHERE i.batch_id = p_batch AND i.tenant_id = e.tenant_id;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

-- Why a tenant's turn in a batch has to wait or does not come; NULL: enqueue. Schedules replace it with their overlap rules.
CREATE FUNCTION reeve.batch_overlap(p_batch reeve.batch, p_tenant uuid) RETURNS text LANGUAGE sql VOLATILE SET search_path = reeve, pg_temp AS $$ SELECT NULL::text $$;

-- Called for each job that a batch enqueued.
CREATE FUNCTION reeve.batch_enqueued(p_batch reeve.batch, p_tenant uuid, p_job bigint) RETURNS void LANGUAGE sql VOLATILE SET search_path = reeve, pg_temp AS $$ SELECT NULL::void $$;

-- Enqueues jobs in slices; a slice that is refused goes one by one, so that each answers for itself. Jobs are as enqueue_many takes them.
CREATE FUNCTION reeve.enqueue_each(p_jobs jsonb[]) RETURNS TABLE (n int, job bigint, code text, problem text) LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v_from int := 1; v_to int; v_ids bigint[];
BEGIN
  WHILE v_from <= cardinality(p_jobs) LOOP
    v_to := least(v_from + 99, cardinality(p_jobs));
    BEGIN
      v_ids := reeve.enqueue_many(to_jsonb(p_jobs[v_from:v_to]));
      RETURN QUERY SELECT (v_from + u.o - 1)::int, u.i, NULL::text, NULL::text FROM unnest(v_ids) WITH ORDINALITY u (i, o);
    EXCEPTION WHEN OTHERS THEN
      IF SQLSTATE NOT LIKE 'RV%' THEN RAISE; END IF;
      FOR k IN v_from..v_to LOOP
        BEGIN
          n := k; job := (reeve.enqueue_many(to_jsonb(p_jobs[k:k])))[1]; code := NULL; problem := NULL;
        EXCEPTION WHEN OTHERS THEN
          IF SQLSTATE NOT LIKE 'RV%' THEN RAISE; END IF;
          job := NULL; code := SQLSTATE; problem := left(SQLERRM, 2000);
        END;
        RETURN NEXT;
      END LOOP;
    END;
    v_from := v_to + 1;
  END LOOP;
END $$;

-- Enqueues the tenants of a batch whose turn it is, at most p_limit. What the queue refuses for a while (a full backlog, a drain) is tried again in a
-- minute; what it refuses for good is recorded.
CREATE FUNCTION reeve.feed_batch(p_batch reeve.batch, p_limit int) RETURNS int LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_now timestamptz := reeve.clock(); v_room int := p_limit; v_skip text; v_count int := 0; v_tenants uuid[] := '{}'; v_jobs jsonb[] := '{}';
BEGIN
  IF p_batch.max_running IS NOT NULL THEN
    v_room := least(p_limit, p_batch.max_running - (SELECT count(*) FROM (SELECT FROM reeve.batch_item i WHERE i.batch_id = p_batch.id AND i.state = 'enqueued' LIMIT p_batch.max_running) x));
  END IF;
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

-- Ends a batch whose last job has ended: the completion job, the audit's entry and the notification are of the same transaction, so each comes once.
CREATE FUNCTION reeve.finish_batch(p_batch reeve.batch) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v_job bigint; v_error text; v_state text := CASE p_batch.state WHEN 'cancelling' THEN 'cancelled' ELSE 'finished' END; v_counts jsonb;
BEGIN
  IF p_batch.on_finish IS NOT NULL THEN
    BEGIN
      v_job := reeve.enqueue(p_batch.on_finish ->> 'queue', p_batch.on_finish ->> 'kind', coalesce(p_batch.on_finish -> 'args', '{}'), idempotency_key => 'batch ' || p_batch.id);
    EXCEPTION WHEN OTHERS THEN
      IF SQLSTATE NOT LIKE 'RV%' OR SQLSTATE IN ('RV007', 'RV013') THEN RAISE; END IF;     -- tried again with the batch
      v_error := SQLERRM;
    END;
  END IF;
  SELECT jsonb_object_agg(c.state, c.n) INTO v_counts FROM (SELECT i.state, count(*) AS n FROM reeve.batch_item i WHERE i.batch_id = p_batch.id GROUP BY i.state) c;
  UPDATE reeve.batch b SET state = v_state, finished_at = reeve.clock(), completion_job = v_job, reason = coalesce(left(v_error, 2000), b.reason) WHERE b.id = p_batch.id;
  PERFORM reeve.audit(NULL, 'batch.end', 'batch ' || p_batch.id, left(v_error, 2000),
    jsonb_build_object('state', v_state, 'kind', p_batch.kind, 'counts', coalesce(v_counts, '{}'), 'completion_job', v_job), p_batch.created_at);
  PERFORM pg_notify('reeve_batch', p_batch.id::text);
END $$;

-- Collects ends, feeds and ends the batches that are due, each in turn; returns how much was done.
CREATE FUNCTION reeve.tend_batches(p_limit int DEFAULT 500) RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET client_min_messages = warning SET jit = off AS $$
DECLARE v reeve.batch; v_count int := 0; v_n int; v_now timestamptz := reeve.clock(); v_due timestamptz; v_job bigint;
BEGIN
  FOR v IN SELECT b.* FROM reeve.batch b
      WHERE (b.state IN ('running', 'cancelling') AND b.next_at <= v_now) OR b.id IN (SELECT e.batch_id FROM reeve.batch_end e LIMIT 5000)
      ORDER BY b.next_at, b.id LIMIT 4 FOR NO KEY UPDATE SKIP LOCKED LOOP
    v_n := reeve.collect_batch_ends(v.id, 5000);
    IF v.state = 'cancelling' THEN
      FOR v_job IN SELECT i.job_id FROM reeve.batch_item i JOIN reeve.job j ON j.id = i.job_id WHERE i.batch_id = v.id AND i.state = 'enqueued'
          AND NOT EXISTS (SELECT FROM reeve.cancel_request c WHERE c.job_id = i.job_id) LIMIT p_limit LOOP
        PERFORM FROM reeve.job j WHERE j.id = v_job AND j.state <> 'running' FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
          PERFORM reeve.end_cancelled(v_job, 'cancelled with batch ' || v.id);
        ELSE
          INSERT INTO reeve.cancel_request (job_id) VALUES (v_job) ON CONFLICT DO NOTHING;
          PERFORM pg_notify('reeve_cancel', '');
        END IF;
        v_n := v_n + 1;
      END LOOP;
    ELSIF v.state = 'running' THEN
      v_n := v_n + reeve.feed_batch(v, p_limit);
    END IF;
    v_count := v_count + v_n;
    IF v.state IN ('running', 'cancelling') THEN
      SELECT min(i.run_at) INTO v_due FROM reeve.batch_item i WHERE i.batch_id = v.id AND i.state = 'waiting';
      IF v_due IS NULL AND NOT EXISTS (SELECT FROM reeve.batch_item i WHERE i.batch_id = v.id AND i.state = 'enqueued') THEN
        PERFORM reeve.finish_batch(v);
      ELSE
        -- A batch at its limit is looked at again when one of its jobs ends.
        UPDATE reeve.batch b SET next_at = CASE WHEN v.state = 'cancelling' THEN reeve.clock() + interval '2 s'
          WHEN v_n > 0 AND v.max_running IS NULL THEN coalesce(v_due, 'infinity') ELSE greatest(coalesce(v_due, 'infinity'), reeve.clock() + interval '1 s') END WHERE b.id = v.id;
      END IF;
    END IF;
  END LOOP;
  RETURN v_count;
END $$;

-- Forgets batches that ended long ago. Returns how many.
CREATE FUNCTION reeve.tend_old_batches(p_keep interval DEFAULT '90 days') RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_count int;
BEGIN
  DELETE FROM reeve.batch b WHERE b.id IN (SELECT x.id FROM reeve.batch x WHERE x.finished_at < reeve.clock() - p_keep
    AND NOT EXISTS (SELECT FROM reeve.batch r WHERE r.retried_from = x.id) ORDER BY x.finished_at LIMIT 20 FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

-- Batches with their progress. eta: when the last one ends at the rate so far, not before the spread is over.
CREATE VIEW reeve.batch_list WITH (security_barrier) AS
  SELECT b.id, b.kind, b.queue, b.state, b.reason, b.total, c.waiting, c.enqueued, c.succeeded, c.dead, c.cancelled, c.refused, c.skipped, b.selection, b.spread, b.max_running,
    b.schedule_id, b.tick, b.retried_from, b.created_by, b.created_at, b.finished_at, b.completion_job,
    CASE WHEN b.finished_at IS NULL AND b.state = 'running' AND b.total > c.waiting + c.enqueued THEN
      greatest(c.last_due, reeve.clock() + (reeve.clock() - b.created_at) * ((c.waiting + c.enqueued)::double precision / (b.total - c.waiting - c.enqueued))) END AS eta
  FROM reeve.batch b CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE i.state = 'waiting') AS waiting, count(*) FILTER (WHERE i.state = 'enqueued') AS enqueued, count(*) FILTER (WHERE i.state = 'succeeded') AS succeeded,
      count(*) FILTER (WHERE i.state = 'dead') AS dead, count(*) FILTER (WHERE i.state = 'cancelled') AS cancelled, count(*) FILTER (WHERE i.state = 'refused') AS refused,
      count(*) FILTER (WHERE i.state = 'skipped') AS skipped, max(i.run_at) FILTER (WHERE i.state = 'waiting') AS last_due
    FROM reeve.batch_item i WHERE i.batch_id = b.id) c;

CREATE VIEW reeve.batch_tenant WITH (security_barrier) AS
  SELECT i.batch_id, t.code AS tenant_code, i.state, i.run_at, i.job_id, i.enqueued_at, i.ended_at, i.error FROM reeve.batch_item i LEFT JOIN reeve.tenant t ON t.id = i.tenant_id;

DO $$
BEGIN
  IF current_setting('server_version_num')::int >= 150000 THEN
    ALTER VIEW reeve.batch_list SET (security_invoker = true);
    ALTER VIEW reeve.batch_tenant SET (security_invoker = true);
  END IF;
END $$;

GRANT EXECUTE ON FUNCTION reeve.start_batch(text, jsonb, jsonb, interval, int, text, jsonb, int), reeve.pause_batch(bigint, text), reeve.resume_batch(bigint),
  reeve.cancel_batch(bigint, text), reeve.retry_batch(bigint) TO reeve_operator;
GRANT EXECUTE ON FUNCTION reeve.tend_batches(int), reeve.tend_old_batches(interval) TO reeve_worker, reeve_operator;
GRANT SELECT ON reeve.batch, reeve.batch_item, reeve.batch_list, reeve.batch_tenant TO reeve_viewer, reeve_operator;
