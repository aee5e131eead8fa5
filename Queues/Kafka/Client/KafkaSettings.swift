import JobKit

/// librdkafka's configuration: every property passes through, by librdkafka's own name.
public struct KafkaSettings: Sendable {
    /// The properties: `bootstrap.servers`, `security.protocol`.
    public let properties: [String: String]

    /// Settings with these properties; what librdkafka does not know is refused when a client is made.
    public init(_ properties: [String: String]) { self.properties = properties }

    /// Where the cluster is.
    public var servers: String? { properties["bootstrap.servers"] ?? properties["metadata.broker.list"] }

    /// The same with these properties, which win.
    public func with(_ more: [String: String]) -> KafkaSettings {
        KafkaSettings(properties.merging(more) { $1 })
    }

    /// The same with these properties where nothing was said.
    public func withStandard(_ more: [String: String]) -> KafkaSettings {
        KafkaSettings(properties.merging(more) { old, _ in old })
    }

    /// The same without these properties: librdkafka warns of a producer's on a consumer.
    public func without(_ names: [String]) -> KafkaSettings {
        KafkaSettings(properties.filter { !names.contains($0.key) })
    }

    /// The property that an environment variable's or a configuration key's rest names: `BOOTSTRAP_SERVERS` is `bootstrap.servers`. The few
    /// properties that librdkafka spells with an underscore are known.
    public static func property(_ words: String) -> String {
        let name = words.lowercased()
        return underscored.contains(name) ? name : name.replacing("_", with: ".")
    }

    /// Whether a property's value must never be shown.
    public static func isSecret(_ property: String) -> Bool {
        ["password", "secret", ".pem", "sasl.username", "oauthbearer.config", "jaas"].contains { property.contains($0) }
            || underscored.contains(property)
    }

    private static let underscored: Set<String> = ["ssl_key", "ssl_certificate", "ssl_ca"]

    /// Properties that only producers understand.
    static let producerOnly = [
        "acks", "request.required.acks", "enable.idempotence", "linger.ms", "queue.buffering.max.ms",
        "compression.codec",
        "compression.type", "compression.level", "batch.size", "batch.num.messages", "message.timeout.ms",
        "delivery.timeout.ms", "retries", "message.send.max.retries", "transactional.id", "partitioner",
        "queue.buffering.max.messages", "queue.buffering.max.kbytes", "request.timeout.ms",
    ]
    /// Properties that only consumers understand.
    static let consumerOnly = [
        "group.id", "group.instance.id", "session.timeout.ms", "heartbeat.interval.ms", "max.poll.interval.ms",
        "auto.offset.reset", "enable.auto.commit", "enable.auto.offset.store", "partition.assignment.strategy",
        "fetch.wait.max.ms", "fetch.min.bytes", "fetch.max.bytes", "max.partition.fetch.bytes",
        "fetch.message.max.bytes", "queued.min.messages", "queued.max.messages.kbytes", "isolation.level", "check.crcs",
    ]
}
