import CRdKafka

/// Makes topics and access rules in a cluster. Every call answers within its time limit.
public final class KafkaAdmin {
    /// A topic to make.
    public struct Topic: Sendable, Hashable {
        /// The name.
        public let name: String
        /// How many partitions.
        public let partitions: Int
        /// How many replicas; nil is the broker's standard.
        public let replication: Int?
        /// Settings of the topic: `retention.ms`.
        public let settings: [String: String]

        /// A topic.
        public init(_ name: String, partitions: Int, replication: Int? = nil, settings: [String: String] = [:]) {
            self.name = name
            self.partitions = partitions
            self.replication = replication
            self.settings = settings
        }
    }

    /// A rule about topics.
    public struct Rule: Sendable, Hashable {
        /// What a rule is about.
        public enum Operation: String, Sendable { case write, describe }

        /// The topic, or how its name begins.
        public let topic: String
        /// Whether all topics count whose names begin so.
        public let isPrefix: Bool
        /// Whom it is for: `User:acme`.
        public let principal: String
        /// What it allows or denies.
        public let operation: Operation
        /// Whether it denies.
        public let isDenial: Bool

        /// A rule.
        public init(_ topic: String, isPrefix: Bool, principal: String, _ operation: Operation, isDenial: Bool = false)
        {
            self.topic = topic
            self.isPrefix = isPrefix
            self.principal = principal
            self.operation = operation
            self.isDenial = isDenial
        }
    }

    private let handle: KafkaHandle
    private let limit: Duration

    /// An administrator of the cluster that the settings name; each call takes `limit` at most.
    public init(_ settings: KafkaSettings, limit: Duration = .seconds(8)) throws(KafkaError) {
        self.limit = limit
        handle = try KafkaHandle(
            settings.without(KafkaSettings.consumerOnly + KafkaSettings.producerOnly), consumer: false, events: 0)
    }

    /// The cluster's topics with their numbers of partitions.
    public func topics() throws(KafkaError) -> [String: Int] { try handle.topics(limit) }

