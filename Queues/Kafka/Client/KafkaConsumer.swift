import CRdKafka

/// A member of a consumer group whose caller decides, partition by partition, from which offset it is read. Used by one thread.
///
/// What the group assigns is not read before `open` says from where, so a slow database never holds a rebalance up: assignments are
/// acknowledged at once. librdkafka commits nothing by itself. Groups rebalance cooperatively: what stays is read on meanwhile.
public final class KafkaConsumer {
    /// What happened.
    public enum Event: Sendable {
        /// A message of an open partition.
        case message(KafkaMessage)
        /// The group gave these partitions to this member.
        case assigned([TopicPartition])
        /// They are this member's no more; when lost, another may read them already.
        case revoked([TopicPartition], isLost: Bool)
        /// An open partition cannot be read on.
        case failed(TopicPartition, KafkaError)
        /// Something is wrong with the client as a whole.
        case error(KafkaError)
        /// The group has taken a commit, or has not.
        case committed(KafkaError?)
        /// librdkafka has something for the log.
        case log(KafkaLogLine)
    }

    /// Where reading begins.
    public enum Position: Sendable, Equatable {
        /// The oldest message.
        case beginning
        /// This offset.
        case offset(Int64)
    }

    private let handle: KafkaHandle
    private var opened: Set<TopicPartition> = []
    private var hasSubscribed = false
    private var wasAssigned = false

    /// A member of the group `group.id`. Throws for properties that librdkafka refuses and for those that would break what this type
    /// promises.
    public init(_ settings: KafkaSettings) throws(KafkaError) {
        let own = [
            "enable.auto.commit": "false", "enable.auto.offset.store": "false", "auto.offset.reset": "error",
            "partition.assignment.strategy": "cooperative-sticky", "allow.auto.create.topics": "false",
        ]
        for (name, value) in own where settings.properties[name] ?? value != value {
            throw KafkaError(
                .configuration, name: "_INVALID_ARG", "\(name) has to be \(value): Reeve keeps offsets in PostgreSQL",
                operation: "configure")
        }
        handle = try KafkaHandle(
            settings.without(KafkaSettings.producerOnly).with(own), consumer: true,
            events: RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_OFFSET_COMMIT)
    }

    /// Subscribes to topics by name, or by pattern when it begins with `^`. New topics that match come by themselves.
    public func subscribe(_ topics: [String]) throws(KafkaError) {
        let list = PartitionList(topics.map { TopicPartition($0, -1) })
        let code = rd_kafka_subscribe(handle.pointer, list.pointer)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else { throw KafkaError(code, operation: "subscribe") }
        hasSubscribed = true
    }

    deinit {
        // Before 2.3.0 librdkafka aborts the process when a member is destroyed that never had an assignment (its issue 4312).
        if hasSubscribed, !wasAssigned { handle.leaveAlone() }
    }

    /// The next event, waiting at most `timeout`.
    public func poll(_ timeout: Duration) -> Event? {
        guard let event = handle.poll(timeout) else { return nil }
        defer { rd_kafka_event_destroy(event) }
        switch rd_kafka_event_type(event) {
        case RD_KAFKA_EVENT_FETCH: return message(event)
        case RD_KAFKA_EVENT_REBALANCE: return rebalance(event)
        case RD_KAFKA_EVENT_OFFSET_COMMIT:
            let code = rd_kafka_event_error(event)
            let isFine = code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR__NO_OFFSET
            return .committed(isFine ? nil : handle.error(of: event, "commit"))
        case RD_KAFKA_EVENT_LOG: return handle.line(of: event).map(Event.log)
        default:
            let error = handle.error(of: event, "consume")
            guard let place = rd_kafka_event_topic_partition(event) else { return .error(error) }
            defer { rd_kafka_topic_partition_destroy(place) }
            return .failed(TopicPartition(String(cString: place.pointee.topic), place.pointee.partition), error)
        }
    }

    private func message(_ event: OpaquePointer) -> Event? {
        guard let message = rd_kafka_event_message_next(event) else { return nil }
        let it = message.pointee
        let topic = it.rkt.flatMap { rd_kafka_topic_name($0) }.map { String(cString: $0) } ?? ""
        let place = TopicPartition(topic, it.partition)
        guard it.err != RD_KAFKA_RESP_ERR_NO_ERROR else { return .message(KafkaMessage(place, copying: message)) }
        let error = KafkaError(
            it.err, rd_kafka_message_errstr(message).map { String(cString: $0) }, operation: "consume \(place)")
        return topic.isEmpty || it.partition < 0 ? .error(error) : .failed(place, error)
    }

