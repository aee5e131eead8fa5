import EmbeddedPostgres
import Encryption
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import ReeveTesting
import Tenancy
import Testing

@testable import Restore

/// Restores and drills whose worker gets SIGKILL, in every step and inside the long ones: the next worker ends what was begun,
/// and nothing is left over.
@Suite("Restore workers that are killed")
struct KillTests {
    /// A tenant with its own key, a backup of it, and rows whose restore can be held back.
    private final class Ground {
        let fixture: RestoreFixture
        let tenant: Tenant
        let store: TenantStore
        let worker: RestoreWorker
        let backup: Int64
        let before: [String: String]
        let rights: [String]
        let watch: Connection
        let identities: String
        /// While this file is there, filling a scratch database takes long.
        let flag: String

        init(_ isolation: Isolation) throws {
            fixture = try RestoreFixture()
            tenant = try fixture.tenant("acme", isolation)
            store = try fixture.store(of: tenant)
            identities = "\(fixture.folder)-identities"
            let slow = "\(fixture.folder).slow"
            flag = slow
            let lifecycle = KeyLifecycle(
                registry: fixture.registry, store: IdentityFolder(identities), supervisor: BuiltProducts.supervisor)
            _ = try lifecycle.create(KeyLifecycle.Request(code: tenant.code))
            fixture.ownKeys = TenantKeys(control: fixture.control)
            let schema = quoteIdentifier(store.schemas[0])
            try fixture.admin(store.database) { connection in
                try connection.executeScript(
                    """
                    CREATE FUNCTION \(schema).slowly() RETURNS boolean LANGUAGE plpgsql AS $$
                    BEGIN
                      IF current_database() LIKE 'reeve_scratch%' THEN
                        IF (pg_stat_file('\(slow)', true)).size IS NOT NULL THEN PERFORM pg_sleep(30); END IF;
                      ELSIF current_setting('application_name') LIKE 'reeve:%' THEN PERFORM pg_advisory_xact_lock_shared(778); END IF;
                      RETURN true;
                    END $$;
                    GRANT EXECUTE ON FUNCTION \(schema).slowly() TO PUBLIC;
                    """)
                let least = try connection.execute("SELECT min(id::text) FROM \(schema).customers")[0].text(0)
                try connection.executeScript(
                    "ALTER TABLE \(schema).customers ADD CONSTRAINT slow CHECK (id::text <> '\(least)' OR \(schema).slowly())"
                )
            }
            backup = try fixture.backUp(tenant)
            before = try fixture.contents(tenant)
            rights = try fixture.rights(tenant)
            worker = try RestoreWorker(fixture, identities: identities)
            watch = try Connection(ConnectionSettings(TestServer.shared.conninfo(database: "postgres")))
        }

        deinit { watch.close() }

        /// Lets a worker run the job up to a place, and kills it there.
        func kill(at place: RestoreWorker.Place, isCrash: Bool = false) throws {
            let gate: Connection?
            if case .inside(let database) = place {
                let connection = try Connection(ConnectionSettings(TestServer.shared.conninfo(database: database)))
                try connection.execute("SELECT pg_advisory_lock(778)")
                gate = connection
            } else {
                gate = nil
            }
            if case .filling = place {
                try #require(
                    FileManager.default.createFile(atPath: flag, contents: nil, attributes: [.posixPermissions: 0o644]))
            }
            defer {
                gate?.close()
                unlink(flag)
            }
            try worker.hold(at: place)
            try worker.start()
            try wait("the worker to come to: \(place)") { try worker.isAt(place, watch) }
            try worker.die(isCrash: isCrash)
        }

        /// Lets a worker end the job.
        func finish(_ job: Int64) throws -> String? {
            try worker.start()
            try wait("job \(job) to end") { try !isLive(job) }
            let state = try fixture.value("SELECT reeve.job(\(job)) ->> 'state'")
            try worker.die()
            return state
        }