    /// Makes topics; says of each what went wrong, nil: nothing.
    public func create(_ topics: [Topic]) throws(KafkaError) -> [String: KafkaError?] {
        guard !topics.isEmpty else { return [:] }
        var made: [OpaquePointer?] = []
        defer { for topic in made { rd_kafka_NewTopic_destroy(topic) } }
        for topic in topics {
            var text = [CChar](repeating: 0, count: 512)
            guard
                let new = rd_kafka_NewTopic_new(
                    topic.name, Int32(clamping: topic.partitions), Int32(clamping: topic.replication ?? -1), &text,
                    text.count)
            else {
                throw KafkaError(.configuration, name: "_INVALID_ARG", string(text), operation: "create \(topic.name)")
            }
            made.append(new)
            for (name, value) in topic.settings { rd_kafka_NewTopic_set_config(new, name, value) }
        }
        return try call(RD_KAFKA_ADMIN_OP_CREATETOPICS, "create topics") { options, queue in
            rd_kafka_CreateTopics(handle.pointer, &made, made.count, options, queue)
        } read: { event in
            var count = 0
            let results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count)
            return self.results(results, count, "create")
        }
    }

    /// Gives topics more partitions, up to these numbers.
    public func grow(_ topics: [String: Int]) throws(KafkaError) -> [String: KafkaError?] {
        guard !topics.isEmpty else { return [:] }
        var made: [OpaquePointer?] = []
        defer { for topic in made { rd_kafka_NewPartitions_destroy(topic) } }
        for (name, count) in topics {
            var text = [CChar](repeating: 0, count: 512)
            guard let new = rd_kafka_NewPartitions_new(name, count, &text, text.count) else {
                throw KafkaError(.configuration, name: "_INVALID_ARG", string(text), operation: "grow \(name)")
            }
            made.append(new)
        }
        return try call(RD_KAFKA_ADMIN_OP_CREATEPARTITIONS, "create partitions") { options, queue in
            rd_kafka_CreatePartitions(handle.pointer, &made, made.count, options, queue)
        } read: { event in
            var count = 0
            let results = rd_kafka_CreatePartitions_result_topics(rd_kafka_event_CreatePartitions_result(event), &count)
            return self.results(results, count, "grow")
        }
    }

    /// Makes rules; those that are there already stay as they are.
    public func allow(_ rules: [Rule]) throws(KafkaError) {
        guard !rules.isEmpty else { return }
        var made: [OpaquePointer?] = []
        defer { for rule in made { rd_kafka_AclBinding_destroy(rule) } }
        for rule in rules {
            var text = [CChar](repeating: 0, count: 512)
            guard
                let new = rd_kafka_AclBinding_new(
                    RD_KAFKA_RESOURCE_TOPIC, rule.topic,
                    rule.isPrefix ? RD_KAFKA_RESOURCE_PATTERN_PREFIXED : RD_KAFKA_RESOURCE_PATTERN_LITERAL,
                    rule.principal,
                    "*", rule.operation == .write ? RD_KAFKA_ACL_OPERATION_WRITE : RD_KAFKA_ACL_OPERATION_DESCRIBE,
                    rule.isDenial ? RD_KAFKA_ACL_PERMISSION_TYPE_DENY : RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW, &text,
                    text.count)
            else {
                throw KafkaError(
                    .configuration, name: "_INVALID_ARG", string(text), operation: "rule for \(rule.topic)")
            }
            made.append(new)
        }
        let failure: KafkaError? = try call(RD_KAFKA_ADMIN_OP_CREATEACLS, "create access rules") { options, queue in
            rd_kafka_CreateAcls(handle.pointer, &made, made.count, options, queue)
        } read: { event in
            var count = 0
            let results = rd_kafka_CreateAcls_result_acls(rd_kafka_event_CreateAcls_result(event), &count)
            for index in 0..<count {
                // The error belongs to the result.
                guard let error = results?[index].flatMap({ rd_kafka_acl_result_error($0) }) else { continue }
                let code = rd_kafka_error_code(error)
                if code != RD_KAFKA_RESP_ERR_NO_ERROR {
                    return KafkaError(
                        code, String(cString: rd_kafka_error_string(error)), operation: "create access rules")
                }
            }
            return nil
        }
        if let failure { throw failure }
    }

    private func results(
        _ results: UnsafeMutablePointer<OpaquePointer?>?, _ count: Int, _ verb: String
    ) -> [String: KafkaError?] {
        var found: [String: KafkaError?] = [:]
        for index in 0..<count {
            guard let result = results?[index], let name = rd_kafka_topic_result_name(result) else { continue }
            let topic = String(cString: name)
            let code = rd_kafka_topic_result_error(result)
            let message = rd_kafka_topic_result_error_string(result).map { String(cString: $0) }
            found[topic] =
                code == RD_KAFKA_RESP_ERR_NO_ERROR
                ? .some(nil) : KafkaError(code, message, operation: "\(verb) \(topic)")
        }
        return found
    }

    /// Asks, and waits for the answer: librdkafka's own limit is a little shorter than this one's.
    private func call<T>(
        _ operation: rd_kafka_admin_op_t, _ name: String, _ ask: (OpaquePointer?, OpaquePointer?) -> Void,
        read: (OpaquePointer) -> T
    ) throws(KafkaError) -> T {
        let options = rd_kafka_AdminOptions_new(handle.pointer, operation)
        defer { rd_kafka_AdminOptions_destroy(options) }
        let milliseconds = Int32(clamping: Int(limit / .milliseconds(1)))
        rd_kafka_AdminOptions_set_request_timeout(options, milliseconds - 1000, nil, 0)
        let queue = rd_kafka_queue_new(handle.pointer)
        defer { rd_kafka_queue_destroy(queue) }
        ask(options, queue)
        guard let event = rd_kafka_queue_poll(queue, milliseconds) else {
            throw KafkaError(
                .brokersDown, name: "_TIMED_OUT", "the cluster's controller did not answer", operation: name)
        }
        defer { rd_kafka_event_destroy(event) }
        let code = rd_kafka_event_error(event)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
            throw KafkaError(code, rd_kafka_event_error_string(event).map { String(cString: $0) }, operation: name)
        }
        return read(event)
    }
}