    /// Acknowledges a change of the assignment; what it brings is opened later.
    private func rebalance(_ event: OpaquePointer) -> Event {
        let places = PartitionList.places(rd_kafka_event_topic_partition_list(event))
        if rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            wasAssigned = true
            let none = PartitionList([TopicPartition]())
            if let error = KafkaError(
                adopting: rd_kafka_incremental_assign(handle.pointer, none.pointer), operation: "assign")
            {
                return .error(error)
            }
            return .assigned(places)
        }
        let isLost = rd_kafka_assignment_lost(handle.pointer) == 1
        // Only what was opened is known to librdkafka as assigned.
        let gone = PartitionList(places.filter { opened.contains($0) })
        opened.subtract(places)
        if let error = KafkaError(
            adopting: rd_kafka_incremental_unassign(handle.pointer, gone.pointer), operation: "unassign")
        {
            return .error(error)
        }
        return .revoked(places, isLost: isLost)
    }

    /// Reads these assigned partitions from these positions on; those that are open already are begun anew there.
    public func open(_ places: [TopicPartition: Position]) throws(KafkaError) {
        try close(places.keys.filter { opened.contains($0) })
        let list = PartitionList(
            places.map { place, position in
                switch position {
                case .beginning: (place, Int64(RD_KAFKA_OFFSET_BEGINNING))
                case .offset(let offset): (place, offset)
                }
            })
        if let error = KafkaError(
            adopting: rd_kafka_incremental_assign(handle.pointer, list.pointer), operation: "open")
        {
            throw error
        }
        opened.formUnion(places.keys)
    }

    /// Stops reading these partitions, which stay assigned. Nothing of them comes any more.
    public func close(_ places: [TopicPartition]) throws(KafkaError) {
        let places = places.filter { opened.contains($0) }
        guard !places.isEmpty else { return }
        let list = PartitionList(places)
        opened.subtract(places)
        if let error = KafkaError(
            adopting: rd_kafka_incremental_unassign(handle.pointer, list.pointer), operation: "close")
        {
            throw error
        }
    }

    /// Tells the group how far reading has come, for lag tools; the answer is an event. Does not block.
    public func commit(_ next: [TopicPartition: Int64]) {
        guard !next.isEmpty else { return }
        let list = PartitionList(next.map { ($0.key, $0.value) })
        // What goes wrong comes as an event as well.
        _ = rd_kafka_commit(handle.pointer, list.pointer, 1)
    }

    /// How far the group was told that reading has come; partitions that it knows nothing of are left out. Blocks for `timeout` at most.
    public func committed(
        _ places: [TopicPartition], _ timeout: Duration
    ) throws(KafkaError) -> [TopicPartition: Int64] {
        let list = PartitionList(places)
        let code = rd_kafka_committed(handle.pointer, list.pointer, Int32(clamping: Int(timeout / .milliseconds(1))))
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else { throw KafkaError(code, operation: "committed offsets") }
        var found: [TopicPartition: Int64] = [:]
        for entry in UnsafeBufferPointer(start: list.pointer.pointee.elems, count: Int(list.pointer.pointee.cnt))
        where entry.offset >= 0 { found[TopicPartition(String(cString: entry.topic), entry.partition)] = entry.offset }
        return found
    }

    /// The cluster's own id; nil when no broker answers in time.
    public func clusterID(_ timeout: Duration) -> String? { handle.clusterID(timeout) }

    /// The oldest message's offset and the next message's. Blocks for `timeout` at most.
    public func watermarks(
        _ place: TopicPartition, _ timeout: Duration
    ) throws(KafkaError) -> (low: Int64, high: Int64) { try handle.watermarks(place, timeout) }

    /// The next message's offset, as the last fetch had it; nil when nothing was fetched yet. Asks nobody.
    public func knownEnd(_ place: TopicPartition) -> Int64? { handle.knownEnd(place) }

    /// The cluster's topics with their numbers of partitions. Blocks for `timeout` at most; a healthy cluster answers at once.
    public func topics(_ timeout: Duration) throws(KafkaError) -> [String: Int] { try handle.topics(timeout) }

    /// Leaves the group, within `limit`: its partitions go to others at once. Without an answer by then the session ends by itself.
    public func leave(_ limit: Duration) {
        if KafkaError(adopting: rd_kafka_consumer_close_queue(handle.pointer, handle.queue), operation: "close") != nil
        {
            return
        }
        let end = ContinuousClock.now + limit
        while rd_kafka_consumer_closed(handle.pointer) == 0, .now < end {
            guard let event = handle.poll(.milliseconds(100)) else { continue }
            defer { rd_kafka_event_destroy(event) }
            if rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE { _ = rebalance(event) }
        }
    }
}
