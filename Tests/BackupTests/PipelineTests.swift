import Encryption
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import ReeveTesting
import Storage
import Synchronization
import Testing

@testable import Backup

@Suite("The pipeline of a backup")
struct PipelineTests {
    let fixture: BackupFixture
    let tenant: Tenant

    init() throws {
        fixture = try BackupFixture()
        tenant = try fixture.addTenant("acme", schema: "tenant_acme", marker: "ACME")
    }

    func expectFailure(_ code: String, _ job: BackupJob, naming text: String = "") {
        let error = #expect(throws: (any Error).self) { try fixture.backUp(tenant, job: job) }
        #expect(error.map { "\($0)" }?.hasPrefix(code) == true, "\(String(describing: error))")
        #expect(text.isEmpty || error.map { "\($0)" }?.contains(text) == true, "\(String(describing: error))")
        #expect(fixture.folder.files().isEmpty)
    }

    @Test("what is stored is encrypted, every object of it, and its manifest says what each holds")
    func encrypted() throws {
        let artifact = try fixture.backUp(tenant)
        let reference = try ObjectKey(parsing: artifact.manifest["reference"]?["key"]?.string ?? "")
        for key in try fixture.objects(artifact) + [reference] {
            var stored: [UInt8] = []
            try fixture.storage.read(key) { stored += $0 }
            #expect(stored.starts(with: Array("age-encryption.org/v1\n".utf8)))
            let text = String(decoding: stored, as: UTF8.self)
            for word in ["PGDMP", "ACME", "CREATE", "customers"] { #expect(!text.contains(word)) }
        }
        #expect(!artifact.manifest.text.contains("ACME-"))
        guard case .array(let objects)? = artifact.manifest["objects"], let object = objects.first else {
            Issue.record("no objects")
            return
        }
        #expect(objects.count == 1 && object["key"]?.string == artifact.key)
        #expect(object["sha256"]?.string == artifact.sha256)
        let (stored, plain) = (object["bytes"]?.int ?? 0, object["plain_bytes"]?.int ?? 0)
        #expect(plain > 1000 && stored > plain && stored < plain + 1000 + plain / 100)
        #expect(artifact.bytes == stored)
        #expect(object["sections"] == ["pre-data", "data", "post-data"] && object["tables"] == .null)
    }

    @Test("a tenant without a key gets no backup, and the error says how to make one")
    func noKey() {
        expectFailure("backup_no_key", fixture.job(recipients: NoRecipients()), naming: "reeve keys create acme")
    }

    @Test("a missing age is named with its package and leaves nothing")
    func noAge() {
        let tools = BackupTools(age: "/nowhere/age", supervisor: BuiltProducts.supervisor)
        expectFailure("", fixture.job(tools: tools), naming: "apt-get install age")
    }

    @Test("an age that dies, at once or in the middle, fails the attempt and leaves nothing")
    func brokenAge() {
        for script in ["exit 1", "head -c 1000; exit 3", "head -c 1000; kill -9 $$", "cat >/dev/null; exit 1"] {
            let path = fixture.folder.path + "/age"
            write("#!/bin/sh\n\(script)\n", to: path, mode: 0o700)
            let job = fixture.job(tools: BackupTools(age: path, supervisor: BuiltProducts.supervisor))
            let error = #expect(throws: EncryptionError.self) { try fixture.backUp(tenant, job: job) }
            #expect(error?.code == .failed)
            #expect(fixture.folder.files() == ["age"])
        }
    }

    @Test("every copy holds the same objects as the first store, named in the manifest")
    func copies() throws {
        let other = FolderStore(root: fixture.folder.path + "/copy")
        let artifact = try fixture.backUp(
            tenant, job: fixture.job(stores: SeveralStores(stores: [fixture.storage, other])))
        #expect(artifact.manifest["destination"] == "default" && artifact.manifest["copies"] == ["copy-1"])
        let files = fixture.folder.files()
        let first = files.filter { $0.hasPrefix("objects/") }.map { $0.dropFirst(8) }
        #expect(
            first.count == 3
                && first.sorted() == files.filter { $0.hasPrefix("copy/") }.map { $0.dropFirst(5) }.sorted())
        for name in first {
            let root = fixture.folder.path
            let contents = FileManager.default.contents(atPath: "\(root)/objects/\(name)")
            #expect(contents != nil && contents == FileManager.default.contents(atPath: "\(root)/copy/\(name)"))
        }
    }

