import FoundationEssentials
import Glibc

extension ChildProcess {
    /// The path of an executable: from PATH, then from PostgreSQL's own directories, newest version first (Debian keeps its
    /// server programs out of PATH). Nil when there is none.
    ///
    /// Debian's pg_wrapper, a Perl script that looks for the newest version in the same directories, comes last: each run of a
    /// client program by way of it costs three times as much.
    public static func find(_ program: String, extraDirectories: [String] = []) -> String? {
        if program.contains("/") { return access(program, X_OK) == 0 ? program : nil }
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"
        var directories = extraDirectories + path.split(separator: ":").map(String.init)
        let root = "/usr/lib/postgresql"
        // No such directory means no PostgreSQL there.
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        directories += versions.sorted { (Int($0) ?? 0) > (Int($1) ?? 0) }.map { "\(root)/\($0)/bin" }
        let found: [String] = directories.map { "\($0)/\(program)" }.filter { access($0, X_OK) == 0 }
        return found.first { !isWrapper($0) } ?? found.first
    }

    private static func isWrapper(_ path: String) -> Bool {
        let target = try? FileManager.default.destinationOfSymbolicLink(atPath: path)
        return target?.hasSuffix("/pg_wrapper") ?? false
    }
}
