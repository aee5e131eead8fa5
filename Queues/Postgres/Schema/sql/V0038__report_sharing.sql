-- Reports and exports: a tenant's own retention, sharing over unchanged data, and the off-peak window for reports that have not run yet.

-- A tenant may keep its reports and exports longer or shorter than its tier says.
ALTER TABLE reeve.tenant DROP CONSTRAINT tenant_overrides_check;
ALTER TABLE reeve.tenant ADD CONSTRAINT tenant_overrides_check CHECK (jsonb_typeof(overrides) = 'object' AND overrides
  - ARRAY['concurrency', 'backlog_limit', 'backup_retention_days', 'audit_retention_years', 'scheduled_reports', 'report_retention_days', 'export_retention_days'] = '{}');
ALTER TABLE reeve.tenant ADD CONSTRAINT tenant_overrides_are_days CHECK (
  reeve.is_count(overrides -> 'report_retention_days') AND coalesce((overrides ->> 'report_retention_days')::numeric BETWEEN 1 AND 36500, true)
  AND reeve.is_count(overrides -> 'export_retention_days') AND coalesce((overrides ->> 'export_retention_days')::numeric BETWEEN 1 AND 36500, true));

CREATE OR REPLACE FUNCTION reeve.artifact_days(p_tenant uuid, p_entity text) RETURNS int LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT CASE p_entity WHEN 'report' THEN coalesce((t.overrides ->> 'report_retention_days')::int, r.report_retention_days)
                       WHEN 'export' THEN coalesce((t.overrides ->> 'export_retention_days')::int, r.export_retention_days) END
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = p_tenant
$$;

-- What the database server said of itself in the snapshot that a result was read in: equal while nothing was written on it. NULL: not known.
ALTER TABLE reeve.report_result ADD COLUMN mark text CHECK (octet_length(mark) <= 4096);

