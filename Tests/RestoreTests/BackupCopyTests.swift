import Dumps
import Encryption
import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Storage
import Tenancy
import Testing

@testable import Restore

/// Backups of which a store has an object damaged or not at all, and another has it whole.
@Suite("Copies of backups")
struct BackupCopyTests {
    private func fixture() throws -> (RestoreFixture, Tenant, Int64) {
        let fixture = try RestoreFixture()
        fixture.hasCopies = true
        let tenant = try fixture.tenant("acme", .schema)
        return (fixture, tenant, try fixture.backUp(tenant))
    }

    private func faults(_ fixture: RestoreFixture) throws -> String? {
        try fixture.value("SELECT string_agg(destination || ' ' || fault, ', ' ORDER BY key) FROM reeve.artifact_fault")
    }

    @Test("what the first store holds damaged, lost or swapped is read from the copy, said so, and shown as damaged")
    func copies() throws {
        let (fixture, acme, backup) = try fixture()
        let key = try fixture.key(backup)
        let whole = try fixture.bytes(key)
        var (early, late) = (whole, whole)
        early[50] ^= 1
        late[whole.count - 1] ^= 1
        // A bit in the head, which the decryption stumbles over first; one at the end, after all rows were restored; cut; lost.
        for (bytes, fault) in [
            (early, "damaged"), (late, "damaged"), (Array(whole.dropLast()), "damaged"), (nil, "missing"),
        ] {
            if let bytes { try fixture.put(bytes, under: key) } else { try fixture.storage.delete(key) }
            for kind in ["backup-verify", "backup-drill"] {
                guard case .finished(let result) = try fixture.run(kind, acme, backup: backup) else {
                    Issue.record("\(kind) did not finish")
                    return
                }
                let damaged = result.summary?["artifacts"]?.array?.first?["damaged_objects"]?.array
                #expect(damaged?.count == 1 && damaged?.first?["destination"] == "default", "\(kind) \(fault)")
                #expect(try faults(fixture) == "default \(fault)")
            }
            try fixture.put(whole, under: key)
            // Found again: the first store is read first, and is whole.
            try fixture.run("backup-verify", acme, backup: backup)
            #expect(try faults(fixture) == nil)
        }
        #expect(try fixture.value("SELECT bool_and(ok)::text FROM reeve.backup_proof") == "true")
        #expect(try fixture.scratches() == 0)
    }

    @Test("a restore takes the copy of what is damaged, object by object, and the manifest's too")
    func restore() throws {
        let (fixture, acme, _) = try fixture()
        fixture.splitAbove = 1
        let backup = try fixture.backUp(acme)
        let before = try fixture.contents(acme)
        let keys = try fixture.connection.execute(
            "SELECT o ->> 'key' FROM reeve.artifact a, jsonb_array_elements(a.manifest -> 'objects') o WHERE a.job_id = $1::bigint ORDER BY 1",
            [backup]
        ).map { try ObjectKey(parsing: $0.text(0)) }
        try #require(keys.count > 2)
        // One object is bad in the first store, another in the second: neither has the whole backup.
        var bytes = try fixture.bytes(keys[0])
        bytes[bytes.count / 2] ^= 1
        try fixture.put(bytes, under: keys[0])
        try fixture.copies.delete(keys[1])
        try fixture.put(Array("{}".utf8), under: fixture.key(backup).with(.manifest))
        try fixture.write(acme, RestoreJobTests.damage)
        let id = try fixture.request(acme, backup, "in-place")
        guard case .finished(let result) = try fixture.runToEnd(id, acme) else {
            Issue.record("the restore did not finish")
            return
        }
        #expect(try fixture.contents(acme) == before)
        #expect(result.summary?["databases"]?.array?.first?["damaged_objects"]?.array?.count == 2)
        #expect(try faults(fixture) == "default damaged, default damaged")
        #expect(try fixture.scratches() == 0)
    }

