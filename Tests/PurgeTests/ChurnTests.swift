import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Storage
import Synchronization
import Tenancy
import Testing

@testable import Purge

/// A system of the test: what it holds of tenants, and how often it was cleared.
final class MemoryHook: PurgeHook {
    let name = "memory"
    let occasions = Set(HookOccasion.allCases)
    private let held = Mutex<[TenantID: Int64]>([:])

    func put(_ tenant: TenantID, _ count: Int64) { held.withLock { $0[tenant] = count } }
    func count(_ tenant: Tenant, _ limits: TransferLimits) -> Int64 { held.withLock { $0[tenant.id] ?? 0 } }
    func clear(_ tenant: Tenant, _ limits: TransferLimits) { held.withLock { $0[tenant.id] = 0 } }
}

@Suite("Churn and return")
struct ChurnTests {
    @Test("a churn locks, archives, clears and pauses; a return undoes it; a purge takes the archive too")
    func wholeWay() throws {
        let hook = MemoryHook()
        let fixture = try PurgeFixture(hooks: [hook])
        try PurgeHooks(hooks: [hook], control: fixture.control).register()
        let acme = try fixture.tenant("acme", .schema, isBackedUp: false)
        let before = try fixture.contents(acme)
        let store = try fixture.store(of: acme)
        hook.put(acme.id, 7)
        let secret = try fixture.value("SELECT encode(secret, 'hex') FROM reeve.tenant_store")
        _ = try fixture.connection.execute(
            "INSERT INTO reeve.tenant_login VALUES ('purge_second', $1::uuid)", [acme.id])
        try fixture.connection.executeScript("GRANT reeve_enqueuer TO purge_second")
        let session = try Connection(
            store.settings(applicationName: "a session").with(["password": password(fixture, acme)]))

        _ = try fixture.connection.execute("SELECT reeve.set_tenant_status($1::text, 'churned', 'leaves')", [acme.code])
        for _ in 0..<6 { try fixture.runOnce() }
        // Who knew the password is out, and its sessions ended; Reeve's own jobs read on.
        #expect(try fixture.value("SELECT encode(secret, 'hex') FROM reeve.tenant_store") != secret)
        #expect(throws: PostgresError.self) { try session.execute("SELECT 1") }
        #expect(try fixture.contents(acme) == before)
        let locked = #expect(throws: PostgresError.self) {
            try fixture.ask("second", "SELECT reeve.enqueue($1::text, 'backup')", ["\(acme.code).backups"])
        }
        #expect(locked?.sqlState == "RV009")
        #expect(hook.count(acme, TransferLimits()) == 0)
        #expect(try fixture.value("SELECT count(*) FROM reeve.artifact_pin") == "1")
        #expect(
            try fixture.value(
                "SELECT count(*) FROM reeve.offboarding WHERE finished_at IS NOT NULL AND archive_job IS NOT NULL")
                == "1")
        #expect(try fixture.value("SELECT string_agg(type, ' ') FROM reeve.lifecycle_event") == "tenant.churned")

        _ = try fixture.connection.execute("SELECT reeve.return_tenant($1::text, 'stays')", [acme.code])
        #expect(try fixture.value("SELECT status FROM reeve.tenant") == "active")
        #expect(try fixture.value("SELECT count(*) FROM reeve.artifact_pin") == "0")
        #expect(try fixture.value("SELECT count(*) FROM reeve.queue_block") == "0")
        _ = try fixture.ask("second", "SELECT reeve.enqueue($1::text, 'backup')", ["\(acme.code).backups"])
        try fixture.runOnce()
        #expect(try fixture.contents(acme) == before)

        // Suspended it is cleared, too, and not archived.
        hook.put(acme.id, 3)
        _ = try fixture.connection.execute("SELECT reeve.set_tenant_status($1::text, 'suspended')", [acme.code])
        for _ in 0..<3 { try fixture.runOnce() }
        #expect(hook.count(acme, TransferLimits()) == 0)

        // A worker without the hook purges nobody.
        hook.put(acme.id, 5)
        try fixture.request(acme)
        try fixture.connection.executeScript("DELETE FROM reeve.tenant_login; REVOKE reeve_enqueuer FROM purge_second")
        try fixture.approve(acme)
        _ = try fixture.connection.execute(
            "SELECT reeve.register_hooks('[{\"name\": \"search\", \"occasions\": [\"purge\"]}]')")
        let missing = #expect(throws: JobFailure.self) { for _ in 0..<6 { try fixture.runOnce() } }
        #expect(missing?.code == "hook_missing")
        _ = try fixture.connection.execute("SELECT reeve.forget_hook('search', 'gone')")
        try fixture.purge(acme)
        #expect(hook.count(acme, TransferLimits()) == 0)
        let traces = try fixture.traces(acme)
        #expect(traces == PurgeJobTests.evidence)
    }

    private func password(_ fixture: PurgeFixture, _ tenant: Tenant) throws -> String {
        // As whoever has the fleet's key would read it.
        let sealed = try fixture.connection.execute(
            "SELECT secret FROM reeve.tenant_store WHERE tenant_id = $1::uuid", [tenant.id])[
                0
            ].bytes(0)
        return try fixture.sealer.open(sealed, tenant: tenant.id, purpose: "login")
    }
}
