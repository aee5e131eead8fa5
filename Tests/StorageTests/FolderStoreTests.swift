import FoundationEssentials
import Glibc
import JobKit
import ReeveTesting
import Storage
import Testing

@Suite("FolderStore")
struct FolderStoreTests {
    let folder = ScratchFolder()
    let tenant = TenantID(rawValue: UUID())
    var store: FolderStore { FolderStore(root: folder.path + "/objects") }

    func newKey() throws -> ObjectKey {
        try ObjectKey(tenant: tenant, entity: .backups, year: 2026, month: 11, id: UUID())
    }

    func content(_ key: ObjectKey) throws -> [UInt8] {
        var bytes: [UInt8] = []
        try store.read(key) { bytes += $0 }
        return bytes
    }

    @Test("an object is invisible until it is published, then whole, for its owner alone")
    func publish() throws {
        let key = try newKey()
        let writer = try store.writer(for: key, attempt: UUID())
        try writer.write([1, 2, 3])
        #expect(try store.size(of: key) == nil)
        #expect(throws: StorageError.self) { try content(key) }
        try writer.write([4])
        try writer.publish()
        #expect(try store.size(of: key) == 4)
        #expect(try content(key) == [1, 2, 3, 4])
        #expect(writer.bytes == 4)
        #expect(folder.files() == ["objects/\(key)"])
        #expect(folder.mode(of: "objects/\(key)") == 0o600)
        #expect(folder.mode(of: "objects") == 0o700)
        #expect(folder.mode(of: "objects/\(tenant)/backups/2026") == 0o700)
        try store.delete(key)
        try store.delete(key)
        #expect(folder.files().isEmpty)
    }

    @Test("large objects come back as they were")
    func large() throws {
        let key = try newKey()
        let writer = try store.writer(for: key, attempt: UUID())
        let piece = (0..<100_003).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        for _ in 0..<20 { try writer.write(piece) }
        try writer.publish()
        let back = try content(key)
        #expect(back.count == 2_000_060)
        #expect(back.prefix(piece.count).elementsEqual(piece) && back.suffix(piece.count).elementsEqual(piece))
    }

    @Test("a writer that is abandoned or dropped leaves nothing behind")
    func abandoned() throws {
        let key = try newKey()
        let writer = try store.writer(for: key, attempt: UUID())
        try writer.write([1])
        writer.abandon()
        #expect(throws: StorageError.self) { try writer.write([2]) }
        #expect(throws: StorageError.self) { try writer.publish() }
        _ = try store.writer(for: key, attempt: UUID())
        #expect(folder.files().isEmpty)
    }

    @Test("two attempts never share a file, and nothing is overwritten")
    func attempts() throws {
        let key = try newKey()
        let attempt = UUID()
        let first = try store.writer(for: key, attempt: attempt)
        #expect(throws: StorageError.self) { try store.writer(for: key, attempt: attempt) }
        let second = try store.writer(for: key, attempt: UUID())
        try first.write([1])
        try second.write([2, 2])
        try second.publish()
        let error = #expect(throws: StorageError.self) { try first.publish() }
        #expect(error?.code == .exists)
        #expect(try content(key) == [2, 2])
        #expect(folder.files() == ["objects/\(key)"])
    }

    @Test("symbolic links on the way or at the end lead nowhere")
    func links() throws {
        let outside = ScratchFolder()
        let key = try newKey()
        let writer = try store.writer(for: key, attempt: UUID())
        try writer.write([1])
        try writer.publish()
        let object = "\(store.root)/\(key)"
        #expect(rename(object, outside.path + "/stolen") == 0 && symlink(outside.path + "/stolen", object) == 0)
        #expect(throws: StorageError.self) { try content(key) }
        #expect(throws: StorageError.self) { try store.size(of: key) }
        let month = "\(store.root)/\(tenant)/backups/2026/12"
        #expect(symlink(outside.path, month) == 0)
        let other = try ObjectKey(tenant: tenant, entity: .backups, year: 2026, month: 12, id: UUID())
        let error = #expect(throws: StorageError.self) { try store.writer(for: other, attempt: UUID()) }
        #expect(error?.code == .denied)
        #expect(outside.files() == ["stolen"])
    }