    @Test("a backup that every store has damaged is broken; one that a store may still have is not called so")
    func allDamaged() throws {
        let (fixture, acme, backup) = try fixture()
        let key = try fixture.key(backup)
        var bytes = try fixture.bytes(key)
        bytes[bytes.count / 2] ^= 1
        try fixture.put(bytes, under: key)
        // The second store cannot be asked.
        let away = TwoStores(first: fixture.storage, second: FolderStore(root: "/proc/nowhere/\(fixture.suffix)"))
        let reader = BackupReader(tools: fixture.tools, stores: away, identities: fixture.keys)
        let denied = DeniedStore()
        let closed = BackupReader(
            tools: fixture.tools, stores: TwoStores(first: fixture.storage, second: denied), identities: fixture.keys)
        let id = try fixture.enqueue(acme, "backup-verify", ["backup": .string("\(backup)")])
        let error = #expect(throws: StorageError.self) {
            try fixture.runToEnd(id, acme, as: AnyJob(BackupVerifyJob(reader: closed, control: fixture.control)))
        }
        #expect(error?.code == .unavailable)
        #expect(try fixture.value("SELECT count(*) FROM reeve.backup_proof") == "0")
        #expect(try faults(fixture) == "default damaged")
        // There it is not at all.
        let other = try fixture.enqueue(acme, "backup-verify", ["backup": .string("\(backup)")])
        #expect(throws: BackupFault.self) {
            try fixture.runToEnd(other, acme, as: AnyJob(BackupVerifyJob(reader: reader, control: fixture.control)))
        }
        #expect(try fixture.value("SELECT bool_or(ok)::text FROM reeve.backup_proof") == "false")
        #expect(try fixture.value("SELECT state FROM reeve.backup_list") == "damaged")
    }

    @Test("a wrong identity says nothing about what the stores hold")
    func wrongIdentity() throws {
        let (fixture, acme, backup) = try fixture()
        let wrong = BackupReader(
            tools: fixture.tools, stores: fixture.catalog, identities: OtherIdentity(text: TestIdentity().identity))
        let id = try fixture.enqueue(acme, "backup-verify", ["backup": .string("\(backup)")])
        #expect(throws: BackupFault.self) {
            try fixture.runToEnd(id, acme, as: AnyJob(BackupVerifyJob(reader: wrong, control: fixture.control)))
        }
        #expect(try faults(fixture) == nil)
    }

    private struct OtherIdentity: IdentitySource {
        let text: String
        func withIdentity<T>(_ keyID: UUID, of tenant: Tenant, _ body: (String) throws -> T) throws -> T {
            try body(text)
        }
    }

    @Test("a store that gives fewer bytes than it says holds the object damaged")
    func lying() throws {
        let (fixture, acme, backup) = try fixture()
        let lying = TwoStores(first: ShortStore(behind: fixture.storage), second: fixture.copies)
        let reader = BackupReader(tools: fixture.tools, stores: lying, identities: fixture.keys)
        let id = try fixture.enqueue(acme, "backup-verify", ["backup": .string("\(backup)")])
        try fixture.runToEnd(id, acme, as: AnyJob(BackupVerifyJob(reader: reader, control: fixture.control)))
        // The manifest and every object.
        #expect(
            try fixture.value("SELECT string_agg(DISTINCT destination || ' ' || fault, ', ') FROM reeve.artifact_fault")
                == "default damaged")
        #expect(try fixture.value("SELECT count(*) >= 2 FROM reeve.artifact_fault") == "t")
        #expect(try fixture.value("SELECT bool_and(ok)::text FROM reeve.backup_proof") == "true")
    }

    /// Says the size of what it has, and gives all but the last byte.
    private struct ShortStore: ObjectStore {
        let behind: FolderStore
        var description: String { "a store that lies" }
        func writer(for key: ObjectKey, attempt: UUID) throws -> any ObjectWriter {
            try behind.writer(for: key, attempt: attempt)
        }
        func size(of key: ObjectKey) throws -> Int64? { try behind.size(of: key) }
        func read(_ key: ObjectKey, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
            let size = try behind.size(of: key) ?? 0
            var bytes: [UInt8] = []
            try behind.read(key) { bytes += $0 }
            try bytes.dropLast().withUnsafeBytes { try body($0) }
            throw StorageError(.truncated, "\(size) bytes said, one fewer given")
        }
        func delete(_ key: ObjectKey) throws { try behind.delete(key) }
        func list(_ tenant: TenantID, _ entity: ObjectEntity, _ body: (StoredObject) throws -> Void) throws {
            try behind.list(tenant, entity, body)
        }
        func sweep(olderThan age: Duration) throws -> Int { 0 }
    }

    /// Never answers.
    private struct DeniedStore: ObjectStore {
        var description: String { "a store that is away" }
        private var away: StorageError { StorageError(.unavailable, "no answer") }
        func writer(for key: ObjectKey, attempt: UUID) throws -> any ObjectWriter { throw away }
        func size(of key: ObjectKey) throws -> Int64? { throw away }
        func read(_ key: ObjectKey, _ body: (UnsafeRawBufferPointer) throws -> Void) throws { throw away }
        func delete(_ key: ObjectKey) throws { throw away }
        func list(_ tenant: TenantID, _ entity: ObjectEntity, _ body: (StoredObject) throws -> Void) throws {
            throw away
        }
        func sweep(olderThan age: Duration) throws -> Int { throw away }
    }
}
