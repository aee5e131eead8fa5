-- Gives a database that `reeve backup restore CODE --into-database NAME` made to its tenant, with the owners, grants and settings that
-- provisioning would have made. Run as the server's administrator in that database (runbook "Moving a tenant"):
--   psql -v tenant=ID -v login=LOGIN -v owner=OWNER -v schemas=S1,S2 -v reference=R1 -f deploy/runbooks/hand-over.sql 'dbname=NAME …'
\set ON_ERROR_STOP on
BEGIN;
SELECT set_config('move.tenant', :'tenant', true), set_config('move.login', :'login', true), set_config('move.owner', :'owner', true),
  set_config('move.schemas', :'schemas', true), set_config('move.reference', :'reference', true) \g /dev/null
DO $$
DECLARE
  tenant text := current_setting('move.tenant'); login text := current_setting('move.login'); owner text := current_setting('move.owner');
  schemas text[] := string_to_array(current_setting('move.schemas'), ','); reference text[] := string_to_array(current_setting('move.reference'), ',');
  s text; r record; db text := current_database(); said text := (SELECT shobj_description(d.oid, 'pg_database') FROM pg_database d WHERE d.datname = current_database());
BEGIN
  IF said IS DISTINCT FROM 'reeve restore of tenant ' || tenant THEN
    RAISE EXCEPTION 'database % is no restore of tenant % (%)', db, tenant, coalesce(said, 'it has no comment');
  END IF;
  FOREACH s IN ARRAY schemas LOOP
    IF obj_description(to_regnamespace(quote_ident(s)), 'pg_namespace') IS DISTINCT FROM 'reeve tenant ' || tenant THEN
      RAISE EXCEPTION 'schema % is not marked as the tenant''s', s;
    END IF;
    EXECUTE format('ALTER SCHEMA %I OWNER TO %I', s, owner);
    FOR r IN SELECT c.oid::regclass AS name, c.relkind FROM pg_class c WHERE c.relnamespace = to_regnamespace(quote_ident(s)) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        -- A serial column's sequence follows its table.
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND c.relkind = 'S') LOOP
      EXECUTE format('ALTER %s %s OWNER TO %I', CASE r.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, r.name, owner);
    END LOOP;
    FOR r IN SELECT p.oid::regprocedure AS name, p.prokind FROM pg_proc p WHERE p.pronamespace = to_regnamespace(quote_ident(s)) LOOP
      EXECUTE format('ALTER %s %s OWNER TO %I', CASE r.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END, r.name, owner);
    END LOOP;
    FOR r IN SELECT format('%I.%I', s, t.typname) AS name, t.typtype FROM pg_type t
        WHERE t.typnamespace = to_regnamespace(quote_ident(s)) AND t.typtype IN ('e', 'd', 'r') OR (t.typnamespace = to_regnamespace(quote_ident(s)) AND t.typtype = 'c'
          AND EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c')) LOOP
      EXECUTE format('ALTER %s %s OWNER TO %I', CASE r.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, r.name, owner);
    END LOOP;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', s, login);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO %I', s, login);
    EXECUTE format('GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA %I TO %I', s, login);
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I', owner, s, login);
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I GRANT USAGE, SELECT ON SEQUENCES TO %I', owner, s, login);
  END LOOP;
  FOREACH s IN ARRAY reference LOOP
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, %I', s, login, owner);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO %I', s, login);
    EXECUTE format('GRANT SELECT, REFERENCES ON ALL TABLES IN SCHEMA %I TO %I', s, owner);
  END LOOP;
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', db);
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', db, login);
  EXECUTE format('ALTER DATABASE %I OWNER TO %I', db, owner);
  EXECUTE format('COMMENT ON DATABASE %I IS %L', db, 'reeve tenant ' || tenant);
  EXECUTE format('ALTER ROLE %I IN DATABASE %I SET search_path = %s', login, db, (SELECT string_agg(quote_ident(x), ', ') FROM unnest(schemas || reference) x));
  EXECUTE format('ALTER ROLE %I IN DATABASE %I SET app.current_tenant = %L', login, db, tenant);
END $$;
COMMIT;
