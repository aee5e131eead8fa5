import Foundation
import JobKit
import Kafka
import ReeveTesting
import Testing

/// The layer over librdkafka, against its mock cluster over TCP.
@Suite("Kafka client")
struct ClientTests {
    @Test("what is sent arrives once and in order, with key, headers and empty values")
    func roundTrip() throws {
        let cluster = MockCluster()
        cluster.createTopic("acme.reports")
        let producer = try KafkaProducer(KafkaFixture.settings(cluster))
        let headers = [KafkaHeader("ce_id", Array("1".utf8)), KafkaHeader("empty", []), KafkaHeader("none", nil)]
        for number in 1...100 {
            let isQueued = try producer.send(
                "acme.reports", partition: 0, key: Array("k".utf8), value: number == 1 ? [] : Array("\(number)".utf8),
                headers: headers, tag: number)
            #expect(isQueued)
        }
        let reports = KafkaFixture.reports(of: producer, count: 100)
        #expect(reports.map(\.tag) == Array(1...100))
        #expect(reports.allSatisfy { $0.error == nil })
        #expect(reports.map(\.offset) == Array(0..<100))

        let consumer = try KafkaConsumer(KafkaFixture.settings(cluster, group: "round-trip"))
        try consumer.subscribe(["acme.reports"])
        let assigned = try KafkaFixture.assigned(consumer)
        #expect(assigned == [TopicPartition("acme.reports", 0)])
        try consumer.open([assigned[0]: .beginning])
        let messages = KafkaFixture.messages(consumer, count: 100)
        #expect(messages.map(\.offset) == Array(0..<100))
        #expect(messages[0].value == [])
        #expect(messages[0].headers == headers)
        #expect(messages[41].value == Array("42".utf8))
        #expect(messages[0].key == Array("k".utf8))
    }

    @Test("nothing is read before it is opened; what is opened again begins there; what is closed is silent")
    func positions() throws {
        let cluster = MockCluster()
        cluster.createTopic("acme.reports", partitions: 2)
        let producer = try KafkaProducer(KafkaFixture.settings(cluster))
        for number in 0..<20 {
            _ = try producer.send("acme.reports", partition: Int32(number % 2), key: nil, value: [UInt8(number)])
        }
        _ = KafkaFixture.reports(of: producer, count: 20)
        let consumer = try KafkaConsumer(KafkaFixture.settings(cluster, group: "positions"))
        try consumer.subscribe(["^acme[.]reports$"])
        let places = try KafkaFixture.assigned(consumer)
        #expect(places.count == 2)
        #expect(KafkaFixture.messages(consumer, count: 1, within: .milliseconds(700)).isEmpty)
        try consumer.open([places[0]: .offset(7)])
        #expect(KafkaFixture.messages(consumer, count: 3).map(\.offset) == [7, 8, 9])
        try consumer.open([places[0]: .offset(2), places[1]: .beginning])
        let all = KafkaFixture.messages(consumer, count: 18)
        #expect(all.filter { $0.place == places[0] }.map(\.offset) == Array(2..<10))
        #expect(all.filter { $0.place == places[1] }.map(\.offset) == Array(0..<10))
        try consumer.close([places[0]])
        _ = try producer.send("acme.reports", partition: places[0].partition, key: nil, value: [1])
        _ = try producer.send("acme.reports", partition: places[1].partition, key: nil, value: [2])
        #expect(KafkaFixture.messages(consumer, count: 2, within: .seconds(3)).map(\.place) == [places[1]])
        consumer.leave(.seconds(5))
    }

    @Test("an offset that the partition does not have is an event that names it")
    func outOfRange() throws {
        let cluster = MockCluster()
        cluster.createTopic("acme.reports")
        let consumer = try KafkaConsumer(KafkaFixture.settings(cluster, group: "range"))
        try consumer.subscribe(["acme.reports"])
        let places = try KafkaFixture.assigned(consumer)
        try consumer.open([places[0]: .offset(1234)])
        var failure: KafkaError?
        let end = ContinuousClock.now + .seconds(10)
        while failure == nil, .now < end {
            if case .failed(let place, let error) = consumer.poll(.milliseconds(100)), place == places[0] {
                failure = error
            }
        }
        #expect(failure?.fault == .offsetOutOfRange)
        let marks = try consumer.watermarks(places[0], .seconds(5))
        #expect(marks.low == 0 && marks.high == 0)
    }