    @Test("a store that fails, early or late, or holds other than what was written, fails the backup in all stores")
    func badStore() {
        struct Broken: Error {}
        let good = fixture.storage
        for number in 0..<7 {
            var bad = TwistedStore(behind: FolderStore(root: fixture.folder.path + "/copy"))
            var code = "Broken"
            switch number {
            case 0: bad.onWrite = { _ in throw Broken() }
            case 1: bad.onWrite = { if $0 > 0 { throw Broken() } }
            case 2: bad.onPublish = { if $0.part == .content { throw Broken() } }
            case 3: bad.onPublish = { if $0.part == .manifest { throw Broken() } }
            case 4: bad.size = { $0.map { $0 - 1 } }
            case 5: bad.size = { _ in nil }
            default: bad.flipped = 2000
            }
            if number >= 4 { code = "backup_corrupt" }
            for stores in [[good, bad], [bad, good]] as [[any ObjectStore]] {
                expectFailure(code, fixture.job(stores: SeveralStores(stores: stores)))
            }
        }
    }

    @Test("a slow store slows the dump and no more, and the queue sees bytes, tables and what the last backup had")
    func slowStore() throws {
        fixture.last.withLock { $0 = BackupEstimate(bytes: 1, plainBytes: 1 << 40) }
        let slow = TwistedStore(behind: fixture.storage, onWrite: { _ in usleep(510_000) })
        let store = MemoryAttemptStore()
        guard
            case .finished = try JobHarness.run(
                fixture.job(storage: slow), .init(), tenant: tenant, store: store)
        else {
            Issue.record("not finished")
            return
        }
        let told = try #require(store.progress.last)
        #expect(told["unit"] == "bytes" && told["total"]?.int == 1 << 40 && told["done"]?.int ?? 0 > 0)
        #expect(told["message"]?.string?.contains(" tables") == true)
    }

    @Test("a store with less room than the last backup took is refused before anything is dumped")
    func space() throws {
        fixture.last.withLock { $0 = BackupEstimate(bytes: 1000, plainBytes: 1000) }
        expectFailure(
            "backup_space_short", fixture.job(storage: TwistedStore(behind: fixture.storage, free: 1199)),
            naming: "1199 bytes free")
        _ = try fixture.backUp(tenant, job: fixture.job(storage: TwistedStore(behind: fixture.storage, free: 1200)))
        #expect(try fixture.storage.freeBytes() ?? 0 > 0)
    }

    @Test("before the first backup a store with less room than a tenth of the tables is refused, with both numbers")
    func firstSpace() throws {
        fixture.last.withLock { $0 = nil }
        expectFailure(
            "backup_space_short", fixture.job(storage: TwistedStore(behind: fixture.storage, free: 1000)),
            naming: "so that its first backup needs at least")
    }

    @Test(
        "stores are told how large an object will be, by the last backup or by its tables, and S3 parts follow from it")
    func expectedBytes() throws {
        let told = Mutex<[Int64?]>([])
        let telling = TwistedStore(
            behind: fixture.storage,
            onLimits: { limits in
                told.withLock { $0.append(limits.expectedBytes) }
            })
        _ = try fixture.backUp(tenant, job: fixture.job(storage: telling))
        let first = try #require(told.withLock { $0.compactMap { $0 } }.first)
        told.withLock { $0 = [] }
        fixture.last.withLock { $0 = BackupEstimate(bytes: 123_456, plainBytes: 1_000_000) }
        let artifact = try fixture.backUp(tenant, job: fixture.job(storage: telling))
        let second = try #require(told.withLock { $0.compactMap { $0 } }.first)
        let tables = try #require(artifact.manifest["table_bytes"]?.int)
        #expect(first > 0 && first <= tables / 10)
        #expect(abs(second - 123_456) <= 1)
    }
}
