import Foundation
import JobKit
import Postgres
import ReeveTesting
import Testing

@testable import Tenancy

/// A tenant's login, whose session an attacker has in full, against its neighbours.
@Suite("Escapes of tenants")
struct TenantEscapeTests {
    /// `%mine%`, `%theirs%` are logins; `%schema%`, `%own%` the neighbour's and the own schema; `%id%` the neighbour's id.
    static let refused = [
        "SET ROLE \"%theirs%\"", "SET ROLE \"%theirs%_owner\"", "SET ROLE \"%mine%_owner\"",
        "SET ROLE reeve_shared_owner", "SET ROLE reeve_owner", "SET ROLE pg_read_all_data",
        "SET SESSION AUTHORIZATION \"%theirs%\"", "GRANT \"%theirs%\" TO \"%mine%\"",
        "GRANT \"%mine%_owner\" TO \"%mine%\"", "ALTER ROLE \"%mine%\" BYPASSRLS", "ALTER ROLE \"%mine%\" SUPERUSER",
        "ALTER ROLE \"%mine%\" CONNECTION LIMIT -1", "ALTER ROLE \"%theirs%\" PASSWORD 'x'",
        "COMMENT ON ROLE \"%mine%\" IS 'reeve tenant %id%'", "COMMENT ON SCHEMA \"%own%\" IS 'reeve tenant %id%'",
        "ALTER TABLE \"%own%\".customers DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE \"%own%\".customers NO FORCE ROW LEVEL SECURITY",
        "CREATE POLICY mine ON \"%own%\".customers USING (true)",
        "ALTER TABLE \"%own%\".customers OWNER TO \"%mine%\"", "ALTER TABLE \"%own%\".customers ADD COLUMN x int",
        "DROP TABLE \"%own%\".customers", "TRUNCATE \"%own%\".customers CASCADE",
        "CREATE TRIGGER mine BEFORE INSERT ON \"%own%\".customers EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE RULE mine AS ON SELECT TO \"%own%\".customers DO INSTEAD SELECT 1",
        "CREATE INDEX ON \"%own%\".customers (company)", "CREATE TABLE \"%own%\".mine (x int)",
        "CREATE TABLE public.mine (x int)",
        "CREATE VIEW \"%own%\".mine AS SELECT 1", "CREATE MATERIALIZED VIEW public.mine AS SELECT 1",
        "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE SCHEMA mine",
        "CREATE TEMP TABLE mine (x int)",
        "CREATE FUNCTION pg_temp.peek(text) RETURNS boolean LEAKPROOF LANGUAGE sql AS 'SELECT true'",
        "CREATE DATABASE mine", "CREATE EXTENSION dblink",
        "CREATE EXTENSION postgres_fdw", "CREATE EXTENSION file_fdw",
        "CREATE SERVER mine FOREIGN DATA WRAPPER postgres_fdw", "CREATE PUBLICATION mine FOR ALL TABLES",
        "ALTER DATABASE \"%database%\" OWNER TO \"%mine%\"", "DROP DATABASE \"%database%\"",
        "DO $$ BEGIN EXECUTE 'SET SESSION AUTHORIZATION \"%theirs%\"'; END $$",
        "COPY \"%own%\".customers TO '/tmp/mine'", "COPY \"%own%\".customers TO PROGRAM 'cat'",
        "COPY \"%own%\".customers FROM '/etc/passwd'", "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_read_binary_file('PG_VERSION')", "SELECT pg_ls_dir('/')", "SELECT lo_import('/etc/passwd')",
        "SELECT lo_export(1, '/tmp/mine')", "LOAD 'x'", "SET session_replication_role = replica",
        "SET log_statement = 'none'", "SELECT pg_reload_conf()", "SELECT * FROM pg_authid",
        "SELECT * FROM pg_statistic", "SELECT * FROM pg_largeobject", "SELECT dblink('dbname=postgres', 'SELECT 1')",
        "SELECT setval('\"%own%\".customers_id_seq', 1)",
    ]

