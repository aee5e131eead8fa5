-- Kafka's way in (design section 8): how far each partition was read is kept here and moves in the transaction that takes its messages, so that each
-- becomes exactly one job, whoever else believes to read the partition.

-- next: the first offset that was not taken. digest: the fingerprint of the message before it, by which a topic is known again.
CREATE TABLE reeve.kafka_offset (
  topic text COLLATE "C" NOT NULL CHECK (length(topic) BETWEEN 1 AND 249),
  partition int NOT NULL CHECK (partition >= 0),
  next bigint NOT NULL DEFAULT 0 CHECK (next >= 0),
  digest bytea CHECK (octet_length(digest) = 32),
  cluster_id text,
  problem text,                                            -- why it is not read; NULL: it is
  detail text CHECK (length(detail) <= 2000),
  since timestamptz NOT NULL DEFAULT reeve.clock(),
  moved_at timestamptz,
  PRIMARY KEY (topic, partition),
  CHECK ((problem IS NULL) OR (detail IS NOT NULL))
) WITH (fillfactor = 50);

-- Events that became jobs, by tenant, source and id, hashed: kept for as long as a topic may hold the message again.
CREATE TABLE reeve.kafka_key (
  hash bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
  digest bytea NOT NULL CHECK (octet_length(digest) = 32),
  job_id bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT reeve.clock()
);
CREATE INDEX kafka_key_created ON reeve.kafka_key (created_at);

-- Messages that could not become jobs, whole. What is text is in `body`, else in `bytes`; headers as [[name, base64 or null]].
CREATE TABLE reeve.rejected_messages (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  topic text COLLATE "C" NOT NULL,
  partition int NOT NULL,
  "offset" bigint NOT NULL,
  queue text NOT NULL,                                     -- the topic without the cluster's prefix
  tenant_id uuid,                                          -- whose topic it is; NULL: nobody's
  reason text NOT NULL CHECK (reason ~ '^[a-z_]{1,40}$'),
  detail text CHECK (length(detail) <= 2000),
  key bytea,
  body text,
  bytes bytea,
  size int NOT NULL,                                       -- of the value, in bytes
  headers jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(headers) = 'array'),
  written_at timestamptz,
  rejected_at timestamptz NOT NULL DEFAULT reeve.clock(),
  state text NOT NULL DEFAULT 'kept' CHECK (state IN ('kept', 'redriven', 'dropped')),
  job_id bigint,
  ended_at timestamptz,
  ended_by text,
  CHECK ((state = 'kept') = (ended_at IS NULL)),
  CHECK (body IS NULL OR bytes IS NULL)
);
CREATE INDEX rejected_messages_tenant ON reeve.rejected_messages (tenant_id, id);
CREATE INDEX rejected_messages_kept ON reeve.rejected_messages (id) WHERE state = 'kept';
CREATE INDEX rejected_messages_age ON reeve.rejected_messages (rejected_at);

-- What each process that speaks to Kafka last said of itself.
CREATE TABLE reeve.kafka_client (
  id uuid PRIMARY KEY,
  role text NOT NULL CHECK (role IN ('intake', 'relay')),
  node text NOT NULL,
  pid int NOT NULL,
  state text NOT NULL,                                     -- up, or the fault: brokers_down, authentication_refused, …
  detail text CHECK (length(detail) <= 2000),
  since timestamptz NOT NULL,
  seen_at timestamptz NOT NULL DEFAULT reeve.clock(),
  counts jsonb NOT NULL DEFAULT '{}'                       -- messages, jobs, duplicates, rejected; partitions by state
);

CREATE TYPE reeve.placed AS (n int, code text, detail text, tenant_id uuid, queue text, kind text, data jsonb, hash bytea, digest bytea, first int, known bytea);

CREATE FUNCTION reeve.try_json(p_text text) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN p_text::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded OR statement_too_complex THEN RETURN NULL;
END $$;

