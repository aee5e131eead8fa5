public import JobKit

/// A child program that could not be started or ended badly.
public struct ChildProcessError: DispositionedError, CustomStringConvertible {
    /// A short stable name: `program_missing`.
    public let code: String
    /// What happened and what to do.
    public let message: String
    /// What it means for a job.
    public let disposition: Disposition

    /// Creates the error.
    public init(code: String, message: String, disposition: Disposition = .retry) {
        self.code = code
        self.message = message
        self.disposition = disposition
    }

    /// The message.
    public var description: String { message }

    /// The error for a program that is not installed; names the Debian package.
    public static func missing(_ program: String) -> ChildProcessError {
        let name = program.split(separator: "/").last.map(String.init) ?? program
        let package =
            switch name {
            case "pg_dump", "pg_restore", "psql": "postgresql-client"
            case "postgres", "initdb", "pg_ctl": "postgresql"
            default: name
            }
        return ChildProcessError(
            code: "program_missing", message: "\(name) is not installed; run: apt-get install \(package)",
            disposition: .retryAfter(.seconds(300)))
    }
}
