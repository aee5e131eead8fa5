import FoundationEssentials
import Glibc
import JobKit
import ReeveTesting
import Storage
import Testing

/// Stores of files that rclone reaches: its local backend stands for SFTP and its like, whose files grow while they are written.
@Suite("RcloneStore on files", .serialized)
struct RcloneFolderTests {
    let folder = ScratchFolder()
    let fixture = BucketFixture(bucket: "none", port: nil)

    private var store: RcloneStore {
        RcloneStore(root: "l:\(folder.path)/objects", tool: ObjectServer.shared.tool())
    }

    @Test("an object gets its name when it is whole, by renaming; one that is abandoned leaves nothing")
    func renames() throws {
        let key = try fixture.newKey()
        let writer = try store.writer(for: key, attempt: UUID())
        for _ in 0..<20 { try writer.write([UInt8](repeating: 3, count: 1 << 20)) }
        #expect(!folder.files().contains("objects/\(key)"))
        #expect(try store.size(of: key) == nil)
        try writer.publish()
        #expect(folder.files() == ["objects/\(key)"])
        #expect(try store.size(of: key) == 20 << 20)
        let digest = try fixture.digest(of: key, in: store)
        let second = try fixture.newKey()
        #expect(try fixture.put(second, bytes: 3_000_000, in: store) == fixture.digest(of: second, in: store))
        #expect(try fixture.digest(of: key, in: FolderStore(root: "\(folder.path)/objects")) == digest)
        let dropped = try store.writer(for: fixture.newKey(), attempt: UUID())
        try dropped.write([UInt8](repeating: 3, count: 5 << 20))
        dropped.abandon()
        #expect(folder.files() == ["objects/\(key)", "objects/\(second)"].sorted())
        var listed = 0
        try store.list(fixture.tenant, .backups) { _ in listed += 1 }
        #expect(listed == 2)
        try store.delete(key)
        try store.delete(key)
        #expect(folder.files() == ["objects/\(second)"])
    }

    @Test("the sweep removes what dead writers left, and nothing else")
    func sweeps() throws {
        let key = try fixture.newKey()
        try fixture.put(key, bytes: 10, in: store)
        let month = "\(folder.path)/objects/" + "\(key)".split(separator: "/").dropLast().joined(separator: "/")
        let dead = ".\(TenantID(rawValue: UUID())).\(TenantID(rawValue: UUID())).part"
        for name in [dead, ".notes.part"] { close(open("\(month)/\(name)", O_CREAT | O_WRONLY, 0o600)) }
        #expect(try store.sweep(olderThan: .seconds(3600)) == 0)
        var times = (timespec(tv_sec: 1000, tv_nsec: 0), timespec(tv_sec: 1000, tv_nsec: 0))
        for name in [dead, ".notes.part"] {
            withUnsafePointer(to: &times) { pointer in
                _ = pointer.withMemoryRebound(to: timespec.self, capacity: 2) {
                    utimensat(AT_FDCWD, "\(month)/\(name)", $0, 0)
                }
            }
        }
        #expect(try store.sweep(olderThan: .seconds(3600)) == 1)
        #expect(folder.files().count == 2)
    }

    @Test("a full store and a read-only one are errors that say so and leave nothing")
    func full() throws {
        let place = folder.path + "/small"
        mkdir(place, 0o700)
        guard mount("none", place, "tmpfs", 0, "size=2m") == 0 else { return }  // Refused in some containers.
        defer { umount(place) }
        let small = RcloneStore(root: "l:\(place)", tool: ObjectServer.shared.tool())
        let error = #expect(throws: StorageError.self) {
            try fixture.put(fixture.newKey(), bytes: 5_000_000, in: small)
        }
        #expect(error?.code == .full, "\(String(describing: error))")
        #expect(folder.files().isEmpty)
        #expect(mount("none", place, "tmpfs", UInt(MS_REMOUNT | MS_RDONLY), nil) == 0)
        let second = #expect(throws: StorageError.self) { try fixture.put(fixture.newKey(), bytes: 10, in: small) }
        #expect(second?.code == .readOnly, "\(String(describing: second))")
    }

    @Test("a remote that is not configured is an error that names where to configure it")
    func unknownRemote() throws {
        let unknown = RcloneStore(root: "nowhere:bucket", tool: ObjectServer.shared.tool())
        let error = #expect(throws: StorageError.self) { try unknown.size(of: fixture.newKey()) }
        #expect(error?.code == .misconfigured && error?.message.contains("RCLONE_CONFIG") == true)
        let missing = RcloneStore(root: "l:/tmp", tool: RcloneTool(program: "rclone-not-here", environment: [:]))
        #expect(throws: (any Error).self) { try missing.size(of: fixture.newKey()) }
    }

    @Test("a location is a folder or a remote with a path, and nothing that an argument could be")
    func locations() throws {
        #expect(try StorageLocation(parsing: "/srv/reeve") == .folder("/srv/reeve"))
        #expect(try StorageLocation(parsing: "./a:b") == .folder("./a:b"))
        #expect(try StorageLocation(parsing: "s3:bucket/base/") == .remote(name: "s3", path: "bucket/base"))
        #expect(try StorageLocation(parsing: "sftp:/srv") == .remote(name: "sftp", path: "/srv"))
        for text in [
            "", "-x:bucket", ":s3,access_key_id=a:bucket", "s3,region=x:bucket", "s3:a/../b", "s3:a\u{0}b",
            "--config:x",
            "a b:c",
        ] {
            let error = #expect(throws: StorageError.self) { try StorageLocation(parsing: text) }
            #expect(error?.code == .misconfigured)
        }
    }
}
