import Dispatch
import EmbeddedPostgres
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import ReeveTesting
import Storage
import Synchronization
import Testing

@testable import Backup

/// What can happen to a database while it is dumped.
@Suite("A backup of a database that changes under it")
struct ServerFaultTests {
    let fixture: BackupFixture
    let tenant: Tenant

    init() throws {
        fixture = try BackupFixture()
        tenant = try fixture.addTenant("acme", schema: "acme", marker: "ACME")
    }

    func expectFailure(_ code: String, naming text: String = "", job: BackupJob? = nil) {
        let error = #expect(throws: JobFailure.self) { try fixture.backUp(tenant, job: job ?? fixture.job()) }
        #expect(error?.code == code, "\(String(describing: error))")
        #expect(text.isEmpty || error?.message.contains(text) == true, "\(String(describing: error))")
        #expect(fixture.folder.files().filter { $0.hasPrefix("objects/") }.isEmpty)
    }

    @Test("a role that lost a grant is refused with the name of what it may not read")
    func lostGrants() throws {
        let login = fixture.login("acme")
        try fixture.adminScript("CREATE SEQUENCE acme.\"Numbers\"")
        expectFailure("backup_sequence_unreadable", naming: "acme.\"Numbers\"")
        try fixture.adminScript("DROP SEQUENCE acme.\"Numbers\"; REVOKE SELECT ON acme.orders FROM \(login)")
        expectFailure("backup_table_unreadable", naming: "acme.orders")
        try fixture.adminScript("GRANT SELECT ON acme.orders TO \(login); REVOKE USAGE ON SCHEMA acme FROM \(login)")
        expectFailure("backup_schema_closed", naming: "schema acme")
        try fixture.adminScript("GRANT USAGE ON SCHEMA acme TO \(login)")
        _ = try fixture.backUp(tenant)
    }

    @Test("a table that is dropped between the count and the dump fails the attempt, and the next one is whole")
    func dropped() throws {
        let path = fixture.folder.path + "/pg_dump"
        let script = """
            #!/bin/sh
            [ "$1" = --version ] && exec /usr/bin/pg_dump --version
            touch \(fixture.folder.path)/ready
            while [ ! -e \(fixture.folder.path)/go ]; do sleep 0.02; done
            exec /usr/bin/pg_dump "$@"

            """
        try writeProgram(script, to: path, mode: 0o700)
        let (fixture, ended) = (fixture, StopSignal())
        DispatchQueue(label: "dropper").async {
            while access(fixture.folder.path + "/ready", F_OK) != 0, ended.reason == nil { usleep(5000) }
            // A table that was not dropped shows as a backup that succeeds.
            try? fixture.adminScript("DROP TABLE acme.shipments CASCADE")
            write("", to: fixture.folder.path + "/go")
        }
        let tools = BackupTools(dump: path, supervisor: BuiltProducts.supervisor)
        expectFailure("pg_dump_failed", job: fixture.job(tools: tools))
        ended.stop(.cancelled)
        let artifact = try fixture.backUp(tenant)
        #expect(artifact.manifest["rows"]?["acme.shipments"] == nil)
    }

    @Test("a table that somebody else locks before it is dumped is waited for, no longer than the lock timeout says")
    func lockTimeout() throws {
        let path = fixture.folder.path + "/pg_dump"
        // The real pg_dump with the real option, but half a second for its thirty.
        let script = """
            #!/bin/sh
            [ "$1" = --version ] && exec /usr/bin/pg_dump --version
            touch \(fixture.folder.path)/ready
            while [ ! -e \(fixture.folder.path)/go ]; do sleep 0.02; done
            for word do
              shift
              [ "$word" = --lock-wait-timeout=30s ] && word=--lock-wait-timeout=500ms
              set -- "$@" "$word"
            done
            exec /usr/bin/pg_dump "$@"

            """
        try writeProgram(script, to: path, mode: 0o700)
        let (fixture, ended) = (fixture, StopSignal())
        let locker = DispatchQueue(label: "locker")
        let done = DispatchSemaphore(value: 0)
        locker.async {
            while access(fixture.folder.path + "/ready", F_OK) != 0, ended.reason == nil { usleep(5000) }
            // A table that was not locked shows as a backup that succeeds.
            try? fixture.admin { connection in
                try connection.transaction {
                    try connection.execute("LOCK TABLE acme.shipments IN ACCESS EXCLUSIVE MODE")
                    write("", to: fixture.folder.path + "/go")
                    done.wait()
                }
            }
        }
        let tools = BackupTools(dump: path, supervisor: BuiltProducts.supervisor)
        expectFailure("pg_dump_failed", naming: "timeout", job: fixture.job(tools: tools))
        ended.stop(.cancelled)
        done.signal()
        locker.sync {}
        _ = try fixture.backUp(tenant)
    }

