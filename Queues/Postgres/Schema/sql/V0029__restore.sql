-- Backups that are proven by restoring them, and restores (design section 7, backup). An artifact's row is the authority on what is stored where and whose
-- it is; a restore's row is what an operator asked for: a job of kind backup-restore without one does nothing, whoever enqueued it.

-- Every restore: what was asked for, by whom and why, and what came of it.
CREATE TABLE reeve.restore (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id uuid NOT NULL,
  job_id bigint NOT NULL UNIQUE,
  backup_job bigint NOT NULL,                              -- the job whose artifacts are restored
  mode text NOT NULL CHECK (mode IN ('database', 'schema', 'in-place')),
  target text CHECK (octet_length(target) BETWEEN 1 AND 63),
  actor text NOT NULL DEFAULT reeve.actor(),
  reason text CHECK (length(reason) <= 2000),
  requested_at timestamptz NOT NULL DEFAULT reeve.clock(),
  safety_job bigint,                                       -- the backup taken before anything is overwritten
  blocked text[] NOT NULL DEFAULT '{}',                    -- the queues that this restore holds
  finished_at timestamptz,
  outcome text CHECK (outcome IN ('restored', 'failed')),
  detail jsonb NOT NULL DEFAULT '{}',
  CHECK ((mode = 'in-place') = (target IS NULL)),
  CHECK (mode <> 'in-place' OR btrim(coalesce(reason, '')) <> ''),
  CHECK ((finished_at IS NULL) = (outcome IS NULL))
);
-- One at a time for each tenant.
CREATE UNIQUE INDEX restore_one_at_a_time ON reeve.restore (tenant_id) WHERE finished_at IS NULL;

-- The tenant of a job that runs under this lease; raises when the lease is no longer current.
CREATE FUNCTION reeve.tenant_of_attempt(p_job bigint, p_lease uuid) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid;
BEGIN
  SELECT j.tenant_id INTO v_tenant FROM reeve.job j WHERE j.id = p_job AND j.state = 'running' AND j.lease_id = p_lease;
  IF NOT FOUND THEN RAISE EXCEPTION 'the lease of job % is no longer current', p_job USING ERRCODE = 'RV014'; END IF;
  RETURN v_tenant;
END $$;

-- The artifacts of one backup of the attempt's own tenant: by the backup job's id or by an artifact's id, the newest backup for NULL. An empty array when
-- there is none.
CREATE FUNCTION reeve.backup_artifacts(p_job bigint, p_lease uuid, p_backup text) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT coalesce(jsonb_agg(jsonb_build_object('id', a.id, 'job', a.job_id, 'tenant', a.tenant_id, 'key', a.key, 'bytes', a.bytes, 'sha256', a.sha256,
    'manifest', a.manifest, 'created_at', a.created_at) ORDER BY a.key), '[]')
  FROM reeve.artifact a
  WHERE a.tenant_id = reeve.tenant_of_attempt(p_job, p_lease) AND a.entity = 'backup'
    AND NOT EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = a.id)
    AND CASE WHEN p_backup IS NULL
        THEN a.job_id = (SELECT n.job_id FROM reeve.artifact n WHERE n.tenant_id = a.tenant_id AND n.entity = 'backup' ORDER BY n.created_at DESC, n.job_id DESC LIMIT 1)
        ELSE a.job_id::text = p_backup OR a.id::text = p_backup END
$$;

