import Postgres
import Testing

/// A rule about what the migrations and the provisioner make: a query whose every row is a fault, and a fault to try it with.
struct Lint: CustomTestStringConvertible {
    let name: String
    /// One text for each fault.
    let query: String
    /// What is found and meant, with the reason.
    var allowed: [String: String] = [:]
    /// Breaks the rule in a control database; the query must then name `planted`.
    let plant: String

    var testDescription: String { name }

    /// The faults that are not allowed.
    func faults(_ connection: Connection) throws -> [String] {
        try connection.execute(query).map { try $0.text(0) }.filter { allowed[$0] == nil }.sorted()
    }

    private static let ours = "NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
    /// Reeve's roles and those of tenants; not the superuser of the embedded server, which initdb made.
    private static let roles = """
        SELECT r.* FROM pg_roles r WHERE r.oid <> 10 AND (r.rolname ~ '^reeve_' OR shobj_description(r.oid, 'pg_authid') ~ '^reeve tenant ')
        """

    static let all = [
        Lint(
            name:
                "a SECURITY DEFINER function has a search_path that ends in pg_temp and names no schema where others create",
            query: """
                SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                WHERE n.nspname \(ours) AND p.prosecdef
                  AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c ~ '^search_path=.+, ?pg_temp$' AND c !~ '(public|\\$user)')
                """,
            plant:
                "CREATE FUNCTION reeve.planted() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS 'SELECT 1'"
        ),
        Lint(
            name: "a SECURITY DEFINER function belongs to no superuser",
            query: """
                SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles r ON r.oid = p.proowner
                WHERE n.nspname \(ours) AND p.prosecdef AND r.rolsuper
                """,
            plant:
                "CREATE FUNCTION reeve.planted() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = reeve, pg_temp AS 'SELECT 1'"
        ),
        Lint(
            name: "a view reads with its reader's rights",
            query: """
                SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname \(ours) AND c.relkind = 'v' AND NOT coalesce(c.reloptions && ARRAY['security_invoker=true', 'security_invoker=on'], false)
                """,
            allowed: [
                "reeve.job_list": "shows every job without its arguments, which readers of the view may not see",
                "reeve.queue_stats": "counts jobs that its readers may not read",
                "reeve.tenant_stats": "counts jobs that its readers may not read",
                "reeve.worker_list": "counts jobs that its readers may not read",
                "reeve.autoscale": "counts jobs that its readers may not read",
                "reeve.counter_fault": "compares counters that its readers may not read",
                "reeve.circuit_list": "counts jobs that its readers may not read",
                "reeve.reminder_list":
                    "shows reminders without the tokens of their links, which its readers may not see",
                "reeve.key_list": "shows keys without where their identities are, which its readers may not see",
                "reeve.outbox_list": "shows outboxes without their secrets, which its readers may not see",
                "reeve.event_status": "counts events that its readers may not read",
            ],
            plant: "CREATE VIEW reeve.planted AS SELECT * FROM reeve.job"),
        Lint(
            name: "a view that reads with its owner's rights is a security barrier",
            query: """
                SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname \(ours) AND c.relkind = 'v' AND NOT coalesce(c.reloptions && ARRAY['security_invoker=true', 'security_invoker=on'], false)
                  AND NOT coalesce(c.reloptions && ARRAY['security_barrier=true', 'security_barrier=on'], false)
                """,
            plant: "CREATE VIEW reeve.planted AS SELECT * FROM reeve.job"),
        Lint(
            name: "there is no materialized view, which row-level security does not reach",
            query:
                "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname \(ours) AND c.relkind = 'm'",
            plant: "CREATE MATERIALIZED VIEW reeve.planted AS SELECT 1 AS x"),
        Lint(
            name: "PUBLIC executes nothing but the clock",
            query: """
                SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                WHERE n.nspname \(ours) AND has_function_privilege('public', p.oid, 'EXECUTE')
                """,
            allowed: ["reeve.clock()": "tells the time, and defaults of columns need it"],
            plant: "CREATE FUNCTION reeve.planted() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
        Lint(
            name: "PUBLIC has no right on schemas, relations, columns or this database",
            query: """
                SELECT n.nspname || ' ' || a.privilege_type FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
                WHERE n.nspname \(ours) AND a.grantee = 0 AND NOT (n.nspname = 'public' AND a.privilege_type = 'USAGE')
                UNION ALL
                SELECT c.oid::regclass || ' ' || a.privilege_type FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a
                WHERE n.nspname \(ours) AND a.grantee = 0
                UNION ALL
                SELECT c.oid::regclass || '.' || t.attname || ' ' || a.privilege_type
                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
                WHERE n.nspname \(ours) AND a.grantee = 0
                UNION ALL
                SELECT 'database ' || a.privilege_type FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
                WHERE d.datname = current_database() AND a.grantee = 0
                """,
            plant: "CREATE TABLE reeve.planted (x int); GRANT SELECT (x) ON reeve.planted TO PUBLIC"),
        Lint(
            name: "shared tables have forced row-level security, and a tenant's policies on each",
            query: """
                SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = to_regnamespace('shared') AND c.relkind IN ('r', 'p')
                  AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
                UNION ALL
                SELECT c.oid::regclass || ' for ' || r.rolname FROM pg_class c, pg_roles r
                WHERE c.relnamespace = to_regnamespace('shared') AND c.relkind IN ('r', 'p') AND has_table_privilege(r.oid, c.oid, 'SELECT')
                  AND shobj_description(r.oid, 'pg_authid') ~ '^reeve tenant ' AND r.rolcanlogin
                  AND (SELECT count(*) FILTER (WHERE p.polpermissive) <> 1 OR count(*) FILTER (WHERE NOT p.polpermissive) <> 1
                       FROM pg_policy p WHERE p.polrelid = c.oid AND p.polroles = ARRAY[r.oid])
                """,
            plant:
                "CREATE SCHEMA shared; CREATE TABLE shared.planted (tenant_id uuid); ALTER TABLE shared.planted ENABLE ROW LEVEL SECURITY"
        ),
        Lint(
            name: "no policy is for PUBLIC",
            query: "SELECT p.polname || ' on ' || p.polrelid::regclass FROM pg_policy p WHERE p.polroles = '{0}'",
            plant: "CREATE TABLE reeve.t (x int); CREATE POLICY planted ON reeve.t USING (true)"),
        Lint(
            name: "neither Reeve's roles nor tenants' have rights over the server",
            query: """
                SELECT rolname::text FROM (\(roles)) r WHERE rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication
                """,
            plant: "CREATE ROLE reeve_planted BYPASSRLS"),
        Lint(
            name: "of Reeve's roles only tenants' logins log in",
            query: "SELECT rolname::text FROM (\(roles)) r WHERE rolcanlogin AND rolname ~ '^reeve_'",
            plant: "CREATE ROLE reeve_planted LOGIN"),
        Lint(
            name:
                "Reeve's roles and tenants' are members of nothing, and nobody is a tenant's login or, but for the migrator, the owner",
            query: """
                SELECT m.member::regrole || ' is ' || m.roleid::regrole FROM pg_auth_members m
                WHERE m.member IN (SELECT r.oid FROM (\(roles)) r)
                   OR m.roleid IN (SELECT r.oid FROM (\(roles)) r WHERE r.rolcanlogin)
                   OR m.roleid = 'reeve_owner'::regrole AND m.member <> 10
                   OR m.admin_option AND m.roleid IN (SELECT r.oid FROM (\(roles)) r)
                """,
            plant: "CREATE ROLE planted; GRANT reeve_owner TO planted"),
        Lint(
            name: "a tenant's login owns nothing",
            query: """
                SELECT d.refobjid::regrole || ' owns ' || pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_shdepend d JOIN (\(roles)) r ON r.oid = d.refobjid
                WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o' AND r.rolcanlogin
                  AND d.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
                """,
            plant: """
                CREATE ROLE planted LOGIN; COMMENT ON ROLE planted IS 'reeve tenant 0'; CREATE TABLE reeve.t (x int); ALTER TABLE reeve.t OWNER TO planted
                """),
        Lint(
            name: "Reeve's roles, but for the owners, and tenants' logins create in no schema and no database",
            query: """
                SELECT r.rolname || ' in ' || n.nspname FROM (\(roles)) r, pg_namespace n
                WHERE n.nspname !~ '^pg_' AND r.rolname !~ '_owner$' AND has_schema_privilege(r.oid, n.oid, 'CREATE')
                UNION ALL
                SELECT r.rolname || ' in ' || d.datname FROM (\(roles)) r, pg_database d
                WHERE d.datname = current_database() AND r.rolname !~ '_owner$' AND has_database_privilege(r.oid, d.oid, 'CREATE, TEMPORARY')
                """,
            plant: "CREATE SCHEMA planted; GRANT CREATE ON SCHEMA planted TO reeve_enqueuer"),
        Lint(
            name: "a function builds SQL with format(%I, %L) or not at all",
            query: """
                SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                WHERE n.nspname \(ours) AND regexp_replace(p.prosrc, '--[^\\n]*', '', 'g')
                  ~* '\\mexecute\\s+(?!format\\s*\\()|\\mexecute\\s[^;]*(\\|\\||%s|%[0-9]+\\$s|concat)'
                """,
            allowed: [
                "reeve.protect_audit_partition(text)": "makes a trigger, in whose statement the word is",
                "reeve.set_events(text[],boolean,interval,text)": "makes triggers, in whose statements the word is",
            ],
            plant: """
                CREATE FUNCTION reeve.planted(x text) RETURNS void LANGUAGE plpgsql AS $f$ BEGIN EXECUTE format('DROP TABLE %s', x); END $f$
                """),
        Lint(
            name: "no function claims to be leakproof",
            query:
                "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname \(ours) AND p.proleakproof",
            plant: "CREATE FUNCTION reeve.planted() RETURNS int LEAKPROOF LANGUAGE sql AS 'SELECT 1'"),
        Lint(
            name: "no extension, foreign server, untrusted language or event trigger is there",
            query: """
                SELECT 'extension ' || extname FROM pg_extension WHERE extname <> 'plpgsql'
                UNION ALL SELECT 'server ' || srvname FROM pg_foreign_server
                UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
                UNION ALL SELECT 'language ' || lanname FROM pg_language WHERE NOT lanpltrusted AND lanname NOT IN ('internal', 'c')
                """,
            plant:
                "CREATE FUNCTION reeve.f() RETURNS event_trigger LANGUAGE plpgsql AS $f$ BEGIN END $f$; CREATE EVENT TRIGGER planted ON ddl_command_start EXECUTE FUNCTION reeve.f()"
        ),
    ]
}
