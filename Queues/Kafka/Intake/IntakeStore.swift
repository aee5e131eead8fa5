import FoundationEssentials
import Glibc
import JobKit
import Kafka
import Postgres

/// What the intake asks of the control database: the functions of schema `reeve`, on one connection.
final class IntakeStore {
    /// What became of a batch.
    struct Taken {
        var jobs = 0
        var duplicates = 0
        var rejected = 0
        /// Partitions that another has moved on, or that stopped: by number.
        var stale: Set<Int> = []
        /// Partitions that have to wait, and why.
        var held: [Int: String] = [:]
    }

    private let pool: Pool
    private let names: TopicNames

    init(_ settings: ConnectionSettings, names: TopicNames) {
        self.names = names
        pool = Pool(
            settings.with([
                "application_name": "reeve intake",
                "options": (settings["options"].map { $0 + " " } ?? "")
                    + "-c statement_timeout=60s -c idle_in_transaction_session_timeout=60s",
            ]), bound: 1, waitTimeout: .seconds(30), name: "intake")
    }

    func close() { pool.close() }

    /// How far partitions were read.
    func records(_ places: [TopicPartition]) throws -> [TopicPartition: PartitionBook.Record] {
        try pool.withConnection { connection in
            let rows = try connection.execute(
                "SELECT n, next, digest, cluster_id, problem, hold FROM reeve.open_partitions($1::text[], $2::int[], $3::text[])",
                [places.map(\.topic), places.map(\.partition), places.map { names.queue(of: $0.topic) ?? "" }],
                name: "open")
            var found: [TopicPartition: PartitionBook.Record] = [:]
            for row in rows {
                found[places[Int(try row.int(0)) - 1]] = PartitionBook.Record(
                    next: try row.int(1), digest: try row.optionalBytes(2), clusterID: try row.optionalText(3),
                    problem: try row.optionalText(4), hold: try row.optionalText(5))
            }
            return found
        }
    }

    /// Partitions that somebody moved lately, and where to.
    func resets() throws -> [TopicPartition: Int64] {
        try pool.withConnection { connection in
            let rows = try connection.execute(
                "SELECT topic, partition, next FROM reeve.recent_resets()", name: "resets")
            return Dictionary(
                try rows.map { (TopicPartition(try $0.text(0), Int32(try $0.int(1))), try $0.int(2)) },
                uniquingKeysWith: { first, _ in first })
        }
    }

    /// Takes a batch in one transaction: the offsets move, what can be a job is one, and what cannot is kept.
    func take(_ batch: IntakeBatch, cluster: String?) throws -> Taken {
        try pool.withConnection { connection in
            try connection.transaction {
                let parts = batch.parts
                let events = batch.events
                let row = try connection.execute(
                    """
                    SELECT reeve.take_messages($1::text[], $2::int[], $3::text[], $4::bigint[], $5::bigint[], $6::bytea[], $7::text, $8::int[],
                      $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::timestamptz[], $15::int[], $16::text[], $17::boolean[])
                    """,
                    [
                        parts.map(\.place.topic), parts.map(\.place.partition),
                        parts.map { names.queue(of: $0.place.topic) ?? "" }, parts.map(\.old), parts.map(\.new),
                        parts.map { ByteText($0.digest) }, cluster, events.map { $0.part + 1 },
                        events.map(\.event.type),
                        events.map(\.event.source), events.map(\.event.id), events.map(\.event.tenant),
                        events.map(\.event.traceparent), events.map(\.event.runAt), events.map(\.event.priority),
                        events.map(\.event.body), events.map(\.event.isWhole),
                    ], name: "take")[0]
                return try settle(try row.json(0), batch, connection)
            }
        }
    }

