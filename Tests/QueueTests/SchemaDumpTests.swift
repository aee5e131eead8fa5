import EmbeddedPostgres
import FoundationEssentials
import Glibc
import Postgres
import PostgresQueue
import Processes
import ReeveTesting
import Testing

@Suite("The checked-in schema")
struct SchemaDumpTests {
    private static let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    private static let file = root + "/Queues/Postgres/Schema/schema.sql"
    /// The release whose wording the recorded text has.
    private static let recordedOn = 15

    /// On a server of its own: roles belong to the cluster, where other tests make more.
    @Test("is what the migrations make, with owners, grants and roles")
    func isCurrent() throws {
        let server = try TestServer.make("schema-dump")
        defer { server.stop(immediately: true) }
        let settings = try TestServer.freshControl(server)
        let connection = try Connection(settings)
        defer { connection.close() }
        _ = try connection.execute("SELECT reeve.tend_history('1 day')")
        let release = Int(try connection.execute("SELECT current_setting('server_version_num')::int / 10000")[0].int(0))
        let made = try SchemaDump(Self.dump(settings), roles: Self.roles(connection)).text
        #expect(!made.contains(/(job_history|audit_entry|audit_seal)_[0-9]/) && made.contains("job_history_default"))

        if getenv("REEVE_RECORD") != nil {
            try #require(release == Self.recordedOn, "record it on PostgreSQL \(Self.recordedOn), whose wording it has")
            try Data(made.utf8).write(to: URL(filePath: Self.file))
        }
        let recorded = String(decoding: try Data(contentsOf: URL(filePath: Self.file)), as: UTF8.self)
        let difference =
            release == Self.recordedOn
            ? SchemaDump.firstDifference(recorded: recorded, made: made)
            : SchemaDump.firstDifference(
                recorded: SchemaDump.withoutColumnQualifiers(recorded), made: SchemaDump.withoutColumnQualifiers(made))
        if let difference {
            Issue.record(
                "schema.sql differs; when that is meant: REEVE_RECORD=1 swift test --filter SchemaDumpTests\n\(difference)"
            )
        }
    }

    @Test("a difference is told by its line and what stands around it")
    func difference() throws {
        let told = try #require(SchemaDump.firstDifference(recorded: "a\nb\nc\nd", made: "a\nb\nx\nd"))
        #expect(told == "line 3:\n  a\n  b\n- c\n- d\n+ x\n+ d")
        #expect(SchemaDump.firstDifference(recorded: "a\n", made: "a\nb\n")?.contains("line 2:") == true)
        #expect(SchemaDump.firstDifference(recorded: "a", made: "a") == nil)
    }

    @Test("versions, settings, single days and the order of objects make no difference; grants and owners do")
    func normalised() {
        func dump(_ objects: [String]) -> String {
            "--\n-- PostgreSQL database dump\n--\n\n\\restrict \(objects.count)\n-- Dumped by pg_dump version 1\nSET transaction_timeout = 0;\n\n"
                + objects.joined() + "--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict x\n"
        }
        func object(_ name: String, _ sort: String, _ body: String) -> String {
            "--\n-- Name: \(name); Type: \(sort); Schema: reeve; Owner: o\n--\n\n\(body)\n\n\n"
        }
        let table = object(
            "a", "TABLE", "CREATE TABLE reeve.a (\n    n integer\n);\n\n\nALTER TABLE reeve.a OWNER TO o;")
        let day = object("job_history_20260101", "TABLE", "CREATE TABLE reeve.job_history_20260101 ();")
        let grant = object("TABLE a", "ACL", "GRANT SELECT ON TABLE reeve.a TO r;")
        let known = SchemaDump(dump([table, grant]), roles: ["CREATE ROLE r;"]).text
        #expect(
            SchemaDump(dump([grant, day, "SET default_tablespace = '';\n\n" + table]), roles: ["CREATE ROLE r;"]).text
                == known)
        #expect(
            known.hasPrefix("CREATE ROLE r;\n\nCREATE TABLE") && known.hasSuffix("TO r;\n") && !known.contains("--"))
        #expect(SchemaDump(dump([table]), roles: ["CREATE ROLE r;"]).text != known)
        #expect(
            SchemaDump(dump([table.replacing("TO o", with: "TO p"), grant]), roles: ["CREATE ROLE r;"]).text != known)
        let view = "CREATE VIEW reeve.v AS\n SELECT j.id,\n    reeve.clock()\n   FROM reeve.job j;\n"
        #expect(SchemaDump.withoutColumnQualifiers(view) == view.replacing("j.id", with: "id"))
    }

    private static func dump(_ settings: ConnectionSettings) throws -> String {
        var text: [UInt8] = []
        let conninfo = settings.conninfo
        let run = try ChildProcess.run(
            program: "pg_dump", arguments: ["--schema-only", "--dbname", conninfo],
            environment: ["PATH": "/usr/bin:/bin"],
            supervisor: BuiltProducts.supervisor
        ) { text += $0 }
        try #require(run.exit == .exited(0), "\(run.standardError)")
        return String(decoding: text, as: UTF8.self)
    }

    /// What a role may and whose member it is, for all that the migrations made.
    private static func roles(_ connection: Connection) throws -> [String] {
        try connection.execute(
            """
            SELECT statement FROM (SELECT format('CREATE ROLE %I', rolname)
              || CASE WHEN rolsuper THEN ' SUPERUSER' ELSE '' END || CASE WHEN rolcreaterole THEN ' CREATEROLE' ELSE '' END
              || CASE WHEN rolcreatedb THEN ' CREATEDB' ELSE '' END || CASE WHEN rolbypassrls THEN ' BYPASSRLS' ELSE '' END
              || CASE WHEN rolreplication THEN ' REPLICATION' ELSE '' END || CASE WHEN rolinherit THEN '' ELSE ' NOINHERIT' END
              || CASE WHEN rolcanlogin THEN ' LOGIN' ELSE ' NOLOGIN' END || ';' AS statement, 1 AS part
            FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%' AND oid >= 16384
            UNION ALL
            SELECT format('GRANT %I TO %I', g.rolname, m.rolname) || CASE WHEN a.admin_option THEN ' WITH ADMIN OPTION' ELSE '' END || ';', 2
            FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.roleid JOIN pg_roles m ON m.oid = a.member WHERE m.oid >= 16384
            ) made ORDER BY part, statement COLLATE "C"
            """
        ).map { try $0.text(0) }
    }
}
