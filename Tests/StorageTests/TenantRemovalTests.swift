import FoundationEssentials
import Glibc
import JobKit
import ReeveTesting
import Storage
import Testing

@Suite("All that a store holds of a tenant")
struct TenantRemovalTests {
    @Test("S3: old versions, hidden ones and unfinished uploads go too, and nothing of anybody else")
    func bucket() throws {
        let fixture = BucketFixture()
        let other = TenantID(rawValue: UUID())
        let keys = try [fixture.newKey(), fixture.newKey()]
        for key in keys { try fixture.put(key, bytes: 10) }
        let path = "/\(fixture.bucket)/base"
        // An older version, one that a marker hides, a thing of another make, an upload that nobody finished.
        fixture.server.ask("PUT", "\(path)/\(keys[0])", body: "other")
        fixture.server.ask("DELETE", "\(path)/\(keys[1])")
        fixture.server.ask("PUT", "\(path)/\(fixture.tenant)/notes/by-hand.txt", body: "x")
        fixture.server.ask("POST", "\(path)/\(try fixture.newKey())?uploads")
        // Beside it: another tenant, another root, and names that begin alike.
        for name in ["base/\(other)/backups/2026/11/x", "\(fixture.tenant)/x", "base/\(fixture.tenant)x/y"] {
            fixture.server.ask("PUT", "/\(fixture.bucket)/\(name)", body: "x")
        }
        fixture.server.ask("POST", "\(path)/\(other)/backups/2026/11/y?uploads")
        let before = fixture.server.versions(in: fixture.bucket)
        let contents = try fixture.store.contents(of: fixture.tenant)
        #expect(contents.objects == 4)
        #expect(contents.unfinished == 1)
        try fixture.store.removeAll(of: fixture.tenant)
        #expect(try fixture.store.contents(of: fixture.tenant).isEmpty)
        #expect(fixture.server.versions(in: fixture.bucket, prefix: "base/\(fixture.tenant)/") == 0)
        #expect(before - fixture.server.versions(in: fixture.bucket) == 5)
        #expect(fixture.server.unfinishedUploads(in: fixture.bucket) == 1)
        try fixture.store.removeAll(of: fixture.tenant)
    }

    @Test("S3: what an object lock keeps fails, and says so")
    func locked() throws {
        let fixture = BucketFixture(isLocked: true)
        let rule = "<Mode>COMPLIANCE</Mode><Days>1</Days>"
        fixture.server.ask(
            "PUT", "/\(fixture.bucket)?object-lock",
            body: "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>"
                + "<Rule><DefaultRetention>\(rule)</DefaultRetention></Rule></ObjectLockConfiguration>")
        try fixture.put(fixture.newKey(), bytes: 10)
        let error = #expect(throws: StorageError.self) { try fixture.store.removeAll(of: fixture.tenant) }
        #expect(error?.code == .locked)
        #expect(try fixture.store.contents(of: fixture.tenant).objects == 1)
    }

    @Test("a folder: files, unfinished ones and links go, and what a link leads to stays")
    func folder() throws {
        let scratch = ScratchFolder()
        let store = FolderStore(root: scratch.path + "/objects")
        let (tenant, other) = (TenantID(rawValue: UUID()), TenantID(rawValue: UUID()))
        func key(_ tenant: TenantID) throws -> ObjectKey {
            try ObjectKey(tenant: tenant, entity: .backups, year: 2026, month: 11, id: UUID())
        }
        for owner in [tenant, tenant, other] {
            let writer = try store.writer(for: key(owner), attempt: UUID())
            try writer.write([1, 2, 3])
            try writer.publish()
        }
        let unfinished = try store.writer(for: key(tenant), attempt: UUID())
        try unfinished.write([1])
        let outside = scratch.path + "/outside"
        _ = FileManager.default.createFile(atPath: outside, contents: Data("kept".utf8))
        symlink(outside, "\(scratch.path)/objects/\(tenant)/backups/link")
        symlink(scratch.path, "\(scratch.path)/objects/\(tenant)/up")
        let contents = try store.contents(of: tenant)
        #expect(contents.objects == 4)
        #expect(contents.unfinished == 1)
        try store.removeAll(of: tenant)
        #expect(try store.contents(of: tenant).isEmpty)
        #expect(FileManager.default.contents(atPath: outside) == Data("kept".utf8))
        #expect(try store.contents(of: other).objects == 1)
        try store.removeAll(of: tenant)
    }

    @Test(
        "below a folder of its own a store reaches nothing of the tenant's prefix, and no name leads out",
        arguments: ["..", "a/b", "", "A"])
    func within(name: String) throws {
        let scratch = ScratchFolder()
        let store = FolderStore(root: scratch.path)
        #expect(throws: StorageError.self) { try store.within(["retained", name]) }
        let tenant = TenantID(rawValue: UUID())
        let inner = try store.within(["retained", "x-1"])
        let writer = try inner.writer(
            for: ObjectKey(tenant: tenant, entity: .backups, year: 2026, month: 11, id: UUID()), attempt: UUID())
        try writer.write([1])
        try writer.publish()
        #expect(try store.contents(of: tenant).isEmpty)
        try store.removeAll(of: tenant)
        #expect(try inner.contents(of: tenant).objects == 1)
    }
}
