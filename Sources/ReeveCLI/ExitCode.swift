/// How a command ended, for scripts (design section 11).
public enum ExitCode: Int32, Sendable {
    /// Done.
    case done = 0
    /// It was tried and failed.
    case failed = 1
    /// The command line, the configuration or the input is wrong.
    case usage = 2
    /// There is no such tenant, job, queue or file.
    case notFound = 3
    /// Policy or missing rights refused it.
    case refused = 4
    /// The present state does not allow it.
    case conflict = 5
    /// The time that was given is over.
    case timedOut = 6
    /// A dependency is down.
    case unavailable = 69
    /// The same command can succeed later.
    case tryAgain = 75
    /// Interrupted by a signal.
    case interrupted = 130
}

/// A refusal in words: what is wrong and what to do about it.
public struct CommandError: Error, CustomStringConvertible {
    /// How the program ends.
    public let code: ExitCode
    /// What is wrong.
    public let message: String
    /// What to do.
    public let hint: String?

    /// Creates an error; neither text may hold a secret.
    public init(_ code: ExitCode, _ message: String, hint: String? = nil) {
        self.code = code
        self.message = message
        self.hint = hint
    }

    /// Message and hint.
    public var description: String { hint.map { "\(message); \($0)" } ?? message }
}
