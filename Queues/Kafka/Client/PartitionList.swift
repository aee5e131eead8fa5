import CRdKafka

/// A list of partitions with offsets, owned here.
struct PartitionList: ~Copyable {
    let pointer: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>

    init(_ places: [(TopicPartition, Int64)]) {
        guard let made = rd_kafka_topic_partition_list_new(Int32(places.count)) else { fatalError("out of memory") }
        pointer = made
        for (place, offset) in places {
            rd_kafka_topic_partition_list_add(made, place.topic, place.partition).pointee.offset = offset
        }
    }

    init(_ places: [TopicPartition]) { self.init(places.map { ($0, Int64(RD_KAFKA_OFFSET_INVALID)) }) }

    deinit { rd_kafka_topic_partition_list_destroy(pointer) }

    /// The places of a list that librdkafka owns.
    static func places(_ list: UnsafePointer<rd_kafka_topic_partition_list_t>?) -> [TopicPartition] {
        guard let list else { return [] }
        return UnsafeBufferPointer(start: list.pointee.elems, count: Int(list.pointee.cnt)).map {
            TopicPartition(String(cString: $0.topic), $0.partition)
        }
    }
}
