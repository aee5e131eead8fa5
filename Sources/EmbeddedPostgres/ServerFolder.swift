import FoundationEssentials
import Glibc
import JobKit

/// The unprivileged user that a server runs as when this process is root: PostgreSQL refuses to run as root.
struct ServerUser {
    let uid: uid_t
    let gid: gid_t

    /// `postgres` where its package is installed, else `nobody`.
    static func find() throws -> ServerUser {
        for name in ["postgres", "nobody"] {
            if let entry = getpwnam(name) { return ServerUser(uid: entry.pointee.pw_uid, gid: entry.pointee.pw_gid) }
        }
        throw EmbeddedPostgresError(
            description: "no unprivileged user to run PostgreSQL as; run as another user than root")
    }
}

/// The folders of an embedded server, owned by its user.
enum ServerFolder {
    /// Makes the folder, or one under /var/tmp when a parent keeps the server's user out. Returns its absolute path.
    static func make(_ path: String, for user: ServerUser?) throws -> String {
        var absolute = path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
        if user != nil, !parentsAreOpen(absolute) { absolute = "/var/tmp/reeve" + absolute.replacing("/", with: "-") }
        do { try FileManager.default.createDirectory(atPath: absolute, withIntermediateDirectories: true) } catch {
            throw EmbeddedPostgresError(
                description: "the folder \(absolute) cannot be made: \(String(cString: strerror(errno)))")
        }
        if let user { chown(absolute, user.uid, user.gid) }
        chmod(absolute, 0o711)
        return absolute
    }

    /// Makes the folder of the socket: inside, or under /tmp when the path is too long for a socket (107 bytes, unix(7)).
    static func makeSocketFolder(in directory: String, for user: ServerUser?) throws -> String {
        let inside = "\(directory)/run"
        if inside.utf8.count <= 85 { return try make(inside, for: user) }
        guard let short = TemporaryFolder.make("/tmp/reeve-") else {
            throw EmbeddedPostgresError(description: "no folder can be made in /tmp")
        }
        return try make(short, for: user)
    }

    /// Writes a file that only its owner may read: this process's user, or the server's.
    static func writePrivate(_ text: String, to path: String, for user: ServerUser?) throws {
        unlink(path)
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw EmbeddedPostgresError(description: "\(path) cannot be written") }
        defer { close(descriptor) }
        var text = text
        let written = text.withUTF8 { write(descriptor, $0.baseAddress, $0.count) }
        guard written == text.utf8.count else { throw EmbeddedPostgresError(description: "\(path) cannot be written") }
        if let user { fchown(descriptor, user.uid, user.gid) }
    }

    private static func parentsAreOpen(_ path: String) -> Bool {
        var parent = path
        while let slash = parent.lastIndex(of: "/"), slash > parent.startIndex {
            parent = String(parent[..<slash])
            var status = stat()
            if stat(parent, &status) == 0, status.st_mode & 0o001 == 0 { return false }
        }
        return true
    }
}
