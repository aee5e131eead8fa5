import FoundationEssentials
import Glibc
import JobKit

/// A program's working directory: empty, its user's alone, and removed when the program has ended.
struct WorkFolder {
    private static let parent = "/tmp"
    private static let prefix = "reeve-program-"

    /// All of them.
    static let pattern = "\(parent)/\(prefix)*"

    let path: String

    init() throws {
        guard let path = TemporaryFolder.make("\(Self.parent)/\(Self.prefix)\(getpid())-") else {
            throw JobFailure(
                "no_scratch_space", "no folder can be made in \(Self.parent): \(String(cString: strerror(errno)))")
        }
        self.path = path
    }

    func remove(_ log: Log) {
        do { try FileManager.default.removeItem(atPath: path) } catch {
            log.warning(
                "a program's folder could not be removed", ["folder": .string(path), "error": .string("\(error)")])
        }
    }

    /// Removes what killed workers of this user left behind.
    static func removeLeftovers() {
        // A folder that cannot be read or removed is another user's, who cleans up as well.
        for entry in (try? FileManager.default.contentsOfDirectory(atPath: parent)) ?? [] where entry.hasPrefix(prefix)
        {
            guard let pid = pid_t(entry.dropFirst(prefix.count).prefix { $0 != "-" }), kill(pid, 0) != 0, errno == ESRCH
            else { continue }
            var status = stat()
            guard lstat("\(parent)/\(entry)", &status) == 0, status.st_mode & S_IFMT == S_IFDIR,
                status.st_uid == geteuid()
            else { continue }
            try? FileManager.default.removeItem(atPath: "\(parent)/\(entry)")
        }
    }
}