        private func isLive(_ job: Int64) throws -> Bool {
            try fixture.value("SELECT count(*) FROM reeve.job WHERE id = \(job)") == "1"
        }

        /// Runs the tenant's other jobs meanwhile, and does not let those wait that do.
        private func wait(_ what: String, _ isDone: () throws -> Bool) throws {
            let limit = ContinuousClock.now + .seconds(60)
            var claimAt = ContinuousClock.now
            while try !isDone() {
                guard .now < limit else {
                    let log = FileManager.default.contents(atPath: "\(fixture.folder).log") ?? Data()
                    throw JobFailure(
                        "waited", "in vain for \(what): \(String(decoding: log.suffix(3000), as: UTF8.self))")
                }
                if claimAt <= .now {
                    for claimed in try fixture.claim(withRestores: false) { try fixture.run(claimed, tenant) }
                    claimAt = .now + .milliseconds(50)
                }
                usleep(3000)
            }
        }

        /// What must be true however often a worker was killed.
        func check(_ comment: String) throws {
            #expect(try fixture.contents(tenant) == before, "\(comment)")
            #expect(try fixture.rights(tenant) == rights, "\(comment)")
            #expect(try fixture.value("SELECT count(*) FROM reeve.queue_block") == "0", "\(comment)")
            #expect(try allScratches() == 0, "\(comment)")
            try fixture.admin(store.database) { connection in
                let staged = try connection.execute(
                    "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'reeve\\_restore\\_%'")
                #expect(staged.isEmpty, "\(comment)")
                let may = try connection.execute(
                    "SELECT has_database_privilege($1::name, current_database(), 'TEMPORARY')", [store.login])[0]
                #expect(try !may.bool(0), "\(comment)")
            }
        }

