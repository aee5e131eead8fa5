import Certificates
import Crypto
import Encryption
import FoundationEssentials
import JobKit
import Postgres
import Processes
import ReeveTesting
import Storage
import Synchronization
import Tenancy
import Testing

@testable import Purge

@Suite("Purging a tenant")
struct PurgeJobTests {
    /// What a purge leaves of a tenant in the control database: evidence, and the tombstone's own.
    static let evidence = [
        "reeve.audit_entry", "reeve.certificate", "reeve.job_history", "reeve.lifecycle_event", "reeve.notice",
        "reeve.purge_request",
        "reeve.retained_backup", "reeve.tenant_counter", "reeve.tenant_key",
        "reeve.tenant_status_change",
    ]

    @Test("leaves nothing of it but evidence, and touches nothing of others", arguments: Isolation.allCases)
    func everything(isolation: Isolation) throws {
        let fixture = try PurgeFixture()
        let acme = try fixture.tenant("acme", isolation)
        // A code that begins with the other one, and the same number of everything.
        let other = try fixture.tenant("\(acme.code)x", isolation, marker: "THEIRS")
        let (theirs, objects) = (try fixture.contents(other), try fixture.storage.contents(of: other.id))
        let store = try fixture.store(of: acme)
        _ = try fixture.connection.execute(
            "SELECT reeve.pause($1::text, 'test')", ["\(other.code).backups"])
        _ = try fixture.connection.execute("SELECT reeve.enqueue($1::text, 'backup')", ["\(other.code).backups"])
        _ = try fixture.connection.execute(
            "SELECT reeve.enqueue($1::text, 'backup', run_at => now() + interval '1 day')", ["\(acme.code).backups"])
        try fixture.seedRecords(acme, other)
        let records = try fixture.records(other)
        let request = try fixture.request(acme)
        try fixture.approve(acme)
        try fixture.purge(acme)

        let traces = try fixture.traces(acme)
        #expect(traces == (Self.evidence + ["reeve.batch_item"]).sorted())
        try fixture.checkRecords(acme, request)
        #expect(try fixture.records(other) == records)
        #expect(try fixture.contents(other) == theirs)
        #expect(try fixture.storage.contents(of: other.id) == objects)
        let waiting = try fixture.value("SELECT count(*) FROM reeve.job WHERE tenant_id = $1::uuid", [other.id])
        #expect(waiting == "2")
        // The login is gone, and its database where it was its own.
        try fixture.admin("postgres") { connection in
            let roles = try connection.execute("SELECT count(*) FROM pg_roles WHERE rolname = $1::text", [store.login])
            #expect(try roles[0].int(0) == 0)
            let databases = try connection.execute(
                "SELECT count(*) FROM pg_database WHERE datname = $1::text", [store.database])
            #expect(try databases[0].int(0) == (isolation == .database ? 0 : 1))
        }
        // Of its keys nothing opens anything; the other's does.
        let keys = try fixture.connection.execute("SELECT tenant_id, id, state FROM reeve.tenant_key")
        #expect(keys.count == 2)
        for row in keys {
            let (tenant, key, state) = (TenantID(rawValue: try row.uuid(0)), try row.uuid(1), try row.text(2))
            let isLeft = try !fixture.identities.list(key, of: tenant).isEmpty
            #expect(isLeft == (tenant == other.id))
            #expect(state == (tenant == other.id ? "current" : "destroyed"))
        }
        // The tombstone keeps code and id, and nobody gets either again.
        let tombstone = try fixture.connection.execute(
            "SELECT code, status::text, name, contacts::text FROM reeve.tenant WHERE id = $1::uuid", [acme.id])[0]
        #expect(try tombstone.text(0) == acme.code)
        #expect(try tombstone.text(1) == "archived")
        #expect(try tombstone.text(2) == "purged")
        for statement in [
            "DELETE FROM reeve.tenant WHERE id = '\(acme.id)'",
            "UPDATE reeve.tenant SET status = 'active' WHERE id = '\(acme.id)'",
        ] {
            #expect(throws: PostgresError.self) { try fixture.connection.execute(statement) }
        }
        #expect(throws: (any Error).self) { try fixture.tenant(acme.code, isolation, isBackedUp: false) }
        let certificate = try fixture.connection.execute(
            "SELECT body, canonical, signature, key_id, id FROM reeve.certificate WHERE request_id = $1::uuid",
            [request])[0]
        try check(certificate, fixture)
        let notices = try fixture.value("SELECT count(*) FROM reeve.notice WHERE tenant_id = $1::uuid", [acme.id])
        #expect(notices == "2", "one of its own, and one that was there for the same people")
        // Every intent in the audit has its outcome.
        let open = try fixture.connection.execute(
            """
            SELECT DISTINCT action || ' ' || coalesce(detail ->> 'step', '') FROM reeve.audit_entry i WHERE tenant_id = $1::uuid AND action = 'purge.step'
              AND detail ->> 'outcome' = 'intent' AND NOT EXISTS (SELECT FROM reeve.audit_entry d WHERE d.detail ->> 'intent' = i.id::text)
            """, [acme.id])
        #expect(try open.map { try $0.text(0) } == [])
    }

