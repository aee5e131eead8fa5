import Dispatch
import Encryption
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import PostgresQueue
import ReeveTesting
import Storage
import Synchronization
import Tenancy
import Testing
import WorkerEngine

@testable import Restore

/// Keys that are destroyed while an attempt encrypts to them: no backup appears that nobody can read.
@Suite("Keys destroyed under running attempts")
struct KeyDestructionTests {
    private struct Ground {
        let fixture: RestoreFixture
        let tenant: Tenant
        let lifecycle: KeyLifecycle
        let key: UUID

        init() throws {
            fixture = try RestoreFixture()
            tenant = try fixture.tenant("acme", .schema)
            lifecycle = KeyLifecycle(
                registry: fixture.registry, store: IdentityFolder("\(fixture.folder)-identities"),
                supervisor: BuiltProducts.supervisor)
            key = try lifecycle.create(KeyLifecycle.Request(code: tenant.code))
            fixture.ownKeys = TenantKeys(control: fixture.control)
        }

        var objects: [String] {
            get throws {
                var found: [String] = []
                try fixture.storage.list(tenant.id, .backups) { found.append("\($0.key)") }
                return found
            }
        }

        /// Records a backup that is encrypted to the key.
        var insert: @Sendable (Connection) throws(PostgresError) -> Void {
            let (tenant, key) = (tenant.id, key.uuidString.lowercased())
            return { connection throws(PostgresError) in
                _ = try connection.execute(
                    """
                    INSERT INTO reeve.artifact (id, job_id, tenant_id, entity, key, bytes, sha256, manifest)
                    SELECT g, 1, $1::uuid, 'backup', concat($1::uuid, '/backups/2026/03/', g), 1, repeat('a', 64), jsonb_build_object('encryption', jsonb_build_object('key_id', $2::text)) FROM gen_random_uuid() g
                    """, [tenant, key])
            }
        }
    }

    /// Destroys the key right after an attempt has asked to whom to encrypt.
    private struct Destroying: RecipientSource {
        let behind: TenantKeys
        let destroy: @Sendable () throws -> Void
        func recipients(of tenant: Tenant) throws -> TenantRecipients {
            let found = try behind.recipients(of: tenant)
            try destroy()
            return found
        }
        func confirm(_ recipients: TenantRecipients, of tenant: Tenant) throws {
            try behind.confirm(recipients, of: tenant)
        }
    }

    @Test("an attempt that encrypts to a key that is destroyed meanwhile fails, and its objects go")
    func attempt() throws {
        let ground = try Ground()
        let (lifecycle, code) = (ground.lifecycle, ground.tenant.code)
        ground.fixture.ownKeys = Destroying(behind: TenantKeys(control: ground.fixture.control)) {
            let ended = try lifecycle.destroy(code, reason: "contract ended")
            guard ended.allSatisfy(\.isRecorded) else { throw JobFailure("not_destroyed", "test") }
        }
        let failure = #expect(throws: JobFailure.self) { _ = try ground.fixture.backUp(ground.tenant) }
        #expect(failure?.code == "key_destroyed")
        #expect(try ground.objects == [])
        #expect(try ground.fixture.value("SELECT count(*) FROM reeve.artifact") == "0")
        // Without a key there is no next backup.
        ground.fixture.ownKeys = TenantKeys(control: ground.fixture.control)
        let next = #expect(throws: JobFailure.self) { _ = try ground.fixture.backUp(ground.tenant) }
        #expect(next?.code == "backup_no_key")
    }

