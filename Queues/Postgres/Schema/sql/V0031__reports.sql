-- Reports: what a tier allows, when large ones run, the places of scheduled ones, and what past runs cost (ISO-C-003).

ALTER TABLE reeve.tier
  ADD COLUMN report_rows bigint NOT NULL DEFAULT 100000 CHECK (report_rows >= 1),
  ADD COLUMN report_bytes bigint NOT NULL DEFAULT 104857600 CHECK (report_bytes >= 1024),
  ADD COLUMN report_seconds int NOT NULL DEFAULT 60 CHECK (report_seconds BETWEEN 1 AND 6000),
  ADD COLUMN report_retention_days int NOT NULL DEFAULT 30 CHECK (report_retention_days BETWEEN 1 AND 36500),
  ADD COLUMN report_daytime_seconds int DEFAULT 30 CHECK (report_daytime_seconds >= 0),        -- NULL: none waits for the off-peak window
  ADD COLUMN offpeak_from time NOT NULL DEFAULT '22:00',
  ADD COLUMN offpeak_until time NOT NULL DEFAULT '06:00';
-- brand_palette: more than the primary colour; brand_only: without the platform's own brand.
UPDATE reeve.tier SET report_rows = 1000000, report_bytes = 1073741824, report_seconds = 300, report_retention_days = 90, report_daytime_seconds = 120,
  features = features || '{brand_palette}' WHERE name = 'professional';
UPDATE reeve.tier SET report_rows = 10000000, report_bytes = 10737418240, report_seconds = 3600, report_retention_days = 365, report_daytime_seconds = 600,
  features = features || '{brand_palette,brand_only}' WHERE name = 'enterprise';

-- The replica that reports of a server's tenants read, while it is not further behind than this. No password, as in conninfo.
ALTER TABLE reeve.tenant_server
  ADD COLUMN replica_conninfo text CHECK (replica_conninfo !~* 'password'),
  ADD COLUMN replica_lag_limit int NOT NULL DEFAULT 30 CHECK (replica_lag_limit BETWEEN 0 AND 86400);         -- seconds

-- A tenant's own off-peak window, in the place of its tier's.
CREATE TABLE reeve.report_window (
  tenant_id uuid PRIMARY KEY REFERENCES reeve.tenant (id),
  opens time NOT NULL,
  closes time NOT NULL,
  by text NOT NULL DEFAULT reeve.actor(),
  at timestamptz NOT NULL DEFAULT reeve.clock()
);

-- What the last run of each report cost a tenant.
CREATE TABLE reeve.report_cost (
  tenant_id uuid NOT NULL,
  report text NOT NULL,
  seconds double precision NOT NULL,
  rows bigint NOT NULL,
  bytes bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT reeve.clock(),
  PRIMARY KEY (tenant_id, report)
);

-- The job whose artifacts answer a request; one that was made before `admitted_at` may take them as its own answer.
CREATE TABLE reeve.report_result (
  tenant_id uuid NOT NULL,
  digest text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
  tenant_version bigint NOT NULL,
  admitted_at timestamptz NOT NULL,
  job_id bigint NOT NULL,
  PRIMARY KEY (tenant_id, digest)
);

-- The places of scheduled reports. A schedule of a report refers to one; how many a tenant may have is held here, whoever inserts.
CREATE TABLE reeve.report_place (
  tenant_id uuid NOT NULL REFERENCES reeve.tenant (id),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  taken_by text NOT NULL DEFAULT reeve.actor(),
  taken_at timestamptz NOT NULL DEFAULT reeve.clock(),
  PRIMARY KEY (tenant_id, name)
);

CREATE FUNCTION reeve.report_place_guard() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_limit int; v_code text; v_taken bigint;
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.tenant_id = OLD.tenant_id THEN RETURN NEW; END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a place is taken in a read committed transaction only' USING ERRCODE = 'RV012',
      HINT = 'One that reads a single snapshot would not see who was faster.';
  END IF;
  -- The lock is what keeps two from taking the last place; the count is a statement of its own, so it sees who held the lock before.
  SELECT coalesce((t.overrides ->> 'scheduled_reports')::int, r.scheduled_reports), t.code INTO v_limit, v_code
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = NEW.tenant_id FOR NO KEY UPDATE OF t;
  IF v_limit IS NULL THEN RETURN NEW; END IF;
  SELECT count(*) INTO v_taken FROM reeve.report_place p WHERE p.tenant_id = NEW.tenant_id;
  IF v_taken >= v_limit THEN
    RAISE EXCEPTION 'tenant "%" has % of % scheduled reports', v_code, v_taken, v_limit USING ERRCODE = 'RV012',
      HINT = 'Remove one, or raise the tier or the tenant''s override scheduled_reports.';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER report_place_guard BEFORE INSERT OR UPDATE ON reeve.report_place FOR EACH ROW EXECUTE FUNCTION reeve.report_place_guard();
ALTER TABLE reeve.report_place ENABLE ALWAYS TRIGGER report_place_guard;

