public import JobKit

/// What went wrong between Reeve and a PostgreSQL server.
///
/// Its text never holds a parameter's value: of what the server says only the primary message is used, values quoted
/// in it are replaced by `…`, and DETAIL is kept apart. A message raised with an application's own SQLSTATE (its first
/// letter I–Z, but not `P0…` or `XX…`) is kept as it is, because its author worded it for people.
public struct PostgresError: DispositionedError, CustomStringConvertible {
    /// The SQLSTATE, `23505`; nil when the connection itself failed.
    public let sqlState: String?
    /// The primary message without values, at most 2,000 bytes.
    public let message: String
    /// The statement's name, or the first words of its SQL; never a value.
    public let operation: String
    /// The server's DETAIL. It may hold values: never log or store it.
    public let detail: String?
    /// The HINT of an error that an application raised with its own SQLSTATE: what to do about it, worded for people.
    public let hint: String?
    /// The constraint that was violated.
    public let constraint: String?
    /// Whether the connection is gone. A COMMIT that fails this way may or may not have happened.
    public let isConnectionLost: Bool

    /// Creates an error; `message` must not hold values and is cut to 2,000 bytes.
    public init(
        sqlState: String?, message: String, operation: String, detail: String? = nil, hint: String? = nil,
        constraint: String? = nil, isConnectionLost: Bool = false
    ) {
        self.sqlState = sqlState
        self.message = cut(message, toBytes: 2000)
        self.operation = operation
        self.detail = detail
        self.hint = hint
        self.constraint = constraint
        self.isConnectionLost = isConnectionLost
    }

    /// Whether the same statement can succeed when it is tried again: conflicts, lock timeouts, a server that is
    /// full, starting or stopping, a lost connection.
    public var isRetriable: Bool {
        if isConnectionLost { return true }
        guard let sqlState else { return false }
        switch sqlState {
        case "40001", "40P01", "55P03", "57P01", "57P02", "57P03": return true
        default: return sqlState.hasPrefix("53") || sqlState.hasPrefix("08")
        }
    }

    /// `.retry`: the server cannot tell a bad statement from a bad moment; the attempt limit ends the former.
    public var disposition: Disposition { .retry }

    /// `operation: message (23505)`.
    public var description: String {
        if let sqlState { "\(operation): \(message) (\(sqlState))" } else { "\(operation): \(message)" }
    }
}

/// The longest prefix of whole characters that fits.
func cut(_ text: String, toBytes limit: Int) -> String {
    guard text.utf8.count > limit else { return text }
    var out = ""
    var bytes = 0
    for scalar in text.unicodeScalars {
        bytes += UTF8.width(scalar)
        if bytes > limit { break }
        out.unicodeScalars.append(scalar)
    }
    return out
}
