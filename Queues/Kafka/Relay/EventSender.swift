import JobKit
import Kafka

/// Sends messages and waits until the cluster has them or will not take them.
final class EventSender {
    private let producer: KafkaProducer
    private let log: Log

    /// A producer that is idempotent, and gives a message up after 20 seconds unless the settings say otherwise: a topic that takes
    /// nothing must not keep the others waiting for ever.
    init(_ settings: KafkaSettings, log: Log) throws {
        producer = try KafkaProducer(
            settings.withStandard(["message.timeout.ms": "20000", "linger.ms": "5", "client.id": "reeve-relay"]))
        self.log = log
    }

    /// What the client as a whole said was wrong while it sent last, or nil.
    private(set) var fault: KafkaError?

    /// Sends all of them. `tick` is called about every second; when it throws, or `stop` is raised, what is still on its way is given
    /// up and counts as not sent. A fatal fault of the client is thrown: another is to be made.
    func send(_ messages: [OutgoingMessage], stop: StopSignal, tick: () throws -> Void) throws -> SendingReport {
        var faults: [Int: SendingReport.KafkaFault] = [:]
        var waiting = Set<Int>()
        var next = 0
        var tickAt = ContinuousClock.now + .seconds(1)
        fault = nil
        func note(_ index: Int, _ error: KafkaError) {
            faults[index] = SendingReport.KafkaFault(
                index: index, fault: error.fault.rawValue, text: "\(error.message) (\(error.name))")
        }
        while next < messages.count || !waiting.isEmpty {
            while next < messages.count, try push(messages[next], next, note) {
                if faults[next] == nil { waiting.insert(next) }
                next += 1
            }
            for delivery in try reports() where waiting.remove(delivery.tag) != nil {
                if let error = delivery.error { note(delivery.tag, error) }
            }
            guard tickAt <= .now else { continue }
            tickAt = .now + .seconds(1)
            do {
                try stop.throwIfStopped()
                try tick()
            } catch {
                try giveUp(&waiting)
                throw error
            }
        }
        return SendingReport(messages, faults)
    }

    /// False when the producer's queue is full.
    private func push(_ message: OutgoingMessage, _ index: Int, _ note: (Int, KafkaError) -> Void) throws -> Bool {
        do throws(KafkaError) {
            return try producer.send(
                message.topic, key: Array(message.stream.utf8), value: Array(message.value.utf8),
                headers: [KafkaHeader("content-type", Array("application/cloudevents+json".utf8))], tag: index)
        } catch {
            if error.fault == .fatal { throw error }
            note(index, error)
            return true
        }
    }

    private func reports() throws -> [KafkaProducer.Delivery] {
        switch producer.poll(.milliseconds(100)) {
        case .delivered(let deliveries): return deliveries
        case .error(let error):
            if error.fault == .fatal { throw error }
            fault = error
            return []
        case .log(let line):
            log.debug("librdkafka", ["text": .string(line.text)])
            return []
        case nil: return []
        }
    }

    private func giveUp(_ waiting: inout Set<Int>) throws {
        producer.purge()
        let limit = ContinuousClock.now + .seconds(5)
        while !waiting.isEmpty, limit > .now {
            for delivery in try reports() { waiting.remove(delivery.tag) }
        }
    }
}
