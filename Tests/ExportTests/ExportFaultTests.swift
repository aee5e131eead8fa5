import Encryption
import FoundationEssentials
import JobKit
import Postgres
import Processes
import ReeveTesting
import Storage
import Synchronization
import Testing

@testable import Export

@Suite("Exports under faults")
struct ExportFaultTests {
    @Test("a connection that is lost in the middle of a table goes on where it was, on the same snapshot")
    func lostConnection() throws {
        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", .schema, marker: "m", rows: 20_000)
        let losses = Counter()
        fixture.hooks.withLock { hooks in
            hooks.atRow = { row, sql, connection in
                guard row == 9_000, sql.contains("\"orders\""), losses.next() <= 2 else { return }
                try fixture.admin { admin in
                    // What was committed since is not in the snapshot, and must not come in with the new connection.
                    try admin.executeScript("UPDATE tenant_acme.orders SET amount = -1 WHERE id % 2 = 0")
                    _ = try admin.execute("SELECT pg_terminate_backend($1::int)", [Int64(connection.backendPID)])
                }
            }
        }
        let artifact = try fixture.export(tenant, job: fixture.job(connections: 1))
        #expect(losses.value >= 2)
        #expect(try !fixture.open(artifact).text("data/orders.csv").contains(",-1"))
        let (isEqual, said) = try fixture.rebuild(artifact, from: "csv")
        #expect(isEqual, "\(said)")
    }