-- Why a tenant's messages on a queue have to wait; NULL: they need not. `<tenant>.jobs` waits for any of the tenant's queues.
CREATE FUNCTION reeve.intake_hold(p_queue text) RETURNS text LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT CASE
    WHEN EXISTS (SELECT FROM reeve.tenant t JOIN reeve.tenant_backlog b ON b.tenant_id = t.id WHERE t.code = split_part(p_queue, '.', 1) COLLATE "C" AND b.is_full) THEN 'backlog'
    WHEN EXISTS (SELECT FROM reeve.queue_block b WHERE b.refuse AND (p_queue LIKE b.like_pattern
      OR (split_part(p_queue, '.', 2) = 'jobs' AND split_part(p_queue, '.', 1) LIKE split_part(b.like_pattern, '.', 1)))) THEN 'draining'
    WHEN EXISTS (SELECT FROM reeve.tenant t WHERE t.code = split_part(p_queue, '.', 1) COLLATE "C" AND t.status IN ('churned', 'suspended') AND reeve.is_frozen(t.id)) THEN 'purging'
  END
$$;

-- How far partitions were read, for who is about to read them. A partition that nobody has read yet gets its row.
CREATE FUNCTION reeve.open_partitions(p_topics text[], p_partitions int[], p_queues text[])
RETURNS TABLE (n int, next bigint, digest bytea, cluster_id text, problem text, hold text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
BEGIN
  INSERT INTO reeve.kafka_offset (topic, partition) SELECT u.t, u.p FROM unnest(p_topics, p_partitions) u (t, p)
    WHERE NOT EXISTS (SELECT FROM reeve.kafka_offset o WHERE o.topic = u.t AND o.partition = u.p) ORDER BY 1, 2 ON CONFLICT DO NOTHING;
  RETURN QUERY SELECT u.n::int, o.next, o.digest, o.cluster_id, o.problem, reeve.intake_hold(u.q)
    FROM unnest(p_topics, p_partitions, p_queues) WITH ORDINALITY u (t, p, q, n) JOIN reeve.kafka_offset o ON o.topic = u.t AND o.partition = u.p;
END $$;

-- Makes jobs of messages, in their order, each at most once, and says which it refuses: {"jobs": [id or null], "refused": [[n, code, detail]], "duplicates": n}.
-- p_whole: the body is the whole event, not its data. What has to wait (a full backlog, a drain) fails as a whole with 40001: who reads waits.
CREATE FUNCTION reeve.place_messages(p_queues text[], p_types text[], p_sources text[], p_ids text[], p_tenants text[], p_traces text[], p_run_at timestamptz[],
  p_priorities int[], p_bodies text[], p_whole boolean[]) RETURNS jsonb LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp SET jit = off AS $$
DECLARE v_all reeve.placed[]; v_data jsonb[]; v_ns int[]; v_jobs jsonb[]; v_slice jsonb[]; v_at int[]; v_made bigint[]; v_ids bigint[] := '{}'; v_done int[] := '{}'; v_bad int; v_from int := 1;
  v_count int; v_code text; v_problem text; r_ns int[] := '{}'; r_codes text[] := '{}'; r_details text[] := '{}'; v_refused jsonb;
BEGIN
  BEGIN
    v_data := ARRAY(SELECT CASE WHEN u.w THEN u.b::jsonb -> 'data' ELSE u.b::jsonb END FROM unnest(p_bodies, p_whole) WITH ORDINALITY u (b, w, n) ORDER BY u.n);
  EXCEPTION WHEN data_exception OR program_limit_exceeded OR statement_too_complex THEN   -- what PostgreSQL's jsonb does not take: one of them
    FOR k IN 1..cardinality(p_bodies) LOOP
      IF p_bodies[k] IS NOT NULL AND reeve.try_json(p_bodies[k]) IS NULL THEN
        r_ns := r_ns || k; r_codes := r_codes || 'not_json'::text; r_details := r_details || 'PostgreSQL does not take it: a NUL character, half a surrogate pair, or a number out of range'::text;
      END IF;
    END LOOP;
    v_data := ARRAY(SELECT CASE WHEN u.w THEN reeve.try_json(u.b) -> 'data' ELSE reeve.try_json(u.b) END FROM unnest(p_bodies, p_whole) WITH ORDINALITY u (b, w, n) ORDER BY u.n);
  END;
  v_all := ARRAY(
    SELECT ROW(x.n, x.code, x.detail, x.tenant_id, x.queue, x.kind, x.data, x.hash, x.digest, first_value(x.n) OVER (PARTITION BY x.hash ORDER BY x.n), o.digest)::reeve.placed
    FROM (SELECT u.n::int AS n, c.code, c.detail, t.id AS tenant_id, q.queue, k.name AS kind, d.data,
        CASE WHEN c.code IS NULL THEN sha256(convert_to(jsonb_build_array(t.id, u.source, u.id)::text, 'UTF8')) END AS hash,
        CASE WHEN c.code IS NULL THEN sha256(convert_to(jsonb_build_array(q.queue, k.name, d.data)::text, 'UTF8')) END AS digest
      FROM unnest(p_queues, p_types, p_sources, p_ids, p_tenants, v_data) WITH ORDINALITY u (queue, type, source, id, tenant, data, n)
      LEFT JOIN reeve.tenant t ON t.code = split_part(u.queue, '.', 1) COLLATE "C"
      LEFT JOIN reeve.kind k ON u.type LIKE 'reeve.job.%' AND k.name = substr(u.type, 11)
      CROSS JOIN LATERAL (SELECT CASE WHEN split_part(u.queue, '.', 2) = 'jobs' THEN split_part(u.queue, '.', 1) || '.' || k.queue ELSE u.queue END AS queue) q
      CROSS JOIN LATERAL (SELECT coalesce(nullif(u.data, 'null'), '{}') AS data) d
      CROSS JOIN LATERAL (SELECT (CASE
        WHEN u.n = ANY (r_ns) THEN ARRAY['', NULL]
        WHEN t.id IS NULL THEN ARRAY['unknown_tenant', format('there is no tenant "%s"', left(split_part(u.queue, '.', 1), 80))]
        WHEN u.tenant IS DISTINCT FROM t.id::text AND u.tenant IS DISTINCT FROM t.code THEN ARRAY['spoofed_tenant', 'the message names another tenant than the topic''s']
        WHEN t.status = 'archived' THEN ARRAY['tenant_archived', 'its data is purged; nothing can run for it any more']
        WHEN k.name IS NULL THEN ARRAY['unknown_kind', format('type "%s" is not reeve.job.<kind> of a registered kind', left(u.type, 120))] END) AS a) r
      CROSS JOIN LATERAL (SELECT r.a[1] AS code, r.a[2] AS detail) c) x
    LEFT JOIN reeve.kafka_key o ON o.hash = x.hash ORDER BY x.n);
  SELECT array_agg(u.n ORDER BY u.n), array_agg(jsonb_build_object('queue', u.queue, 'kind', u.kind, 'args', u.data, 'tenant', u.tenant_id, 'traceparent', m.trace, 'run_at', m.at, 'priority', m.priority) ORDER BY u.n)
    INTO v_ns, v_jobs
    FROM unnest(v_all) u JOIN unnest(p_traces, p_run_at, p_priorities) WITH ORDINALITY m (trace, at, priority, n) ON m.n = u.n WHERE u.code IS NULL AND u.known IS NULL AND u.first = u.n;
  WHILE v_from <= coalesce(cardinality(v_ns), 0) LOOP
    v_slice := v_jobs[v_from : v_from + 199];
    v_at := v_ns[v_from : v_from + 199];
    v_from := v_from + 200;
    WHILE cardinality(v_slice) > 0 LOOP
      BEGIN
        v_made := reeve.enqueue_many(to_jsonb(v_slice));
        v_ids := v_ids || v_made; v_done := v_done || v_at;
        EXIT;
      EXCEPTION WHEN OTHERS THEN
        IF SQLSTATE NOT LIKE 'RV%' THEN RAISE; END IF;
        IF SQLSTATE IN ('RV007', 'RV012', 'RV013') THEN RAISE EXCEPTION 'messages have to wait: %', SQLERRM USING ERRCODE = '40001'; END IF;
        -- The one that was refused is left out and the others are tried again.
        v_bad := CASE WHEN cardinality(v_slice) = 1 THEN 1 ELSE (regexp_match(SQLERRM, '\(job (\d+) of the array\)$'))[1]::int END;
        IF v_bad IS NULL OR v_bad NOT BETWEEN 1 AND cardinality(v_slice) THEN RAISE; END IF;
        v_code := CASE SQLSTATE WHEN 'RV001' THEN 'unknown_tenant' WHEN 'RV002' THEN 'queue' WHEN 'RV003' THEN 'spoofed_tenant' WHEN 'RV004' THEN 'unknown_kind' WHEN 'RV005' THEN 'arguments'
          WHEN 'RV006' THEN CASE WHEN SQLERRM LIKE '%deeper%' THEN 'too_deep' ELSE 'too_large' END WHEN 'RV009' THEN 'tenant_archived' WHEN 'RV010' THEN 'field' ELSE 'refused' END;
        v_problem := left(regexp_replace(SQLERRM, ' \(job \d+ of the array\)$', ''), 2000);
        r_ns := r_ns || v_at[v_bad]; r_codes := r_codes || v_code; r_details := r_details || v_problem;
        v_slice := v_slice[: v_bad - 1] || v_slice[v_bad + 1 :];
        v_at := v_at[: v_bad - 1] || v_at[v_bad + 1 :];
      END;
    END LOOP;
  END LOOP;
  INSERT INTO reeve.kafka_key (hash, digest, job_id) SELECT u.hash, u.digest, j.id FROM unnest(v_done, v_ids) j (n, id) JOIN unnest(v_all) u ON u.n = j.n ORDER BY u.hash ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  IF v_count < cardinality(v_done) THEN RAISE EXCEPTION 'another transaction took the same event' USING ERRCODE = '40001'; END IF;
  SELECT coalesce(jsonb_agg(jsonb_build_array(f.n, f.code, f.detail) ORDER BY f.n), '[]') INTO v_refused FROM (
    SELECT u.n, u.code, u.detail FROM unnest(v_all) u WHERE u.code <> ''
    UNION ALL SELECT r.n, r.code, r.detail FROM unnest(r_ns, r_codes, r_details) r (n, code, detail)
    -- A repetition shares its first one's fate.
    UNION ALL SELECT u.n, r.code, r.detail FROM unnest(v_all) u JOIN unnest(r_ns, r_codes, r_details) r (n, code, detail) ON r.n = u.first WHERE u.code IS NULL AND u.n <> u.first
    UNION ALL SELECT u.n, 'id_reused', 'its source and id were used before, with other contents' FROM unnest(v_all) u JOIN unnest(v_all) f ON f.n = u.first
      WHERE u.code IS NULL AND u.n <> ALL (r_ns) AND u.first <> ALL (r_ns) AND u.digest <> coalesce(u.known, f.digest)) f;
  RETURN jsonb_build_object('jobs', (SELECT coalesce(jsonb_agg(j.id ORDER BY u.n), '[]') FROM generate_series(1, cardinality(p_queues)) u (n) LEFT JOIN unnest(v_done, v_ids) j (n, id) ON j.n = u.n),
    'refused', v_refused, 'duplicates', cardinality(p_queues) - cardinality(v_done) - jsonb_array_length(v_refused));
END $$;

-- Takes messages of partitions whose offset is still p_old, and moves it to p_new, in the caller's transaction. Returns what place_messages does, and the
-- partitions by number that are not taken: {"stale": [n], "held": [[n, why]]}; nothing of those becomes a job. m_places numbers the partitions from 1.
CREATE FUNCTION reeve.take_messages(p_topics text[], p_partitions int[], p_queues text[], p_old bigint[], p_new bigint[], p_digests bytea[], p_cluster text,
  m_places int[], m_types text[], m_sources text[], m_ids text[], m_tenants text[], m_traces text[], m_run_at timestamptz[], m_priorities int[], m_bodies text[], m_whole boolean[])
RETURNS jsonb LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp SET jit = off AS $$
DECLARE v_held jsonb; v_waits int[]; v_won int[]; v jsonb; v_at int[];
BEGIN
  SELECT coalesce(jsonb_agg(jsonb_build_array(h.n, h.hold)), '[]'), array_agg(h.n::int) INTO v_held, v_waits
    FROM (SELECT u.n, reeve.intake_hold(u.q) AS hold FROM unnest(p_queues) WITH ORDINALITY u (q, n)) h WHERE h.hold IS NOT NULL;
  PERFORM FROM reeve.kafka_offset o JOIN unnest(p_topics, p_partitions) u (t, p) ON o.topic = u.t AND o.partition = u.p ORDER BY o.topic, o.partition FOR NO KEY UPDATE OF o;
  WITH won AS (
    UPDATE reeve.kafka_offset o SET next = u.new, digest = u.digest, cluster_id = coalesce(p_cluster, o.cluster_id), moved_at = reeve.clock()
    FROM unnest(p_topics, p_partitions, p_old, p_new, p_digests) WITH ORDINALITY u (t, p, old, new, digest, n)
    WHERE o.topic = u.t AND o.partition = u.p AND o.next = u.old AND o.problem IS NULL AND u.n <> ALL (coalesce(v_waits, '{}')) RETURNING u.n)
  SELECT coalesce(array_agg(w.n::int), '{}') INTO v_won FROM won w;
  -- The numbers of those that are taken, for what comes back.
  v_at := ARRAY(SELECT u.n::int FROM unnest(m_places) WITH ORDINALITY u (place, n) WHERE u.place = ANY (v_won) ORDER BY u.n);
  IF cardinality(v_at) = cardinality(m_places) THEN
    v := reeve.place_messages(ARRAY(SELECT p_queues[x] FROM unnest(m_places) WITH ORDINALITY u (x, n) ORDER BY u.n), m_types, m_sources, m_ids, m_tenants, m_traces, m_run_at, m_priorities, m_bodies, m_whole);
  ELSE
    v := (SELECT reeve.place_messages(coalesce(array_agg(p_queues[u.place] ORDER BY u.n), '{}'), coalesce(array_agg(u.type ORDER BY u.n), '{}'), coalesce(array_agg(u.source ORDER BY u.n), '{}'),
        coalesce(array_agg(u.id ORDER BY u.n), '{}'), coalesce(array_agg(u.tenant ORDER BY u.n), '{}'), coalesce(array_agg(u.trace ORDER BY u.n), '{}'), coalesce(array_agg(u.at ORDER BY u.n), '{}'),
        coalesce(array_agg(u.priority ORDER BY u.n), '{}'), coalesce(array_agg(u.body ORDER BY u.n), '{}'), coalesce(array_agg(u.whole ORDER BY u.n), '{}'))
      FROM unnest(m_places, m_types, m_sources, m_ids, m_tenants, m_traces, m_run_at, m_priorities, m_bodies, m_whole) WITH ORDINALITY
        u (place, type, source, id, tenant, trace, at, priority, body, whole, n) WHERE u.place = ANY (v_won));
  END IF;
  RETURN jsonb_build_object('jobs', v -> 'jobs', 'duplicates', v -> 'duplicates', 'held', v_held,
    'refused', (SELECT coalesce(jsonb_agg(jsonb_build_array(v_at[(r ->> 0)::int], r -> 1, r -> 2) ORDER BY (r ->> 0)::int), '[]') FROM jsonb_array_elements(v -> 'refused') r),
    'stale', (SELECT coalesce(jsonb_agg(n), '[]') FROM generate_series(1, cardinality(p_topics)) n WHERE n <> ALL (v_won) AND n <> ALL (coalesce(v_waits, '{}'))));
END $$;

-- Keeps messages that cannot become jobs, in the transaction that passes them. Of a tenant whose data is purged the contents are not kept. One that names
-- another tenant than its topic's is a matter of security: the audit gets an entry a minute with a count.
CREATE FUNCTION reeve.reject_messages(p_messages jsonb) RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_count int;
BEGIN
  INSERT INTO reeve.rejected_messages (topic, partition, "offset", queue, tenant_id, reason, detail, key, body, bytes, size, headers, written_at)
  SELECT m.topic, m.partition, m."offset", m.queue, t.id, m.reason, left(m.detail, 2000), CASE WHEN k.keeps THEN decode(m.key, 'base64') END, CASE WHEN k.keeps THEN m.body END,
    CASE WHEN k.keeps THEN decode(m.bytes, 'base64') END, m.size, CASE WHEN k.keeps THEN coalesce(m.headers, '[]') ELSE '[]' END, to_timestamp(m.written_ms / 1000.0)
  FROM ROWS FROM (jsonb_to_recordset(p_messages) AS (topic text, partition int, "offset" bigint, queue text, reason text, detail text, key text, body text, bytes text, size int, headers jsonb,
    written_ms bigint)) WITH ORDINALITY m (topic, partition, "offset", queue, reason, detail, key, body, bytes, size, headers, written_ms, n)
  LEFT JOIN reeve.tenant t ON t.code = split_part(m.queue, '.', 1) COLLATE "C" CROSS JOIN LATERAL (SELECT t.status IS DISTINCT FROM 'archived' AS keeps) k ORDER BY m.n;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  INSERT INTO reeve.refusal AS r (tenant_id, kind, reason, minute, count)
  SELECT t.id, 'kafka', left('spoofed_tenant: a message on topic ' || m.topic || ' names another tenant', 200), date_trunc('minute', reeve.clock()), count(*)
  FROM jsonb_to_recordset(p_messages) m (topic text, queue text, reason text) JOIN reeve.tenant t ON t.code = split_part(m.queue, '.', 1) COLLATE "C"
  WHERE m.reason = 'spoofed_tenant' GROUP BY 1, 3 ORDER BY 1, 3
  ON CONFLICT (minute, tenant_id, kind, reason) DO UPDATE SET count = r.count + excluded.count;
  RETURN v_count;
END $$;

-- Stops a partition that is not what was read before; a person decides how it goes on.
CREATE FUNCTION reeve.stop_partition(p_topic text, p_partition int, p_problem text, p_detail text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  UPDATE reeve.kafka_offset o SET problem = p_problem, detail = left(p_detail, 2000), since = reeve.clock() WHERE o.topic = p_topic AND o.partition = p_partition AND o.problem IS NULL;
  IF FOUND THEN PERFORM reeve.audit(NULL, 'kafka.stop', 'partition ' || p_topic || ' ' || p_partition, p_problem, jsonb_build_object('detail', left(p_detail, 500))); END IF;
  RETURN FOUND;
END $$;

-- Reads partitions from another offset on, or goes on with stopped ones: p_next 0 is the oldest message. All partitions of the topic unless one is named.
CREATE FUNCTION reeve.reset_kafka_offset(p_topic text, p_partition int, p_next bigint, p_reason text) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_count int := 0;
BEGIN
  IF p_next < 0 OR coalesce(p_reason, '') = '' THEN RAISE EXCEPTION 'an offset from 0 on and a reason are needed' USING ERRCODE = 'RV010'; END IF;
  FOR v IN SELECT o.* FROM reeve.kafka_offset o WHERE o.topic = p_topic AND (p_partition IS NULL OR o.partition = p_partition) ORDER BY o.topic, o.partition FOR NO KEY UPDATE LOOP
    UPDATE reeve.kafka_offset o SET next = p_next, digest = NULL, cluster_id = NULL, problem = NULL, detail = NULL, since = reeve.clock() WHERE o.topic = v.topic AND o.partition = v.partition;
    PERFORM reeve.audit(NULL, 'kafka.reset', 'partition ' || v.topic || ' ' || v.partition, p_reason, jsonb_build_object('was', v.next, 'problem', v.problem, 'becomes', p_next));
    v_count := v_count + 1;
  END LOOP;
  IF v_count = 0 THEN RAISE EXCEPTION 'no partition of topic "%" was ever read', left(p_topic, 249) USING ERRCODE = 'RV011', HINT = 'See: reeve kafka offsets'; END IF;
  RETURN v_count;
END $$;

-- Partitions that somebody moved lately and nobody has read since.
CREATE FUNCTION reeve.recent_resets() RETURNS TABLE (topic text, partition int, next bigint) LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT o.topic, o.partition, o.next FROM reeve.kafka_offset o WHERE o.since > reeve.clock() - interval '1 minute' AND o.problem IS NULL AND (o.moved_at IS NULL OR o.moved_at < o.since)
$$;

-- Makes the job of a rejected message after all; what is still wrong with it is refused with its reason, and it stays.
CREATE FUNCTION reeve.redrive_rejected(p_id bigint, p_type text, p_source text, p_event text, p_tenant text, p_trace text, p_run_at timestamptz, p_priority int, p_body text, p_whole boolean)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v reeve.rejected_messages; v_made jsonb; v_job bigint;
BEGIN
  SELECT r.* INTO v FROM reeve.rejected_messages r WHERE r.id = p_id FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no rejected message %', p_id USING ERRCODE = 'RV011', HINT = 'See: reeve rejected list'; END IF;
  IF v.state <> 'kept' THEN RAISE EXCEPTION 'message % was % already', p_id, v.state USING ERRCODE = 'RV012'; END IF;
  v_made := reeve.place_messages(ARRAY[v.queue], ARRAY[p_type], ARRAY[p_source], ARRAY[p_event], ARRAY[p_tenant], ARRAY[p_trace], ARRAY[p_run_at], ARRAY[p_priority], ARRAY[p_body], ARRAY[p_whole]);
  IF jsonb_array_length(v_made -> 'refused') > 0 THEN
    RAISE EXCEPTION 'message % is still refused (%): %', p_id, v_made #>> '{refused,0,1}', v_made #>> '{refused,0,2}' USING ERRCODE = 'RV012', HINT = 'It stays; see: reeve rejected show ' || p_id;
  END IF;
  v_job := coalesce((v_made #>> '{jobs,0}')::bigint,
    (SELECT k.job_id FROM reeve.kafka_key k WHERE k.hash = sha256(convert_to(jsonb_build_array(v.tenant_id, p_source, p_event)::text, 'UTF8'))));
  UPDATE reeve.rejected_messages r SET state = 'redriven', job_id = v_job, ended_at = reeve.clock(), ended_by = reeve.actor() WHERE r.id = p_id;
  PERFORM reeve.audit(v.tenant_id, 'kafka.redrive', 'rejected message ' || p_id, v.reason, jsonb_build_object('job', v_job, 'topic', v.topic, 'partition', v.partition, 'offset', v."offset"));
  RETURN v_job;
END $$;

-- Gives rejected messages up: their contents go, that they were there stays.
CREATE FUNCTION reeve.drop_rejected(p_ids bigint[], p_reason text) RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_count int := 0;
BEGIN
  IF coalesce(p_reason, '') = '' THEN RAISE EXCEPTION 'a reason is needed' USING ERRCODE = 'RV010'; END IF;
  FOR v IN UPDATE reeve.rejected_messages r SET state = 'dropped', key = NULL, body = NULL, bytes = NULL, headers = '[]', ended_at = reeve.clock(), ended_by = reeve.actor()
      FROM (SELECT x.id FROM reeve.rejected_messages x WHERE x.id = ANY (p_ids) AND x.state = 'kept' ORDER BY x.id FOR UPDATE) o WHERE r.id = o.id RETURNING r.id, r.tenant_id, r.topic LOOP
    PERFORM reeve.audit(v.tenant_id, 'kafka.drop', 'rejected message ' || v.id, p_reason, jsonb_build_object('topic', v.topic));
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

-- What a process says of itself, every few seconds; p_state NULL: it ends.
CREATE FUNCTION reeve.report_kafka(p_id uuid, p_role text, p_node text, p_pid int, p_state text, p_detail text, p_counts jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_now timestamptz := reeve.clock();
BEGIN
  IF p_state IS NULL THEN
    DELETE FROM reeve.kafka_client c WHERE c.id = p_id;
  ELSE
    INSERT INTO reeve.kafka_client AS c (id, role, node, pid, state, detail, since, seen_at, counts) VALUES (p_id, p_role, p_node, p_pid, p_state, left(p_detail, 2000), v_now, v_now, p_counts)
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, detail = excluded.detail, seen_at = excluded.seen_at, counts = excluded.counts,
      since = CASE WHEN c.state = excluded.state THEN c.since ELSE excluded.since END;
  END IF;
END $$;

-- Forgets events after p_keys, which has to be longer than topics keep messages, rejected messages after p_rejected, and processes that are silent for an hour.
CREATE FUNCTION reeve.tend_kafka(p_keys interval DEFAULT '8 days', p_rejected interval DEFAULT '30 days', p_limit int DEFAULT 5000) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_now timestamptz := reeve.clock(); v_count int; v_all int;
BEGIN
  DELETE FROM reeve.kafka_key k WHERE k.ctid = ANY (ARRAY(SELECT x.ctid FROM reeve.kafka_key x WHERE x.created_at < v_now - p_keys LIMIT p_limit FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS v_all = ROW_COUNT;
  DELETE FROM reeve.rejected_messages r WHERE r.id = ANY (ARRAY(SELECT x.id FROM reeve.rejected_messages x WHERE x.rejected_at < v_now - p_rejected
    AND NOT reeve.tenant_is_held(x.tenant_id) ORDER BY x.rejected_at LIMIT p_limit FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS v_count = ROW_COUNT; v_all := v_all + v_count;
  DELETE FROM reeve.kafka_client c WHERE c.seen_at < v_now - interval '1 hour';
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_all + v_count;
END $$;

CREATE VIEW reeve.rejected_list WITH (security_barrier) AS
  SELECT r.id, r.topic, r.partition, r."offset", r.queue, t.code AS tenant_code, r.reason, r.detail, r.state, r.rejected_at, r.written_at, r.size,
    r.job_id, r.ended_at, r.ended_by
  FROM reeve.rejected_messages r LEFT JOIN reeve.tenant t ON t.id = r.tenant_id;
DO $$
BEGIN
  IF current_setting('server_version_num')::int >= 150000 THEN ALTER VIEW reeve.rejected_list SET (security_invoker = true); END IF;
END $$;

GRANT EXECUTE ON FUNCTION reeve.open_partitions(text[], int[], text[]),
  reeve.take_messages(text[], int[], text[], bigint[], bigint[], bytea[], text, int[], text[], text[], text[], text[], text[], timestamptz[], int[], text[], boolean[]),
  reeve.reject_messages(jsonb), reeve.recent_resets(), reeve.stop_partition(text, int, text, text), reeve.report_kafka(uuid, text, text, int, text, text, jsonb), reeve.tend_kafka(interval, interval, int) TO reeve_worker;
GRANT EXECUTE ON FUNCTION reeve.reset_kafka_offset(text, int, bigint, text), reeve.drop_rejected(bigint[], text),
  reeve.redrive_rejected(bigint, text, text, text, text, text, timestamptz, int, text, boolean) TO reeve_operator;
GRANT SELECT ON reeve.rejected_messages TO reeve_operator;
GRANT SELECT (id, topic, partition, "offset", queue, tenant_id, reason, detail, size, written_at, rejected_at, state, job_id, ended_at, ended_by) ON reeve.rejected_messages TO reeve_viewer;
GRANT SELECT ON reeve.rejected_list, reeve.kafka_offset, reeve.kafka_client TO reeve_viewer, reeve_operator;
GRANT SELECT ON reeve.kafka_key TO reeve_operator;
