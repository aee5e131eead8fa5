import Dispatch
import EmbeddedPostgres
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import ReeveTesting
import Storage
import Synchronization
import Tenancy
import Testing

@testable import Purge

@Suite("A purge whose servers go away")
struct PurgeFaultTests {
    /// Ends the server, and starts it again, as soon as a session of it answers yes.
    private final class Restarter: Sendable {
        let fixture: Unchecked
        let group = DispatchGroup()
        let restarts = Mutex<[String]>([])

        /// `@unchecked Sendable`: only what does not change is read of it.
        struct Unchecked: @unchecked Sendable { let fixture: PurgeFixture }

        init(_ fixture: PurgeFixture) { self.fixture = Unchecked(fixture: fixture) }

        func now(_ point: String) throws {
            try fixture.fixture.server.crashAndRestart()
            restarts.withLock { $0.append(point) }
        }

        /// While a step runs on another thread. `lock` is a table that is locked meanwhile, so that the step waits inside.
        func when(_ question: String, in database: String, locking table: String?, _ point: String) throws {
            let connection = try Connection(ConnectionSettings(fixture.fixture.server.conninfo(database: database)))
            if let table { try connection.executeScript("BEGIN; LOCK TABLE \(table) IN ACCESS EXCLUSIVE MODE") }
            let box = ConnectionBox(connection: connection)
            DispatchQueue(label: "restarter").async(group: group) { [self] in
                defer { box.connection.close() }
                let limit = ContinuousClock.now + .seconds(20)
                while .now < limit {
                    guard let isIt = try? box.connection.execute(question)[0].bool(0) else { return }
                    if isIt { return (try? now(point)) ?? () }
                    usleep(1000)
                }
            }
        }

        /// `@unchecked Sendable`: handed to the one thread that uses it.
        struct ConnectionBox: @unchecked Sendable { let connection: Connection }
    }

    @Test(
        "PostgreSQL restarted after the intent, inside and before the record of every step: it goes on, nothing is left and nothing is done twice"
    )
    func restarts() throws {
        let server = try TestServer.make("purge-restarts")
        defer { server.stop() }
        let fixture = try PurgeFixture(server: server)
        let acme = try fixture.tenant("acme", .schema, isBackedUp: false)
        let other = try fixture.tenant("other", .schema, marker: "THEIRS", isBackedUp: false)
        let theirs = try fixture.contents(other)
        let store = try fixture.store(of: acme)
        let request = try fixture.request(acme)
        try fixture.approve(acme)
        let restarter = Restarter(fixture)
        let seen = Mutex<Set<String>>([])
        let table = "\(quoteIdentifier(store.schemas[0])).customers"
        let job = fixture.job.calling { point in
            guard !point.hasPrefix("before"), seen.withLock({ $0.insert(point).inserted }) else { return }
            switch point {
            case "in backup":
                try restarter.when(
                    "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'relation')",
                    in: store.database,
                    locking: table, point)
            case "in proof":
                try restarter.when(
                    "SELECT EXISTS (SELECT FROM pg_database WHERE shobj_description(oid, 'pg_database') = 'reeve scratch of tenant \(acme.id)')",
                    in: "postgres", locking: nil, point)
            default: try restarter.now(point)
            }
        }
        try fixture.purgeThroughRestarts(acme, as: job)
        restarter.group.wait()
        let points = restarter.restarts.withLock { Set($0) }
        for step in PurgeStep.allCases {
            #expect(points.isSuperset(of: ["in \(step)", "after \(step)"]), "\(step)")
        }
        #expect(points.isSuperset(of: ["batch 1", "batch records", "batch key"]))
        let traces = try fixture.traces(acme).filter { $0 != "reeve.dead_letter" && $0 != "reeve.job_history" }
        #expect(traces == PurgeJobTests.evidence.filter { $0 != "reeve.job_history" })
        #expect(try fixture.contents(other) == theirs)
        let proof = try fixture.value(
            """
            SELECT (SELECT count(*) FROM reeve.certificate WHERE request_id = $1::uuid) || ' ' || (SELECT count(*) FROM reeve.notice WHERE tenant_id = $2::uuid)
              || ' ' || (SELECT count(finished_at) FROM reeve.purge_step WHERE request_id = $1::uuid)
              || ' ' || (SELECT count(*) FROM reeve.audit_entry WHERE action = 'purge.step' AND tenant_id = $2::uuid AND detail ->> 'outcome' = 'done')
            """, [request, acme.id])
        #expect(proof == "1 1 \(PurgeStep.allCases.count) \(PurgeStep.allCases.count)")
    }

    @Test("storage that is away, or shows another disk's emptiness, is waited for: it never counts as deleted")
    func storage() throws {
        let fixture = try PurgeFixture()
        let acme = try fixture.tenant("acme", .schema)
        try fixture.request(acme)
        try fixture.approve(acme)
        let objects = fixture.folder + "/objects"
        /// Puts the storage away at a point, leaving an empty folder or none, and back.
        func away(at point: String, leaving isEmpty: Bool) throws -> String {
            let job = fixture.job.calling { name in
                guard name == point else { return }
                guard rename(objects, objects + ".away") == 0 else { throw JobFailure("test", "rename") }
                if isEmpty { mkdir(objects, 0o700) }
            }
            defer {
                rmdir(objects)
                rename(objects + ".away", objects)
            }
            return try fixture.failure(as: job)
        }
        #expect(try away(at: "in count", leaving: true) == "purge_unseen")
        #expect(try away(at: "in count", leaving: false) == "storage_unavailable")
        #expect(try away(at: "in objects", leaving: false) == "storage_unavailable")
        #expect(try away(at: "in objects", leaving: true) == "retained_unseen")
        #expect(try fixture.storage.contents(of: acme.id).objects > 0)
        #expect(
            try fixture.value("SELECT state FROM reeve.tenant_key WHERE tenant_id = $1::uuid", [acme.id]) == "current")
        #expect(try away(at: "in verify", leaving: true) == "retained_unseen")
        #expect(try away(at: "in verify", leaving: false) == "storage_unavailable")
        #expect(try fixture.value("SELECT count(*) FROM reeve.certificate") == "0")
        try fixture.purge(acme)
        let traces = try fixture.traces(acme)
        #expect(traces == PurgeJobTests.evidence)
    }

    @Test("what is written while it is purged is found by the verification, and goes with another round")
    func writtenMeanwhile() throws {
        let fixture = try PurgeFixture()
        let acme = try fixture.tenant("acme", .schema, isBackedUp: false)
        let request = try fixture.request(acme, backupDays: 0)
        try fixture.approve(acme)
        let once = Mutex(true)
        let settings = fixture.settings
        let job = fixture.job.calling { point in
            guard point == "in verify",
                once.withLock({
                    let was = $0; $0 = false; return was
                })
            else { return }
            let connection = try Connection(settings)
            defer { connection.close() }
            _ = try connection.execute(
                "SELECT reeve.notify_people($1::uuid, 'job.failed', 'Late', '{}', 'technical')", [acme.id])
        }
        #expect(try fixture.failure(as: job) == "purge_left")
        try fixture.purge(acme, as: job)
        let traces = try fixture.traces(acme)
        #expect(traces == PurgeJobTests.evidence.filter { $0 != "reeve.retained_backup" })
        let repeated = try fixture.value(
            "SELECT detail ->> 'left' FROM reeve.audit_entry WHERE action = 'purge.repeat' AND object = $1::text",
            ["purge \(request.uuidString.lowercased())"])
        #expect(repeated?.contains("1 rows of notice") == true)
    }
}
