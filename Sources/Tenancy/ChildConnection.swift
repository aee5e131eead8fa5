import FoundationEssentials
import Glibc
import JobKit
import Postgres

/// A tenant's connections for a child program such as pg_dump: a service file and password files in a folder that only
/// this user may enter, removed when the closure it was handed to ends. Nothing of it belongs into arguments.
public struct ChildConnection: Sendable {
    /// What a child may log in to.
    struct Login {
        let settings: ConnectionSettings
        let user: String
        let password: String
    }

    /// `PGSERVICEFILE`, `PGSERVICE` and for one database `PGPASSFILE`, to be added to the child's environment. Of several
    /// databases the child names one of `services` itself: `PGSERVICE` then names none of them, so that a child which does not
    /// choose is refused by libpq instead of reaching whatever its defaults reach.
    public let environment: [String: String]
    /// The names in the service file, in the order of the stores: `reeve`, or `reeve-1`, `reeve-2` of several.
    public let services: [String]
    private let folder: String
    private let claim: FolderClaim

    init(_ logins: [Login]) throws {
        (folder, claim) = try Self.makeFolder()
        let serviceFile = "\(folder)/service"
        services = logins.count == 1 ? ["reeve"] : logins.indices.map { "reeve-\($0 + 1)" }
        let defaults = ["PGSERVICEFILE": serviceFile, "PGSERVICE": "reeve"]
        environment = logins.count == 1 ? defaults.merging(["PGPASSFILE": "\(folder)/pass-1"]) { $1 } : defaults
        do {
            var text = ""
            for (index, login) in logins.enumerated() {
                let passwordFile = "\(folder)/pass-\(index + 1)"
                // Logins of two servers may have one name: each service names a password file of its own.
                let settings = logins.count == 1 ? login.settings : login.settings.with(["passfile": passwordFile])
                text += try Self.service(services[index], settings)
                let line = "*:*:*:\(Self.escape(login.user)):\(Self.escape(login.password))\n"
                try Self.write(line, to: passwordFile)
            }
            try Self.write(text, to: serviceFile)
        } catch {
            remove()
            throw error
        }
    }

    func remove() { Self.remove(folder) }

    private static func makeFolder() throws -> (String, FolderClaim) {
        for _ in 0..<10 {
            guard let folder = TemporaryFolder.make("\(parent)/\(prefix)") else { break }
            // Another worker that starts just now may have taken it for a leftover before it was claimed.
            if let claim = FolderClaim(folder), claim.isThere { return (folder, claim) }
        }
        throw JobFailure("no_scratch_space", "no folder can be made in \(parent): \(String(cString: strerror(errno)))")
    }

    private static func remove(_ folder: String) {
        // The folder is this user's alone, and so is what is in it.
        for file in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [] { unlink("\(folder)/\(file)") }
        rmdir(folder)
    }

    /// Removes what a killed process of this user left behind.
    static func removeLeftovers() {
        // A folder that cannot be read or removed is another user's, who cleans up as well.
        for entry in (try? FileManager.default.contentsOfDirectory(atPath: parent)) ?? [] where entry.hasPrefix(prefix)
        {
            // Anybody may put a link of that name into /tmp; it must not lead us elsewhere.
            var status = stat()
            guard lstat("\(parent)/\(entry)", &status) == 0, status.st_mode & S_IFMT == S_IFDIR,
                status.st_uid == geteuid(), let claim = FolderClaim("\(parent)/\(entry)")
            else { continue }
            withExtendedLifetime(claim) { remove("\(parent)/\(entry)") }
        }
    }

    private static let parent = "/tmp"
    private static let prefix = "reeve-child-"
    /// The folders of all children of this machine: a `*` stands for any ending.
    public static let pattern = "\(parent)/\(prefix)*"

    private static func service(_ name: String, _ settings: ConnectionSettings) throws -> String {
        var text = "[\(name)]\n"
        for (keyword, value) in settings.options.sorted(by: { $0.key < $1.key }) where keyword != "password" {
            guard !value.contains(where: \.isNewline) else {
                throw JobFailure(
                    "bad_conninfo", "the server's \(keyword) holds a line break, which no service file can", .giveUp)
            }
            text += "\(keyword)=\(value)\n"
        }
        return text
    }

    private static func write(_ text: String, to path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw JobFailure("no_scratch_space", "\(path) cannot be made") }
        defer { close(descriptor) }
        var text = text
        let written = text.withUTF8 { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        guard written == text.utf8.count else { throw JobFailure("no_scratch_space", "\(path) cannot be written") }
    }

    /// A field of a password file, where a colon separates and a backslash escapes.
    private static func escape(_ field: String) -> String {
        field.replacing("\\", with: "\\\\").replacing(":", with: "\\:")
    }
}

/// A folder that a process uses: a lock that ends with the process, however it ends and whatever its process id is (in a
/// container the next worker has the same one).
private final class FolderClaim: Sendable {
    private let descriptor: Int32

    /// Nil when another process uses the folder, or it is gone.
    init?(_ folder: String) {
        descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0, flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { return nil }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Whether the folder still has its name.
    var isThere: Bool {
        var status = stat()
        return fstat(descriptor, &status) == 0 && status.st_nlink > 0
    }
}
