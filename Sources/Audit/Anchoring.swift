import Crypto
import FoundationEssentials
import JobKit
public import Postgres

/// Tells the heads of the audit's chains to the outside. Any number of workers may do it: the database gives the turn to one.
///
/// 1. The turn is taken, with the heads that moved since the last one. 2. The anchor is put into every sink. 3. The database notes
/// where it is. A worker that dies in between leaves an anchor that the database does not know of, which does no harm, or none; the
/// next turn tells of the same heads again.
public struct Anchoring: Sendable {
    private let control: Pool
    private let sinks: [any AnchorSink]
    private let interval: Duration

    /// Anchors to these sinks at this interval.
    public init(control: Pool, sinks: [any AnchorSink], every interval: Duration) {
        self.control = control
        self.sinks = sinks
        self.interval = interval
    }

    /// An anchor and where it is.
    public struct Told: Sendable {
        /// The anchor.
        public let anchor: Anchor
        /// Where each sink says that it is.
        public let places: [String]
    }

    /// Anchors when it is time and something moved, or `now` in any case. Nil when there was nothing to tell. Throws what a sink
    /// throws; then the next turn tries again.
    public func run(now: Bool = false) throws -> Told? {
        let turn = try control.withConnection { connection in
            try connection.execute(
                """
                SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), previous, heads
                FROM reeve.begin_anchor($1::bigint * interval '1 ms', $2::boolean)
                """, [Int64(interval / .milliseconds(1)), now]
            ).first.map { (at: try $0.text(0), previous: try $0.optionalText(1), heads: try $0.json(2)) }
        }
        guard let turn else { return nil }
        guard let heads = Anchor.heads(turn.heads.array ?? []) else {
            throw JobFailure("audit_heads", "the database's heads of the audit's chains cannot be read", .giveUp)
        }
        let anchor = Anchor(id: UUID(), at: turn.at, previous: turn.previous, heads: heads)
        let places = try sinks.map { try $0.put(anchor) }
        try control.withConnection { connection in
            _ = try connection.execute(
                "SELECT reeve.finish_anchor($1::uuid, $2::timestamptz, $3::text, $4::text, $5::text, $6::jsonb)",
                [anchor.id, anchor.at, places.joined(separator: ", "), anchor.digest, anchor.previous, turn.heads])
        }
        return Told(anchor: anchor, places: places)
    }

    /// Seals everything that waits, so that an anchor covers it. Returns how many entries were sealed.
    @discardableResult
    public static func seal(_ connection: Connection) throws -> Int64 {
        var sealed: Int64 = 0
        while case let count = try connection.execute("SELECT reeve.seal_audit(5000)")[0].int(0), count > 0 {
            sealed += count
        }
        return sealed
    }
}
