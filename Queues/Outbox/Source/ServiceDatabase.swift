import FoundationEssentials
import JobKit
import Postgres

/// The outbox's end in a service's database: one connection as the relay's login, which may call these functions and nothing else.
/// Used by one thread at a time.
final class ServiceDatabase {
    /// What an outbox says of itself.
    struct Identity {
        let name: String
        let tenant: UUID?
        let version: Int64
        let factsDigest: String?
        /// The mark of the row that was asked for; nil when it is not there.
        let mark: UUID?
        /// The ids that it can hand out or has handed out, as runs.
        let firsts: [Int64]
        let lasts: [Int64]
    }

    /// Rows in one snapshot.
    struct Reading {
        /// The oldest transaction that was running.
        let oldest: Int64
        let idsLeft: Int64
        /// The numbers of the rows, in order.
        let numbers: [Int64]
        /// The rows as `reeve.take_outbox_rows` takes them.
        let rows: [String]
    }

    /// How many rows are read at once.
    static let batch = 500

    private let connection: Connection
    /// Every call is given up after this time.
    private static let limit: Duration = .seconds(20)

    /// Connects as the relay's login. Blocks for 5 seconds at most for each address.
    init(_ lease: OutboxLease, password: String) throws {
        let settings = try ConnectionSettings(lease.conninfo).with([
            "user": lease.login, "password": password, "application_name": "reeve outbox",
            "options": "-c statement_timeout=15s -c idle_in_transaction_session_timeout=60s",
        ])
        connection = try Connection(settings, timeout: .seconds(5))
    }

    var isUsable: Bool { connection.isUsable }

    func close() { connection.close() }

    func identity(row: Int64?) throws -> Identity {
        let row = try call(
            "SELECT name, tenant_id, version, facts_digest, mark, firsts, lasts FROM reeve.outbox_identity($1::bigint)",
            [row])[0]
        return Identity(
            name: try row.text(0), tenant: try row.optionalUUID(1), version: try row.int(2),
            factsDigest: try row.optionalText(3), mark: try row.optionalUUID(4), firsts: numbers(try row.text(5)),
            lasts: numbers(try row.text(6)))
    }

    func read(_ cursor: RowCursor) throws -> Reading {
        let found = try call(
            """
            SELECT oldest, ids_left, id, job_id, mark, login, item
            FROM reeve.outbox_read($1::bigint, $2::bigint[], $3::bigint[], $4::int)
            """, [cursor.next, cursor.gaps.map(\.low), cursor.gaps.map(\.high), Self.batch], name: "outbox read")
        var numbers: [Int64] = []
        var rows: [String] = []
        for row in found {
            guard let id = try row.optionalInt(2) else { continue }
            numbers.append(id)
            var text = "{\"id\":\(id),\"job\":\(try row.int(3)),\"mark\":\"\(try row.text(4))\",\"login\":"
            JSON.quote(try row.text(5), to: &text)
            rows.append(text + ",\"item\":" + (try row.text(6)) + "}")
        }
        return Reading(
            oldest: try found[0].int(0), idsLeft: try found[0].int(1), numbers: numbers, rows: rows)
    }

    /// A transaction id higher than that of everybody who has drawn a number up to now.
    func drawTransaction() throws -> Int64 { try call("SELECT pg_current_xact_id()::text::bigint")[0].int(0) }

    /// Says that rows below this number are relayed.
    func setRelayed(_ next: Int64) throws { try call("SELECT reeve.outbox_relayed($1::bigint)", [next]) }

    /// Says whether enqueue is to notify, and listens.
    func setListening(_ isListening: Bool) throws {
        if isListening { try call("LISTEN reeve_outbox") }
        try call("SELECT reeve.outbox_listen($1::boolean)", [isListening])
    }

    /// Waits for a notification.
    func wait(_ time: Duration, stop: StopSignal) throws {
        _ = try connection.notifications(waiting: time, stop: stop)
    }

    func addIDs(_ firsts: [Int64], _ lasts: [Int64], anew: Bool) throws {
        try call("SELECT reeve.outbox_add_ids($1::bigint[], $2::bigint[], $3::boolean)", [firsts, lasts, anew])
    }

    func refresh(digest: String, facts: String) throws {
        try call("SELECT reeve.outbox_refresh($1::text, $2::jsonb)", [digest, facts])
    }

    /// Drops what is done with; returns how many rows that were.
    func tend() throws -> Int64 { try call("SELECT reeve.outbox_tend()")[0].int(0) }

    /// What waits: how many rows (up to a hundred thousand), since when the oldest, and how many ids are left.
    func waiting() throws -> (count: Int64, oldest: String?, idsLeft: Int64) {
        let row = try call("SELECT waiting, oldest_at::text, ids_left FROM reeve.outbox_waiting()")[0]
        return (try row.int(0), try row.optionalText(1), try row.int(2))
    }

    @discardableResult
    private func call(_ sql: String, _ parameters: [(any PostgresEncodable)?] = [], name: String? = nil) throws -> Rows
    {
        try connection.execute(sql, parameters, name: name, stop: nil, deadline: .now + Self.limit)
    }
}

/// The numbers of a `bigint[]` in text form.
private func numbers(_ array: String) -> [Int64] {
    array.dropFirst().dropLast().split(separator: ",").compactMap { Int64($0) }
}