    @Test("two thousand tables, with names that need quoting, are all in it, each with its rows")
    func manyTables() throws {
        let login = fixture.login("acme")
        try fixture.adminScript(
            """
            DO $$ BEGIN FOR n IN 1..2000 LOOP
              EXECUTE format('CREATE TABLE acme.%I (id int)', CASE n % 4 WHEN 0 THEN 't' || n WHEN 1 THEN 'Wide ' || n
                WHEN 2 THEN 'a"b|*' || n ELSE 'größe.' || n END);
            END LOOP; END $$;
            GRANT SELECT ON ALL TABLES IN SCHEMA acme TO \(login);
            INSERT INTO acme.t2000 VALUES (1), (2); INSERT INTO acme."a""b|*1998" VALUES (3);
            """)
        let artifact = try fixture.backUp(tenant)
        let rows = artifact.manifest["rows"]?.object ?? [:]
        #expect(rows.count >= 2000 && rows["acme.t2000"] == 2 && rows["acme.\"a\"\"b|*1998\""] == 1)
        #expect(rows["acme.\"größe.1999\""] == 0)
        // Counting kept no locks: they would have been more than pg_dump's own.
        #expect(artifact.bytes > 100_000)
    }
}

/// Tests with a server of their own.
@Suite("A backup and a server in trouble", .serialized)
struct TroubledServerTests {
    @Test(
        "a server that is restarted in the middle of a dump fails the attempt, leaves nothing, and the next one is whole"
    )
    func restarted() throws {
        let server = try TestServer.make(
            "troubled", settings: ["max_locks_per_transaction": "10", "max_connections": "30"])
        defer { server.stop(immediately: true) }
        let fixture = try BackupFixture(server)
        let tenant = try fixture.addTenant("acme", schema: "acme", marker: "ACME")
        try fixture.adminScript(
            """
            CREATE TABLE acme.large AS SELECT n, md5(n::text) || md5((n * 7)::text) AS text FROM generate_series(1, 100000) n;
            GRANT SELECT ON acme.large TO \(fixture.login("acme"))
            """)
        let restarted = Mutex(false)
        let store = TwistedStore(
            behind: fixture.storage,
            onWrite: { _ in
                guard
                    restarted.withLock({ isDone in
                        defer { isDone = true }; return !isDone
                    })
                else { return }
                try server.crashAndRestart()
            })
        #expect(throws: (any Error).self) { try fixture.backUp(tenant, job: fixture.job(storage: store)) }
        #expect(restarted.withLock { $0 })
        #expect(fixture.folder.files().isEmpty)
        #expect(try fixture.backUp(tenant).manifest["rows"]?["acme.large"] == 100_000)

        // 300 locks in all: a dump that needs more is not begun.
        try fixture.adminScript(
            "DO $$ BEGIN FOR n IN 1..120 LOOP EXECUTE format('CREATE TABLE acme.more_%s (id int)', n); END LOOP; END $$;"
                + "GRANT SELECT ON ALL TABLES IN SCHEMA acme TO \(fixture.login("acme"))")
        let error = #expect(throws: JobFailure.self) { try fixture.backUp(tenant) }
        #expect(error?.code == "backup_locks_short" && error?.message.contains("max_locks_per_transaction") == true)
    }
}