-- Takes a place for a scheduled report; false when the tenant has it already. Raises RV012 when none is free.
CREATE FUNCTION reeve.take_report_place(code text, name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_tenant uuid;
BEGIN
  SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.code = take_report_place.code COLLATE "C" FOR NO KEY UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(code, 80) USING ERRCODE = 'RV001'; END IF;
  IF EXISTS (SELECT FROM reeve.report_place p WHERE p.tenant_id = v_tenant AND p.name = take_report_place.name) THEN RETURN false; END IF;
  INSERT INTO reeve.report_place (tenant_id, name) VALUES (v_tenant, name);
  PERFORM reeve.audit(v_tenant, 'report.schedule', 'report ' || name);
  RETURN true;
END $$;

-- Gives a place back; false when the tenant has none of this name.
CREATE FUNCTION reeve.release_report_place(code text, name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_tenant uuid;
BEGIN
  DELETE FROM reeve.report_place p USING reeve.tenant t WHERE t.id = p.tenant_id AND t.code = release_report_place.code COLLATE "C"
    AND p.name = release_report_place.name RETURNING p.tenant_id INTO v_tenant;
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM reeve.audit(v_tenant, 'report.unschedule', 'report ' || name);
  RETURN true;
END $$;

-- Sets a tenant's own off-peak window, or with NULLs goes back to its tier's.
CREATE FUNCTION reeve.set_report_window(code text, opens time, closes time) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
#variable_conflict use_variable
DECLARE v_tenant uuid;
BEGIN
  SELECT t.id INTO v_tenant FROM reeve.tenant t WHERE t.code = set_report_window.code COLLATE "C";
  IF NOT FOUND THEN RAISE EXCEPTION 'tenant "%" is unknown', left(code, 80) USING ERRCODE = 'RV001'; END IF;
  IF (opens IS NULL) <> (closes IS NULL) THEN RAISE EXCEPTION 'a window has a beginning and an end' USING ERRCODE = 'RV010'; END IF;
  IF opens IS NULL THEN
    DELETE FROM reeve.report_window w WHERE w.tenant_id = v_tenant;
  ELSE
    INSERT INTO reeve.report_window AS w (tenant_id, opens, closes) VALUES (v_tenant, opens, closes)
    ON CONFLICT (tenant_id) DO UPDATE SET opens = excluded.opens, closes = excluded.closes, by = reeve.actor(), at = reeve.clock();
  END IF;
  PERFORM reeve.audit(v_tenant, 'report.window', 'tenant ' || code, NULL, jsonb_build_object('opens', opens, 'closes', closes));
END $$;

-- The first moment from p_at on, to the minute, at which the window is open. It is open whenever the wall clock in that time zone shows a time
-- within it. So an hour that a clock change repeats counts twice, a time that it skips never comes, and a window begins with the first time shown
-- that is within it. A window that ends when it begins is always open.
CREATE FUNCTION reeve.next_off_peak(p_timezone text, p_opens time, p_closes time, p_at timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS $$
  SELECT m FROM (SELECT CASE WHEN g = 0 THEN p_at ELSE date_trunc('minute', p_at) + g * interval '1 minute' END AS m FROM generate_series(0, 3000) g) x
  WHERE CASE WHEN p_opens < p_closes THEN (m AT TIME ZONE p_timezone)::time >= p_opens AND (m AT TIME ZONE p_timezone)::time < p_closes
             WHEN p_opens > p_closes THEN (m AT TIME ZONE p_timezone)::time >= p_opens OR (m AT TIME ZONE p_timezone)::time < p_closes
             ELSE true END
  ORDER BY m LIMIT 1
$$;

-- What a report's attempt has to know before it runs: the tenant as readers see it, what its tier allows, and whether it has to wait (`hold_ms`, for
-- the off-peak window; `wait`, for the same request of another job that runs) or is answered already (`shared`).
CREATE FUNCTION reeve.report_admit(p_job bigint, p_lease uuid, p_report text, p_digest text, p_is_heavy boolean, p_fresh_seconds int) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record; v_now timestamptz := reeve.clock(); v_next timestamptz; v_out jsonb; v_shared jsonb; v_cost double precision;
BEGIN
  SELECT t.code, t.name, t.locale, t.currency, t.timezone, t.status, t.version, r.report_rows, r.report_bytes, r.report_seconds, r.report_retention_days, r.report_daytime_seconds,
         coalesce(w.opens, r.offpeak_from) AS opens, coalesce(w.closes, r.offpeak_until) AS closes, j.created_at, j.started_at, j.args, j.kind
  INTO STRICT v FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier LEFT JOIN reeve.report_window w ON w.tenant_id = t.id JOIN reeve.job j ON j.id = p_job
  WHERE t.id = v_tenant;
  v_out := jsonb_build_object('name', v.name, 'locale', v.locale, 'currency', v.currency, 'timezone', v.timezone, 'rows', v.report_rows, 'bytes', v.report_bytes,
    'seconds', v.report_seconds, 'days', v.report_retention_days, 'admitted_at', v_now);
  SELECT jsonb_build_object('job', s.job_id, 'artifacts', jsonb_agg(jsonb_build_object('id', a.id, 'format', a.manifest ->> 'format') ORDER BY a.manifest ->> 'format')) INTO v_shared
  FROM reeve.report_result s JOIN reeve.artifact a ON a.job_id = s.job_id AND a.tenant_id = v_tenant AND a.entity = 'report'
  WHERE s.tenant_id = v_tenant AND s.digest = p_digest AND s.tenant_version = v.version AND s.job_id <> p_job
    AND s.admitted_at >= v.created_at - coalesce(p_fresh_seconds, 0) * interval '1 second'
    AND NOT EXISTS (SELECT FROM reeve.artifact b LEFT JOIN reeve.artifact_deletion d ON d.artifact_id = b.id
                    WHERE b.job_id = s.job_id AND (d.artifact_id IS NOT NULL OR b.expires_at < v_now + interval '1 hour'))
  GROUP BY s.job_id;
  IF v_shared IS NOT NULL THEN RETURN v_out || jsonb_build_object('shared', v_shared); END IF;
  IF EXISTS (SELECT FROM reeve.job j WHERE j.state = 'running' AND j.tenant_id = v_tenant AND j.kind = v.kind AND j.args = v.args
             AND j.started_at >= v.created_at AND (j.started_at, j.id) < (v.started_at, p_job)) THEN
    RETURN v_out || jsonb_build_object('wait', true);
  END IF;
  SELECT c.seconds INTO v_cost FROM reeve.report_cost c WHERE c.tenant_id = v_tenant AND c.report = p_report;
  IF p_is_heavy OR v_cost > v.report_daytime_seconds THEN
    v_next := reeve.next_off_peak(v.timezone, v.opens, v.closes, v_now);
    IF v_next > v_now THEN v_out := v_out || jsonb_build_object('hold_ms', ceil(extract(epoch FROM v_next - v_now) * 1000)::bigint); END IF;
  END IF;
  RETURN v_out;
END $$;

-- The last step of a report's attempt, before it completes: answers the tenant's status, and records what the run cost when that still allows
-- reports. Without a digest nothing is shared.
CREATE FUNCTION reeve.report_done(p_job bigint, p_lease uuid, p_report text, p_seconds double precision, p_rows bigint, p_bytes bigint, p_digest text,
    p_admitted_at timestamptz) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
DECLARE v_tenant uuid := reeve.retention_tenant(p_job, p_lease); v record;
BEGIN
  SELECT t.status::text AS status, t.version INTO STRICT v FROM reeve.tenant t WHERE t.id = v_tenant;
  IF v.status NOT IN ('trial', 'active') THEN RETURN v.status; END IF;
  INSERT INTO reeve.report_cost AS c (tenant_id, report, seconds, rows, bytes) VALUES (v_tenant, left(p_report, 80), p_seconds, p_rows, p_bytes)
  ON CONFLICT (tenant_id, report) DO UPDATE SET seconds = excluded.seconds, rows = excluded.rows, bytes = excluded.bytes, at = excluded.at;
  DELETE FROM reeve.report_result s WHERE s.tenant_id = v_tenant AND s.admitted_at < reeve.clock() - interval '2 days';
  IF p_digest IS NOT NULL THEN
    INSERT INTO reeve.report_result AS s (tenant_id, digest, tenant_version, admitted_at, job_id) VALUES (v_tenant, p_digest, v.version, p_admitted_at, p_job)
    ON CONFLICT (tenant_id, digest) DO UPDATE SET tenant_version = excluded.tenant_version, admitted_at = excluded.admitted_at, job_id = excluded.job_id
    WHERE s.admitted_at <= excluded.admitted_at;
  END IF;
  RETURN v.status;
END $$;

-- How a tenant's reports look and are told, for commands that render without a job.
CREATE FUNCTION reeve.report_reader(p_tenant uuid) RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT jsonb_build_object('name', t.name, 'locale', t.locale, 'currency', t.currency, 'timezone', t.timezone, 'rows', r.report_rows, 'bytes', r.report_bytes,
    'seconds', r.report_seconds, 'days', r.report_retention_days, 'admitted_at', reeve.clock())
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = p_tenant
$$;

REVOKE EXECUTE ON FUNCTION reeve.report_place_guard(), reeve.take_report_place(text, text), reeve.release_report_place(text, text),
  reeve.set_report_window(text, time, time), reeve.next_off_peak(text, time, time, timestamptz), reeve.report_admit(bigint, uuid, text, text, boolean, int),
  reeve.report_done(bigint, uuid, text, double precision, bigint, bigint, text, timestamptz), reeve.report_reader(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION reeve.report_admit(bigint, uuid, text, text, boolean, int),
  reeve.report_done(bigint, uuid, text, double precision, bigint, bigint, text, timestamptz) TO reeve_worker;
GRANT EXECUTE ON FUNCTION reeve.take_report_place(text, text), reeve.release_report_place(text, text), reeve.set_report_window(text, time, time),
  reeve.report_reader(uuid) TO reeve_operator;
GRANT SELECT ON reeve.report_window, reeve.report_cost, reeve.report_place TO reeve_viewer, reeve_operator;
