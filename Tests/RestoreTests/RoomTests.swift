import Dispatch
import EmbeddedPostgres
import Glibc
import JobKit
import Postgres
import ReeveTesting
import Storage
import Synchronization
import Tenancy
import Testing
import WorkerEngine

@testable import Restore

/// What a restore needs of others: room on the server, and that nobody uses the live tables while they are swapped.
@Suite("Room and quiet for restores")
struct RoomTests {
    /// Changes the manifest, in its record and in storage.
    private func say(_ bytes: Int64, _ fixture: RestoreFixture, _ backup: Int64) throws {
        _ = try fixture.connection.execute(
            "UPDATE reeve.artifact SET manifest = manifest || jsonb_build_object('table_bytes', $2::bigint) WHERE job_id = $1::bigint",
            [backup, bytes])
        let text = try fixture.value("SELECT manifest::text FROM reeve.artifact WHERE job_id = \(backup)") ?? ""
        try fixture.put(Array(text.utf8), under: fixture.key(backup).with(.manifest))
    }

    private func refusal(_ fixture: RestoreFixture, _ tenant: Tenant, _ backup: Int64) throws -> JobFailure? {
        let made = try makeCount(fixture)
        let failure = #expect(throws: JobFailure.self) { try fixture.run("backup-drill", tenant, backup: backup) }
        #expect(failure?.code == "restore_space_short")
        #expect(try makeCount(fixture) == made, "nothing was begun")
        return failure
    }

    private func makeCount(_ fixture: RestoreFixture) throws -> String? {
        try fixture.value("SELECT count(*) FROM reeve.audit_entry WHERE action = 'admin.make_scratch'")
    }

    @Test("a restore that needs more room than the server has is refused with the numbers, before it begins")
    func room() throws {
        let fixture = try RestoreFixture()
        let acme = try fixture.tenant("acme", .schema)
        let backup = try fixture.backUp(acme)
        // The manifest says what the tables take, indexes included.
        let said = try #require(Int64(try fixture.value("SELECT manifest ->> 'table_bytes' FROM reeve.artifact") ?? ""))
        let schema = try fixture.store(of: acme).schemas[0]
        let there = try fixture.admin(fixture.store(of: acme).database) {
            try $0.execute(
                "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c WHERE relnamespace = $1::text::regnamespace AND relkind = 'r'",
                [quoteIdentifier(schema)])[0].int(0)
        }
        #expect(said == there && said > 0)
        // By the disk under the server's data.
        try say(1 << 55, fixture, backup)
        let disk = try refusal(fixture, acme, backup)
        #expect(
            disk?.message.contains("its disk has") == true && disk?.message.contains("39631") == true,
            "\(disk?.message ?? "")")
        // By the operator's limit.
        try say(100 << 20, fixture, backup)
        _ = try fixture.connection.execute("UPDATE reeve.tenant_server SET scratch_limit = 50 << 20")
        let limit = try refusal(fixture, acme, backup)
        #expect(limit?.message.contains("--scratch-limit") == true && limit?.message.contains("52428800") == true)
        _ = try fixture.connection.execute("UPDATE reeve.tenant_server SET scratch_limit = 1 << 30")
        try fixture.run("backup-drill", acme, backup: backup)
    }

    @Test("a swap waits for who uses the live tables, refuses with their names when they stay, and nothing is replaced")
    func busy() throws {
        let fixture = try RestoreFixture()
        let acme = try fixture.tenant("acme", .schema)
        let backup = try fixture.backUp(acme)
        try fixture.write(acme, RestoreJobTests.damage)
        let live = try fixture.contents(acme)
        let store = try fixture.store(of: acme)
        let schema = quoteIdentifier(store.schemas[0])
        // The platform: it has read, and will write what follows from it.
        let platform = try Connection(
            ConnectionSettings(TestServer.shared.conninfo(database: store.database)).with([
                "application_name": "billing"
            ]))
        defer { platform.close() }
        try platform.execute("BEGIN")
        try platform.execute("SELECT count(*) FROM \(schema).customers")
        var job = fixture.job()
        job.patience = .milliseconds(300)
        let id = try fixture.request(acme, backup, "in-place")
        let failure = #expect(throws: JobFailure.self) { try fixture.runToEnd(id, acme, as: AnyJob(job)) }
        #expect(
            failure?.code == "restore_busy" && failure?.message.contains("billing") == true, "\(failure?.message ?? "")"
        )
        let isRetried = if case .retryAfter = failure?.disposition { true } else { false }
        #expect(isRetried, "the next attempt may find it quiet")
        #expect(try fixture.contents(acme) == live)
        _ = try fixture.connection.execute("SELECT reeve.tend_drains()")
        // One that ends in time is waited for, and nothing of it is lost: it commits before the swap, into what is kept.
        let other = try fixture.request(acme, backup, "in-place")
        let ended = DispatchQueue(label: "platform")
        let watch = try Connection(ConnectionSettings(TestServer.shared.conninfo(database: store.database)))
        let settings = watch
        let session = platform
        let errors = Mutex<[String]>([])
        nonisolated(unsafe) let (watching, holding) = (settings, session)
        ended.async {
            do {
                let limit = ContinuousClock.now + .seconds(40)
                while try !watching.execute(
                    "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND relation = '\(schema).customers'::regclass)"
                )[0].bool(0), .now < limit { usleep(2000) }
                try holding.execute("UPDATE \(schema).customers SET company = 'LAST WORD'")
                try holding.execute("COMMIT")
            } catch { errors.withLock { $0.append("\(error)") } }
        }
        try fixture.runToEnd(other, acme)
        ended.sync {}
        watch.close()
        #expect(errors.withLock { $0 } == [])
        let kept = try fixture.admin(store.database) { connection in
            let name = try connection.execute(
                "SELECT nspname FROM pg_namespace WHERE nspname LIKE '%\\_before\\_\(other)'")[0].text(0)
            return try connection.execute(
                "SELECT count(*) FILTER (WHERE company = 'LAST WORD') = count(*) FROM \(quoteIdentifier(name)).customers"
            )[0].bool(0)
        }
        #expect(kept)
        let now = try fixture.admin(store.database) {
            try $0.execute("SELECT count(*) FROM \(schema).customers WHERE company IN ('LAST WORD', 'SCRIBBLED')")[0]
                .int(0)
        }
        #expect(now == 0)
    }

    @Test("rows of shared tables that somebody changed after the safety backup are counted in what the restore says")
    func sharedRows() throws {
        let fixture = try RestoreFixture()
        let acme = try fixture.tenant("acme", .shared)
        let backup = try fixture.backUp(acme)
        let before = try fixture.contents(acme)
        nonisolated(unsafe) let writing = fixture
        let job = fixture.job(between: {
            if $0 == "scratch" { try writing.write(acme, "DELETE FROM invoices") }
        })
        let id = try fixture.request(acme, backup, "in-place")
        guard case .finished(let result) = try fixture.runToEnd(id, acme, as: AnyJob(job)) else {
            Issue.record("not finished")
            return
        }
        let changed = result.summary?["databases"]?.array?.first?["rows_changed_since_safety_backup"]?.object
        #expect(changed?.keys.sorted() == ["shared.invoices"])
        #expect(changed?["shared.invoices"]?.int ?? 0 < 0)
        #expect(try fixture.contents(acme) == before)
    }
}
