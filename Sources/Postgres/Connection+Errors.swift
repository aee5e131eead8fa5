import CLibpq
import Glibc

/// The codes of PQresultErrorField, which are character macros in C.
enum Diagnostic {
    static let sqlState = Int32(UInt8(ascii: "C"))
    static let primary = Int32(UInt8(ascii: "M"))
    static let hint = Int32(UInt8(ascii: "H"))
    static let detail = Int32(UInt8(ascii: "D"))
    static let constraint = Int32(UInt8(ascii: "n"))
    static let sourceFunction = Int32(UInt8(ascii: "R"))
}

extension Connection {
    /// The error that a failed result reports.
    func serverError(_ result: ResultStorage, _ operation: String, _ parameters: [String?]) -> PostgresError {
        guard let sqlState = result.field(Diagnostic.sqlState) else { return connectionError(operation) }
        let raised = result.field(Diagnostic.sourceFunction) == "exec_stmt_raise"
        let message = Redaction.primary(
            result.field(Diagnostic.primary) ?? "unknown error", sqlState: sqlState, raised: raised,
            parameters: parameters)
        return PostgresError(
            sqlState: sqlState, message: message, operation: operation, detail: result.field(Diagnostic.detail),
            hint: raised
                ? Redaction.hint(result.field(Diagnostic.hint), sqlState: sqlState, parameters: parameters) : nil,
            constraint: result.field(Diagnostic.constraint),
            isConnectionLost: !isUsable || sqlState.hasPrefix("08") || sqlState.hasPrefix("57P0"))
    }

    /// The error of libpq itself: nearly always a lost connection.
    func connectionError(_ operation: String) -> PostgresError {
        guard let pointer else {
            return PostgresError(
                sqlState: nil, message: "the connection is closed", operation: operation, isConnectionLost: true)
        }
        // A server that is stopped at once warns before it hangs up. libpq takes the warning for life, so that a statement which could
        // not be sent leaves the connection OK.
        if isUsable, hasHungUp(PQsocket(pointer)) { isHungUp = true }
        let message = Redaction.withoutSecrets(connectionMessage(pointer), settings.secrets)
        return PostgresError(sqlState: nil, message: message, operation: operation, isConnectionLost: !isUsable)
    }
}

/// Whether the other end has closed the socket, whatever is still to be read from it.
private func hasHungUp(_ socket: Int32) -> Bool {
    // POLLRDHUP of <poll.h>, which Glibc's module leaves out.
    var watched = pollfd(fd: socket, events: 0x2000, revents: 0)
    return poll(&watched, 1, 0) > 0 && watched.revents != 0
}
