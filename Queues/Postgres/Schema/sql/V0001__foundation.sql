-- Schema, roles, the clock and the words of the design as types. Runs as a superuser, or as a role with CREATEROLE that
-- may create in this database; everything after this file is created by reeve_owner (the migrator sets that role).
DO $$
DECLARE v_role text;
BEGIN
  FOREACH v_role IN ARRAY ARRAY['reeve_owner', 'reeve_worker', 'reeve_enqueuer', 'reeve_operator', 'reeve_approver', 'reeve_viewer'] LOOP
    BEGIN
      EXECUTE format('CREATE ROLE %I NOLOGIN', v_role);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;  -- roles belong to the cluster: another fleet made it
    END;
  END LOOP;
  IF NOT pg_has_role(current_user, 'reeve_owner', 'MEMBER') THEN
    EXECUTE format('GRANT reeve_owner TO %I', current_user);
  END IF;
  EXECUTE format('GRANT CONNECT, CREATE ON DATABASE %I TO reeve_owner', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO reeve_worker, reeve_enqueuer, reeve_operator, reeve_approver, reeve_viewer', current_database());
END $$;
ALTER SCHEMA reeve OWNER TO reeve_owner;
GRANT USAGE ON SCHEMA reeve TO reeve_worker, reeve_enqueuer, reeve_operator, reeve_approver, reeve_viewer;
ALTER TABLE reeve.schema_migration OWNER TO reeve_owner;
GRANT SELECT ON reeve.schema_migration TO reeve_worker, reeve_enqueuer, reeve_operator, reeve_approver, reeve_viewer;
SET LOCAL ROLE reeve_owner;
ALTER DEFAULT PRIVILEGES IN SCHEMA reeve REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- The only source of time (design section 4): a test's own server may replace it, nothing else may.
CREATE FUNCTION reeve.clock() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS 'SELECT clock_timestamp()';
GRANT EXECUTE ON FUNCTION reeve.clock() TO PUBLIC;

CREATE TYPE reeve.tenant_status AS ENUM ('trial', 'active', 'suspended', 'churned', 'archived');
CREATE TYPE reeve.isolation AS ENUM ('shared', 'schema', 'database');
CREATE TYPE reeve.job_state AS ENUM ('scheduled', 'available', 'running', 'succeeded', 'cancelled', 'dead');

-- Who acts: the login, and the person or program that it says it acts for (SET LOCAL reeve.actor).
CREATE FUNCTION reeve.actor() RETURNS text LANGUAGE sql STABLE AS
  $$ SELECT left(coalesce(nullif(current_setting('reeve.actor', true), ''), session_user), 200) $$;

-- Audit (design section 9): plain inserts through reeve.audit(), in the transaction of what they record.
CREATE TABLE reeve.audit_entry (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id uuid,
  at timestamptz NOT NULL DEFAULT reeve.clock(),
  actor text NOT NULL,
  login text NOT NULL,
  action text NOT NULL CHECK (action ~ '^[a-z][a-z_.]{1,79}$'),
  object text NOT NULL CHECK (length(object) <= 400),
  reason text CHECK (length(reason) <= 2000),
  started_at timestamptz,
  ended_at timestamptz,
  detail jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(detail) = 'object')
);
CREATE INDEX audit_entry_tenant ON reeve.audit_entry (tenant_id, id);
COMMENT ON TABLE reeve.audit_entry IS 'What was done, by whom and why. Never personal data (ISO-A-001, ISO-A-002).';

CREATE FUNCTION reeve.refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = reeve, pg_temp AS $$
BEGIN
  RAISE EXCEPTION '% of % is never allowed', TG_OP, TG_TABLE_NAME USING ERRCODE = '42501';
END $$;
CREATE TRIGGER audit_entry_fixed BEFORE UPDATE OR DELETE ON reeve.audit_entry FOR EACH ROW EXECUTE FUNCTION reeve.refuse_change();
CREATE TRIGGER audit_entry_kept BEFORE TRUNCATE ON reeve.audit_entry FOR EACH STATEMENT EXECUTE FUNCTION reeve.refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON reeve.audit_entry FROM reeve_owner;

CREATE FUNCTION reeve.audit(tenant uuid, action text, object text, reason text DEFAULT NULL, detail jsonb DEFAULT '{}',
                            started timestamptz DEFAULT NULL) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  INSERT INTO reeve.audit_entry (tenant_id, actor, login, action, object, reason, detail, started_at, ended_at)
  VALUES (tenant, reeve.actor(), session_user, action, left(object, 400), left(reason, 2000), detail, started,
          CASE WHEN started IS NULL THEN NULL ELSE reeve.clock() END)
  RETURNING id
$$;
