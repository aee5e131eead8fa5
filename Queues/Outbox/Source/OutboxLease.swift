import FoundationEssentials
import JobKit
import Postgres

/// An outbox that this process may relay until its lease is over: a row of `reeve.hold_outboxes`.
struct OutboxLease: Sendable {
    let id: Int64
    let name: String
    let conninfo: String
    let login: String
    let secret: [UInt8]
    let tenant: UUID?
    let blockSize: Int64
    let nextRow: Int64
    /// Whether the ids that it holds are to be replaced.
    let renewsIDs: Bool
    /// Whether it is among the most active of the fleet, which are listened to.
    let isListenedTo: Bool

    init(_ row: Row) throws {
        id = try row.int("id")
        name = try row.text("name")
        conninfo = try row.text("conninfo")
        login = try row.text("login")
        secret = try row.bytes("secret")
        tenant = try row.optionalUUID("tenant_id")
        blockSize = try row.int("block_size")
        nextRow = try row.int("next_row")
        renewsIDs = try row.text("renew") == "t"
        isListenedTo = try row.text("listen") == "t"
    }
}

/// What a sealed secret of an outbox is for.
enum OutboxSecret {
    static func purpose(_ name: String) -> String { "outbox:\(name)" }
}