    private func check(_ row: Row, _ fixture: PurgeFixture) throws {
        let body = try row.json(0)
        let pem = try fixture.connection.execute(
            "SELECT public_key FROM reeve.signing_key WHERE id = $1::text", [row.text(3)])[0].text(0)
        let signed = SignedCertificate(
            id: try row.uuid(4), body: body, canonical: try row.text(1), signature: try row.text(2),
            keyID: try row.text(3))
        #expect(try signed.isGenuine(under: Ed25519.PublicKey(pem: pem)))
        #expect(try fixture.verifyWithOpenSSL(signed, pem) == .exited(0))
        let forged = SignedCertificate(
            id: signed.id, body: body,
            canonical: signed.canonical.replacing("\"rows_left\":0", with: "\"rows_left\":1"),
            signature: signed.signature, keyID: signed.keyID)
        #expect(try fixture.verifyWithOpenSSL(forged, pem) == .exited(1))
        #expect(body["approvals"]?.array?.count == 2)
        #expect(body["after"]?["rows_left"] == .int(0))
        #expect(body["final_backup"]?["kept_days"] == .int(30))
        #expect(body["request"]?["identity_reference"] == .string("TICKET-17"))
        // Rows before and after: customers and all that hangs on them were counted.
        let before = body["before"]?["databases"]?.array ?? []
        #expect((before.first?["rows"]?.int ?? 0) > 100)
        // No personal data: neither who asked nor what the customers were called.
        #expect(!(try row.text(1)).contains("Jane Roe"))
    }

    @Test("the final backup opens with its own key alone, and ends with it when its time is over")
    func retained() throws {
        let fixture = try PurgeFixture()
        let acme = try fixture.tenant("acme", .schema)
        let request = try fixture.request(acme, backupDays: 30)
        try fixture.approve(acme)
        try fixture.purge(acme)
        let place = try fixture.storage.within(["retained", request.uuidString.lowercased()])
        #expect(try place.contents(of: acme.id).objects == 3)
        let record = try fixture.connection.execute(
            "SELECT key_id, kept_until > reeve.clock() + interval '29 days' FROM reeve.retained_backup WHERE request_id = $1::uuid",
            [request])[0]
        let key = try record.uuid(0)
        #expect(try record.bool(1))
        #expect(try !fixture.identities.list(key, of: acme.id).isEmpty)
        // Not one of the tenant's keys, which are destroyed.
        #expect(try fixture.value("SELECT count(*) FROM reeve.tenant_key WHERE id = $1::uuid", [key]) == "0")
        try fixture.runOnce()
        #expect(try place.contents(of: acme.id).objects == 3)
        _ = try fixture.connection.execute("UPDATE reeve.retained_backup SET kept_until = reeve.clock()")
        #expect(try fixture.value("SELECT reeve.tend_purges()") == "1")
        try fixture.runOnce()
        #expect(try place.contents(of: acme.id).isEmpty)
        #expect(try fixture.identities.list(key, of: acme.id).isEmpty)
        let kinds = try fixture.connection.execute(
            "SELECT string_agg(kind, ' ' ORDER BY kind) FROM reeve.certificate WHERE request_id = $1::uuid", [request])
        #expect(try kinds[0].text(0) == "purge purge_backup")
        #expect(try fixture.value("SELECT reeve.tend_purges()") == "0")
    }

