import Dispatch
import Foundation
import JobKit
import Kafka
import KafkaIntake
import Postgres
import ReeveTesting
import Testing

/// A control database with tenants and a kind, and intakes that run in threads of this process.
final class IntakeFixture: Sendable {
    let settings: ConnectionSettings
    let broker: any TestBroker

    /// The mock, whose faults can be made.
    var cluster: MockCluster {
        guard let mock = broker as? MockCluster else { fatalError("this test needs the mock") }
        return mock
    }

    init(_ broker: any TestBroker = MockCluster(), tenants: [String] = ["acme", "globex"]) throws {
        self.broker = broker
        settings = try TestServer.freshControl()
        let control = try Connection(settings)
        defer { control.close() }
        for tenant in tenants {
            try control.execute(
                """
                INSERT INTO reeve.tenant (code, name, tier, status, isolation, region) VALUES ($1::text, $1::text, 'starter', 'active', 'schema', 'eu')
                """, [tenant])
        }
        try control.execute(
            """
            SELECT reeve.register_kinds('[{"name": "note", "queue": "reports", "time_limit_ms": 60000, "max_attempts": 3, "statuses": ["active"],
              "schema": {"type": "object", "required": ["n"], "additionalProperties": false, "properties": {"n": {"type": "integer"}, "text": {"type": "string"}}}}]')
            """)
    }

    /// A query's only value as text.
    func value(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> String? {
        let control = try Connection(settings)
        defer { control.close() }
        return try control.execute(sql, parameters).first.flatMap { try $0.optionalText(0) }
    }

    func count(_ sql: String) throws -> Int { Int(try value(sql) ?? "") ?? -1 }

    /// Waits until a query's only value is this.
    func wait(
        _ expected: String, _ sql: String, within time: Duration = .seconds(30),
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let end = ContinuousClock.now + time
        var last: String?
        let control = try Connection(settings)
        defer { control.close() }
        while .now < end {
            last = try control.execute(sql).first.flatMap { try $0.optionalText(0) }
            if last == expected { return }
            usleep(20_000)
        }
        Issue.record("\(sql): \(last ?? "nothing") instead of \(expected)", sourceLocation: sourceLocation)
        throw JobFailure("never", "the state never came")
    }

    /// Runs an intake while `body` runs.
    func withIntake<T>(
        _ cluster: (any TestBroker)? = nil, group: String = "reeve", meter: IntakeMeter = IntakeMeter(),
        _ body: () throws -> T
    ) throws -> T {
        let stop = StopSignal()
        let ended = DispatchSemaphore(value: 0)
        let (settings, kafka) = (settings, KafkaFixture.settings(cluster ?? broker, group: group))
        DispatchQueue(label: "intake").async {
            do throws(KafkaError) {
                var options = IntakeOptions(names: TopicNames() ?? fatal())
                options.reportEvery = .milliseconds(200)
                options.lookAgain = .milliseconds(200)
                try Intake(kafka, control: settings, options: options, meter: meter, log: .quiet).run(until: stop)
            } catch { Issue.record("\(error)") }
            ended.signal()
        }
        defer {
            stop.stop(.shutdown)
            #expect(ended.wait(timeout: .now() + .seconds(30)) == .success, "the intake ends")
        }
        return try body()
    }

    /// Sends values to partitions and waits for the reports.
    func send(
        _ messages: [(topic: String, partition: Int, value: [UInt8]?, headers: [KafkaHeader])],
        to cluster: (any TestBroker)? = nil
    ) throws {
        let producer = try KafkaProducer(
            KafkaFixture.settings(cluster ?? broker).with(["linger.ms": "5", "message.max.bytes": "8000000"]))
        for message in messages {
            while try !producer.send(
                message.topic, partition: Int32(message.partition), key: nil, value: message.value,
                headers: message.headers)
            { _ = producer.poll(.milliseconds(10)) }
        }
        let reports = KafkaFixture.reports(of: producer, count: messages.count)
        #expect(reports.count == messages.count)
        for report in reports { #expect(report.error == nil) }
    }

    /// Sends events of the kind `note`, structured.
    func send(
        _ topic: String, _ numbers: some Sequence<Int>, tenant: String? = nil, partition: Int = 0,
        to cluster: (any TestBroker)? = nil
    ) throws {
        let owner = tenant ?? String(topic.prefix { $0 != "." })
        try send(numbers.map { (topic, partition, Array(Self.event($0, tenant: owner).utf8), []) }, to: cluster)
    }

    static func event(_ number: Int, tenant: String, id: String? = nil) -> String {
        """
        {"specversion": "1.0", "type": "reeve.job.note", "source": "/test", "id": "\(id ?? "\(number)")", "tenantid": "\(tenant)", "data": {"n": \(number)}}
        """
    }

    /// No partition may have lost what it was given: the mock drops the oldest without a word.
    func expectNothingLost(_ topics: [String], partitions: Int = 1) throws {
        let producer = try KafkaProducer(KafkaFixture.settings(broker))
        for topic in topics {
            for partition in 0..<partitions {
                #expect(try producer.watermarks(TopicPartition(topic, Int32(partition)), .seconds(10)).low == 0)
            }
        }
    }
}

func fatal<T>() -> T { fatalError("a name that is allowed") }
