import CRdKafka

/// A partition of a topic.
public struct TopicPartition: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The topic.
    public let topic: String
    /// The partition's number.
    public let partition: Int32

    /// Names one.
    public init(_ topic: String, _ partition: Int32) {
        self.topic = topic
        self.partition = partition
    }

    /// `acme.reports[0]`.
    public var description: String { "\(topic)[\(partition)]" }

    /// By topic, then number.
    public static func < (a: TopicPartition, b: TopicPartition) -> Bool {
        a.topic == b.topic ? a.partition < b.partition : a.topic < b.topic
    }
}

/// A header of a message; its value may be absent.
public struct KafkaHeader: Sendable, Hashable {
    /// The name.
    public let name: String
    /// The value.
    public let value: [UInt8]?

    /// A header.
    public init(_ name: String, _ value: [UInt8]?) {
        self.name = name
        self.value = value
    }
}

/// A message as it was read.
public struct KafkaMessage: Sendable {
    /// Where it is.
    public let place: TopicPartition
    /// Its offset.
    public let offset: Int64
    /// The key, if it has one.
    public let key: [UInt8]?
    /// The value; nil is a tombstone.
    public let value: [UInt8]?
    /// The headers, in order.
    public let headers: [KafkaHeader]
    /// When it was written, in milliseconds since 1970; nil when the broker does not say.
    public let timestamp: Int64?

    /// A message.
    public init(
        place: TopicPartition, offset: Int64, key: [UInt8]?, value: [UInt8]?, headers: [KafkaHeader], timestamp: Int64?
    ) {
        self.place = place
        self.offset = offset
        self.key = key
        self.value = value
        self.headers = headers
        self.timestamp = timestamp
    }

    /// Copies a message that librdkafka owns.
    init(_ place: TopicPartition, copying message: UnsafePointer<rd_kafka_message_t>) {
        let it = message.pointee
        var kind = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE
        let time = rd_kafka_message_timestamp(message, &kind)
        self.init(
            place: place, offset: it.offset, key: copyBytes(it.key, it.key_len), value: copyBytes(it.payload, it.len),
            headers: Self.headers(message), timestamp: kind == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? nil : time)
    }

    private static func headers(_ message: UnsafePointer<rd_kafka_message_t>) -> [KafkaHeader] {
        var list: OpaquePointer?
        guard rd_kafka_message_headers(message, &list) == RD_KAFKA_RESP_ERR_NO_ERROR, let list else { return [] }
        var found: [KafkaHeader] = []
        var name: UnsafePointer<CChar>?
        var value: UnsafeRawPointer?
        var size = 0
        while rd_kafka_header_get_all(list, found.count, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR {
            found.append(KafkaHeader(name.map { String(cString: $0) } ?? "", copyBytes(value, size)))
        }
        return found
    }
}

/// The bytes, nil when there are none at all.
func copyBytes(_ start: UnsafeRawPointer?, _ count: Int) -> [UInt8]? {
    start.map { Array(UnsafeRawBufferPointer(start: $0, count: count)) }
}