    @Test(
        "a legal hold that is placed between two batches of rows stops it there, in the middle of objects too, and released it goes on"
    )
    func heldInTheMiddle() throws {
        let fixture = try PurgeFixture()
        let acme = try fixture.tenant("acme", .shared)
        try fixture.request(acme)
        try fixture.approve(acme)
        let seen = Mutex<[String]>([])
        let settings = fixture.settings
        let job = fixture.job.calling { point in
            let isNew = seen.withLock { seen in
                defer { seen.append(point) }
                return !seen.contains(point)
            }
            guard isNew, point == "batch 1" || point == "in objects" else { return }
            let connection = try Connection(settings)
            defer { connection.close() }
            _ = try connection.execute("SELECT reeve.hold_tenant($1::text, 'case 4711')", [acme.code])
        }
        let before = try fixture.sharedRows(acme)
        for _ in 0..<6 { try fixture.runOnce(as: job) }
        #expect(try fixture.state(acme) == "purging")
        // One batch of one table went, and none after the hold.
        #expect(seen.withLock { $0 }.filter { $0.hasPrefix("batch") } == ["batch 1"])
        let after = try fixture.sharedRows(acme)
        #expect(after.filter { before[$0.key] != $0.value }.count == 1)
        let waits = try fixture.value("SELECT waits_for FROM reeve.purge_request WHERE ended_at IS NULL")
        #expect(waits == "a legal hold")
        _ = try fixture.connection.execute("SELECT reeve.release_tenant($1::text, 'closed')", [acme.code])
        for _ in 0..<6 { try fixture.runOnce(as: job) }
        // Its objects are all there, and its keys.
        #expect(try fixture.state(acme) == "purging")
        #expect(try fixture.storage.contents(of: acme.id).objects > 0)
        #expect(
            try fixture.value("SELECT state FROM reeve.tenant_key WHERE tenant_id = $1::uuid", [acme.id]) == "current")
        _ = try fixture.connection.execute("SELECT reeve.release_tenant($1::text, 'closed')", [acme.code])
        try fixture.purge(acme)
        let traces = try fixture.traces(acme)
        #expect(traces == (Self.evidence + ["reeve.tenant_hold"]).sorted())
    }

    @Test("a job that runs is waited for, and what comes meanwhile is not taken")
    func runningJobs() throws {
        let fixture = try PurgeFixture()
        let acme = try fixture.tenant("acme", .schema)
        _ = try fixture.connection.execute("SELECT reeve.enqueue($1::text, 'backup')", ["\(acme.code).backups"])
        let running = try #require(try fixture.claim().first)
        _ = try fixture.connection.execute(
            "SELECT reeve.enqueue($1::text, 'backup', run_at => now() + interval '1 minute')", ["\(acme.code).backups"])
        try fixture.request(acme)
        try fixture.approve(acme)
        for _ in 0..<5 { try fixture.runOnce() }
        #expect(try fixture.state(acme) == "frozen")
        let error = #expect(throws: PostgresError.self) {
            try fixture.connection.execute("SELECT reeve.enqueue($1::text, 'backup')", ["\(acme.code).backups"])
        }
        #expect(error?.sqlState == "RV012")
        // It ends; the one that waited never runs.
        try fixture.giveBack(running)
        try fixture.purge(acme)
        let traces = try fixture.traces(acme)
        #expect(traces == Self.evidence)
    }

    @Test("cancelled before its first irreversible step everything runs as before, and the final backup goes")
    func cancelled() throws {
        let fixture = try PurgeFixture()
        let acme = try fixture.tenant("acme", .schema)
        let before = try fixture.contents(acme)
        let request = try fixture.request(acme)
        try fixture.approve(acme)
        let (settings, code) = (fixture.settings, acme.code)
        let job = fixture.job.calling { point in
            guard point == "before logins" else { return }
            let connection = try Connection(settings)
            defer { connection.close() }
            _ = try connection.execute("SELECT reeve.cancel_purge($1::text, 'they stay')", [code])
        }
        try fixture.runOnce(as: job)
        #expect(try fixture.state(acme) == "cancelled")
        #expect(try fixture.contents(acme) == before)
        #expect(try fixture.value("SELECT count(*) FROM reeve.queue_block WHERE reason LIKE '%purge%'") == "0")
        _ = try fixture.connection.execute("SELECT reeve.set_tenant_status($1::text, 'active')", [code])
        let place = try fixture.storage.within(["retained", request.uuidString.lowercased()])
        #expect(try place.contents(of: acme.id).objects > 0)
        _ = try fixture.connection.execute("SELECT reeve.set_tenant_status($1::text, 'churned')", [code])
        #expect(try fixture.value("SELECT reeve.tend_purges()") == "1")
        try fixture.runOnce()
        #expect(try place.contents(of: acme.id).isEmpty)
        #expect(try fixture.value("SELECT count(*) FROM reeve.certificate") == "0")
    }

    @Test("a schema that the registry has wrong is left alone, and so is everything else of the tenant")
    func wrongRegistry() throws {
        let fixture = try PurgeFixture()
        let acme = try fixture.tenant("acme", .schema)
        let globex = try fixture.tenant("globex", .schema, marker: "THEIRS")
        let (mine, theirs) = (try fixture.contents(acme), try fixture.contents(globex))
        let schemas = try fixture.store(of: acme).schemas
        let foreign = try fixture.store(of: globex).schemas
        try fixture.request(acme)
        try fixture.approve(acme)
        for wrong in [foreign, ["public"]] {
            _ = try fixture.connection.execute(
                "UPDATE reeve.tenant_store SET schemas = $2::text[] WHERE tenant_id = $1::uuid", [acme.id, wrong])
            let error = #expect(throws: JobFailure.self) { for _ in 0..<5 { try fixture.runOnce() } }
            #expect(error?.code == "purge_blocked")
        }
        _ = try fixture.connection.execute(
            "UPDATE reeve.tenant_store SET schemas = $2::text[] WHERE tenant_id = $1::uuid", [acme.id, schemas])
        #expect(try fixture.contents(acme) == mine)
        #expect(try fixture.contents(globex) == theirs)
        try fixture.purge(acme)
        let traces = try fixture.traces(acme)
        #expect(traces == Self.evidence)
        #expect(try fixture.contents(globex) == theirs)
    }
}
