-- Run once in the control database, as its owner: PgBouncer asks for verifiers with this, and for nothing else. Superusers are
-- left out: they connect directly.
CREATE ROLE pgbouncer LOGIN;
CREATE SCHEMA pgbouncer AUTHORIZATION pgbouncer;
CREATE FUNCTION pgbouncer.user_lookup(p_login text, OUT usename name, OUT passwd text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT u.usename, u.passwd FROM pg_shadow u WHERE u.usename = p_login AND NOT u.usesuper
$$;
REVOKE ALL ON FUNCTION pgbouncer.user_lookup(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgbouncer.user_lookup(text) TO pgbouncer;
GRANT CONNECT ON DATABASE reeve TO pgbouncer;
