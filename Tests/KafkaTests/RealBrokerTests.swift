import Foundation
import Glibc
import JobKit
import Kafka
import KafkaIntake
import ReeveTesting
import Testing

/// What only a real broker can show; run when `REEVE_TEST_KAFKA` names one (bootstrap servers).
@Suite("Real broker", .enabled(if: RealBroker.isThere, "REEVE_TEST_KAFKA names none"))
struct RealBrokerTests {
    private let tenant = "t\(UInt32.random(in: 0...UInt32.max))"

    @Test("topics are made as planned, and a second plan has nothing to do; more partitions are added")
    func topics() throws {
        let admin = try KafkaAdmin(KafkaFixture.settings(RealBroker()))
        let names = TopicNames() ?? fatal()
        var layout = TopicPlan.Layout()
        layout.replication = 1
        let first = TopicPlan(tenants: [tenant], names: names, layout: layout, existing: try admin.topics())
        #expect(first.create.count == 6)
        #expect(try admin.create(first.create).values.allSatisfy { $0 == nil })
        let second = TopicPlan(tenants: [tenant], names: names, layout: layout, existing: try admin.topics())
        #expect(second.isComplete)
        layout.partitions = 5
        let third = TopicPlan(tenants: [tenant], names: names, layout: layout, existing: try admin.topics())
        #expect(third.grow.count == 4)
        #expect(try admin.grow(third.grow.mapValues(\.wants)).values.allSatisfy { $0 == nil })
    }

    @Test("messages become jobs, exactly once over restarts; a message that is too large has that word")
    func intake() throws {
        let broker = RealBroker()
        let fixture = try IntakeFixture(broker, tenants: [tenant])
        broker.createTopic("\(tenant).reports", partitions: 3)
        for partition in 0..<3 {
            try fixture.send("\(tenant).reports", (partition * 1000)..<(partition * 1000 + 500), partition: partition)
        }
        for _ in 0..<2 {
            try fixture.withIntake(group: tenant) { try fixture.wait("1500", "SELECT count(*) FROM reeve.job") }
        }
        #expect(try fixture.count("SELECT count(*) FROM reeve.kafka_offset WHERE problem IS NOT NULL") == 0)
        let producer = try KafkaProducer(KafkaFixture.settings(broker).with(["message.max.bytes": "8000000"]))
        _ = try producer.send(
            "\(tenant).reports", partition: 0, key: nil, value: [UInt8](repeating: 1, count: 4_000_000))
        #expect(KafkaFixture.reports(of: producer, count: 1).first?.error?.fault == .tooLarge)
    }
}