    @Test("a file size limit is an error that names the remedy, ends no process and leaves nothing")
    func sizeLimit() throws {
        let key = try newKey()
        let store = store
        // The limit binds the whole test process for a moment; 8 MiB is more than any other test writes to a file.
        let writer = try store.writer(for: key, attempt: UUID())
        var before = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &before)
        var limit = rlimit(rlim_cur: 8 << 20, rlim_max: before.rlim_max)
        #expect(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0)
        defer { setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &before) }
        let error = #expect(throws: StorageError.self) {
            for _ in 0..<9 { try writer.write([UInt8](repeating: 7, count: 1 << 20)) }
        }
        #expect(error?.code == .full)
        #expect(error?.message.contains("ulimit -f") == true)
        #expect(error?.disposition == .retryAfter(.seconds(300)))
        #expect(folder.files().isEmpty)
    }

    @Test("a full disk is an error that names the remedy and leaves nothing")
    func full() throws {
        let place = folder.path + "/small"
        mkdir(place, 0o700)
        guard mount("none", place, "tmpfs", 0, "size=200k") == 0 else { return }  // Refused in some containers.
        defer { umount(place) }
        let small = FolderStore(root: place)
        do {
            let writer = try small.writer(for: try newKey(), attempt: UUID())
            let error = #expect(throws: StorageError.self) {
                for _ in 0..<10 { try writer.write([UInt8](repeating: 7, count: 50_000)) }
            }
            #expect(error?.code == .full)
            #expect(error?.message.contains("free space") == true)
        }
        #expect(!folder.files().contains { $0.hasSuffix(".part") })
        #expect(mount("none", place, "tmpfs", UInt(MS_REMOUNT | MS_RDONLY), nil) == 0)
        let readOnly = #expect(throws: StorageError.self) { try small.writer(for: try newKey(), attempt: UUID()) }
        #expect(readOnly?.code == .readOnly)
        #expect(readOnly?.message.contains("REEVE_STORAGE") == true)
    }

    @Test("what is expected not to fit is refused before a byte is written, with the numbers; what fits is not")
    func expected() throws {
        let free = try #require(try FolderStore(root: "/tmp").freeBytes())
        let expected = free + 1 << 40
        let tooMuch = store.limited(by: TransferLimits(expectedBytes: expected))
        let error = #expect(throws: StorageError.self) { try tooMuch.writer(for: try newKey(), attempt: UUID()) }
        #expect(error?.code == .full && error?.disposition == .retryAfter(.seconds(300)))
        #expect(error?.message.contains("about \(expected) bytes are expected") == true)
        #expect(folder.files().isEmpty)
        let writer = try store.limited(by: TransferLimits(expectedBytes: 10)).writer(for: try newKey(), attempt: UUID())
        try writer.write([1, 2, 3])
        try writer.publish()
        #expect(folder.files().count == 1)
    }

    @Test("a stop or a deadline ends writing and reading between two pieces, and leaves nothing half written")
    func stopped() throws {
        let key = try newKey()
        let whole = try store.writer(for: key, attempt: UUID())
        for _ in 0..<4 { try whole.write([UInt8](repeating: 7, count: 128 << 10)) }
        try whole.publish()
        let stop = StopSignal()
        let bound = store.limited(by: TransferLimits(stop: stop))
        var pieces = 0
        let cut = #expect(throws: Stopped.self) {
            try bound.read(key) { _ in
                pieces += 1
                if pieces == 2 { stop.stop(.leaseLost) }
            }
        }
        #expect(cut?.reason == .leaseLost && pieces == 2)
        let late = store.limited(by: TransferLimits(deadline: .now - .seconds(1)))
        #expect(throws: Stopped.self) { try late.writer(for: try newKey(), attempt: UUID()) }
        let other = StopSignal()
        let writer = try store.limited(by: TransferLimits(stop: other)).writer(for: try newKey(), attempt: UUID())
        try writer.write([1, 2, 3])
        other.stop(.cancelled)
        #expect(throws: Stopped.self) { try writer.write([4]) }
        #expect(folder.files().count == 1)
    }

    @Test("a root that cannot be a folder is an error that names it")
    func badRoot() throws {
        let file = folder.path + "/file"
        close(open(file, O_CREAT | O_WRONLY, 0o600))
        let error = #expect(throws: StorageError.self) {
            try FolderStore(root: file).writer(for: try newKey(), attempt: UUID())
        }
        #expect(error?.message.contains(file) == true)
    }

    @Test("the sweep removes what dead writers left, and neither fresh files nor objects nor others' files")
    func sweep() throws {
        let done = try newKey()
        let writer = try store.writer(for: done, attempt: UUID())
        try writer.publish()
        let month = "objects/\(tenant)/backups/2026/11"
        let fresh = try store.writer(for: try newKey(), attempt: UUID())
        let dead = "\(month)/.\(TenantID(rawValue: UUID())).manifest.json.\(TenantID(rawValue: UUID())).part"
        let stranger = "\(month)/.notes.part"
        for name in [dead, stranger, "objects/\(done)"] {
            close(open("\(folder.path)/\(name)", O_CREAT | O_WRONLY, 0o600))
            var times = (timespec(tv_sec: 1000, tv_nsec: 0), timespec(tv_sec: 1000, tv_nsec: 0))
            withUnsafePointer(to: &times) { pointer in
                _ = pointer.withMemoryRebound(to: timespec.self, capacity: 2) {
                    utimensat(AT_FDCWD, "\(folder.path)/\(name)", $0, 0)
                }
            }
        }
        #expect(folder.files().count == 4)
        #expect(try store.sweep(olderThan: .seconds(3600)) == 1)
        #expect(folder.files().count == 3 && !folder.files().contains(dead))
        #expect(try store.sweep(olderThan: .seconds(-5)) == 1)
        #expect(folder.files() == [stranger, "objects/\(done)"].sorted())
        fresh.abandon()
        #expect(try FolderStore(root: folder.path + "/nowhere").sweep(olderThan: .zero) == 0)
    }
}
