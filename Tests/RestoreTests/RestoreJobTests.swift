import Dispatch
import Dumps
import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Synchronization
import Tenancy
import Testing
import WorkerEngine

@testable import Restore

@Suite("Restoring one tenant")
struct RestoreJobTests {
    /// What is done to a tenant's data after its backup.
    static let damage = """
        DELETE FROM invoices; DELETE FROM shipments; DELETE FROM order_lines WHERE line_number > 1;
        UPDATE customers SET company = 'SCRIBBLED'
        """

    private func restore(_ fixture: RestoreFixture, _ tenant: Tenant, _ id: Int64, as job: RestoreJob? = nil) throws
        -> JSON
    {
        guard case .finished(let result) = try fixture.runToEnd(id, tenant, as: job.map { AnyJob($0) }) else {
            throw JobFailure("not_finished", "job \(id)")
        }
        return result.summary ?? .null
    }

    @Test("in place brings back every row, and leaves other tenants alone", arguments: Isolation.allCases)
    func inPlace(isolation: Isolation) throws {
        let fixture = try RestoreFixture()
        let acme = try fixture.tenant("acme", isolation)
        let globex = try fixture.tenant("globex", isolation, marker: "THEIRS")
        let backup = try fixture.backUp(acme)
        let (before, theirs) = (try fixture.contents(acme), try fixture.contents(globex))
        let rights = try fixture.rights(acme)
        try fixture.write(acme, Self.damage)
        #expect(try fixture.contents(acme) != before)
        let damaged = try fixture.contents(acme)
        let id = try fixture.request(acme, backup, "in-place")
        let summary = try restore(fixture, acme, id)
        #expect(try fixture.contents(acme) == before)
        #expect(try fixture.contents(globex) == theirs)
        #expect(summary["later_data_lost_seconds"] != nil)
        #expect(try fixture.rights(acme) == rights)
        // The login works on: it writes, and reads what it wrote.
        try fixture.write(acme, "UPDATE customers SET company = 'AFTER'")
        // A safety backup of what was overwritten was taken, and everything runs again.
        #expect(
            try fixture.value(
                "SELECT count(*) FROM reeve.restore WHERE outcome = 'restored' AND safety_job IS NOT NULL") == "1")
        #expect(try fixture.value("SELECT count(*) FROM reeve.queue_block") == "0")
        #expect(try fixture.scratches() == 0)
        let audited = try fixture.connection.execute(
            "SELECT count(*) FROM reeve.audit_entry WHERE tenant_id = $1::uuid AND action = 'backup.restore' AND reason = 'a test'",
            [acme.id])
        #expect(try audited[0].int(0) == 2)
        // What was replaced can be had again: the safety backup holds the damage.
        let safety = try #require(Int64(try fixture.value("SELECT safety_job FROM reeve.restore") ?? ""))
        try fixture.write(acme, "DELETE FROM order_lines")
        _ = try restore(fixture, acme, fixture.request(acme, safety, "in-place"))
        #expect(try fixture.contents(acme) == damaged)
        if isolation == .shared { return }
        // And what was kept beside goes when an operator says so.
        #expect(try fixture.registry.dropKeptData(acme.code).count == 2)
        #expect(try fixture.contents(acme) == damaged)
    }

    @Test("into a database or a schema of another name changes nothing that is live", arguments: Isolation.allCases)
    func beside(isolation: Isolation) throws {
        let fixture = try RestoreFixture()
        let acme = try fixture.tenant("acme", isolation)
        let globex = try fixture.tenant("globex", isolation, marker: "THEIRS")
        let backup = try fixture.backUp(acme)
        try fixture.write(acme, Self.damage)
        let (live, theirs) = (try fixture.contents(acme), try fixture.contents(globex))
        let store = try fixture.store(of: acme)
        let name = "look_\(fixture.suffix)"
        _ = try restore(fixture, acme, fixture.request(acme, backup, "database", target: name, reason: nil))
        _ = try restore(fixture, acme, fixture.request(acme, backup, "schema", target: "looked", reason: nil))
        #expect(try fixture.contents(acme) == live)
        #expect(try fixture.contents(globex) == theirs)
        for (database, schema) in [(name, store.schemas[0]), (store.database, "looked")] {
            try fixture.admin(database) { connection in
                let names = try connection.execute(
                    "SELECT count(*), count(*) FILTER (WHERE company = 'SCRIBBLED'), count(*) FILTER (WHERE account_code LIKE 'MINE%') FROM \(quoteIdentifier(schema)).customers"
                )[0]
                let found = [try names.int(0), try names.int(1), try names.int(2)]
                #expect(found == [12, 0, 12])
                #expect(
                    try connection.execute("SELECT count(*) > 0 FROM \(quoteIdentifier(schema)).invoices")[0].bool(0))
            }
        }
        // Neither is open to the tenant's login or to anybody else.
        try fixture.admin(name) { connection in
            let may = try connection.execute(
                "SELECT has_database_privilege($1::name, current_database(), 'CONNECT')", [store.login])[0].bool(0)
            #expect(!may)
        }
        // A name that is taken is refused.
        #expect(throws: TenancyError.self) {
            try restore(fixture, acme, fixture.request(acme, backup, "database", target: store.database, reason: nil))
        }
        #expect(try fixture.scratches() == 0)
        try fixture.admin("postgres") { _ = try $0.execute("DROP DATABASE \(quoteIdentifier(name))") }
    }

    @Test("two restores of one tenant at once: the second is refused by the database, before it is enqueued")
    func oneAtATime() throws {
        let fixture = try RestoreFixture()
        let (acme, globex) = (try fixture.tenant("acme", .schema), try fixture.tenant("globex", .schema))
        let (backup, other) = (try fixture.backUp(acme), try fixture.backUp(globex))
        let first = try fixture.request(acme, backup, "in-place")
        let error = #expect(throws: PostgresError.self) { _ = try fixture.request(acme, backup, "schema", target: "x") }
        #expect(error?.sqlState == "RV012" && error?.message.contains("job \(first)") == true)
        _ = try fixture.request(globex, other, "in-place")
        #expect(try fixture.value("SELECT count(*) FROM reeve.job WHERE kind = 'backup-restore'") == "2")
        // Two that ask at the same moment.
        _ = try fixture.connection.execute("SELECT reeve.cancel($1::bigint)", [first])
        let codes = Mutex<[String]>([])
        let (settings, code) = (fixture.controlSettings, acme.code)
        DispatchQueue.concurrentPerform(iterations: 2) { _ in
            do throws(PostgresError) {
                let connection = try Connection(settings)
                defer { connection.close() }
                _ = try connection.execute(
                    "SELECT reeve.request_restore($1::text, $2::bigint, 'in-place', NULL, 'at once')", [code, backup])
                codes.withLock { $0.append("ok") }
            } catch { codes.withLock { $0.append(error.sqlState ?? "none") } }
        }
        #expect(codes.withLock { $0.sorted() } == ["RV012", "ok"])
    }

    @Test("only what an operator asked for is restored, in place only with a reason, and only the tenant's own backups")
    func asked() throws {
        let fixture = try RestoreFixture()
        let (acme, globex) = (try fixture.tenant("acme", .schema), try fixture.tenant("globex", .schema))
        let (backup, other) = (try fixture.backUp(acme), try fixture.backUp(globex))
        try fixture.write(acme, Self.damage)
        let live = try fixture.contents(acme)
        let id = try fixture.enqueue(acme, "backup-restore", ["backup": .string("\(backup)")])
        guard case .discarded = try fixture.runToEnd(id, acme) else {
            Issue.record("a job that nobody asked for ran")
            return
        }
        #expect(try fixture.contents(acme) == live)
        let noReason = #expect(throws: PostgresError.self) {
            _ = try fixture.request(acme, backup, "in-place", reason: " ")
        }
        #expect(noReason?.sqlState == "RV010")
        let foreign = #expect(throws: PostgresError.self) { _ = try fixture.request(acme, other, "in-place") }
        #expect(foreign?.sqlState == "RV011")
    }

    @Test("a restore that ends early, however it ends, holds no queue and no second restore")
    func endedEarly() throws {
        let fixture = try RestoreFixture()
        let acme = try fixture.tenant("acme", .schema)
        let backup = try fixture.backUp(acme)
        let live = try fixture.contents(acme)
        // The object is damaged: nothing is overwritten.
        let key = try fixture.key(backup)
        let whole = try fixture.bytes(key)
        try fixture.put(Array(whole.dropLast(20)), under: key)
        let id = try fixture.request(acme, backup, "in-place")
        #expect(throws: BackupFault.self) { try fixture.runToEnd(id, acme) }
        #expect(try fixture.value("SELECT count(*) FROM reeve.queue_block") == "0")
        #expect(try fixture.contents(acme) == live)
        // Cancelled while it waits between two attempts: housekeeping ends what it held.
        try fixture.put(whole, under: key)
        let waiting = try fixture.request(acme, backup, "in-place")
        _ = try fixture.run(#require(try fixture.claim().first { $0.id == waiting }), acme)
        #expect(try fixture.value("SELECT count(*) > 0 FROM reeve.queue_block") == "t")
        _ = try fixture.connection.execute("SELECT reeve.cancel($1::bigint)", [waiting])
        _ = try fixture.connection.execute("SELECT reeve.tend_drains()")
        #expect(try fixture.value("SELECT count(*) FROM reeve.queue_block") == "0")
        #expect(try fixture.value("SELECT count(*) FROM reeve.restore WHERE outcome = 'failed'") == "2")
        // The safety backup of that one waits still; it fails, and so does a restore that needs one.
        let other = try fixture.request(acme, backup, "in-place")
        let failure = #expect(throws: JobFailure.self) {
            for _ in 0..<10 {
                for claimed in try fixture.claim() {
                    if claimed.kind == "backup" { try fixture.die(claimed) } else { try fixture.run(claimed, acme) }
                }
            }
        }
        #expect(failure?.code == "safety_backup_failed")
        #expect(try fixture.contents(acme) == live)
        #expect(try fixture.value("SELECT outcome FROM reeve.restore WHERE job_id = \(other)") == "failed")
    }

    @Test("a hook changes restored data before anybody sees it, and one that fails leaves everything as it was")
    func hooks() throws {
        let fixture = try RestoreFixture()
        let acme = try fixture.tenant("acme", .schema)
        let backup = try fixture.backUp(acme)
        let live = try fixture.contents(acme)
        let failing = try fixture.request(acme, backup, "in-place")
        #expect(throws: JobFailure.self) {
            try restore(fixture, acme, failing, as: fixture.job(hooks: [Forget(table: nil)]))
        }
        #expect(try fixture.contents(acme) == live)
        let schema = try fixture.store(of: acme).schemas[0]
        let id = try fixture.request(acme, backup, "in-place")
        _ = try restore(fixture, acme, id, as: fixture.job(hooks: [Forget(table: "\(schema).invoices")]))
        let now = try fixture.contents(acme)
        #expect(now["\(schema).invoices"]?.hasPrefix("0 ") == true)
        #expect(now.filter { $0.key != "\(schema).invoices" } == live.filter { $0.key != "\(schema).invoices" })
    }

    private struct Forget: RestoreHook {
        let table: String?
        var name: String { "forget" }
        func apply(
            _ context: JobContext, to backup: RestoredBackup,
            query: (String, [(any PostgresEncodable)?]) throws -> Rows
        ) throws -> [String: Int64] {
            guard let table else { throw JobFailure("ledger_unreadable", "test", .giveUp) }
            return [table: -Int64(try query("DELETE FROM \(table)", []).affected)]
        }
    }

    @Test("a sequence of shared tables is raised where a restored number is higher, and never lowered")
    func sequences() throws {
        let fixture = try RestoreFixture()
        let acme = try fixture.tenant("acme", .shared)
        let globex = try fixture.tenant("globex", .shared, marker: "THEIRS")
        for tenant in [acme, globex] {
            let login = try quoteIdentifier(fixture.store(of: tenant).login)
            try fixture.admin(fixture.sharedDatabase) { connection in
                try connection.executeScript(
                    """
                    SET ROLE reeve_shared_owner;
                    CREATE TABLE IF NOT EXISTS shared.notes (tenant_id uuid NOT NULL, id bigserial PRIMARY KEY, text text,
                      size int GENERATED ALWAYS AS (length(text)) STORED);
                    ALTER TABLE shared.notes ENABLE ROW LEVEL SECURITY; ALTER TABLE shared.notes FORCE ROW LEVEL SECURITY;
                    GRANT SELECT, INSERT, UPDATE, DELETE ON shared.notes TO \(login); GRANT USAGE, SELECT ON SEQUENCE shared.notes_id_seq TO \(login);
                    CREATE POLICY a_\(tenant.id.description.prefix(8)) ON shared.notes TO \(login) USING (tenant_id = '\(tenant.id)');
                    CREATE POLICY b_\(tenant.id.description.prefix(8)) ON shared.notes AS RESTRICTIVE TO \(login) USING (tenant_id = '\(tenant.id)');
                    """)
            }
        }
        try fixture.write(
            acme, "INSERT INTO notes (tenant_id, text) SELECT '\(acme.id)', 'x' FROM generate_series(1, 50)")
        let backup = try fixture.backUp(acme)
        let before = try fixture.contents(acme)
        func next() throws -> Int64 {
            try fixture.admin(fixture.sharedDatabase) {
                try $0.execute("SELECT last_value FROM shared.notes_id_seq")[0].int(0)
            }
        }
        // As after a restore of the whole database to an earlier time.
        try fixture.admin(fixture.sharedDatabase) { _ = try $0.execute("SELECT setval('shared.notes_id_seq', 10)") }
        try fixture.write(acme, "DELETE FROM notes")
        _ = try restore(fixture, acme, fixture.request(acme, backup, "in-place"))
        #expect(try next() == 50)
        #expect(try fixture.contents(acme) == before)
        try fixture.write(
            globex, "INSERT INTO notes (tenant_id, text) SELECT '\(globex.id)', 'y' FROM generate_series(1, 50)")
        _ = try restore(fixture, acme, fixture.request(acme, backup, "in-place"))
        #expect(try next() == 100)
        // The right to make temporary tables was lent and taken back.
        try fixture.admin(fixture.sharedDatabase) { connection in
            let login = try fixture.store(of: acme).login
            let may = try connection.execute(
                "SELECT has_database_privilege($1::name, current_database(), 'TEMPORARY')", [login])[0].bool(0)
            #expect(!may)
        }
    }
}
