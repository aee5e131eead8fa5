import CRdKafka
import Glibc

/// Sends messages and says of each whether the cluster has it. Idempotent: what it sends to a partition arrives once and in order, however
/// often librdkafka repeats it. Any thread may send; one thread polls.
public final class KafkaProducer: Sendable {
    /// What became of a message.
    public struct Delivery: Sendable {
        /// What `send` was given.
        public let tag: Int
        /// Where it went.
        public let place: TopicPartition
        /// The offset it got.
        public let offset: Int64
        /// Why the cluster has not got it; nil: it has.
        public let error: KafkaError?
    }

    /// What happened.
    public enum Event: Sendable {
        /// The fate of messages.
        case delivered([Delivery])
        /// Something is wrong with the client as a whole; a fatal fault ends its use.
        case error(KafkaError)
        /// librdkafka has something for the log.
        case log(KafkaLogLine)
    }

    private let handle: KafkaHandle

    /// A producer. Throws for properties that librdkafka refuses.
    public init(_ settings: KafkaSettings) throws(KafkaError) {
        let settings = settings.without(KafkaSettings.consumerOnly).withStandard(["enable.idempotence": "true"])
        handle = try KafkaHandle(settings, consumer: false, events: RD_KAFKA_EVENT_DR)
    }

    /// Puts a message into the producer's queue; false when that is full: poll, and send it again. Without a partition the key decides.
    /// Does not block. Throws for a message that will never go, such as one that is too large.
    public func send(
        _ topic: String, partition: Int32? = nil, key: [UInt8]?, value: [UInt8]?, headers: [KafkaHeader] = [],
        timestamp: Int64? = nil, tag: Int = 0
    ) throws(KafkaError) -> Bool {
        let list = headers.isEmpty ? nil : rd_kafka_headers_new(headers.count)
        for header in headers {
            // Only an empty name can be refused, which no caller has.
            _ = header.name.withCString { name in
                (header.value ?? []).withUnsafeBytes { bytes in
                    let start = header.value == nil ? nil : bytes.baseAddress ?? UnsafeRawPointer(name)
                    return rd_kafka_header_add(list, name, -1, start, bytes.count)
                }
            }
        }
        let code = withBytes(key) { key, keySize in
            withBytes(value) { value, size in
                reeve_produce(
                    handle.pointer, topic, partition ?? Int32(RD_KAFKA_PARTITION_UA), key, keySize, value, size, list,
                    timestamp ?? 0, UnsafeMutableRawPointer(bitPattern: tag))
            }
        }
        if code == RD_KAFKA_RESP_ERR_NO_ERROR { return true }
        if let list { rd_kafka_headers_destroy(list) }
        if code == RD_KAFKA_RESP_ERR__QUEUE_FULL { return false }
        throw KafkaError(code, operation: "send to \(topic)")
    }

    /// The next event, waiting at most `timeout`.
    public func poll(_ timeout: Duration) -> Event? {
        guard let event = handle.poll(timeout) else { return nil }
        defer { rd_kafka_event_destroy(event) }
        switch rd_kafka_event_type(event) {
        case RD_KAFKA_EVENT_DR:
            var found: [Delivery] = []
            while let message = rd_kafka_event_message_next(event) {
                let it = message.pointee
                let topic = it.rkt.flatMap { rd_kafka_topic_name($0) }.map { String(cString: $0) } ?? ""
                let place = TopicPartition(topic, it.partition)
                found.append(
                    Delivery(
                        tag: Int(bitPattern: it._private), place: place, offset: it.offset,
                        error: it.err == RD_KAFKA_RESP_ERR_NO_ERROR
                            ? nil : KafkaError(it.err, operation: "send to \(place)")))
            }
            return .delivered(found)
        case RD_KAFKA_EVENT_LOG: return handle.line(of: event).map(Event.log)
        default: return .error(handle.error(of: event, "produce"))
        }
    }

    /// How many messages have no report yet.
    public var waiting: Int { Int(rd_kafka_outq_len(handle.pointer)) }

    /// Gives up on everything that has no report yet; the reports come as events.
    public func purge() {
        rd_kafka_purge(handle.pointer, Int32(RD_KAFKA_PURGE_F_QUEUE) | Int32(RD_KAFKA_PURGE_F_INFLIGHT))
    }

    /// The cluster's own id; nil when no broker answers in time.
    public func clusterID(_ timeout: Duration) -> String? { handle.clusterID(timeout) }

    /// The cluster's topics with their numbers of partitions. Blocks for `timeout` at most; a healthy cluster answers at once.
    public func topics(_ timeout: Duration) throws(KafkaError) -> [String: Int] { try handle.topics(timeout) }

    /// The oldest message's offset and the next message's. Blocks for `timeout` at most.
    public func watermarks(
        _ place: TopicPartition, _ timeout: Duration
    ) throws(KafkaError) -> (low: Int64, high: Int64) { try handle.watermarks(place, timeout) }

    /// The client, for the cluster's administration.
    var client: KafkaHandle { handle }

    /// Lends bytes, with a pointer that is not null when there are none: an empty value is no tombstone.
    private func withBytes<T>(_ bytes: [UInt8]?, _ body: (UnsafeRawPointer?, Int) -> T) -> T {
        guard let bytes else { return body(nil, 0) }
        return bytes.isEmpty
            ? withUnsafeBytes(of: UInt8(0)) { body($0.baseAddress, 0) }
            : bytes.withUnsafeBytes { body($0.baseAddress, $0.count) }
    }
}
