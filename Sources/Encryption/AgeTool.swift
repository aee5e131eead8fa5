import Glibc
public import Processes

/// The program age (age-encryption.org), which makes and opens encrypted files.
public struct AgeTool: Sendable {
    /// Its path, or the name to look up in PATH.
    public let program: String
    /// What ends it with this process.
    public let supervisor: Supervisor

    /// Names the program.
    public init(program: String = "age", supervisor: Supervisor = .current()) {
        self.program = program
        self.supervisor = supervisor
    }

    /// What age gets: no variable of this process but the way to programs (plugins of age are found there).
    var environment: [String: String] {
        ["LC_ALL": "C", "PATH": getenv("PATH").map { String(cString: $0) } ?? "/usr/local/bin:/usr/bin:/bin"]
    }
}
