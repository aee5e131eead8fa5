import FoundationEssentials
import Glibc
import JobKit
import ReeveTesting
import Storage
import Testing

/// Writers whose process is killed before they published: what they leave is what an out-of-memory kill leaves.
@Suite("Dead writers", .serialized)
struct DeadWriterTests {
    let tenant = TenantID(rawValue: UUID())

    private func newKey() throws -> ObjectKey {
        try ObjectKey(tenant: tenant, entity: .backups, year: 2026, month: 11, id: UUID())
    }

    /// Has a process of its own write this much, and kills it with SIGKILL when it did.
    private func killWriter(at location: String, _ key: ObjectKey, bytes: Int) {
        var pipe: [Int32] = [-1, -1]
        #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &pipe) == 0)
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, pipe[1], 1)
        defer { posix_spawn_file_actions_destroy(&actions) }
        let words = [BuiltProducts.path("supervise-fixture"), "store", location, "\(key)", "\(bytes)"]
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        var variables: [UnsafeMutablePointer<CChar>?] =
            ObjectServer.shared.environment().map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for text in arguments + variables { free(text) } }
        var pid = pid_t()
        #expect(posix_spawn(&pid, words[0], &actions, nil, &arguments, &variables) == 0)
        close(pipe[1])
        var said = [UInt8](repeating: 0, count: 300)
        let count = read(pipe[0], &said, said.count)
        #expect(String(decoding: said.prefix(max(0, count)), as: UTF8.self) == "written\n")
        kill(pid, SIGKILL)
        waitpid(pid, nil, 0)
        // Its rclone holds the other end until it is gone.
        close(pipe[0])
    }

    private func eventually(_ claim: () throws -> Bool) rethrows -> Bool {
        let until = ContinuousClock.now + .seconds(15)
        while try !claim() {
            if ContinuousClock.now > until { return false }
            usleep(20_000)
        }
        return true
    }

    /// The processes whose command line names this object.
    private func living(_ key: ObjectKey) -> Int {
        ((try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []).count { entry in
            guard Int(entry) != nil, let line = FileManager.default.contents(atPath: "/proc/\(entry)/cmdline") else {
                return false
            }
            return String(decoding: line, as: UTF8.self).contains("\(key.id)".lowercased())
        }
    }

    @Test(
        "a killed writer leaves no object in a bucket: its death is not taken for the end", arguments: [500, 20 << 20])
    func bucket(bytes: Int) throws {
        let server = ObjectServer.shared
        let bucket = server.newBucket()
        let key = try newKey()
        killWriter(at: "m:\(bucket)/base", key, bytes: bytes)
        #expect(eventually { living(key) == 0 })
        #expect(server.versions(in: bucket) == 0)
        #expect(server.unfinishedUploads(in: bucket) == 0)
    }

    @Test("a killed writer leaves nothing readable in a folder, and the sweep removes the rest")
    func folder() throws {
        let folder = ScratchFolder()
        let key = try newKey()
        let store = FolderStore(root: folder.path)
        killWriter(at: folder.path, key, bytes: 3 << 20)
        #expect(try store.size(of: key) == nil)
        var listed = 0
        try store.list(tenant, .backups) { _ in listed += 1 }
        #expect(listed == 0)
        #expect(folder.files().count == 1)
        #expect(try store.sweep(olderThan: .seconds(3600)) == 0)
        #expect(try store.sweep(olderThan: .seconds(-5)) == 1)
        #expect(folder.files().isEmpty)
    }

    @Test("a killed writer leaves nothing readable in a remote of files, and the sweep removes the rest")
    func remoteFolder() throws {
        let folder = ScratchFolder()
        let key = try newKey()
        killWriter(at: "l:\(folder.path)", key, bytes: 3 << 20)
        #expect(eventually { living(key) == 0 })
        let store = RcloneStore(root: "l:\(folder.path)", tool: ObjectServer.shared.tool())
        #expect(try store.size(of: key) == nil)
        #expect(folder.files().allSatisfy { $0.hasSuffix(".part") })
        try store.sweep(olderThan: .zero)
        #expect(folder.files().isEmpty)
    }
}
