-- Fencing in tenants' databases (design section 5), and stores that a platform made itself.

-- Whether this attempt still has its job. Read after the attempt wrote its lease id into the tenant's database: an attempt that
-- comes late finds out here before it can write anything else.
CREATE FUNCTION reeve.lease_is_current(p_job bigint, p_lease uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = reeve, pg_temp AS
  $$ SELECT EXISTS (SELECT FROM reeve.job j WHERE j.id = p_job AND j.state = 'running' AND j.lease_id = p_lease) $$;
REVOKE ALL ON FUNCTION reeve.lease_is_current(bigint, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION reeve.lease_is_current(bigint, uuid) TO reeve_worker;

-- What `tenant adopt` recorded of a store that was there before Reeve. A setting is what the platform's own policies read, and its
-- value for this tenant; a column is what says whose a row of a shared table is; enabled_rls are the tables on which adopting it
-- enabled row-level security, which undo takes back once no tenant needs it.
ALTER TABLE reeve.tenant_store
  ADD COLUMN adopted boolean NOT NULL DEFAULT false,
  ADD COLUMN setting_name text NOT NULL DEFAULT 'app.current_tenant'
    CHECK (setting_name ~ '^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$' AND octet_length(setting_name) <= 63),
  ADD COLUMN setting_value text CHECK (length(setting_value) BETWEEN 1 AND 200),                 -- NULL: the tenant's id
  ADD COLUMN tenant_column text NOT NULL DEFAULT 'tenant_id' CHECK (octet_length(tenant_column) BETWEEN 1 AND 63),
  ADD COLUMN enabled_rls text[] NOT NULL DEFAULT '{}';
GRANT SELECT (adopted, setting_name, setting_value, tenant_column) ON reeve.tenant_store TO reeve_viewer;
