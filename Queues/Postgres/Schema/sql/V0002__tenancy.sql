-- Tiers, tenants, and where their data lives.
CREATE TABLE reeve.tier (
  name text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_-]{0,39}$'),
  concurrency int NOT NULL CHECK (concurrency BETWEEN 1 AND 10000),              -- ISO-C-002
  backlog_limit bigint NOT NULL CHECK (backlog_limit >= 1),
  backup_retention_days int NOT NULL CHECK (backup_retention_days >= 1),         -- ISO-S-003
  audit_retention_years int NOT NULL CHECK (audit_retention_years >= 1),         -- ISO-A-001
  scheduled_reports int CHECK (scheduled_reports >= 0),                          -- NULL: unlimited (ISO-C-003)
  trial_days int NOT NULL DEFAULT 14 CHECK (trial_days BETWEEN 0 AND 3650),      -- LIFE-1
  features text[] NOT NULL DEFAULT '{}',
  version bigint NOT NULL DEFAULT 1
);
INSERT INTO reeve.tier (name, concurrency, backlog_limit, backup_retention_days, audit_retention_years, scheduled_reports, features) VALUES
  ('starter', 5, 100000, 7, 1, 10, '{reports,backups,exports,purges,reminders,erasures}'),
  ('professional', 20, 500000, 30, 3, 50, '{reports,backups,exports,purges,reminders,erasures,custom_reports}'),
  ('enterprise', 50, 2000000, 90, 7, NULL, '{reports,backups,exports,purges,reminders,erasures,custom_reports,own_schedule}');

CREATE TABLE reeve.tenant (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  code text COLLATE "C" NOT NULL UNIQUE CHECK (code ~ '^[a-z0-9][a-z0-9-]{1,38}[a-z0-9]$'),
  external_code text UNIQUE CHECK (length(external_code) BETWEEN 1 AND 200),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  tier text NOT NULL REFERENCES reeve.tier (name) ON UPDATE CASCADE,
  status reeve.tenant_status NOT NULL DEFAULT 'trial',
  status_changed_at timestamptz NOT NULL DEFAULT reeve.clock(),
  isolation reeve.isolation NOT NULL,
  region text NOT NULL CHECK (region ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
  timezone text NOT NULL DEFAULT 'UTC',
  locale text NOT NULL DEFAULT 'en' CHECK (locale ~ '^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$'),
  currency text NOT NULL DEFAULT 'EUR' CHECK (currency ~ '^[A-Z]{3}$'),
  fiscal_year_start smallint NOT NULL DEFAULT 1 CHECK (fiscal_year_start BETWEEN 1 AND 12),
  first_weekday smallint NOT NULL DEFAULT 1 CHECK (first_weekday BETWEEN 0 AND 6),
  parent_id uuid REFERENCES reeve.tenant (id) CHECK (parent_id <> id),
  contacts jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(contacts) = 'object' AND contacts - ARRAY['primary', 'billing', 'technical', 'owner'] = '{}'),
  flags jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(flags) = 'object'),
  overrides jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(overrides) = 'object' AND overrides
    - ARRAY['concurrency', 'backlog_limit', 'backup_retention_days', 'audit_retention_years', 'scheduled_reports'] = '{}'),
  trial_ends_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT reeve.clock(),
  version bigint NOT NULL DEFAULT 1,
  CHECK (overrides -> 'concurrency' IS NULL OR (jsonb_typeof(overrides -> 'concurrency') = 'number' AND (overrides ->> 'concurrency')::numeric BETWEEN 1 AND 10000))
);
CREATE INDEX tenant_tier ON reeve.tenant (tier);

CREATE TABLE reeve.tenant_status_change (
  tenant_id uuid NOT NULL REFERENCES reeve.tenant (id),
  at timestamptz NOT NULL DEFAULT reeve.clock(),
  was reeve.tenant_status,
  became reeve.tenant_status NOT NULL,
  actor text NOT NULL DEFAULT reeve.actor(),
  reason text,
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY
);
CREATE INDEX tenant_status_change_tenant ON reeve.tenant_status_change (tenant_id, at);

-- The narrow row that claims lock: only claim, completion, rescue, pause and drain touch it (design section 4).
CREATE TABLE reeve.tenant_counter (
  tenant_id uuid PRIMARY KEY,
  cap int NOT NULL CHECK (cap >= 1),
  running int NOT NULL DEFAULT 0 CHECK (running >= 0),
  block_version bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- Told by housekeeping, read by enqueue without a lock or a count (design section 4).
CREATE TABLE reeve.tenant_backlog (
  tenant_id uuid PRIMARY KEY,
  waiting bigint NOT NULL DEFAULT 0,
  is_full boolean NOT NULL DEFAULT false,
  counted_at timestamptz NOT NULL DEFAULT reeve.clock()
) WITH (fillfactor = 50);

-- A server that holds tenants' databases. The conninfo has no password; the admin's is sealed like the tenants'.
CREATE TABLE reeve.tenant_server (
  name text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_-]{0,39}$'),
  conninfo text NOT NULL CHECK (conninfo !~* 'password'),
  region text NOT NULL,
  shared_database text NOT NULL,
  dump_limit int NOT NULL DEFAULT 2 CHECK (dump_limit >= 1),
  admin_secret bytea
);

