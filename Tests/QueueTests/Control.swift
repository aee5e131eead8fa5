import FoundationEssentials
import JobKit
import Postgres
import PostgresQueue
import ReeveTesting
import Testing

/// A fresh control database with three tenants and the kind `work`, whose arguments are `{"n": integer}`.
final class Control {
    let settings: ConnectionSettings
    let connection: Connection

    init() throws {
        settings = try TestServer.freshControl()
        connection = try Connection(settings)
        _ = try connection.execute(
            """
            SELECT reeve.register_kinds('[{"name": "work", "queue": "work", "time_limit_ms": 60000, "max_attempts": 3, "statuses": ["trial", "active"],
              "schema": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0}, "day": {"type": "string", "format": "date"},
                "tags": {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 2}}, "required": ["n"], "additionalProperties": false}}]')
            """)
        for (code, tier) in [("acme", "starter"), ("globex", "starter"), ("initech", "professional")] {
            _ = try connection.execute(
                "INSERT INTO reeve.tenant (code, name, tier, isolation, region) VALUES ($1::text, 'Test', $2::text, 'schema', 'local')",
                [code, tier])
        }
    }

    deinit { connection.close() }

    /// Another connection to the same database.
    func another() throws -> Connection { try Connection(settings) }

    /// One value of a query, as text.
    @discardableResult
    func value(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> String? {
        try connection.execute(sql, parameters).first?.optionalText(0)
    }

    /// Enqueues a job of kind `work`.
    @discardableResult
    func enqueue(_ queue: String = "acme.work", n: Int = 1, more: String = "") throws -> Int64 {
        try connection.execute(
            "SELECT reeve.enqueue($1::text, 'work', $2::jsonb\(more))", [queue, JSON.object(["n": .int(Int64(n))])])[0]
            .int(0)
    }

    /// Registers a worker that lives for a minute.
    func worker() throws -> UUID {
        let id = UUID()
        _ = try connection.execute(
            "SELECT reeve.register_worker($1::uuid, 'node', 1, 'test', 'local', '{\"starter\": 10, \"professional\": 10}', NULL, '1 min')",
            [id])
        return id
    }

    struct Claimed {
        let id: Int64
        let lease: UUID
        let isFirst: Bool
        let queue: String
    }

    /// Claims as a worker does: again at once while a walk ran out of time.
    @discardableResult
    func claim(
        _ worker: UUID, _ pool: String = "starter", general: Int = 100, reserved: Int = 0, after cursor: UUID? = nil,
        queues: [String]? = nil,
        on other: Connection? = nil
    ) throws -> [Claimed] {
        var cursor = cursor
        while true {
            let rows = try (other ?? connection).execute(
                "SELECT id, lease_id, first, queue, next_cursor, stopped_early FROM reeve.claim($1::uuid, $2::text, $3::int, $4::int, $5::uuid, $6::text[])",
                [worker, pool, general, reserved, cursor, queues?.postgresText])
            let claimed = try rows.filter { try $0.optionalInt(0) != nil }.map {
                Claimed(id: try $0.int(0), lease: try $0.uuid(1), isFirst: try $0.bool(2), queue: try $0.text(3))
            }
            guard claimed.isEmpty, let row = rows.first, try row.bool(5) else { return claimed }
            cursor = try row.optionalUUID(4)
        }
    }

    /// Completes; returns the verdicts of those that were refused.
    @discardableResult
    func complete(_ jobs: [Claimed], on other: Connection? = nil) throws -> [Int64: String] {
        let rows = try (other ?? connection).execute(
            "SELECT id, verdict FROM reeve.complete($1::bigint[], $2::uuid[], NULL)",
            [jobs.map(\.id), jobs.map(\.lease)])
        return Dictionary(uniqueKeysWithValues: try rows.map { (try $0.int(0), try $0.text(1)) })
    }

    /// Ends one attempt in another way than success.
    func settle(_ job: Claimed, _ outcome: String, _ more: [String: JSON] = [:]) throws -> [String] {
        let item = JSON.object(
            more.merging(["id": .int(job.id), "lease": .string(job.lease.uuidString), "outcome": .string(outcome)]) {
                a, _ in a
            })
        return try connection.execute("SELECT verdict FROM reeve.settle($1::jsonb)", [JSON.array([item])]).map {
            try $0.text(0)
        }
    }

    /// The state of a job as `reeve.job` tells it.
    func job(_ id: Int64) throws -> JSON {
        try #require(try connection.execute("SELECT reeve.job($1::bigint)", [id])[0].optionalJSON(0))
    }

    func state(_ id: Int64) throws -> String? { try job(id)["state"]?.string }

    /// Lets this database's clock run ahead: what only a test's own server may do.
    func advanceClock(by interval: String) throws {
        try connection.executeScript(
            "CREATE OR REPLACE FUNCTION reeve.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT clock_timestamp() + interval '\(interval)' $$"
        )
    }

    /// Stops this database's clock, so that no claim runs out of its 10 ms, however busy the machine is.
    func stopClock() throws {
        let now = try value("SELECT clock_timestamp()") ?? ""
        try connection.executeScript(
            "CREATE OR REPLACE FUNCTION reeve.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT timestamptz '\(now)' $$"
        )
    }

    /// Counters that differ from what they count; must be empty.
    func counterFaults() throws -> Int64 {
        try connection.execute("SELECT count(*) FROM reeve.counter_fault")[0].int(0)
    }

    /// The SQLSTATE and message with which a statement is refused.
    func refusal(_ sql: String, _ parameters: [(any PostgresEncodable)?] = [], on other: Connection? = nil) throws -> (
        String?, String
    ) {
        do throws(PostgresError) {
            _ = try (other ?? connection).execute(sql, parameters)
            return (nil, "accepted")
        } catch { return (error.sqlState, error.message) }
    }
}
