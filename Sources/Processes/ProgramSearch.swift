import FoundationEssentials
import Glibc

extension ChildProcess {
    /// The path of an executable: from PATH, then from PostgreSQL's own directories, newest version first (Debian keeps its
    /// server programs out of PATH). Nil when there is none.
    public static func find(_ program: String, extraDirectories: [String] = []) -> String? {
        if program.contains("/") { return access(program, X_OK) == 0 ? program : nil }
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"
        var directories = extraDirectories + path.split(separator: ":").map(String.init)
        let root = "/usr/lib/postgresql"
        // No such directory means no PostgreSQL there.
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        directories += versions.sorted { (Int($0) ?? 0) > (Int($1) ?? 0) }.map { "\(root)/\($0)/bin" }
        return directories.lazy.map { "\($0)/\(program)" }.first { access($0, X_OK) == 0 }
    }
}