    @Test("one that had finished when the key was destroyed, and was not recorded yet, is recorded as a failed attempt")
    func unrecorded() throws {
        let ground = try Ground()
        _ = try ground.fixture.enqueue(ground.tenant, "backup")
        let claimed = try #require(try ground.fixture.claim().first)
        guard
            case .finished(let result) = try AnyJob(ground.fixture.backup).run(
                args: claimed.args, in: ground.fixture.context(claimed, ground.tenant))
        else {
            Issue.record("no backup")
            return
        }
        _ = try ground.lifecycle.destroy(ground.tenant.code, reason: "contract ended")
        let error = #expect(throws: PostgresError.self) { try ground.fixture.settle(claimed, .succeeded(result)) }
        #expect(error?.constraint == "artifact_is_readable" && error?.isPermanent == true)
        #expect(try ground.fixture.value("SELECT count(*) FROM reeve.artifact") == "0")
        // A new key, another attempt: not what was refused.
        try ground.fixture.giveBack(claimed)
        _ = try ground.lifecycle.create(KeyLifecycle.Request(code: ground.tenant.code))
        try ground.fixture.runToEnd(claimed.id, ground.tenant)
        #expect(try ground.fixture.value("SELECT count(*) FROM reeve.artifact") == "1")
    }

    @Test("recording a backup and destroying its key wait for each other, whichever came first")
    func order() throws {
        let ground = try Ground()
        let (settings, code, insert) = (ground.fixture.controlSettings, ground.tenant.code, ground.insert)
        func blocked() throws -> Bool {
            try ground.fixture.connection.execute(
                """
                SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                  AND application_name = 'second')
                """)[0].bool(0)
        }
        let errors = Mutex<[String]>([])
        func race(_ first: (Connection) throws -> Void, _ second: @escaping @Sendable (Connection) throws -> Void)
            throws
        {
            let one = try Connection(settings)
            defer { one.close() }
            let queue = DispatchQueue(label: "second")
            try one.transaction {
                try first(one)
                queue.async {
                    do {
                        let two = try Connection(settings.with(["application_name": "second"]))
                        defer { two.close() }
                        try second(two)
                    } catch let error as PostgresError {
                        errors.withLock { $0.append(error.constraint ?? error.message) }
                    } catch { errors.withLock { $0.append("\(error)") } }
                }
                let limit = ContinuousClock.now + .seconds(30)
                while try !blocked() {
                    try #require(.now < limit)
                    usleep(2000)
                }
            }
            queue.sync {}
        }
        // The backup first: it is there before its key goes, among those that become unreadable.
        try race({ try insert($0) }) {
            _ = try $0.execute("SELECT id FROM reeve.begin_destroy($1::text, NULL, 'over')", [code])
        }
        #expect(errors.withLock { $0 } == [])
        #expect(
            try ground.fixture.value("SELECT count(*) FROM reeve.tenant_key WHERE destroying_at IS NOT NULL") == "1")
        // The destruction first: the backup is refused.
        _ = try ground.fixture.connection.execute("UPDATE reeve.tenant_key SET destroying_at = NULL, state = 'current'")
        try race({ _ = try $0.execute("SELECT id FROM reeve.begin_destroy($1::text, NULL, 'over')", [code]) }) {
            try insert($0)
        }
        #expect(errors.withLock { $0 } == ["artifact_is_readable"])
        #expect(try ground.fixture.value("SELECT count(*) FROM reeve.artifact") == "1")
    }

    @Test("an artifact that names another tenant's key is refused")
    func foreign() throws {
        let ground = try Ground()
        let other = try ground.fixture.tenant("globex", .schema)
        let error = #expect(throws: PostgresError.self) {
            _ = try ground.fixture.connection.execute(
                """
                INSERT INTO reeve.artifact (id, job_id, tenant_id, entity, key, bytes, sha256, manifest)
                SELECT g, 1, $1::uuid, 'backup', concat($1::uuid, '/backups/2026/03/', g), 1, repeat('a', 64), jsonb_build_object('encryption', jsonb_build_object('key_id', $2::text)) FROM gen_random_uuid() g
                """, [other.id, ground.key.uuidString.lowercased()])
        }
        #expect(error?.constraint == "artifact_is_readable")
    }
}