    @Test("each fault of a broker has its own word", arguments: [(10, "message_too_large"), (29, "not_authorized")])
    func faults(_ code: Int, _ word: String) throws {
        let cluster = MockCluster()
        cluster.createTopic("acme.events")
        let producer = try KafkaProducer(KafkaFixture.settings(cluster))
        cluster.fail(request: 0, [code])
        _ = try producer.send("acme.events", partition: 0, key: nil, value: [1], tag: 7)
        let report = KafkaFixture.reports(of: producer, count: 1).first
        #expect(report?.tag == 7)
        #expect(report?.error?.fault.rawValue == word)
    }

    @Test("what was sent while the broker was away or its leader moved arrives, once")
    func outage() throws {
        let cluster = MockCluster(brokers: 2)
        cluster.createTopic("acme.events")
        let producer = try KafkaProducer(KafkaFixture.settings(cluster))
        _ = try producer.send("acme.events", partition: 0, key: nil, value: [0], tag: 1)
        #expect(KafkaFixture.reports(of: producer, count: 1).first?.error == nil)
        cluster.takeDown(1)
        cluster.takeDown(2)
        for tag in 2...10 {
            _ = try producer.send("acme.events", partition: 0, key: nil, value: [UInt8(tag)], tag: tag)
        }
        var health = KafkaHealth()
        let end = ContinuousClock.now + .seconds(15)
        while health.fault == nil, .now < end {
            if case .error(let error) = producer.poll(.milliseconds(100)) { _ = health.meet(error) }
        }
        #expect(health.state == "brokers_down")
        cluster.bringUp(1)
        cluster.bringUp(2)
        cluster.moveLeader("acme.events", 0, to: 2)
        let reports = KafkaFixture.reports(of: producer, count: 9)
        #expect(reports.allSatisfy { $0.error == nil })
        #expect(reports.map(\.offset) == Array(1...9))
        #expect(throws: Never.self) { _ = try producer.topics(.seconds(5)) }
    }

    @Test(
        "a group that is refused, and a login, are states of their own",
        arguments: ["not_authorized", "authentication_refused"])
    func refused(_ word: String) throws {
        let cluster = MockCluster()
        cluster.createTopic("acme.reports")
        var settings = KafkaFixture.settings(cluster, group: "refused")
        if word == "not_authorized" {
            cluster.fail(request: 11, Array(repeating: 30, count: 50))
        } else {
            // The mock knows no logins.
            settings = settings.with([
                "security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN", "sasl.username": "reeve",
                "sasl.password": "wrong",
            ])
        }
        let consumer = try KafkaConsumer(settings)
        try consumer.subscribe(["acme.reports"])
        var health = KafkaHealth()
        let end = ContinuousClock.now + .seconds(20)
        while health.state != word, .now < end {
            if case .error(let error) = consumer.poll(.milliseconds(100)) {
                _ = health.meet(error)
                #expect(!error.description.contains("wrong"))
            }
        }
        #expect(health.state == word)
    }

    @Test("a property that librdkafka does not take is refused by its name, a secret without its value")
    func configuration() {
        let error = #expect(throws: KafkaError.self) { try KafkaProducer(KafkaSettings(["acks.of.all": "1"])) }
        #expect(error?.fault == .configuration)
        #expect(error?.message.contains("acks.of.all") == true)
        let secret = #expect(throws: KafkaError.self) {
            try KafkaProducer(KafkaSettings(["ssl.key.password.x": "open-sesame"]))
        }
        #expect(secret?.description.contains("sesame") == false)
        let pem = #expect(throws: KafkaError.self) {
            try KafkaProducer(KafkaSettings(["security.protocol": "ssl", "ssl.key.pem": "open-sesame"]))
        }
        #expect(pem?.description.contains("sesame") == false)
        let offsets = #expect(throws: KafkaError.self) {
            try KafkaConsumer(KafkaSettings(["enable.auto.commit": "true"]))
        }
        #expect(offsets?.message.contains("enable.auto.commit") == true)
        #expect(KafkaSettings.property("SASL_PASSWORD") == "sasl.password")
        #expect(KafkaSettings.isSecret("sasl.password") && !KafkaSettings.isSecret("bootstrap.servers"))
    }
}