-- The registry: which database, schemas and login are whose. Never derived from a name (design section 6).
CREATE TABLE reeve.tenant_store (
  tenant_id uuid NOT NULL REFERENCES reeve.tenant (id),
  server text NOT NULL REFERENCES reeve.tenant_server (name),
  database text NOT NULL CHECK (octet_length(database) BETWEEN 1 AND 63),
  schemas text[] NOT NULL CHECK (cardinality(schemas) >= 1),
  reference_schemas text[] NOT NULL DEFAULT '{}',
  login text NOT NULL CHECK (octet_length(login) BETWEEN 1 AND 63),
  secret bytea NOT NULL,                                   -- AES-256-GCM, tenant id as associated data (ISO-E-003)
  ready boolean NOT NULL DEFAULT false,
  PRIMARY KEY (tenant_id, server, database),
  UNIQUE (server, login, database)
);

-- Finished parts of provisioning, so that a killed `tenant create` goes on where it stopped.
CREATE TABLE reeve.tenant_checkpoint (
  tenant_id uuid NOT NULL REFERENCES reeve.tenant (id),
  name text NOT NULL,
  at timestamptz NOT NULL DEFAULT reeve.clock(),
  PRIMARY KEY (tenant_id, name)
);

-- Logins of the control database that belong to a tenant: they may enqueue for that tenant alone.
CREATE TABLE reeve.tenant_login (login text PRIMARY KEY, tenant_id uuid NOT NULL REFERENCES reeve.tenant (id));

CREATE FUNCTION reeve.effective_cap(tier text, overrides jsonb) RETURNS int LANGUAGE sql STABLE SET search_path = reeve, pg_temp AS
  $$ SELECT coalesce((overrides ->> 'concurrency')::int, t.concurrency) FROM reeve.tier t WHERE t.name = tier $$;

CREATE FUNCTION reeve.tenant_guard() RETURNS trigger LANGUAGE plpgsql SET search_path = reeve, pg_temp AS $$
BEGIN
  -- The server's zone data decides; the form keeps POSIX strings out, which it would take too.
  BEGIN
    IF NEW.timezone !~ '^([A-Za-z_]+(/[A-Za-z0-9_+-]+)+|UTC|GMT)$' OR (reeve.clock() AT TIME ZONE NEW.timezone) IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = '22023';
    END IF;
  EXCEPTION WHEN invalid_parameter_value THEN
    RAISE EXCEPTION 'time zone "%" is unknown', left(NEW.timezone, 80) USING ERRCODE = 'RV010', HINT = 'Use an IANA name such as Europe/Berlin.';
  END;
  IF TG_OP = 'UPDATE' THEN
    IF NEW.id <> OLD.id OR NEW.code <> OLD.code THEN
      RAISE EXCEPTION 'a tenant''s id and code never change' USING ERRCODE = '42501';
    END IF;
    NEW.version := OLD.version + 1;
    IF NEW.status <> OLD.status THEN NEW.status_changed_at := reeve.clock(); END IF;
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER tenant_guard BEFORE INSERT OR UPDATE ON reeve.tenant FOR EACH ROW EXECUTE FUNCTION reeve.tenant_guard();

CREATE FUNCTION reeve.tenant_follow() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO reeve.tenant_counter (tenant_id, cap) VALUES (NEW.id, reeve.effective_cap(NEW.tier, NEW.overrides));
    INSERT INTO reeve.tenant_backlog (tenant_id) VALUES (NEW.id);
    INSERT INTO reeve.tenant_status_change (tenant_id, became) VALUES (NEW.id, NEW.status);
    RETURN NULL;
  END IF;
  IF NEW.status <> OLD.status THEN
    INSERT INTO reeve.tenant_status_change (tenant_id, was, became, reason)
    VALUES (NEW.id, OLD.status, NEW.status, nullif(current_setting('reeve.reason', true), ''));
  END IF;
  IF NEW.tier <> OLD.tier OR NEW.overrides <> OLD.overrides THEN
    UPDATE reeve.tenant_counter c SET cap = reeve.effective_cap(NEW.tier, NEW.overrides) WHERE c.tenant_id = NEW.id;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER tenant_follow AFTER INSERT OR UPDATE ON reeve.tenant FOR EACH ROW EXECUTE FUNCTION reeve.tenant_follow();

CREATE FUNCTION reeve.tier_follow() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
BEGIN
  UPDATE reeve.tenant_counter c SET cap = l.cap
  FROM (SELECT k.tenant_id, reeve.effective_cap(t.tier, t.overrides) AS cap
        FROM reeve.tenant_counter k JOIN reeve.tenant t ON t.id = k.tenant_id
        WHERE t.tier = NEW.name ORDER BY k.tenant_id FOR UPDATE OF k) l
  WHERE c.tenant_id = l.tenant_id AND c.cap <> l.cap;
  UPDATE reeve.tenant t SET version = t.version WHERE t.tier = NEW.name;  -- features are part of what a claim knows
  RETURN NULL;
END $$;
CREATE TRIGGER tier_follow AFTER UPDATE ON reeve.tier FOR EACH ROW EXECUTE FUNCTION reeve.tier_follow();

-- What a worker checks before every attempt (design section 6.1 to 6.4), for the tenants it does not know yet.
CREATE FUNCTION reeve.tenant_facts(ids uuid[]) RETURNS TABLE (id uuid, code text, tier text, status text, isolation text,
    region text, timezone text, features text[], version bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS $$
  SELECT t.id, t.code, t.tier, t.status::text, t.isolation::text, t.region, t.timezone,
         r.features || ARRAY(SELECT f.key FROM jsonb_each(t.flags) f WHERE f.value = 'true'), t.version
  FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = ANY (ids)
$$;