    private func words(_ isolation: Isolation) -> [String: String] {
        let (mine, theirs) = (
            TenantField.shared.member("acme", isolation), TenantField.shared.member("globex", isolation)
        )
        return [
            "%mine%": mine.store.login, "%theirs%": theirs.store.login, "%schema%": theirs.store.schemas[0],
            "%own%": mine.store.schemas[0], "%id%": "\(theirs.id)",
            "%database%": mine.store.database,
        ]
    }

    private func fill(_ sql: String, _ isolation: Isolation) -> String {
        words(isolation).reduce(sql) { $0.replacing($1.key, with: $1.value) }
    }

    @Test(
        "a tenant's login becomes nobody else, makes nothing, changes no definition and reaches no file, program or server",
        arguments: Isolation.allCases)
    func refusedForAll(isolation: Isolation) throws {
        let session = try TenantField.shared.login("acme", isolation)
        defer { session.close() }
        let states: Set<String> = ["42501", "0A000", "42704", "42883", "58P01", "42P01", "42809", "3F000"]
        for sql in Self.refused {
            let attempt = try Attempt(fill(sql, isolation), on: session)
            #expect(
                attempt.state.map { states.contains($0) } ?? false, "\(isolation): \(fill(sql, isolation)): \(attempt)")
        }
        // Without the grant option this is only a warning: nothing is granted.
        for right in ["SELECT", "ALL"] {
            _ = try Attempt(fill("GRANT \(right) ON \"%own%\".customers TO PUBLIC", isolation), on: session)
        }
        let open = try session.execute(
            fill("SELECT has_table_privilege('public', '\"%own%\".customers', 'SELECT, INSERT')", isolation))[0].bool(0)
        #expect(!open)
    }

    @Test(
        "no neighbour's row is read, counted, changed or guessed, with any setting of app.current_tenant or search_path",
        arguments: Isolation.allCases)
    func neighbour(isolation: Isolation) throws {
        let session = try TenantField.shared.login("acme", isolation)
        defer { session.close() }
        for entry in [
            "SELECT 1", "SET app.current_tenant = '%id%'", "SET search_path = \"%schema%\"", "SET row_security = off",
            "SET enable_seqscan = off", "SET statement_timeout = 0",
        ] {
            try session.execute(fill(entry, isolation))
            for sql in [
                "SELECT account_code FROM \"%schema%\".customers",
                "SELECT company FROM \"%schema%\".customers WHERE 1 / (credit_limit - 1) > 0",
                "SELECT max(account_code) FROM \"%schema%\".customers",
                "UPDATE \"%schema%\".customers SET company = 'taken' RETURNING account_code",
                "DELETE FROM \"%schema%\".customers RETURNING account_code", "TABLE \"%schema%\".customers",
                "SELECT most_common_vals::text FROM pg_stats WHERE schemaname = '%schema%' AND attname = 'account_code'",
                "SELECT * FROM \"%schema%\".customers TABLESAMPLE SYSTEM (100)",
                "SELECT query_to_xml('SELECT * FROM \"%schema%\".customers', true, true, '')::text",
                "SELECT database_to_xml(true, true, '')::text",
                "MERGE INTO \"%schema%\".customers c USING (SELECT 1) s ON true WHEN MATCHED THEN UPDATE SET company = 'taken'",
            ] {
                let attempt = try Attempt(fill(sql, isolation), on: session)
                let text = attempt.rows.joined() + attempt.message
                #expect(!text.contains("SECRET") && !text.contains("CANARY"), "\(entry); \(sql): \(attempt)")
                if sql.contains("1 / (") { #expect(attempt.state != "22012", "a predicate ran on a hidden row") }
            }
        }
        let theirs = try TenantField.shared.login("globex", isolation)
        defer { theirs.close() }
        #expect(
            try Attempt("SELECT company FROM customers WHERE account_code = 'SECRET'", on: theirs).rows == ["CANARY"])
    }

    @Test(
        "in shared tables keys collide with nobody's, references find nobody's, and an error shows no neighbour's value"
    )
    func sharedChannels() throws {
        let field = TenantField.shared
        let session = try field.login("acme", .shared)
        let theirs = try field.login("globex", .shared)
        defer { for one in [session, theirs] { one.close() } }
        let other = try theirs.execute("SELECT id::text FROM customers WHERE account_code = 'SECRET'")[0].text(0)
        try session.execute("BEGIN")
        #expect(
            try session.execute(TenantField.insertCustomer, ["SECRET"]).isEmpty, "the neighbour's code is free here")
        try session.execute("ROLLBACK")
        // Rows that name a neighbour, by tenant or by key.
        let id = field.member("globex", .shared).id
        for entry in ["SELECT 1", "SET app.current_tenant = '\(id)'"] {
            try session.execute(entry)
            let explicit = try Attempt(
                TenantField.insertCustomer.replacing("(account_code", with: "(tenant_id, account_code").replacing(
                    "VALUES (", with: "VALUES ('\(id)', "), ["X"], on: session)
            #expect(explicit.state == "42501" && !explicit.message.contains("SECRET"), "\(explicit)")
        }
        try session.execute("RESET app.current_tenant")
        func order(_ customer: String) throws -> Attempt {
            let columns = try session.execute(
                "SELECT column_name::text, data_type::text FROM information_schema.columns WHERE table_schema = 'shared' AND table_name = 'orders' AND is_nullable = 'NO' AND column_default IS NULL AND column_name <> 'customer_id'"
            )
            let values = try columns.map { row in
                switch try row.text(1) {
                case "uuid": "gen_random_uuid()"
                case "date", "timestamp with time zone": "now()"
                case "numeric", "integer", "bigint", "smallint": "1"
                default: "'open'"
                }
            }
            return try Attempt(
                "INSERT INTO orders (customer_id, \(columns.map { try $0.text(0) }.joined(separator: ", "))) VALUES ('\(customer)', \(values.joined(separator: ", ")))",
                on: session)
        }
        let real = try order(other)
        let invented = try order("00000000-0000-4000-8000-000000000000")
        #expect(real.state != nil && real.state == invented.state, "\(real) \(invented)")
        #expect(
            real.message.replacing(other, with: "#")
                == invented.message.replacing("00000000-0000-4000-8000-000000000000", with: "#"))
    }

    @Test("a tenant's login is let into its own database only", arguments: Isolation.allCases)
    func databases(isolation: Isolation) throws {
        let field = TenantField.shared
        let own = field.member("acme", isolation).store.database
        let admin = try field.admin("acme", isolation)
        defer { admin.close() }
        let ours = try admin.execute(
            "SELECT datname::text FROM pg_database WHERE datallowconn AND datname NOT IN ('postgres', 'template1') AND datname ~ '^(tenant_|attack_shop|attack_template)'"
        )
        var tried = 0
        for row in ours {
            let database = try row.text(0)
            if database == own { continue }
            #expect(throws: PostgresError.self, "\(database)") {
                try field.login("acme", isolation, database: database)
            }
            tried += 1
        }
        #expect(tried >= 3)
    }

    @Test(
        "sessions of neighbours cannot be ended, watched or listened to for their text", arguments: Isolation.allCases)
    func sessions(isolation: Isolation) throws {
        let session = try TenantField.shared.login("acme", isolation)
        let theirs = try TenantField.shared.login("globex", isolation)
        defer { for one in [session, theirs] { one.close() } }
        try theirs.execute("SELECT 'CANARY text'")
        for function in ["pg_terminate_backend", "pg_cancel_backend"] {
            #expect(try Attempt("SELECT \(function)($1::int)", [theirs.backendPID], on: session).state == "42501")
        }
        #expect(
            try Attempt("SELECT query FROM pg_stat_activity WHERE pid = $1::int", [theirs.backendPID], on: session).rows
                == ["<insufficient privilege>"])
        #expect(try Attempt("SELECT 1", on: theirs).rows == ["1"])
    }

    @Test(
        "large objects, notifications and advisory locks carry nothing to a neighbour",
        arguments: [Isolation.shared, .schema])
    func sideChannels(isolation: Isolation) throws {
        let session = try TenantField.shared.login("acme", isolation)
        let theirs = try TenantField.shared.login("globex", isolation)
        defer { for one in [session, theirs] { one.close() } }
        let object = try theirs.execute("SELECT lo_from_bytea(0, 'CANARY')::text")[0].text(0)
        defer { _ = try? theirs.execute("SELECT lo_unlink($1::oid)", [object]) }
        for sql in [
            "SELECT lo_get($1::oid)", "SELECT lo_unlink($1::oid)", "SELECT lo_put($1::oid, 0, 'x')",
            "SELECT lo_open($1::oid, 131072)",
        ] {
            #expect(try Attempt(sql, [object], on: session).state == "42501", "\(sql)")
        }
    }

    @Test("what one attempt leaves in a pooled session, the next does not find", arguments: Isolation.allCases)
    func leftovers(isolation: Isolation) throws {
        // Not acme, whose login's own settings another test spoils.
        let member = TenantField.shared.member("globex", isolation)
        let sessions = TenantSessions(directory: TenantField.shared.directory, leases: CurrentLeases())
        defer { sessions.close() }
        let first = try sessions.withSession(member.store, of: member.attempt, stop: StopSignal()) { session in
            for sql in [
                "PREPARE p AS SELECT 'CANARY'", "SELECT set_config('app.note', 'CANARY', false)",
                "SET default_transaction_read_only = off", "SET search_path = pg_temp", "SET row_security = off",
                "SELECT pg_advisory_lock(7364501)", "LISTEN gossip", "SET timezone = 'Asia/Tokyo'",
                "SET application_name = 'CANARY'",
            ] { try session.query(sql) }
            _ = try session.transaction { try session.query("DECLARE c CURSOR WITH HOLD FOR SELECT 'CANARY'") }
            return try session.query("SELECT pg_backend_pid()")[0].int(0)
        }
        try sessions.withSession(member.store, of: member.attempt, stop: StopSignal()) { session in
            #expect(try session.query("SELECT pg_backend_pid()")[0].int(0) == first, "the same session")
            let left = try session.query(
                """
                SELECT (SELECT count(*) FROM pg_prepared_statements) + (SELECT count(*) FROM pg_cursors WHERE is_holdable) + (SELECT count(*) FROM pg_listening_channels())
                     + (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory') + (coalesce(current_setting('app.note', true), '') <> '')::int
                     + (current_setting('default_transaction_read_only') <> 'on')::int + (current_setting('row_security') <> 'on')::int + (current_setting('timezone') = 'Asia/Tokyo')::int
                """)[0].int(0)
            #expect(left == 0)
        }
    }

    @Test(
        "a login that changes its own settings for later sessions fools no later session: what it set is overridden, or the proof refuses"
    )
    func ownSettings() throws {
        let field = TenantField.shared
        let member = field.member("acme", .schema)
        let session = try field.login("acme", .schema)
        defer { session.close() }
        for setting in ["search_path = pg_catalog", "app.current_tenant = 'x'", "role = 'none'", "row_security = off"] {
            _ = try Attempt("ALTER ROLE CURRENT_USER SET \(setting)", on: session)
            _ = try Attempt(
                "ALTER ROLE CURRENT_USER IN DATABASE \(session.quoteIdentifier(member.store.database)) SET \(setting)",
                on: session)
        }
        defer {
            // Only tidies up: the next test of this tenant must not depend on it.
            _ = try? session.execute("ALTER ROLE CURRENT_USER RESET ALL")
            _ = try? session.execute(
                "ALTER ROLE CURRENT_USER IN DATABASE \(session.quoteIdentifier(member.store.database)) RESET ALL")
        }
        let sessions = TenantSessions(directory: field.directory, leases: CurrentLeases())
        defer { sessions.close() }
        try sessions.withSession(member.store, of: member.attempt, stop: StopSignal()) { session in
            let row = try session.query(
                "SELECT session_user::text, current_setting('search_path'), current_setting('app.current_tenant')")[0]
            #expect(try row.text(0) == member.store.login)
            #expect(try row.text(1) == member.store.searchPath)
            #expect(try row.text(2) == "\(member.id)")
        }
    }
}
