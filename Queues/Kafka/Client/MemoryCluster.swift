import CRdKafka

/// A Kafka cluster in this process's memory, over TCP on this machine: librdkafka's mock, for benchmarks and trials. It keeps 5 MB or 100,000
/// messages of each partition at most, and nothing when it ends.
///
/// `@unchecked Sendable`: librdkafka's handles may be used by any thread, and the pointers never change before `deinit`.
public final class MemoryCluster: @unchecked Sendable {
    private let handle: KafkaHandle
    private let cluster: OpaquePointer

    /// One broker.
    public init() throws(KafkaError) {
        handle = try KafkaHandle(KafkaSettings([:]), consumer: false, events: 0)
        guard let made = rd_kafka_mock_cluster_new(handle.pointer, 1) else {
            throw KafkaError(.other, name: "_FAIL", "no cluster in memory could be made", operation: "mock cluster")
        }
        cluster = made
    }

    deinit { rd_kafka_mock_cluster_destroy(cluster) }

    /// Where it listens.
    public var settings: KafkaSettings {
        KafkaSettings(["bootstrap.servers": String(cString: rd_kafka_mock_cluster_bootstraps(cluster))])
    }

    /// Makes a topic.
    public func create(_ topic: String, partitions: Int = 1) throws(KafkaError) {
        let code = rd_kafka_mock_topic_create(cluster, topic, Int32(clamping: partitions), 1)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else { throw KafkaError(code, operation: "create \(topic)") }
    }
}