    @Test("when the session that holds the snapshot is gone too, the attempt fails to start afresh, and leaves nothing")
    func lostSnapshot() throws {
        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", .schema, marker: "m", rows: 20_000)
        fixture.hooks.withLock { hooks in
            hooks.atRow = { row, sql, _ in
                guard row == 9_000, sql.contains("\"orders\"") else { return }
                try fixture.admin {
                    _ = try $0.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1::text",
                        [fixture.login(tenant)])
                }
            }
        }
        let failure = #expect(throws: JobFailure.self) { try fixture.export(tenant, job: fixture.job(connections: 1)) }
        #expect(failure?.code == "export_snapshot_lost" && failure?.disposition == .retry)
        #expect(fixture.objects() == [])
        fixture.hooks.withLock { $0.atRow = nil }
        let (isEqual, said) = try fixture.rebuild(try fixture.export(tenant), from: "csv")
        #expect(isEqual, "\(said)")
    }

    @Test("storage that fails half way leaves no object, no session and no program behind")
    func storageFails() throws {
        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", .schema, marker: "m", rows: 20_000)
        for limit in [0, 100_000] {
            for encrypted in [false, true] {
                let store = FullStore(store: fixture.storage, limit: limit)
                #expect(throws: StorageError.self) {
                    try fixture.export(tenant, .init(encrypted: encrypted), job: fixture.job(storage: store))
                }
                #expect(fixture.objects() == [])
                #expect(try fixture.sessions(of: tenant) == 0)
            }
        }
    }

    @Test("an export that is stopped half way ends at once and leaves nothing")
    func stopped() throws {
        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", .schema, marker: "m", rows: 20_000)
        let stop = StopSignal()
        fixture.hooks.withLock { hooks in
            hooks.atRow = { row, sql, _ in if row == 9_000, sql.contains("\"orders\"") { stop.stop(.cancelled) } }
        }
        let start = ContinuousClock.now
        #expect(throws: Stopped.self) {
            _ = try JobHarness.run(fixture.job(), .init(), tenant: tenant, stop: stop)
        }
        #expect(ContinuousClock.now - start < .seconds(20))
        #expect(fixture.objects() == [])
        #expect(try fixture.sessions(of: tenant) == 0)
    }

    @Test("a compressor that fails, or that is none, fails the attempt and leaves nothing")
    func compressor() throws {
        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", .schema, marker: "m", rows: 20_000)
        for program in ["false", "cat", "no-such-program"] {
            let job = ExportJob(
                stores: SingleStore(fixture.storage), recipients: fixture.keys, access: fixture,
                policy: ExportPolicy { _ in .init(keptFor: .seconds(60), isGraceOver: false) },
                tools: ExportTools(compressor: program, supervisor: BuiltProducts.supervisor))
            #expect(throws: (any Error).self, "\(program)") { try fixture.export(tenant, job: job) }
            #expect(fixture.objects() == [])
        }
    }

    @Test("an encrypted export opens with the tenant's identity alone, and no plaintext is stored")
    func encrypted() throws {
        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", .schema, marker: "marker-of-acme", rows: 200)
        let artifact = try fixture.export(tenant, .init(encrypted: true))
        #expect(artifact.manifest["encryption"]?["key_id"]?.string == fixture.keys.keyID.uuidString.lowercased())
        #expect(artifact.manifest["name"]?.string?.hasSuffix(".zip.age") == true)
        let stored = try Data(contentsOf: URL(filePath: fixture.file(artifact)))
        #expect(Int64(stored.count) == artifact.bytes)
        for needle in ["marker-of-acme", "dictionary.json", "PK\u{3}\u{4}"] {
            #expect(stored.firstRange(of: Data(needle.utf8)) == nil)
        }
        let plain = Mutex<[UInt8]>([])
        let decryptor = try AgeDecryptor(
            identity: fixture.keys.pair.identity, tool: AgeTool(supervisor: BuiltProducts.supervisor)
        ) { bytes in plain.withLock { $0 += bytes } }
        try stored.withUnsafeBytes { try decryptor.write($0) }
        try decryptor.finish()
        let path = fixture.folder.path + "/opened.zip"
        try Data(plain.withLock { $0 }).write(to: URL(filePath: path))
        #expect(try OpenedArchive(path).text("data/customers.csv").contains("marker-of-acme"))
    }

    @Test("an export that was encrypted to a key that is destroyed meanwhile fails, and its object goes")
    func keyDestroyed() throws {
        struct Destroyed: RecipientSource {
            let behind: TestKeys
            func recipients(of tenant: Tenant) throws -> TenantRecipients { try behind.recipients(of: tenant) }
            func confirm(_ recipients: TenantRecipients, of tenant: Tenant) throws {
                throw JobFailure("key_destroyed", "key \(recipients.keyID) was destroyed")
            }
        }
        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", .schema, marker: "m", rows: 2)
        let job = ExportJob(
            stores: SingleStore(fixture.storage), recipients: Destroyed(behind: fixture.keys), access: fixture,
            policy: ExportPolicy { _ in ExportPolicy.Facts(keptFor: .seconds(60), isGraceOver: false) },
            tools: ExportTools(supervisor: BuiltProducts.supervisor))
        let failure = #expect(throws: JobFailure.self) {
            try fixture.export(tenant, .init(encrypted: true), job: job)
        }
        #expect(failure?.code == "key_destroyed")
        #expect(fixture.objects() == [])
        // One that is not encrypted depends on no key.
        _ = try fixture.export(tenant, job: job)
    }

    @Test(
        "a tenant without a database, past its grace, without the feature, or with a data subject that no map knows is refused"
    )
    func refused() throws {
        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", .schema, marker: "m", rows: 2)
        let failure = #expect(throws: JobFailure.self) { try fixture.export(JobHarness.tenant("nobody")) }
        #expect(failure?.code == "export_no_store")
        let subject = #expect(throws: JobFailure.self) { try fixture.export(tenant, .init(subject: "person 7")) }
        #expect(subject?.code == "export_no_data_map" && subject?.disposition == .giveUp)
        let scheduled = try JobHarness.run(fixture.job(), .init(scheduled: true), tenant: tenant)
        guard case .discarded = scheduled else { return #expect(Bool(false), "\(scheduled)") }
        let late = try JobHarness.run(fixture.job(isGraceOver: true), .init(), tenant: tenant)
        guard case .discarded = late else { return #expect(Bool(false), "\(late)") }
        try fixture.script("REVOKE SELECT ON tenant_acme.orders FROM \(quoteIdentifier(fixture.login(tenant)))")
        let closed = #expect(throws: JobFailure.self) { try fixture.export(tenant) }
        #expect(closed?.code == "export_table_unreadable")
        #expect(fixture.objects() == [])
    }

    @Test("with a shared table's policy missing, the export still holds the tenant's rows alone")
    func policyMissing() throws {
        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", .shared, marker: "marker-of-acme", rows: 5)
        _ = try fixture.addTenant("globex", .shared, marker: "marker-of-globex", rows: 5)
        try fixture.script(
            "ALTER TABLE shared.customers NO FORCE ROW LEVEL SECURITY; ALTER TABLE shared.customers DISABLE ROW LEVEL SECURITY"
        )
        let text = try fixture.open(try fixture.export(tenant)).text("data/customers.csv")
        #expect(text.contains("marker-of-acme") && !text.contains("marker-of-globex"))
        try fixture.script("ALTER ROLE \(quoteIdentifier(fixture.login(tenant))) BYPASSRLS")
        let failure = #expect(throws: JobFailure.self) { try fixture.export(tenant) }
        #expect(failure?.code == "export_session")
    }
}

/// A disk that is full after some bytes.
private struct FullStore: ObjectStore {
    let store: FolderStore
    let limit: Int
    var description: String { "full store" }

    func writer(for key: ObjectKey, attempt: UUID) throws -> any ObjectWriter {
        Writer(writer: try store.writer(for: key, attempt: attempt), limit: limit)
    }
    func size(of key: ObjectKey) throws -> Int64? { try store.size(of: key) }
    func read(_ key: ObjectKey, _ body: (UnsafeRawBufferPointer) throws -> Void) throws { try store.read(key, body) }
    func delete(_ key: ObjectKey) throws { try store.delete(key) }
    func list(_ tenant: TenantID, _ entity: ObjectEntity, _ body: (StoredObject) throws -> Void) throws {
        try store.list(tenant, entity, body)
    }
    func sweep(olderThan age: Duration) throws -> Int { try store.sweep(olderThan: age) }

    private final class Writer: ObjectWriter {
        let writer: any ObjectWriter
        let limit: Int
        init(writer: any ObjectWriter, limit: Int) {
            self.writer = writer
            self.limit = limit
        }
        var bytes: Int64 { writer.bytes }
        func write(_ bytes: UnsafeRawBufferPointer) throws {
            guard writer.bytes + Int64(bytes.count) <= limit else { throw StorageError(.full, "no space is left") }
            try writer.write(bytes)
        }
        func publish() throws { try writer.publish() }
        func abandon() { writer.abandon() }
    }
}

/// Counts from 1, from any thread.
final class Counter: Sendable {
    private let count = Mutex(0)
    func next() -> Int {
        count.withLock {
            $0 += 1; return $0
        }
    }
    var value: Int { count.withLock { $0 } }
}
