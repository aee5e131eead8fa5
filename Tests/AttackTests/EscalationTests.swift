import Postgres
import Testing

/// Statements that no role of Reeve's may get through, each tried by each.
@Suite("Escalation")
struct EscalationTests {
    /// Refused for want of rights. `%login%` is the attacker's own login.
    static let refused = [
        // Becoming somebody else.
        "SET ROLE reeve_owner", "SET ROLE reeve_admin", "SET ROLE pg_write_server_files",
        "SET SESSION AUTHORIZATION reeve_owner",
        "SET SESSION AUTHORIZATION reeve_admin", "GRANT reeve_owner TO %login%",
        "GRANT reeve_operator TO %login% WITH ADMIN OPTION",
        "GRANT pg_read_all_data TO %login%", "ALTER ROLE %login% SUPERUSER", "ALTER ROLE %login% BYPASSRLS",
        "ALTER ROLE %login% CREATEROLE",
        "ALTER ROLE %login% CREATEDB", "ALTER ROLE %login% REPLICATION", "ALTER ROLE %login% CONNECTION LIMIT -1",
        "ALTER ROLE reeve_owner LOGIN PASSWORD 'x'",
        "ALTER ROLE reeve_enqueuer SET search_path = public", "CREATE ROLE mine", "DROP ROLE reeve_viewer",
        "COMMENT ON ROLE reeve_owner IS 'mine'",
        "SET session_replication_role = replica",
        // Making things where others' functions look, or anywhere.
        "CREATE TABLE public.mine (x int)", "CREATE TABLE reeve.mine (x int)",
        "CREATE FUNCTION public.now() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION reeve.enqueue(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = int, FUNCTION = textcat)",
        "CREATE SCHEMA mine", "CREATE DATABASE mine", "CREATE EXTENSION dblink", "CREATE EXTENSION postgres_fdw",
        "CREATE EXTENSION pgcrypto",
        "CREATE LANGUAGE plpythonu", "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE c AS 'libc.so.6', 'getpid'",
        "CREATE TEMP TABLE job (id bigint)",
        "CREATE PUBLICATION mine FOR ALL TABLES", "CREATE TABLESPACE mine LOCATION '/tmp'",
        "CREATE FOREIGN DATA WRAPPER mine", "DO LANGUAGE c 'x'",
        "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION reeve.refuse_change()",
        // Changing what is there.
        "CREATE OR REPLACE FUNCTION reeve.clock() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'",
        "ALTER FUNCTION reeve.audit(uuid, text, text, text, jsonb, timestamptz) SECURITY INVOKER",
        "ALTER FUNCTION reeve.clock() OWNER TO %login%", "DROP FUNCTION reeve.clock()",
        "ALTER TABLE reeve.job ADD COLUMN x int", "DROP TABLE reeve.job",
        "ALTER TABLE reeve.audit_entry DISABLE TRIGGER ALL",
        "CREATE TRIGGER mine BEFORE INSERT ON reeve.job EXECUTE FUNCTION reeve.refuse_change()",
        "CREATE RULE mine AS ON INSERT TO reeve.job DO INSTEAD NOTHING", "CREATE INDEX ON reeve.job (args)",
        "ALTER SCHEMA reeve RENAME TO mine",
        "GRANT ALL ON ALL TABLES IN SCHEMA reeve TO %login%",
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA reeve TO PUBLIC",
        "ALTER DEFAULT PRIVILEGES FOR ROLE reeve_owner GRANT ALL ON TABLES TO PUBLIC",
        "TRUNCATE reeve.job", "TRUNCATE reeve.audit_entry",
        "DO $$ BEGIN LOCK TABLE reeve.job IN ACCESS EXCLUSIVE MODE; END $$",
        "DO $$ BEGIN LOCK TABLE reeve.tenant_counter IN SHARE MODE; END $$",
        // Files, programs, other servers, the server itself.
        "COPY reeve.tenant TO PROGRAM 'id'", "COPY (SELECT 1) TO PROGRAM 'id'", "COPY (SELECT 1) TO '/tmp/mine'",
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT pg_ls_dir('.')", "SELECT pg_stat_file('PG_VERSION')", "SELECT lo_import('/etc/passwd')",
        "SELECT lo_export(1, '/tmp/mine')",
        "LOAD '/tmp/mine.so'", "ALTER SYSTEM SET listen_addresses = '*'", "SELECT pg_reload_conf()",
        "SELECT pg_rotate_logfile()", "SELECT pg_switch_wal()",
        "CHECKPOINT", "SELECT pg_create_logical_replication_slot('mine', 'test_decoding')",
        "SET log_statement = 'none'", "SELECT pg_stat_reset()",
        "SELECT rolpassword FROM pg_authid", "SELECT * FROM pg_statistic", "SELECT * FROM pg_largeobject",
        "SELECT * FROM pg_hba_file_rules",
        "SELECT pg_promote()", "SELECT pg_log_backend_memory_contexts(pg_backend_pid())",
        "ALTER DATABASE postgres SET search_path = mine",
        // What every session reaches by itself.
        "SELECT nextval('reeve.job_id')", "SELECT setval('reeve.job_id', 1)", "SELECT last_value FROM reeve.job_id",
    ]

