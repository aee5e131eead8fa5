import Foundation
import JobKit
import Kafka
import KafkaIntake
import ReeveTesting
import Testing

/// The published examples, run as they are, and the contract that they keep.
@Suite("Producer examples")
struct ProducerExampleTests {
    private static let checkout = #filePath.split(separator: "/").dropLast(3).reduce(into: "") { $0 += "/" + $1 }
    private static let contract = checkout + "/deploy/contract"
    private static let tools = checkout + "/.reeve/kafka/bin"

    @Test("what Python and kcat produce becomes jobs, and keeps the contract")
    func examples() throws {
        let fixture = try IntakeFixture()
        for topic in ["acme.reports", "globex.reports", "acme.jobs"] { fixture.cluster.createTopic(topic) }
        _ = try fixture.value(
            """
            SELECT reeve.register_kinds('[{"name": "report", "queue": "reports", "time_limit_ms": 60000, "max_attempts": 3, "statuses": ["active"], "schema": {"type": "object"}},
              {"name": "backup", "queue": "backups", "time_limit_ms": 60000, "max_attempts": 3, "statuses": ["active"], "schema": {"type": "object"}}]')
            """)
        let servers = fixture.cluster.servers
        _ = try runProgram("\(Self.tools)/python", ["\(Self.contract)/producer.py", servers, "acme", "globex"])
        _ = try runProgram("\(Self.contract)/producer.sh", [servers, "acme", "nightly-7"])
        // Asked for twice, run once.
        _ = try runProgram("\(Self.contract)/producer.sh", [servers, "acme", "nightly-7"])
        try fixture.withIntake {
            try fixture.wait("3", "SELECT count(*) FROM reeve.job")
            try fixture.wait("2", "SELECT next FROM reeve.kafka_offset WHERE topic = 'acme.jobs' AND partition = 0")
        }
        #expect(
            try fixture.value("SELECT string_agg(queue || ' ' || kind, ', ' ORDER BY queue) FROM reeve.job")
                == "acme.backups backup, acme.reports report, globex.reports report")
        #expect(try fixture.count("SELECT count(*) FROM reeve.rejected_messages") == 0)
        let consumer = try KafkaConsumer(KafkaFixture.settings(fixture.cluster, group: "contract"))
        try consumer.subscribe(["acme.reports", "globex.reports"])
        let places = try KafkaFixture.assigned(consumer)
        try consumer.open(Dictionary(uniqueKeysWithValues: places.map { ($0, .beginning) }))
        let folder = ScratchFolder()
        var files: [String] = []
        for (number, message) in KafkaFixture.messages(consumer, count: 2).enumerated() {
            files.append("\(folder.path)/\(number).json")
            try Data(message.value ?? []).write(to: URL(filePath: files[number]))
        }
        #expect(files.count == 2)
        _ = try runProgram(
            "\(Self.tools)/check-jsonschema", ["--schemafile", "\(Self.contract)/schemas/report.json"] + files)
    }

    @Test("the contract's document and examples are valid")
    func valid() throws {
        let check = "\(Self.tools)/check-jsonschema"
        _ = try runProgram(
            check, ["--schemafile", "\(Self.contract)/asyncapi.schema.json", "\(Self.contract)/asyncapi.json"])
        let schemas = try FileManager.default.contentsOfDirectory(atPath: "\(Self.contract)/schemas")
        _ = try runProgram(
            check,
            ["--check-metaschema"] + schemas.map { "\(Self.contract)/schemas/\($0)" }
                + ["event", "audit"].map { "\(Self.contract)/\($0).json" })
        for example in try FileManager.default.contentsOfDirectory(atPath: "\(Self.contract)/examples") {
            _ = try runProgram(
                check, ["--schemafile", "\(Self.contract)/schemas/\(example)", "\(Self.contract)/examples/\(example)"])
        }
    }
}
