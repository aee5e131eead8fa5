import Postgres
import Testing

/// Names that lie: functions, operators, tables and types put where another's SQL might look for its own.
@Suite("Hijacked names")
struct HijackTests {
    @Test(
        "temporary objects and search_path lead no function of Reeve's astray, even for a login that may make temporary tables"
    )
    func temporaryObjects() throws {
        let target = try Target()
        // Beside what the migrations close: an administrator may have granted it.
        try target.admin.executeScript(
            """
            DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO PUBLIC', current_database()); END $$;
            GRANT CREATE ON SCHEMA public TO PUBLIC;
            """)
        let globex = try target.enqueue("globex.work")
        let session = try target.session(.bound)
        defer { session.close() }
        try session.executeScript(
            """
            CREATE TEMP TABLE tenant_login (login text, tenant_id uuid);
            CREATE TEMP TABLE job (id bigint, tenant_id uuid, created_by text, state text, kind text, queue text);
            CREATE TEMP TABLE tenant (id uuid, code text); CREATE TEMP TABLE kind (name text, schema jsonb, max_attempts int);
            CREATE FUNCTION public.pg_has_role(name, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
            CREATE FUNCTION public.is_operator() RETURNS boolean LANGUAGE sql AS 'SELECT true';
            CREATE FUNCTION public.left(text, int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'ALTER ROLE attack_bound SUPERUSER'; RETURN $1; END $$;
            CREATE FUNCTION public.nextval(text) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'ALTER ROLE attack_bound SUPERUSER'; RETURN 1; END $$;
            CREATE FUNCTION public.evil(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'ALTER ROLE attack_bound SUPERUSER'; RETURN true; END $$;
            CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.evil);
            CREATE OPERATOR public.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = public.evil);
            CREATE OPERATOR public.~ (LEFTARG = text, RIGHTARG = text, FUNCTION = public.evil);
            CREATE TYPE pg_temp.text AS (x int); CREATE DOMAIN pg_temp.jsonb AS pg_catalog.text;
            """)
        for path in [
            "pg_temp, public, pg_catalog, reeve", "public, pg_catalog", "pg_temp", "public, reeve, pg_catalog",
        ] {
            try session.execute("SET search_path = \(path)")
            #expect(
                try Attempt("SELECT reeve.cancel($1::pg_catalog.int8)", [globex], on: session).state == "RV011",
                "\(path)")
            #expect(
                try Attempt("SELECT reeve.explain($1::pg_catalog.int8)", [globex], on: session).state == "RV011",
                "\(path)")
            #expect(
                try Attempt("SELECT reeve.job($1::pg_catalog.int8)", [globex], on: session).rows == ["NULL"], "\(path)")
            let spoof = try Attempt(
                #"SELECT reeve.enqueue('globex.work'::pg_catalog.text, 'work'::pg_catalog.text, '{"n": 1}'::pg_catalog.jsonb)"#,
                on: session)
            #expect(spoof.state == "RV003", "\(path): \(spoof)")
            let own = try Attempt(
                #"SELECT reeve.enqueue('acme.work'::pg_catalog.text, 'work'::pg_catalog.text, '{"n": 1}'::pg_catalog.jsonb)"#,
                on: session)
            #expect(own.state == nil, "\(path): \(own)")
            #expect(try Attempt("SELECT reeve.is_operator()", on: session).rows == ["f"], "\(path)")
        }
        #expect(try target.value("SELECT rolsuper FROM pg_roles WHERE rolname = 'attack_bound'") == "f")
        // Nobody's SQL calls the lures by accident either: an operator's session with the standard path.
        let operator_ = try target.session(.operator)
        defer { operator_.close() }
        #expect(try Attempt("SELECT reeve.pause('acme.*', 'test')", on: operator_).state == nil)
        #expect(try target.value("SELECT rolsuper FROM pg_roles WHERE rolname = 'attack_bound'") == "f")
    }

    @Test("without search_path the same lure makes a plain role a superuser: the attack is real")
    func lureBites() throws {
        let target = try Target()
        try target.admin.executeScript(
            """
            DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO PUBLIC', current_database()); END $$;
            SET check_function_bodies = off; CREATE TABLE reeve.setting (name text); INSERT INTO reeve.setting VALUES ('x');
            CREATE FUNCTION reeve.careless() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT name FROM setting';
            GRANT EXECUTE ON FUNCTION reeve.careless() TO reeve_viewer; ALTER FUNCTION reeve.careless() OWNER TO reeve_admin;
            CREATE ROLE lured;
            """)
        let session = try target.session(.viewer)
        defer { session.close() }
        try session.executeScript(
            """
            CREATE FUNCTION pg_temp.lure() RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'ALTER ROLE lured CONNECTION LIMIT 77'; RETURN 'x'; END $$;
            CREATE TEMP VIEW setting AS SELECT pg_temp.lure() AS name;
            """)
        try session.execute("SELECT reeve.careless()")
        #expect(try target.value("SELECT rolconnlimit FROM pg_roles WHERE rolname = 'lured'") == "77")
        try target.admin.execute("DROP ROLE lured")
    }

    @Test("a function in WHERE sees only the rows that a view shows")
    func leakyPredicate() throws {
        let target = try Target()
        try target.admin.executeScript(
            """
            DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO PUBLIC', current_database()); END $$;
            INSERT INTO reeve.circuit (server, database, failures, error, retry_at) VALUES ('main', 'old', 1, 'HIDDEN', now() - interval '1 day'), ('main', 'new', 1, 'SHOWN', now());
            """)
        let session = try target.session(.viewer)
        defer { session.close() }
        try session.execute(
            """
            CREATE FUNCTION pg_temp.peek(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'seen %', $1; RETURN true; END $$
            """)
        try session.execute("SELECT count(*) FROM reeve.circuit_list WHERE pg_temp.peek(error)")
        let seen = session.takeNotices().joined()
        #expect(seen.contains("SHOWN") && !seen.contains("HIDDEN"))
        #expect(
            try Attempt("CREATE FUNCTION pg_temp.f() RETURNS int LEAKPROOF LANGUAGE sql AS 'SELECT 1'", on: session)
                .state == "42501")
    }
}