CREATE FUNCTION reeve.record_proof(p_job bigint, p_lease uuid, p_artifact uuid, p_kind text, p_ok boolean, p_seconds double precision, p_detail jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  IF NOT EXISTS (SELECT FROM reeve.artifact a WHERE a.id = p_artifact AND a.tenant_id = v_tenant) THEN
    RAISE EXCEPTION 'artifact % is not one of this job''s tenant', p_artifact USING ERRCODE = '42501';
  END IF;
  INSERT INTO reeve.backup_proof (artifact_id, tenant_id, kind, ok, seconds, detail, job_id)
  VALUES (p_artifact, v_tenant, p_kind, p_ok, p_seconds, p_detail, p_job);
  PERFORM reeve.audit(v_tenant, 'backup.' || p_kind, 'artifact ' || p_artifact, NULL, p_detail || jsonb_build_object('ok', p_ok, 'seconds', p_seconds, 'job', p_job));
END $$;

-- Which of these leases some running job has. Scratch databases carry the lease of the attempt that made them.
CREATE FUNCTION reeve.live_leases(p_leases uuid[]) RETURNS uuid[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS
  $$ SELECT ARRAY(SELECT j.lease_id FROM reeve.job j WHERE j.state = 'running' AND j.lease_id = ANY (p_leases)) $$;

-- A job that this attempt needs, on a queue of its own tenant; the same id for the same name, however often it is asked for.
CREATE FUNCTION reeve.enqueue_child(p_job bigint, p_lease uuid, p_name text, p_queue text, p_kind text, p_args jsonb) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease);
BEGIN
  RETURN reeve.enqueue((SELECT t.code FROM reeve.tenant t WHERE t.id = v_tenant) || '.' || p_queue, p_kind, p_args,
    idempotency_key => format('child %s %s', p_job, p_name), tenant => v_tenant);
END $$;

-- A backup as a whole, each of its artifacts being of one database; none whose deletion has begun. Verified: of every artifact the latest proof of each kind is good, and there is one.
CREATE VIEW reeve.backup_set WITH (security_barrier) AS
SELECT a.tenant_id, a.job_id, min(coalesce(to_timestamp((a.manifest ->> 'snapshot_at')::double precision), a.created_at)) AS at,
       max(a.created_at) AS made_at, count(*)::int AS databases, sum(a.bytes)::bigint AS bytes,
       CASE WHEN bool_and(coalesce(p.ok, false)) THEN max(p.at) END AS verified_at,
       CASE WHEN bool_and(p.ok AND p.drilled_at IS NOT NULL) THEN min(p.drilled_at) END AS proven_at,
       coalesce(bool_or(NOT p.ok), false) AS is_broken
FROM reeve.artifact a
CROSS JOIN LATERAL (
  SELECT bool_and(l.ok) AS ok, max(l.at) AS at, max(l.at) FILTER (WHERE l.kind = 'drill') AS drilled_at
  FROM (SELECT DISTINCT ON (x.kind) x.kind, x.ok, x.at FROM reeve.backup_proof x WHERE x.artifact_id = a.id ORDER BY x.kind, x.at DESC, x.id DESC) l) p
WHERE a.entity = 'backup' AND NOT EXISTS (SELECT FROM reeve.artifact_deletion d WHERE d.artifact_id = a.id)
GROUP BY a.tenant_id, a.job_id;

-- For metrics: when each tenant was last backed up, and when a backup of it was last proven by restoring it. Unproven: not within reeve.proof_limit
-- (35 days unless the database or the session sets it); of a tenant that alone holds its key, which nobody here can restore, a verification counts.
-- A drill is evidence of the day it ran on, so it counts after its backup has expired.
CREATE VIEW reeve.backup_status WITH (security_barrier) AS
SELECT t.code AS tenant_code, s.last_backup_at, s.last_verified_at, d.last_proven_at, d.last_rto_seconds,
  coalesce(CASE WHEN s.tenants_own THEN s.last_verified_at ELSE d.last_proven_at END, '-infinity')
    < reeve.clock() - coalesce(nullif(current_setting('reeve.proof_limit', true), '')::interval, interval '35 days') AS unproven
FROM reeve.tenant t
LEFT JOIN LATERAL (
  SELECT max(b.made_at) AS last_backup_at, max(b.verified_at) AS last_verified_at,
    (SELECT a.manifest @> '{"encryption": {"tenants_own": true}}' FROM reeve.artifact a WHERE a.tenant_id = t.id AND a.entity = 'backup'
     ORDER BY a.created_at DESC LIMIT 1) AS tenants_own
  FROM reeve.backup_set b WHERE b.tenant_id = t.id) s ON true
LEFT JOIN LATERAL (
  SELECT p.at AS last_proven_at, (SELECT sum(o.seconds) FROM reeve.backup_proof o WHERE o.job_id = p.job_id AND o.tenant_id = t.id) AS last_rto_seconds
  FROM reeve.backup_proof p
  WHERE p.tenant_id = t.id AND p.kind = 'drill' AND p.ok
    AND NOT EXISTS (SELECT FROM reeve.backup_proof o WHERE o.job_id = p.job_id AND o.tenant_id = t.id AND NOT o.ok)
  ORDER BY p.at DESC, p.id DESC LIMIT 1) d ON true
WHERE t.status <> 'archived';

DO $$
BEGIN
  -- PostgreSQL 14 does not know it; there the views' grants alone decide.
  IF current_setting('server_version_num')::int >= 150000 THEN
    ALTER VIEW reeve.backup_set SET (security_invoker = true);
    ALTER VIEW reeve.backup_status SET (security_invoker = true);
  END IF;
END $$;

-- Asks for a restore and returns its job's id. One at a time for each tenant (RV012); a second caller waits for the first's transaction.
CREATE FUNCTION reeve.request_restore(p_tenant text, p_backup bigint, p_mode text, p_target text, p_reason text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_id uuid; v_job bigint; v_other bigint;
BEGIN
  IF NOT reeve.is_operator() THEN RAISE EXCEPTION 'only operators may restore' USING ERRCODE = '42501'; END IF;
  SELECT t.id INTO v_id FROM reeve.tenant t WHERE t.code = p_tenant COLLATE "C";
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(p_tenant, 80) USING ERRCODE = 'RV001'; END IF;
  IF NOT EXISTS (SELECT FROM reeve.artifact a WHERE a.job_id = p_backup AND a.tenant_id = v_id AND a.entity = 'backup') THEN
    RAISE EXCEPTION 'tenant "%" has no backup %', p_tenant, p_backup USING ERRCODE = 'RV011', HINT = 'See: reeve backup list ' || p_tenant;
  END IF;
  IF p_mode <> 'in-place' AND (p_target !~ '^[a-z_][a-z0-9_]{0,62}$' OR p_target ~ '^(pg_|reeve)' OR p_target IN ('public', 'information_schema', 'postgres')) THEN
    RAISE EXCEPTION '"%" is no name to restore to', left(p_target, 80) USING ERRCODE = 'RV010', HINT = 'Use a-z, 0-9 and _, not starting with pg_ or reeve.';
  END IF;
  IF p_mode = 'in-place' AND btrim(coalesce(p_reason, '')) = '' THEN
    RAISE EXCEPTION 'a restore in place needs a reason' USING ERRCODE = 'RV010', HINT = 'Say why with --reason; the audit keeps it.';
  END IF;
  PERFORM reeve.tend_restores();
  v_job := reeve.enqueue(p_tenant || '.restores', 'backup-restore', jsonb_build_object('backup', p_backup::text), tenant => v_id);
  BEGIN
    INSERT INTO reeve.restore (tenant_id, job_id, backup_job, mode, target, reason) VALUES (v_id, v_job, p_backup, p_mode, p_target, p_reason);
  EXCEPTION WHEN unique_violation THEN
    SELECT r.job_id INTO v_other FROM reeve.restore r WHERE r.tenant_id = v_id AND r.finished_at IS NULL;
    RAISE EXCEPTION 'a restore of tenant "%" is under way: job %', p_tenant, v_other USING ERRCODE = 'RV012',
      HINT = 'Wait for it (reeve jobs show ' || v_other || ') or cancel it.';
  END;
  PERFORM reeve.audit(v_id, 'backup.restore', 'backup ' || p_backup, p_reason,
    jsonb_strip_nulls(jsonb_build_object('outcome', 'intent', 'mode', p_mode, 'target', p_target, 'job', v_job)));
  RETURN v_job;
END $$;

-- What an operator asked this job to restore, with the outcome once it is over (a worker may die after that and before the job is complete); NULL when
-- nobody did.
CREATE FUNCTION reeve.restore_request(p_job bigint, p_lease uuid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT jsonb_build_object('id', r.id, 'backup', r.backup_job, 'mode', r.mode, 'target', r.target, 'actor', r.actor, 'reason', r.reason, 'safety_job', r.safety_job,
    'requested_at', extract(epoch FROM r.requested_at)::double precision, 'outcome', r.outcome, 'detail', r.detail)
  FROM reeve.restore r WHERE r.job_id = p_job AND r.tenant_id = reeve.tenant_of_attempt(p_job, p_lease)
$$;

-- Stops claims from the tenant's queues but the ones that the restore itself needs, and says how many jobs still run on the others. A queue that somebody
-- blocked already stays theirs. May be called again.
CREATE FUNCTION reeve.hold_for_restore(p_job bigint, p_lease uuid) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.tenant_of_attempt(p_job, p_lease); v_code text; v_new text[];
BEGIN
  SELECT t.code INTO v_code FROM reeve.tenant t WHERE t.id = v_tenant;
  PERFORM FROM reeve.restore r WHERE r.job_id = p_job AND r.finished_at IS NULL FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'job % has no restore under way', p_job USING ERRCODE = 'RV012'; END IF;
  WITH made AS (
    INSERT INTO reeve.queue_block (pattern, mode, reason)
    SELECT q.queue, 'pause', format('%s is being restored from a backup (job %s)', v_code, p_job) FROM (
      SELECT v_code || '.' || k.queue AS queue FROM reeve.kind k UNION SELECT j.queue FROM reeve.job j WHERE j.tenant_id = v_tenant) q
    WHERE q.queue NOT IN (v_code || '.restores', v_code || '.backups')
    ORDER BY 1 ON CONFLICT DO NOTHING RETURNING pattern)
  SELECT coalesce(array_agg(m.pattern ORDER BY m.pattern), '{}') INTO v_new FROM made m;
  IF v_new <> '{}' THEN
    UPDATE reeve.restore r SET blocked = ARRAY(SELECT DISTINCT b FROM unnest(r.blocked || v_new) b ORDER BY b) WHERE r.job_id = p_job;
    PERFORM reeve.touch_counters(v_code || '.*');
    PERFORM reeve.audit(v_tenant, 'queue.pause', 'queues of ' || v_code, 'restore', jsonb_build_object('queues', v_new, 'job', p_job));
  END IF;
  RETURN (SELECT count(*) FROM reeve.job j WHERE j.tenant_id = v_tenant AND j.state = 'running' AND j.queue NOT IN (v_code || '.restores', v_code || '.backups'));
END $$;

-- Ends a restore's row and lets the queues run that it held.
CREATE FUNCTION reeve.end_restore(p_id bigint, p_outcome text, p_detail jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_count int;
BEGIN
  UPDATE reeve.restore r SET finished_at = reeve.clock(), outcome = p_outcome, detail = p_detail
  WHERE r.id = p_id AND r.finished_at IS NULL RETURNING r.*, (SELECT t.code FROM reeve.tenant t WHERE t.id = r.tenant_id) AS code INTO v;
  IF NOT FOUND THEN RETURN; END IF;
  DELETE FROM reeve.queue_block b WHERE b.pattern = ANY (v.blocked) AND b.mode = 'pause' AND b.reason LIKE '%(job ' || v.job_id || ')';
  GET DIAGNOSTICS v_count = ROW_COUNT;
  IF v_count > 0 THEN
    PERFORM reeve.touch_counters(v.code || '.*');
    PERFORM reeve.wake(ARRAY(SELECT DISTINCT i.pool FROM reeve.idle_pool i));
    PERFORM reeve.audit(v.tenant_id, 'queue.resume', 'queues of ' || v.code, 'restore', jsonb_build_object('queues', v.blocked, 'job', v.job_id));
  END IF;
  PERFORM reeve.audit(v.tenant_id, 'backup.restore', 'backup ' || v.backup_job, v.reason,
    p_detail || jsonb_strip_nulls(jsonb_build_object('outcome', p_outcome, 'mode', v.mode, 'target', v.target, 'job', v.job_id, 'asked_by', v.actor)), v.requested_at);
END $$;

CREATE FUNCTION reeve.finish_restore(p_job bigint, p_lease uuid, p_outcome text, p_detail jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  PERFORM reeve.tenant_of_attempt(p_job, p_lease);
  PERFORM reeve.end_restore((SELECT r.id FROM reeve.restore r WHERE r.job_id = p_job AND r.finished_at IS NULL), p_outcome, p_detail);
END $$;

-- Housekeeping: restores whose job has ended, however it ended, hold nothing any more. Returns how many.
CREATE FUNCTION reeve.tend_restores() RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_count int := 0;
BEGIN
  FOR v IN SELECT r.id FROM reeve.restore r WHERE r.finished_at IS NULL AND NOT EXISTS (SELECT FROM reeve.job j WHERE j.id = r.job_id)
      ORDER BY r.id FOR UPDATE SKIP LOCKED LOOP
    PERFORM reeve.end_restore(v.id, 'failed', '{"why": "its job ended before it was done"}');
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

-- As before, and ends what restores left that ended early.
CREATE OR REPLACE FUNCTION reeve.tend_drains() RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v record; v_count int := reeve.tend_restores();
BEGIN
  FOR v IN SELECT b.id, b.pattern, b.expires_at <= reeve.clock() AS is_over FROM reeve.queue_block b
      WHERE b.mode = 'drain' AND (b.done_at IS NULL OR b.expires_at <= reeve.clock()) ORDER BY b.pattern FOR UPDATE SKIP LOCKED LOOP
    IF v.is_over THEN
      DELETE FROM reeve.queue_block b WHERE b.id = v.id;
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

CREATE FUNCTION reeve.record_safety_backup(p_job bigint, p_lease uuid, p_backup bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  PERFORM reeve.tenant_of_attempt(p_job, p_lease);
  UPDATE reeve.restore r SET safety_job = p_backup WHERE r.job_id = p_job AND r.finished_at IS NULL;
END $$;

REVOKE ALL ON FUNCTION reeve.tenant_of_attempt(bigint, uuid), reeve.backup_artifacts(bigint, uuid, text),
  reeve.record_proof(bigint, uuid, uuid, text, boolean, double precision, jsonb), reeve.live_leases(uuid[]), reeve.enqueue_child(bigint, uuid, text, text, text, jsonb),
  reeve.request_restore(text, bigint, text, text, text), reeve.restore_request(bigint, uuid), reeve.hold_for_restore(bigint, uuid), reeve.end_restore(bigint, text, jsonb),
  reeve.finish_restore(bigint, uuid, text, jsonb), reeve.tend_restores(), reeve.record_safety_backup(bigint, uuid, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION reeve.backup_artifacts(bigint, uuid, text), reeve.record_proof(bigint, uuid, uuid, text, boolean, double precision, jsonb),
  reeve.live_leases(uuid[]), reeve.enqueue_child(bigint, uuid, text, text, text, jsonb), reeve.restore_request(bigint, uuid), reeve.hold_for_restore(bigint, uuid),
  reeve.finish_restore(bigint, uuid, text, jsonb), reeve.record_safety_backup(bigint, uuid, bigint) TO reeve_worker;
GRANT EXECUTE ON FUNCTION reeve.request_restore(text, bigint, text, text, text) TO reeve_operator;
GRANT SELECT ON reeve.restore, reeve.backup_set, reeve.backup_status TO reeve_viewer, reeve_operator;