    private func settle(_ answer: JSON, _ batch: IntakeBatch, _ connection: Connection) throws -> Taken {
        var taken = Taken()
        taken.jobs = (answer["jobs"]?.array ?? []).count { $0 != .null }
        taken.duplicates = Int(answer["duplicates"]?.int ?? 0)
        taken.stale = Set((answer["stale"]?.array ?? []).compactMap { $0.int.map { Int($0) - 1 } })
        for item in answer["held"]?.array ?? [] {
            if let place = item.array?.first?.int, let why = item.array?.last?.string {
                taken.held[Int(place) - 1] = why
            }
        }
        let isTaken = { (part: Int) in !taken.stale.contains(part) && taken.held[part] == nil }
        var rejected = batch.refused.filter { isTaken($0.part) }.map { ($0.message, $0.refusal) }
        for item in answer["refused"]?.array ?? [] {
            guard let values = item.array, values.count == 3, let number = values[0].int else { continue }
            let event = batch.events[Int(number) - 1]
            rejected.append((event.message, JobEvent.Refusal(values[1].string ?? "refused", values[2].string ?? "")))
        }
        taken.rejected = rejected.count
        if !rejected.isEmpty {
            rejected.sort { ($0.0.place, $0.0.offset) < ($1.0.place, $1.0.offset) }
            let rows = JSON.array(rejected.map { rejection($0.0, $0.1) })
            _ = try connection.execute("SELECT reeve.reject_messages($1::jsonb)", [rows], name: "reject")
        }
        return taken
    }

    /// A message as `reject_messages` keeps it: as text where it is text that PostgreSQL takes.
    private func rejection(_ message: KafkaMessage, _ refusal: JobEvent.Refusal) -> JSON {
        let text = message.value.flatMap { $0.contains(0) ? nil : String(validating: $0, as: UTF8.self) }
        var members: [String: JSON] = [
            "topic": .string(message.place.topic), "partition": .int(Int64(message.place.partition)),
            "offset": .int(message.offset), "queue": .string(names.queue(of: message.place.topic) ?? ""),
            "reason": .string(refusal.reason), "detail": .string(refusal.detail),
            "size": .int(Int64(message.value?.count ?? 0)),
            "headers": .array(
                message.headers.map { header in
                    let name = header.name.unicodeScalars.contains { $0.value == 0 } ? "?" : header.name
                    return [.string(name), header.value.map { .string(Data($0).base64EncodedString()) } ?? .null]
                }),
        ]
        if let key = message.key { members["key"] = .string(Data(key).base64EncodedString()) }
        if let text {
            members["body"] = .string(text)
        } else if let value = message.value {
            members["bytes"] = .string(Data(value).base64EncodedString())
        }
        if let time = message.timestamp { members["written_ms"] = .int(time) }
        return .object(members)
    }

    /// Stops a partition until a person decides.
    func stop(_ place: TopicPartition, _ problem: String, _ detail: String) throws {
        try pool.withConnection {
            _ = try $0.execute(
                "SELECT reeve.stop_partition($1::text, $2::int, $3::text, $4::text)",
                [place.topic, place.partition, problem, detail])
        }
    }

    /// Says how this process is; nil: it ends.
    func report(_ id: UUID, state: String?, detail: String?, counts: JSON) throws {
        try pool.withConnection {
            _ = try $0.execute(
                "SELECT reeve.report_kafka($1::uuid, 'intake', $2::text, $3::int, $4::text, $5::text, $6::jsonb)",
                [id, HostName.current, Int(getpid()), state, detail, counts], name: "report")
        }
    }

    /// Says where partitions end.
    func noteEnds(_ ends: [(place: TopicPartition, end: Int64)]) throws {
        try pool.withConnection {
            _ = try $0.execute(
                "SELECT reeve.note_ends($1::text[], $2::int[], $3::bigint[])",
                [ends.map(\.place.topic), ends.map(\.place.partition), ends.map(\.end)], name: "ends")
        }
    }

    /// Counts backlogs, so that full ones are known also where no worker runs, and forgets what is old.
    func keepHouse(backlog: Bool, remember: Duration) throws {
        try pool.withConnection { connection in
            if backlog {
                _ = try connection.execute("SELECT reeve.tend_backlog()", name: "backlog")
            } else {
                _ = try connection.execute(
                    "SELECT reeve.tend_kafka($1::bigint * interval '1 ms')", [Int64(remember / .milliseconds(1))])
            }
        }
    }
}

/// A `bytea` as an element of an array.
private struct ByteText: PostgresArrayElement {
    private let text: String

    init(_ bytes: [UInt8]) { text = bytes.postgresText ?? "" }

    var postgresText: String? { text }

    // The backslash is the array's own escape.
    func appendArrayElement(to out: inout String) { out += "\"\\" + text + "\"" }
}