-- The artifacts that answer a request: of a run that was admitted at p_since or later, or that read what p_mark says. NULL: none, or they go soon.
CREATE FUNCTION reeve.report_shared(p_tenant uuid, p_job bigint, p_digest text, p_since timestamptz, p_mark text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT jsonb_build_object('job', s.job_id, 'artifacts', jsonb_agg(jsonb_build_object('id', a.id, 'format', a.manifest ->> 'format') ORDER BY a.manifest ->> 'format'))
  FROM reeve.report_result s JOIN reeve.tenant t ON t.id = s.tenant_id AND t.version = s.tenant_version
  JOIN reeve.artifact a ON a.job_id = s.job_id AND a.tenant_id = p_tenant AND a.entity = 'report'
  WHERE s.tenant_id = p_tenant AND s.digest = p_digest AND s.job_id <> p_job AND (s.admitted_at >= p_since OR s.mark = p_mark)
    AND NOT EXISTS (SELECT FROM reeve.artifact b LEFT JOIN reeve.artifact_deletion d ON d.artifact_id = b.id
                    WHERE b.job_id = s.job_id AND (d.artifact_id IS NOT NULL OR b.expires_at < reeve.clock() + interval '1 hour'))
  GROUP BY s.job_id
$$;

-- How long this tenant's off-peak window stays shut; NULL while it is open.
CREATE FUNCTION reeve.off_peak_wait(p_tenant uuid) RETURNS bigint LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT nullif(greatest(ceil(extract(epoch FROM
    reeve.next_off_peak(t.timezone, coalesce(w.opens, r.offpeak_from), coalesce(w.closes, r.offpeak_until), c.now) - c.now) * 1000), 0), 0)::bigint
  FROM (SELECT reeve.clock() AS now) c, reeve.tenant t JOIN reeve.tier r ON r.name = t.tier LEFT JOIN reeve.report_window w ON w.tenant_id = t.id WHERE t.id = p_tenant
$$;

-- As V0031 has it, and: `marked` when an earlier result can be compared with what the server says now; `estimate_above`, for a report without a
-- last run, the seconds of the planner's estimate from which on it has to wait.
CREATE OR REPLACE FUNCTION reeve.report_admit(p_job bigint, p_lease uuid, p_report text, p_digest text, p_is_heavy boolean, p_fresh_seconds int) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record; v_now timestamptz := reeve.clock(); v_out jsonb; v_shared jsonb; v_cost double precision;
BEGIN
  SELECT r.report_daytime_seconds, j.created_at, j.started_at, j.args, j.kind INTO STRICT v
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier JOIN reeve.job j ON j.id = p_job WHERE t.id = v_tenant;
  v_out := reeve.report_reader(v_tenant) || jsonb_build_object('admitted_at', v_now);
  v_shared := reeve.report_shared(v_tenant, p_job, p_digest, v.created_at - coalesce(p_fresh_seconds, 0) * interval '1 second', NULL);
  IF v_shared IS NOT NULL THEN RETURN v_out || jsonb_build_object('shared', v_shared); END IF;
  IF EXISTS (SELECT FROM reeve.job j WHERE j.state = 'running' AND j.tenant_id = v_tenant AND j.kind = v.kind AND j.args = v.args
             AND j.started_at >= v.created_at AND (j.started_at, j.id) < (v.started_at, p_job)) THEN
    RETURN v_out || jsonb_build_object('wait', true);
  END IF;
  v_out := v_out || jsonb_build_object('marked',
    EXISTS (SELECT FROM reeve.report_result s WHERE s.tenant_id = v_tenant AND s.digest = p_digest AND s.mark IS NOT NULL));
  SELECT c.seconds INTO v_cost FROM reeve.report_cost c WHERE c.tenant_id = v_tenant AND c.report = p_report;
  IF p_is_heavy OR v_cost > v.report_daytime_seconds THEN
    v_out := v_out || jsonb_build_object('hold_ms', reeve.off_peak_wait(v_tenant));
  ELSIF v_cost IS NULL THEN
    v_out := v_out || jsonb_build_object('estimate_above', v.report_daytime_seconds);
  END IF;
  RETURN v_out;
END $$;

-- For a report whose estimate says that it is large: how many milliseconds it has to wait; NULL when it may run.
CREATE FUNCTION reeve.report_hold(p_job bigint, p_lease uuid) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$ SELECT reeve.off_peak_wait(reeve.retention_tenant(p_job, p_lease)) $$;

-- The artifacts of an equal request that read what this one would read; NULL: none.
CREATE FUNCTION reeve.report_unchanged(p_job bigint, p_lease uuid, p_digest text, p_mark text) RETURNS jsonb
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT reeve.report_shared(reeve.retention_tenant(p_job, p_lease), p_job, p_digest, NULL, p_mark)
$$;

-- As V0031 has it, with what the server said of itself in the result's snapshot.
DROP FUNCTION reeve.report_done(bigint, uuid, text, double precision, bigint, bigint, text, timestamptz);
CREATE FUNCTION reeve.report_done(p_job bigint, p_lease uuid, p_report text, p_seconds double precision, p_rows bigint, p_bytes bigint, p_digest text,
    p_admitted_at timestamptz, p_mark text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record;
BEGIN
  SELECT t.status::text AS status, t.version INTO STRICT v FROM reeve.tenant t WHERE t.id = v_tenant;
  IF v.status NOT IN ('trial', 'active') THEN RETURN v.status; END IF;
  INSERT INTO reeve.report_cost AS c (tenant_id, report, seconds, rows, bytes) VALUES (v_tenant, left(p_report, 80), p_seconds, p_rows, p_bytes)
  ON CONFLICT (tenant_id, report) DO UPDATE SET seconds = excluded.seconds, rows = excluded.rows, bytes = excluded.bytes, at = excluded.at;
  DELETE FROM reeve.report_result s WHERE s.tenant_id = v_tenant AND s.admitted_at < reeve.clock() - interval '2 days';
  IF p_digest IS NOT NULL THEN
    INSERT INTO reeve.report_result AS s (tenant_id, digest, tenant_version, admitted_at, job_id, mark) VALUES (v_tenant, p_digest, v.version, p_admitted_at, p_job, p_mark)
    ON CONFLICT (tenant_id, digest) DO UPDATE SET tenant_version = excluded.tenant_version, admitted_at = excluded.admitted_at, job_id = excluded.job_id, mark = excluded.mark
    WHERE s.admitted_at <= excluded.admitted_at;
  END IF;
  RETURN v.status;
END $$;

CREATE OR REPLACE FUNCTION reeve.report_reader(p_tenant uuid) RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT jsonb_build_object('name', t.name, 'locale', t.locale, 'currency', t.currency, 'timezone', t.timezone, 'rows', r.report_rows, 'bytes', r.report_bytes,
    'seconds', r.report_seconds, 'days', reeve.artifact_days(t.id, 'report'), 'admitted_at', reeve.clock())
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = p_tenant
$$;

REVOKE EXECUTE ON FUNCTION reeve.report_shared(uuid, bigint, text, timestamptz, text), reeve.off_peak_wait(uuid), reeve.report_hold(bigint, uuid),
  reeve.report_unchanged(bigint, uuid, text, text), reeve.report_done(bigint, uuid, text, double precision, bigint, bigint, text, timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION reeve.report_hold(bigint, uuid), reeve.report_unchanged(bigint, uuid, text, text),
  reeve.report_done(bigint, uuid, text, double precision, bigint, bigint, text, timestamptz, text) TO reeve_worker;