        /// Scratch databases with and without a comment that attempts of this fixture made.
        func allScratches() throws -> Int {
            let made = try fixture.connection.execute(
                "SELECT substring(object FROM 'database (.*)$') FROM reeve.audit_entry WHERE action = 'admin.make_scratch'"
            ).map { try $0.text(0) }
            let there = try watch.execute("SELECT datname FROM pg_database WHERE datname = ANY ($1::text[])", [made])
            return there.count
        }
    }

    /// The steps after which a restore in place is killed.
    private static func places(_ ground: Ground) -> [RestoreWorker.Place] {
        let first: [RestoreWorker.Place] = [
            .audited("queue.pause", "done"), .audited("admin.make_scratch", "intent"),
            .audited("admin.make_scratch", "done"), .filling(ground.tenant),
        ]
        let last: [RestoreWorker.Place] = [
            .audited("admin.drop_scratch", "done"), .audited("backup.restore", "restored"),
        ]
        switch ground.tenant.isolation {
        case .schema:
            return first + [
                .audited("admin.make_staged", "done"), .inside(ground.store.database),
                .audited("admin.grant_staged", "done"), .audited("admin.swap_schemas", "done"),
            ] + last
        case .shared:
            return first + [
                .audited("admin.lend_temporary", "done"), .inside(ground.store.database),
            ] + last
        case .database:
            return first + [
                .audited("admin.swap_database", "intent"), .audited("admin.swap_database", "done"), last[1],
            ]
        }
    }

    @Test(
        "a restore in place whose worker is killed in every step and inside the long ones ends whole, and leaves nothing",
        .timeLimit(.minutes(4)), arguments: Isolation.allCases)
    func inPlace(isolation: Isolation) throws {
        let ground = try Ground(isolation)
        try ground.fixture.write(ground.tenant, RestoreJobTests.damage)
        let id = try ground.fixture.request(ground.tenant, ground.backup, "in-place")
        for place in Self.places(ground) {
            try ground.kill(at: place)
            if case .audited("admin.swap_database", "intent") = place {
                // As when it is killed after it closed the database and before it could swap it.
                try ground.fixture.admin("postgres") {
                    _ = try $0.execute(
                        "ALTER DATABASE \(quoteIdentifier(ground.store.database)) ALLOW_CONNECTIONS false")
                }
            }
        }
        #expect(try ground.finish(id) == "succeeded")
        try ground.check("\(isolation)")
        let restores = try ground.fixture.value("SELECT string_agg(outcome, ',') FROM reeve.restore")
        #expect(restores == "restored")
        // One safety backup, however often it was asked for.
        #expect(try ground.fixture.value("SELECT count(*) FROM reeve.artifact") == "2")
        // What was replaced is there once, or was shared rows.
        #expect(try ground.fixture.registry.dropKeptData(ground.tenant.code).count == (isolation == .shared ? 0 : 1))
    }

    @Test("a drill whose worker is killed in every step proves the backup in the end, and leaves nothing")
    func drill() throws {
        let ground = try Ground(.schema)
        let id = try ground.fixture.enqueue(ground.tenant, "backup-drill", ["backup": .string("\(ground.backup)")])
        for place in [
            .audited("admin.make_scratch", "intent"), .audited("admin.make_scratch", "done"), .filling(ground.tenant),
            .audited("backup.drill", "done"),
        ] as [RestoreWorker.Place] {
            try ground.kill(at: place)
        }
        #expect(try ground.finish(id) == "succeeded")
        try ground.check("drill")
        #expect(try ground.fixture.value("SELECT bool_and(ok)::text || count(*) FROM reeve.backup_proof") == "true1")
    }

    @Test("a scratch database that no attempt comes back for is dropped by the next restore worker, marked or not")
    func housekeeping() throws {
        let ground = try Ground(.schema)
        let id = try ground.fixture.enqueue(ground.tenant, "backup-drill", ["backup": .string("\(ground.backup)")])
        try ground.kill(at: .filling(ground.tenant))
        #expect(try ground.allScratches() == 1)
        // As killed between making it and marking it.
        let name = try ground.watch.execute(
            "SELECT datname FROM pg_database WHERE shobj_description(oid, 'pg_database') = 'reeve scratch of tenant ' || $1::text",
            [ground.tenant.id.description])[0].text(0)
        try ground.watch.execute("COMMENT ON DATABASE \(quoteIdentifier(name)) IS NULL")
        // One that looks like it and that nobody here made stays.
        let other = "reeve_scratch_\(UUID().uuidString.lowercased().replacing("-", with: ""))_1"
        try ground.watch.execute("CREATE DATABASE \(quoteIdentifier(other)) TEMPLATE template0")
        defer { _ = try? ground.watch.execute("DROP DATABASE \(quoteIdentifier(other))") }
        _ = try ground.fixture.connection.execute("SELECT reeve.cancel($1::bigint)", [id])
        try ground.worker.start()
        let limit = ContinuousClock.now + .seconds(30)
        while try ground.allScratches() > 0 {
            try #require(.now < limit)
            usleep(5000)
        }
        try ground.worker.die()
        #expect(try ground.watch.execute("SELECT FROM pg_database WHERE datname = $1::text", [other]).count == 1)
    }

    @Test("a restore that crashes three workers in a row ends with nothing replaced, and the tenant's jobs run again")
    func crashes() throws {
        let ground = try Ground(.schema)
        let id = try ground.fixture.request(ground.tenant, ground.backup, "in-place")
        for _ in 0..<3 { try ground.kill(at: .filling(ground.tenant), isCrash: true) }
        #expect(try ground.fixture.value("SELECT reeve.job(\(id)) ->> 'state'") == "dead")
        try ground.worker.start()
        let limit = ContinuousClock.now + .seconds(30)
        while try ground.allScratches() > 0 || ground.fixture.value("SELECT count(*) FROM reeve.queue_block") != "0" {
            try #require(.now < limit)
            usleep(5000)
        }
        try ground.worker.die()
        try ground.check("crashed")
        #expect(try ground.fixture.value("SELECT outcome FROM reeve.restore") == "failed")
    }
}
