import CLibpq
import Glibc

/// One connection to a PostgreSQL server, used by one thread at a time. Calls block; those that take a stop signal or a
/// deadline end early. A lost connection makes every call fail until `reconnect()`.
public final class Connection {
    /// How it connects.
    public let settings: ConnectionSettings
    /// Cancels what this connection runs, from any thread; stays valid over `reconnect()`.
    public let cancelHandle = CancelHandle()

    var pointer: OpaquePointer?
    /// The SQL of the statements that are prepared on the present server session, by name.
    var prepared: [String: String] = [:]
    let notices = NoticeBox()
    private let timeout: Duration
    private var wakeup: Wakeup?
    /// The server has hung up although libpq has not read the end yet.
    var isHungUp = false

    /// Connects, waiting at most `timeout` (whole seconds, at least 2, for each host and address) unless the settings
    /// hold a `connect_timeout`. Sets client_encoding UTF8, a default application_name, and, unless a service file
    /// decides, keepalives and a `tcp_user_timeout`, so that a server that vanished is noticed within a minute.
    public init(_ settings: ConnectionSettings, timeout: Duration = .seconds(10)) throws(PostgresError) {
        self.settings = settings
        self.timeout = timeout
        try connect()
    }

    deinit { close() }

    /// Closes the connection; later calls fail, a second close does nothing.
    public func close() {
        cancelHandle.aim(at: nil)
        if let pointer { PQfinish(pointer) }
        pointer = nil
        prepared = [:]
        isHungUp = false
    }

    /// Closes and connects again with the same settings. Session state (SET, LISTEN, temporary tables) is gone; named
    /// statements are prepared again when they are next used.
    public func reconnect() throws(PostgresError) {
        close()
        try connect()
    }

    /// Whether the connection looks alive; only a statement can tell for sure.
    public var isUsable: Bool { !isHungUp && pointer.map { PQstatus($0) == CONNECTION_OK } ?? false }

    /// Whether a transaction is open, failed ones included.
    public var inTransaction: Bool {
        guard let pointer else { return false }
        let status = PQtransactionStatus(pointer)
        return status == PQTRANS_INTRANS || status == PQTRANS_INERROR || status == PQTRANS_ACTIVE
    }

    /// Whether the server waits for a statement: nothing is half sent or half read.
    var isIdle: Bool { pointer.map { PQtransactionStatus($0) == PQTRANS_IDLE } ?? false }

    /// The server's version: 150004 is 15.4; 0 without a connection.
    public var serverVersion: Int { pointer.map { Int(PQserverVersion($0)) } ?? 0 }

    /// The process id of the server's backend; 0 without a connection.
    public var backendPID: Int32 { pointer.map { PQbackendPID($0) } ?? 0 }

    /// The socket, for polling only; -1 without a connection.
    public var socketDescriptor: Int32 { pointer.map { PQsocket($0) } ?? -1 }

    /// A setting that the server reports by itself, such as `server_version` or `TimeZone`.
    public func parameterStatus(_ name: String) -> String? {
        pointer.flatMap { PQparameterStatus($0, name) }.map { String(cString: $0) }
    }

    /// Whether the connection is encrypted.
    public var usesTLS: Bool { pointer.map { PQsslInUse($0) == 1 } ?? false }

    /// The server's notices since the last call, at most the latest 100.
    public func takeNotices() -> [String] { notices.take() }

    /// The name as an SQL identifier.
    public func quoteIdentifier(_ name: String) -> String { Postgres.quoteIdentifier(name) }

    /// The text as an SQL string literal.
    public func quoteLiteral(_ text: String) -> String { Postgres.quoteLiteral(text) }

    private func connect() throws(PostgresError) {
        let (seconds, fraction) = timeout.components
        var options: [String: String] = [
            "connect_timeout": String(max(2, seconds + (fraction > 0 ? 1 : 0))),
            "fallback_application_name": "reeve",
        ]
        // An option that is passed wins over the service file.
        if settings["service"] == nil && getenv("PGSERVICE") == nil {
            options["keepalives_idle"] = "30"
            options["keepalives_interval"] = "10"
            options["keepalives_count"] = "3"
            options["tcp_user_timeout"] = "60000"
        }
        options.merge(settings.options) { _, given in given }
        options["client_encoding"] = "UTF8"
        let names = CStringList(options.keys.map { $0 })
        let values = CStringList(options.keys.map { options[$0] })
        let made = names.withPointers { names in values.withPointers { PQconnectdbParams(names, $0, 0) } }
        guard let made else {
            throw PostgresError(sqlState: nil, message: "out of memory", operation: "connect", isConnectionLost: true)
        }
        guard PQstatus(made) == CONNECTION_OK else {
            defer { PQfinish(made) }
            let secrets = settings.secrets + [PQpass(made).map { String(cString: $0) } ?? ""]
            throw PostgresError(
                sqlState: nil, message: Redaction.withoutSecrets(connectionMessage(made), secrets),
                operation: "connect", isConnectionLost: true)
        }
        pointer = made
        notices.begin()
        PQsetNoticeReceiver(made, receiveNotice, Unmanaged.passUnretained(notices).toOpaque())
        cancelHandle.aim(at: made)
    }

    /// The pipe that ends this connection's waits.
    func makeWakeup() throws(PostgresError) -> Wakeup {
        if let wakeup { return wakeup }
        guard let made = Wakeup() else {
            throw PostgresError(sqlState: nil, message: "no file descriptors left", operation: "poll")
        }
        wakeup = made
        return made
    }

    /// The pointer, or an error once the connection is closed.
    func open(_ operation: String) throws(PostgresError) -> OpaquePointer {
        if let pointer { return pointer }
        throw PostgresError(
            sqlState: "08003", message: "the connection is closed", operation: operation, isConnectionLost: true)
    }
}

/// libpq's own message on one line.
func connectionMessage(_ connection: OpaquePointer) -> String {
    let text = PQerrorMessage(connection).map { String(cString: $0) } ?? ""
    return text.split(whereSeparator: \.isNewline).map { $0.drop { $0.isWhitespace } }.joined(separator: "; ")
}
