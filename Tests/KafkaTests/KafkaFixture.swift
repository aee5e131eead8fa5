import Foundation
import JobKit
import Kafka
import ReeveTesting

/// A Kafka cluster that tests speak to.
protocol TestBroker: AnyObject, Sendable {
    var servers: String { get }
    func createTopic(_ name: String, partitions: Int)
}

extension MockCluster: TestBroker {}

/// The cluster that `REEVE_TEST_KAFKA` names: its bootstrap servers.
final class RealBroker: TestBroker {
    let servers: String

    init() { servers = ProcessInfo.processInfo.environment["REEVE_TEST_KAFKA"] ?? "" }

    static var isThere: Bool { ProcessInfo.processInfo.environment["REEVE_TEST_KAFKA"]?.isEmpty == false }

    func createTopic(_ name: String, partitions: Int) {
        do {
            let made = try KafkaAdmin(KafkaFixture.settings(self)).create([
                KafkaAdmin.Topic(name, partitions: partitions)
            ])
            if let error = made[name].flatMap({ $0 }) { fatalError("\(error)") }
        } catch { fatalError("\(error)") }
    }
}

/// Short ways to a cluster.
enum KafkaFixture {
    /// Settings for quick tests: a mock's rebalance lasts as long as a session.
    static func settings(_ cluster: any TestBroker, group: String? = nil) -> KafkaSettings {
        var properties = [
            "bootstrap.servers": cluster.servers, "session.timeout.ms": "3000", "heartbeat.interval.ms": "500",
            "topic.metadata.refresh.interval.ms": "500", "reconnect.backoff.max.ms": "200", "linger.ms": "0",
        ]
        properties["group.id"] = group
        return KafkaSettings(properties)
    }

    /// The first partitions that the group gives.
    static func assigned(_ consumer: KafkaConsumer) throws -> [TopicPartition] {
        let end = ContinuousClock.now + .seconds(30)
        while .now < end {
            if case .assigned(let places) = consumer.poll(.milliseconds(100)), !places.isEmpty {
                return places.sorted()
            }
        }
        throw JobFailure("no_assignment", "the group gave no partitions")
    }

    /// The next messages.
    static func messages(_ consumer: KafkaConsumer, count: Int, within time: Duration = .seconds(20)) -> [KafkaMessage]
    {
        var found: [KafkaMessage] = []
        let end = ContinuousClock.now + time
        while found.count < count, .now < end {
            if case .message(let message) = consumer.poll(.milliseconds(50)) { found.append(message) }
        }
        return found
    }

    /// The next delivery reports.
    static func reports(of producer: KafkaProducer, count: Int) -> [KafkaProducer.Delivery] {
        var found: [KafkaProducer.Delivery] = []
        let end = ContinuousClock.now + .seconds(30)
        while found.count < count, .now < end {
            if case .delivered(let reports) = producer.poll(.milliseconds(100)) { found += reports }
        }
        return found
    }
}
