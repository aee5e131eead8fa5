-- What comes in by Kafka and the outboxes and what goes out as events, for metrics and alerts.

-- What the next message of the partition will get as offset, when its reader last looked.
ALTER TABLE reeve.kafka_offset ADD COLUMN high bigint CHECK (high >= 0), ADD COLUMN high_at timestamptz;

-- The ends of partitions as their reader sees them.
CREATE FUNCTION reeve.note_ends(p_topics text[], p_partitions int[], p_highs bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  UPDATE reeve.kafka_offset o SET high = w.high, high_at = reeve.clock()
  FROM (SELECT k.topic, k.partition, u.h AS high FROM unnest(p_topics, p_partitions, p_highs) u (t, p, h) JOIN reeve.kafka_offset k ON k.topic = u.t AND k.partition = u.p
        WHERE k.high IS DISTINCT FROM u.h ORDER BY k.topic, k.partition FOR NO KEY UPDATE OF k SKIP LOCKED) w
  WHERE o.topic = w.topic AND o.partition = w.partition;
END $$;

-- Counts stop at 100,000 rows.
CREATE FUNCTION reeve.flow_part() RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp SET jit = off AS $$
  SELECT jsonb_build_object(
    'lag', (SELECT sum(greatest(o.high - o.next, 0)) FROM reeve.kafka_offset o WHERE o.high IS NOT NULL),
    'lagging', (SELECT count(*) FROM reeve.kafka_offset o WHERE o.high > o.next),
    'stopped', (SELECT count(*) FROM reeve.kafka_offset o WHERE o.problem IS NOT NULL),
    'partitions', (SELECT count(*) FROM reeve.kafka_offset),
    'clients', (SELECT coalesce(jsonb_agg(jsonb_build_object('role', c.role, 'state', c.state, 'count', c.n)), '[]')
                FROM (SELECT k.role, k.state, count(*) AS n FROM reeve.kafka_client k WHERE k.seen_at > reeve.clock() - interval '2 minutes' GROUP BY 1, 2) c),
    'rejected', (SELECT count(*) FROM (SELECT FROM reeve.rejected_messages r WHERE r.state = 'kept' LIMIT 100000) r),
    'outboxes', (SELECT coalesce(jsonb_object_agg(b.state, b.n), '{}') FROM (SELECT l.state, count(*) AS n FROM reeve.outbox_list l GROUP BY 1) b),
    'outbox_waiting', (SELECT sum(b.waiting) FROM reeve.outbox b), 'outbox_oldest', (SELECT extract(epoch FROM min(b.oldest_at)) FROM reeve.outbox b),
    'outbox_ids_left', (SELECT min(b.ids_left) FROM reeve.outbox b),
    'events', (SELECT count(*) FROM (SELECT FROM reeve.event e LIMIT 100000) e), 'events_oldest', (SELECT extract(epoch FROM e.at) FROM reeve.event e ORDER BY e.id LIMIT 1),
    'events_blocked', (SELECT count(*) FROM reeve.event_block))
$$;

CREATE OR REPLACE FUNCTION reeve.tend_stats() RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_count int; v_now timestamptz := reeve.clock();
BEGIN
  PERFORM FROM reeve.turn t WHERE t.task = 'stats' FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN RETURN 0; END IF;
  v_count := reeve.fold_stats();
  FOR v IN SELECT p.name FROM (VALUES ('live', interval '3 seconds'), ('flow', interval '10 seconds'), ('slow', interval '30 seconds'), ('proof', interval '10 minutes')) p (name, every)
      LEFT JOIN reeve.stat_live l ON l.name = p.name WHERE l.at IS NULL OR l.at < v_now - p.every OR l.at > v_now LOOP
    INSERT INTO reeve.stat_live (name, at, value) VALUES (v.name, v_now, CASE v.name WHEN 'flow' THEN reeve.flow_part() ELSE reeve.live_part(v.name) END)
    ON CONFLICT (name) DO UPDATE SET at = excluded.at, value = excluded.value;
  END LOOP;
  DELETE FROM reeve.stat_slot s WHERE s.ctid = ANY (ARRAY(SELECT x.ctid FROM reeve.stat_slot x
    WHERE (x.width = 'minute' AND x.slot < v_now - interval '26 hours') OR (x.width = 'hour' AND x.slot < v_now - interval '400 days') LIMIT 1000));
  RETURN v_count;
END $$;

GRANT EXECUTE ON FUNCTION reeve.note_ends(text[], int[], bigint[]) TO reeve_worker;