    /// Not for want of rights, but refused: what is not there cannot be misused.
    static let otherStates: Set<String> = [
        "42501",  // insufficient_privilege
        "0A000",  // no such thing here (trusted languages only)
        "42704", "42P01", "58P01", "22023",  // no such language, table, extension file
    ]

    @Test("no role escalates, makes, changes, reads or breaks what is not its own", arguments: Attacker.insiders)
    func refusedForAll(_ attacker: Attacker) throws {
        let target = try Target()
        _ = try target.enqueue()
        let before = try target.fingerprint()
        let session = try target.session(attacker)
        defer { session.close() }
        for sql in Self.refused {
            let attempt = try Attempt(sql.replacing("%login%", with: attacker.login), on: session)
            let isRefused = attempt.state.map { Self.otherStates.contains($0) } ?? false
            #expect(isRefused, "\(attacker): \(sql): \(attempt.state ?? "accepted") \(attempt.message) \(attempt.rows)")
        }
        #expect(try target.fingerprint() == before)
    }

    @Test("the table above is not vacuous: a superuser gets most of it through")
    func tableBites() throws {
        let target = try Target()
        var accepted = 0
        for sql in Self.refused
        where !sql.contains("SYSTEM") && !sql.contains("pg_promote") && !sql.contains("/tmp/")
            && !sql.contains("CHECKPOINT")
        {
            try target.admin.execute("BEGIN")
            if try Attempt(sql.replacing("%login%", with: "attack_viewer"), on: target.admin).state == nil {
                accepted += 1
            }
        }
        #expect(accepted * 3 > Self.refused.count * 2, "\(accepted) of \(Self.refused.count)")
    }

    @Test("a login without Reeve's roles is not let into the control database at all, and PUBLIC has no right on it")
    func outsider() throws {
        let target = try Target()
        let refusal = #expect(throws: PostgresError.self) { try target.session(.outsider) }
        #expect(refusal?.message.contains("permission denied for database") == true)
        #expect(
            try target.value(
                "SELECT count(*) FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database() AND a.grantee = 0"
            ) == "0")
    }

    @Test("a control database that an application shares keeps what the application was given")
    func sharedControl() throws {
        let settings = try TestServerDatabase.withTable()
        let admin = try Connection(settings)
        defer { admin.close() }
        let open = try admin.execute("SELECT has_database_privilege('public', current_database(), 'CONNECT')")[0].bool(
            0)
        #expect(open)
    }

    @Test("SET ROLE to the own group and back changes nobody's session_user, so a binding to a tenant stays")
    func setRole() throws {
        let target = try Target()
        let session = try target.session(.bound)
        defer { session.close() }
        for entry in [
            "SET ROLE reeve_enqueuer", "RESET ROLE", "SET ROLE NONE", "SET SESSION AUTHORIZATION DEFAULT",
            "RESET SESSION AUTHORIZATION",
        ] {
            try session.execute(entry)
            let attempt = try Attempt(#"SELECT reeve.enqueue('globex.work', 'work', '{"n": 1}')"#, on: session)
            #expect(attempt.state == "RV003", "\(entry): \(attempt)")
        }
    }
}
