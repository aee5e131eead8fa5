import CRdKafka
import Glibc
public import JobKit
import Synchronization

/// The owner of one librdkafka client. No callbacks: everything that librdkafka has to say comes as events of one queue, on the thread that
/// polls it.
///
/// `@unchecked Sendable`: librdkafka's handles may be used by any thread, and the pointers never change before `deinit`.
final class KafkaHandle: @unchecked Sendable {
    let pointer: OpaquePointer
    let queue: OpaquePointer
    private let isConsumer: Bool
    private let isLeftAlone = Atomic(false)

    init(_ settings: KafkaSettings, consumer: Bool, events: Int32) throws(KafkaError) {
        let configuration = try Self.configuration(settings)
        rd_kafka_conf_set_events(configuration, events | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG)
        var text = [CChar](repeating: 0, count: 512)
        guard
            let made = rd_kafka_new(consumer ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER, configuration, &text, text.count)
        else {
            rd_kafka_conf_destroy(configuration)
            throw KafkaError(
                .configuration, name: "_INVALID_ARG", string(text), operation: consumer ? "consumer" : "producer")
        }
        pointer = made
        isConsumer = consumer
        if consumer {
            rd_kafka_poll_set_consumer(made)
            queue = rd_kafka_queue_get_consumer(made)
        } else {
            queue = rd_kafka_queue_get_main(made)
        }
        // Logs go the same way as everything else.
        rd_kafka_set_log_queue(made, queue)
    }

    /// Never destroys the client, whose threads then go on until the process ends.
    func leaveAlone() { isLeftAlone.store(true, ordering: .relaxed) }

    deinit {
        rd_kafka_queue_destroy(queue)
        if isLeftAlone.load(ordering: .relaxed) { return }
        // A consumer is closed before, within a limit; one that was not is left to its session's timeout.
        rd_kafka_destroy_flags(pointer, isConsumer ? Int32(RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE) : 0)
    }

    private static func configuration(_ settings: KafkaSettings) throws(KafkaError) -> OpaquePointer {
        guard let made = rd_kafka_conf_new() else { fatalError("out of memory") }
        var text = [CChar](repeating: 0, count: 512)
        for (name, value) in settings.with(["log.queue": "true"]).properties.sorted(by: { $0.key < $1.key }) {
            guard rd_kafka_conf_set(made, name, value, &text, text.count) != RD_KAFKA_CONF_OK else { continue }
            rd_kafka_conf_destroy(made)
            // librdkafka quotes the value, which may be a secret.
            let said = KafkaSettings.isSecret(name) ? "the value of \"\(name)\" is refused" : string(text)
            throw KafkaError(.configuration, name: "_INVALID_ARG", said, operation: "configure")
        }
        return made
    }

    /// The next event, waiting at most `timeout`; nil when there was none. The caller destroys it.
    func poll(_ timeout: Duration) -> OpaquePointer? {
        rd_kafka_queue_poll(queue, Int32(clamping: Int(timeout / .milliseconds(1))))
    }

    /// The error that an event of this type carries; a fatal one is named as the handle's own.
    func error(of event: OpaquePointer, _ operation: String) -> KafkaError {
        if rd_kafka_event_error_is_fatal(event) == 1 {
            var text = [CChar](repeating: 0, count: 512)
            let code = rd_kafka_fatal_error(pointer, &text, text.count)
            return KafkaError(code, string(text), operation: operation).asFatal
        }
        return KafkaError(
            rd_kafka_event_error(event), rd_kafka_event_error_string(event).map { String(cString: $0) },
            operation: operation)
    }

    /// What a log event says.
    func line(of event: OpaquePointer) -> KafkaLogLine? {
        var facility: UnsafePointer<CChar>?
        var text: UnsafePointer<CChar>?
        var level: Int32 = 6
        guard rd_kafka_event_log(event, &facility, &text, &level) == 0 else { return nil }
        return KafkaLogLine(
            level: Int(level), facility: facility.map { String(cString: $0) } ?? "",
            text: text.map { String(cString: $0) } ?? "")
    }

    /// The cluster's own id; nil when no broker answers in time.
    func clusterID(_ timeout: Duration) -> String? {
        guard let text = rd_kafka_clusterid(pointer, Int32(clamping: Int(timeout / .milliseconds(1)))) else {
            return nil
        }
        defer { rd_kafka_mem_free(pointer, text) }
        return String(cString: text)
    }

    /// The offset of the oldest message and the one that the next message will get. Blocks for `timeout` at most.
    func watermarks(_ place: TopicPartition, _ timeout: Duration) throws(KafkaError) -> (low: Int64, high: Int64) {
        var low: Int64 = 0
        var high: Int64 = 0
        let milliseconds = Int32(clamping: Int(timeout / .milliseconds(1)))
        let code = rd_kafka_query_watermark_offsets(pointer, place.topic, place.partition, &low, &high, milliseconds)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else { throw KafkaError(code, operation: "watermarks of \(place)") }
        return (low, high)
    }

    /// The offset that the next message will get, as the last answer to a fetch had it; nil before the first. Asks nobody.
    func knownEnd(_ place: TopicPartition) -> Int64? {
        var low: Int64 = 0
        var high: Int64 = 0
        let code = rd_kafka_get_watermark_offsets(pointer, place.topic, place.partition, &low, &high)
        return code == RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0 ? high : nil
    }

    /// Asks the cluster for its topics, or for these: partitions by topic. Blocks for `timeout` at most.
    func topics(_ timeout: Duration) throws(KafkaError) -> [String: Int] {
        var found: UnsafePointer<rd_kafka_metadata>?
        let code = rd_kafka_metadata(pointer, 1, nil, &found, Int32(clamping: Int(timeout / .milliseconds(1))))
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR, let found else { throw KafkaError(code, operation: "metadata") }
        defer { rd_kafka_metadata_destroy(found) }
        var topics: [String: Int] = [:]
        for topic in UnsafeBufferPointer(start: found.pointee.topics, count: Int(found.pointee.topic_cnt)) {
            guard topic.err == RD_KAFKA_RESP_ERR_NO_ERROR, let name = topic.topic else { continue }
            topics[String(cString: name)] = Int(topic.partition_cnt)
        }
        return topics
    }
}

/// A line of librdkafka's log.
public struct KafkaLogLine: Sendable {
    /// The level as syslog counts: 3 error, 4 warning, 6 information.
    public let level: Int
    /// What part of librdkafka says it.
    public let facility: String
    /// The line.
    public let text: String

    /// Writes it to a log.
    public func write(to log: Log) {
        let fields: KeyValuePairs<String, JSON> = ["facility": .string(facility), "text": .string(text)]
        switch level {
        case ...3: log.warning("librdkafka", fields)
        case 4: log.info("librdkafka", fields)
        default: log.debug("librdkafka", fields)
        }
    }
}

/// The text up to its NUL.
func string(_ buffer: [CChar]) -> String {
    String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
