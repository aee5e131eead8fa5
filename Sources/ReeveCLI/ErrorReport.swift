import JobKit
import Postgres
import PostgresQueue
import Tenancy

/// Turns any error into an exit code and words that name the remedy.
struct ErrorReport {
    let code: ExitCode
    let message: String
    let hint: String?

    init(_ error: any Error, _ invocation: Invocation?) {
        switch error {
        case let error as CommandError: self.init(error.code, error.message, error.hint)
        case let error as PostgresError: self = ErrorReport.database(error, invocation)
        case let error as TenancyError: self.init(ErrorReport.code(error.kind), error.description, nil)
        case let error as JobFailure: self.init(.failed, error.message, nil)
        case let error as SchemaError: self.init(.conflict, error.description, nil)
        default: self.init(.failed, "\(error)", nil)
        }
    }

    private static func code(_ kind: TenancyError.Kind) -> ExitCode {
        switch kind {
        case .invalid: .usage
        case .notFound: .notFound
        case .conflict: .conflict
        case .refused: .refused
        }
    }

    private static func database(_ error: PostgresError, _ invocation: Invocation?) -> ErrorReport {
        let code: ExitCode
        let state = error.sqlState ?? ""
        switch state {
        case "RV001", "RV011": code = .notFound
        case "RV003", "RV009", "RV020", "42501": code = .refused
        case "RV008", "RV012": code = .conflict
        case "RV007", "RV013": code = .tryAgain
        case _ where state.hasPrefix("RV") || state.hasPrefix("22") || state.hasPrefix("23"): code = .usage
        case "25006":
            return ErrorReport(
                .unavailable, "the control database is read-only", "point REEVE_DATABASE_URL at the primary")
        case "53300":
            return ErrorReport(.tryAgain, "the control database has no connection left", connectionsHint)
        case "3F000", "42P01", "42883", "42703":
            return ErrorReport(
                .unavailable, "the control database has no schema that this program knows (\(error.message))",
                "run: reeve migrate up")
        case "57014": code = .timedOut
        case "57P03", "57P01", "57P02", "40001", "40P01", "55P03": code = .tryAgain
        case _ where error.isConnectionLost:
            return connection(error, invocation)
        case _ where state.hasPrefix("53") || state.hasPrefix("08"): code = .unavailable
        default: code = .failed
        }
        return ErrorReport(code, error.message, error.hint ?? hint(state))
    }

    private static func connection(_ error: PostgresError, _ invocation: Invocation?) -> ErrorReport {
        if error.operation == "connection string" {
            return ErrorReport(.usage, error.message, nil)
        } else if error.operation == "COMMIT" {
            return ErrorReport(
                .unavailable, "the connection was lost while committing: nobody knows whether it was done",
                "look before you try again; an enqueue with --key is safe to repeat")
        } else if error.message.contains("too many clients") || error.message.contains("remaining connection slots")
            || error.message.contains("too many connections")
        {
            return ErrorReport(
                .tryAgain, "the control database has no connection left: \(error.message)", connectionsHint)
        } else if error.isRefusedByDatabase {
            return ErrorReport(.refused, "the control database lets this login not in", hint("42501"))
        } else if error.message.contains("is starting up") || error.message.contains("is shutting down") {
            return ErrorReport(
                .tryAgain, "the control database is not ready: \(error.message)", "try again in a moment")
        } else {
            let target = invocation?.configuration.masked(.databaseURL)
            return ErrorReport(
                .unavailable, "cannot reach the control database: \(error.message)",
                "check REEVE_DATABASE_URL" + (target.map { " (in force: \($0))" } ?? "") + " and that the server runs")
        }
    }

    private init(_ code: ExitCode, _ message: String, _ hint: String?) {
        (self.code, self.message, self.hint) = (code, message, hint)
    }

    private static let connectionsHint = "try again, end idle sessions, put a pooler in front, or raise max_connections"

    private static func hint(_ state: String) -> String? {
        switch state {
        case "42501": "connect as a role that may do this: a member of reeve_operator, or the owner"
        case "RV001": "see: reeve tenant list"
        case "RV011": "see: reeve jobs list"
        default: nil
        }
    }

    /// With the words that the database knows: `, did you mean 'acme'?`.
    func asked(_ error: any Error, _ invocation: Invocation?) -> String {
        guard let state = (error as? PostgresError)?.sqlState, let invocation, let word = quotedWord else {
            return message
        }
        let sql: String
        switch state {
        case "RV001":
            sql =
                """
                SELECT code FROM reeve.tenant
                WHERE abs(length(code) - $1::int) <= 2 OR code LIKE $2::text || '%' LIMIT 20000
                """
        case "RV004":
            sql = "SELECT name FROM reeve.kind WHERE abs(length(name) - $1::int) <= 2 OR name LIKE $2::text || '%'"
        case "RV010" where message.hasPrefix("tier"):
            sql = "SELECT name FROM reeve.tier WHERE abs(length(name) - $1::int) <= 2 OR name LIKE $2::text || '%'"
        default: return message
        }
        // A suggestion that cannot be looked up is only missing: the error itself is what counts.
        guard let known = try? invocation.connect().execute(sql, [word.count, word]).map({ try $0.text(0) }) else {
            return message
        }
        return message + NearMiss.question(word, among: known)
    }

    private var quotedWord: String? {
        let parts = message.split(separator: "\"", omittingEmptySubsequences: false)
        return parts.count > 2 ? String(parts[1]) : nil
    }
}

extension PostgresError {
    /// Whether the login was proven but may not connect to the database: only Reeve's roles may, and the database's owner.
    /// libpq gives no SQLSTATE for it.
    var isRefusedByDatabase: Bool { isConnectionLost && message.contains("permission denied for database") }
}
