-- Coming back from an earlier time (promise 1): what a restore of this database lost is fetched again where somebody still has it, and what it
-- may have done meanwhile is not done twice.

-- To be called once, after this database was restored to p_since, before workers and relays start. Numbers of jobs that were given out since are
-- given to nobody else; outboxes hand in again what they still hold; reminders that were due may have been sent and wait for a person. Offsets of
-- Kafka came back with the database: partitions are read from there. May be called again: then there is nothing left to do.
CREATE FUNCTION reeve.recover(p_since timestamptz, p_reason text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_now timestamptz := reeve.clock(); v_name text; v_boxes text[] := '{}'; v_reminders bigint[]; v_from bigint; v jsonb;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may do this' USING ERRCODE = '42501'; END IF;
  IF p_since IS NULL OR p_since > v_now THEN RAISE EXCEPTION 'that moment is still to come' USING ERRCODE = 'RV010', HINT = 'Give the time to which the control database was restored.'; END IF;
  IF p_since < v_now - interval '30 days' THEN RAISE EXCEPTION 'that is more than 30 days ago' USING ERRCODE = 'RV010', HINT = 'Outboxes keep what they relayed for 24 hours, topics for days.'; END IF;
  IF btrim(coalesce(p_reason, '')) = '' THEN RAISE EXCEPTION 'this needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.'; END IF;
  -- Ten million is more than a fleet hands out in an hour; numbers cost nothing.
  SELECT setval('reeve.job_id', s.last_value + 10000000) INTO v_from FROM reeve.job_id s;
  FOR v_name IN SELECT o.name FROM reeve.outbox o ORDER BY o.id FOR UPDATE LOOP
    PERFORM reeve.resume_outbox(v_name, p_reason);
    v_boxes := v_boxes || v_name;
  END LOOP;
  WITH due AS (
    UPDATE reeve.reminder r SET state = 'unknown', claim = coalesce(r.claim, gen_random_uuid()), claimed_at = coalesce(r.claimed_at, v_now), ended_at = v_now,
      reason = 'the control database was restored to ' || to_char(p_since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"') || ': it may have been sent since'
    WHERE r.state IN ('planned', 'queued', 'sending') AND r.due_at <= v_now RETURNING r.id)
  SELECT coalesce(array_agg(d.id ORDER BY d.id), '{}') INTO v_reminders FROM due d;
  v := jsonb_build_object('since', p_since, 'job_ids_from', v_from + 1, 'outboxes', to_jsonb(v_boxes), 'reminders', to_jsonb(v_reminders),
    'outbox_rows_expired', v_boxes <> '{}' AND p_since < v_now - interval '24 hours',
    'partitions', (SELECT count(*) FROM reeve.kafka_offset o WHERE o.problem IS NULL),
    'stopped_partitions', (SELECT coalesce(jsonb_agg(jsonb_build_object('topic', o.topic, 'partition', o.partition, 'problem', o.problem) ORDER BY o.topic, o.partition), '[]')
                           FROM reeve.kafka_offset o WHERE o.problem IS NOT NULL),
    'running', (SELECT count(*) FROM reeve.job j WHERE j.state = 'running'),
    'requests', (SELECT count(*) FROM reeve.purge_request p WHERE p.state NOT IN ('certified', 'cancelled'))
              + (SELECT count(*) FROM reeve.erasure_request e WHERE e.state NOT IN ('completed', 'cancelled')));
  PERFORM reeve.audit(NULL, 'control.recover', 'control database', p_reason, v - 'stopped_partitions');
  RETURN v;
END $$;

GRANT EXECUTE ON FUNCTION reeve.recover(timestamptz, text) TO reeve_operator;
