import FoundationEssentials
import Glibc
import JobKit
import Postgres

/// A tenant's connection for a child program such as pg_dump: a service file and a password file in a folder that only
/// this user may enter, removed when the closure it was handed to ends. Nothing of it belongs into arguments.
public struct ChildConnection: Sendable {
    /// `PGSERVICEFILE`, `PGSERVICE` and `PGPASSFILE`, to be added to the child's environment.
    public let environment: [String: String]
    private let folder: String

    init(_ settings: ConnectionSettings, login: String, password: String) throws {
        var template = Array("\(Self.parent)/\(Self.prefix)\(getpid())-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw JobFailure(
                "no_scratch_space", "no folder can be made in \(Self.parent): \(String(cString: strerror(errno)))")
        }
        folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let serviceFile = "\(folder)/service"
        let passwordFile = "\(folder)/pass"
        environment = ["PGSERVICEFILE": serviceFile, "PGSERVICE": "reeve", "PGPASSFILE": passwordFile]
        do {
            try Self.write(Self.service(settings), to: serviceFile)
            try Self.write("*:*:*:\(Self.escape(login)):\(Self.escape(password))\n", to: passwordFile)
        } catch {
            remove()
            throw error
        }
    }

    func remove() {
        for file in ["service", "pass"] { unlink("\(folder)/\(file)") }
        rmdir(folder)
    }

    /// Removes what a killed process of this user left behind.
    static func removeLeftovers() {
        // A folder that cannot be read or removed is another user's, who cleans up as well.
        for entry in (try? FileManager.default.contentsOfDirectory(atPath: parent)) ?? [] where entry.hasPrefix(prefix)
        {
            guard let pid = pid_t(entry.dropFirst(prefix.count).prefix { $0 != "-" }), kill(pid, 0) != 0, errno == ESRCH
            else { continue }
            // Anybody may put a link of that name into /tmp; it must not lead us elsewhere.
            var status = stat()
            guard lstat("\(parent)/\(entry)", &status) == 0, status.st_mode & S_IFMT == S_IFDIR,
                status.st_uid == geteuid()
            else { continue }
            for file in ["service", "pass"] { unlink("\(parent)/\(entry)/\(file)") }
            rmdir("\(parent)/\(entry)")
        }
    }

    private static let parent = "/tmp"
    private static let prefix = "reeve-child-"

    private static func service(_ settings: ConnectionSettings) throws -> String {
        var text = "[reeve]\n"
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
