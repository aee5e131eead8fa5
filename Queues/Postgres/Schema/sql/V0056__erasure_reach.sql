-- Where an erasure looks for a person: rejected messages with their keys, headers and bytes, what outboxes refused, and what links are for.

-- Bytes as a text that a person can be found in.
CREATE FUNCTION reeve.readable(p_bytes bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE SET search_path = reeve, pg_temp AS $$
BEGIN
  RETURN convert_from(p_bytes, 'UTF8');
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN RETURN encode(p_bytes, 'escape');
END $$;
CREATE FUNCTION reeve.readable_headers(p_headers jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = reeve, pg_temp AS $$
  SELECT coalesce(jsonb_agg(jsonb_build_array(h -> 0, reeve.readable(decode(h ->> 1, 'base64')))), '[]') FROM jsonb_array_elements(p_headers) h
$$;

-- '[erased]' may stand in what a link is for. Such a link opens nothing any more.
ALTER TABLE reeve.artifact_link DROP CONSTRAINT artifact_link_purpose_check,
  ADD CONSTRAINT artifact_link_purpose_check CHECK (purpose ~ '^[][A-Za-z0-9][][A-Za-z0-9 ._:@/-]{0,99}$');

CREATE OR REPLACE FUNCTION reeve.mention_places(p_job bigint, p_lease uuid) RETURNS TABLE (place text, columns text[], redact text[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_column
BEGIN
  PERFORM reeve.tenant_of_attempt(p_job, p_lease);
  RETURN QUERY
  SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum),
    coalesce(array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE t.typcategory IN ('S', 'U') AND (coalesce(p.relname, c.relname), a.attname) IN (
      SELECT x.t, x.c FROM (VALUES ('batch', 'args'), ('batch', 'on_finish'), ('batch', 'reason'), ('batch_item', 'error'), ('schedule', 'args'), ('schedule', 'pause_reason'),
        ('schedule_tick', 'detail'), ('notice', 'subject'), ('notice', 'body'), ('notice', 'error'), ('reminder', 'reason'), ('artifact_link', 'purpose'), ('artifact_link', 'revoke_reason'),
        ('outbox_refusal', 'item'), ('outbox_refusal', 'reason'), ('rejected_messages', 'body'), ('rejected_messages', 'detail')) x (t, c)
      UNION ALL SELECT r.t, w.c FROM unnest(ARRAY['job_history', 'job_attempt', 'dead_letter', 'job_step']) r (t),
        unnest(ARRAY['args', 'result', 'last_error', 'reason', 'error', 'payload', 'value', 'headers', 'body', 'message', 'progress']) w (c))), '{}')
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_inherits h ON h.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = h.inhparent
  WHERE c.relnamespace = 'reeve'::regnamespace AND c.relkind = 'r' AND (t.typcategory IN ('S', 'A') OR t.typname IN ('json', 'jsonb'))
    AND (c.relname IN ('batch', 'tenant') OR EXISTS (SELECT FROM pg_attribute k WHERE k.attrelid = c.oid AND k.attname IN ('tenant_id', 'job_id') AND NOT k.attisdropped))
    AND c.relname NOT IN ('erasure_request', 'erasure_identifier', 'erasure_ledger', 'tenant_store', 'tenant_key', 'idempotency_key')
  GROUP BY c.relname ORDER BY 1;
END $$;

CREATE OR REPLACE FUNCTION reeve.mention_rows(p_place text, p_tenant uuid, p_patterns text[]) RETURNS TABLE (at tid, doc jsonb)
LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
BEGIN
  IF p_place = 'tenant' THEN
    RETURN QUERY SELECT x.ctid, to_jsonb(x) FROM reeve.tenant x WHERE x.id = p_tenant AND reeve.row_mentions(to_jsonb(x), p_patterns);
  ELSIF p_place = 'batch' THEN
    RETURN QUERY SELECT x.ctid, to_jsonb(x) FROM reeve.batch x
      WHERE EXISTS (SELECT FROM reeve.batch_item i WHERE i.batch_id = x.id AND i.tenant_id = p_tenant) AND reeve.row_mentions(to_jsonb(x), p_patterns);
  ELSIF p_place = 'schedule_tick' THEN
    RETURN QUERY SELECT x.ctid, to_jsonb(x) FROM reeve.schedule_tick x
      WHERE x.schedule_id IN (SELECT s.id FROM reeve.schedule s WHERE s.tenant_id = p_tenant) AND reeve.row_mentions(to_jsonb(x), p_patterns);
  ELSIF p_place = 'rejected_messages' THEN
    RETURN QUERY SELECT x.ctid, d.doc FROM reeve.rejected_messages x
      CROSS JOIN LATERAL (SELECT to_jsonb(x) || jsonb_build_object('key', reeve.readable(x.key), 'bytes', reeve.readable(x.bytes), 'headers', reeve.readable_headers(x.headers)) AS doc) d
      WHERE x.tenant_id = p_tenant AND reeve.row_mentions(d.doc, p_patterns);
  ELSIF p_place = 'outbox_refusal' THEN
    -- It never became a job: whose it is stands in what was enqueued.
    RETURN QUERY SELECT x.ctid, to_jsonb(x) FROM reeve.outbox_refusal x JOIN reeve.tenant t ON t.id = p_tenant
      WHERE (split_part(x.item ->> 'queue', '.', 1) = t.code OR lower(x.item ->> 'tenant') IN (t.id::text, t.code)) AND reeve.row_mentions(to_jsonb(x), p_patterns);
  ELSIF reeve.has_column(p_place, 'tenant_id') THEN
    RETURN QUERY EXECUTE format('SELECT x.ctid, to_jsonb(x) FROM reeve.%I x WHERE x.tenant_id = $1 AND reeve.row_mentions(to_jsonb(x), $2)', p_place) USING p_tenant, p_patterns;
  ELSE
    RETURN QUERY EXECUTE format('SELECT x.ctid, to_jsonb(x) FROM reeve.%I x WHERE x.job_id IN (SELECT reeve.mention_jobs($1)) AND reeve.row_mentions(to_jsonb(x), $2)', p_place)
      USING p_tenant, p_patterns;
  END IF;
END $$;

CREATE OR REPLACE FUNCTION reeve.redact_mentions(p_job bigint, p_lease uuid, p_place text, p_patterns text[], p_regex text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v_column text; v_rows tid[]; v_count bigint; v_all bigint := 0;
BEGIN
  IF p_place = 'rejected_messages' THEN
    -- What is no text goes whole.
    v_rows := ARRAY(SELECT m.at FROM reeve.mention_rows(p_place, v_tenant, p_patterns) m);
    UPDATE reeve.rejected_messages x SET key = CASE WHEN lower(reeve.readable(x.key) COLLATE "C") LIKE ANY (p_patterns) THEN NULL ELSE x.key END,
      bytes = CASE WHEN lower(reeve.readable(x.bytes) COLLATE "C") LIKE ANY (p_patterns) THEN NULL ELSE x.bytes END,
      headers = CASE WHEN lower(reeve.readable_headers(x.headers)::text COLLATE "C") LIKE ANY (p_patterns) THEN '[]' ELSE x.headers END
    WHERE x.ctid = ANY (v_rows) AND (lower(reeve.readable(x.key) COLLATE "C") LIKE ANY (p_patterns) OR lower(reeve.readable(x.bytes) COLLATE "C") LIKE ANY (p_patterns)
      OR lower(reeve.readable_headers(x.headers)::text COLLATE "C") LIKE ANY (p_patterns));
    GET DIAGNOSTICS v_all = ROW_COUNT;
  END IF;
  FOR v_column IN SELECT unnest(m.redact) FROM reeve.mention_places(p_job, p_lease) m WHERE m.place = p_place LOOP
    v_rows := ARRAY(SELECT m.at FROM reeve.mention_rows(p_place, v_tenant, p_patterns) m
      WHERE p_place <> 'batch' OR NOT EXISTS (SELECT FROM reeve.batch_item i WHERE i.batch_id = (m.doc ->> 'id')::bigint AND i.tenant_id <> v_tenant));
    EXECUTE format('UPDATE reeve.%I x SET %I = (jsonb_populate_record(x, jsonb_build_object(%L, reeve.redact_value(to_jsonb(x.%I), $3)))).%I '
      'WHERE x.ctid = ANY ($1) AND lower(x.%I::text COLLATE "C") LIKE ANY ($2)', p_place, v_column, v_column, v_column, v_column, v_column) USING v_rows, p_patterns, p_regex;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    v_all := v_all + v_count;
  END LOOP;
  RETURN v_all;
END $$;
