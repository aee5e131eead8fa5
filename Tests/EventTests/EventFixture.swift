import Dispatch
import FoundationEssentials
import Glibc
import JobKit
import Kafka
import KafkaIntake
import Postgres
import ReeveTesting
import Synchronization
import Testing

@testable import EventRelay

/// A control database whose events are sent to a mock cluster, and a reader of the topics.
final class EventFixture {
    let control: ConnectionSettings
    let connection: Connection
    let cluster = MockCluster()
    private let stop = Mutex(StopSignal())
    private let group = DispatchGroup()

    init(_ types: [String]? = nil, audit: Bool = false) throws {
        control = try TestServer.freshControl()
        connection = try Connection(control)
        try connection.executeScript(
            """
            SELECT reeve.register_kinds('[{"name": "work", "queue": "work", "time_limit_ms": 60000, "max_attempts": 2, "statuses": ["trial", "active"],
              "schema": {"type": "object"}}]');
            INSERT INTO reeve.tenant (code, name, tier, status, isolation, region)
            SELECT c, 'Test', 'starter', 'active', 'schema', 'local' FROM unnest(ARRAY['acme', 'globex', 'initech']) c;
            SELECT reeve.register_worker('00000000-0000-0000-0000-000000000001', 'node', 1, 'test', 'local', '{"starter": 100}', NULL, '10 min');
            """)
        try connection.execute(
            "SELECT reeve.set_events($1::text[], $2::boolean)", [types ?? (try allTypes()), audit])
        for code in ["acme", "globex", "initech"] {
            cluster.createTopic("\(code).events")
            cluster.createTopic("\(code).audit")
        }
        cluster.createTopic("_fleet.audit")
    }

    deinit {
        stopRelay()
        connection.close()
        cluster.end()
    }

    private func allTypes() throws -> [String] {
        try connection.execute("SELECT unnest(reeve.event_types())").map { try $0.text(0) }
    }

    var kafka: KafkaSettings {
        KafkaSettings([
            "bootstrap.servers": cluster.servers, "message.timeout.ms": "3000", "reconnect.backoff.max.ms": "200",
            "topic.metadata.refresh.interval.ms": "1000", "session.timeout.ms": "3000", "heartbeat.interval.ms": "500",
        ])
    }

    /// Sends until `stopRelay`.
    func startRelay() throws {
        let relay = EventRelay(
            control, kafka: kafka.without(["session.timeout.ms", "heartbeat.interval.ms"]),
            names: try #require(TopicNames()),
            log: .quiet)
        let signal = StopSignal()
        stop.withLock { $0 = signal }
        DispatchQueue(label: "relay").async(group: group) { relay.run(until: signal) }
    }

    func stopRelay() {
        stop.withLock { $0 }.stop(.shutdown)
        group.wait()
    }

    @discardableResult
    func enqueue(_ code: String = "acme") throws -> Int64 {
        try connection.execute("SELECT reeve.enqueue($1::text, 'work', '{\"secret\": \"x\"}')", ["\(code).work"])[0]
            .int(0)
    }

    /// Claims what there is; returns ids and leases.
    func claim() throws -> [(id: Int64, lease: UUID)] {
        try connection.execute(
            "SELECT id, lease_id FROM reeve.claim('00000000-0000-0000-0000-000000000001', 'starter', 100, 0) WHERE id IS NOT NULL"
        ).map { (try $0.int(0), try $0.uuid(1)) }
    }

    func complete(_ jobs: [(id: Int64, lease: UUID)]) throws {
        try connection.execute(
            "SELECT reeve.complete($1::bigint[], $2::uuid[], NULL)", [jobs.map(\.id), jobs.map(\.lease)])
    }

    func settle(_ job: (id: Int64, lease: UUID), _ outcome: String, _ more: [String: JSON] = [:]) throws {
        let item = JSON.object(
            more.merging(["id": .int(job.id), "lease": .string(job.lease.uuidString), "outcome": .string(outcome)]) {
                a, _ in a
            })
        try connection.execute("SELECT reeve.settle($1::jsonb)", [JSON.array([item])])
    }

    func value(_ sql: String) throws -> String? { try connection.execute(sql).first?.optionalText(0) }

    /// Everything in these topics, topic by topic in the order of the offsets.
    func read(_ topics: [String]) throws -> [String: [KafkaMessage]] {
        let consumer = try KafkaConsumer(kafka.with(["group.id": UUID().uuidString]).without(["message.timeout.ms"]))
        defer { consumer.leave(.seconds(2)) }
        var highs: [String: Int64] = [:]
        for topic in topics {
            let marks = try consumer.watermarks(TopicPartition(topic, 0), .seconds(10))
            // The mock drops the oldest without a word when a partition is over its limit.
            #expect(marks.low == 0)
            highs[topic] = marks.high
        }
        var found: [String: [KafkaMessage]] = [:]
        try consumer.subscribe(topics)
        let limit = ContinuousClock.now + .seconds(30)
        while highs.contains(where: { Int64(found[$0.key]?.count ?? 0) < $0.value }), limit > .now {
            switch consumer.poll(.milliseconds(100)) {
            case .assigned(let places):
                try consumer.open(Dictionary(uniqueKeysWithValues: places.map { ($0, .beginning) }))
            case .message(let message): found[message.place.topic, default: []].append(message)
            default: continue
            }
        }
        try keepContract(found)
        return found
    }

    /// Every message is what the published contract says.
    private func keepContract(_ found: [String: [KafkaMessage]]) throws {
        let checkout = #filePath.split(separator: "/").dropLast(3).reduce(into: "") { $0 += "/" + $1 }
        let folder = ScratchFolder()
        for schema in ["event", "audit"] {
            var files: [String] = []
            for message in found.filter({ $0.key.hasSuffix(".\(schema)") || $0.key.hasSuffix(".\(schema)s") }).values
                .joined()
            {
                files.append("\(folder.path)/\(schema)-\(files.count).json")
                try Data(message.value ?? []).write(to: URL(filePath: files[files.count - 1]))
            }
            if files.isEmpty { continue }
            _ = try runProgram(
                checkout + "/.reeve/kafka/bin/check-jsonschema",
                ["--schemafile", "\(checkout)/deploy/contract/\(schema).json"] + files)
        }
    }
}

extension KafkaMessage {
    /// The CloudEvent.
    var event: JSON { get throws { try JSON(parsing: String(decoding: value ?? [], as: UTF8.self)) } }
}
