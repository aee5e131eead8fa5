import CRdKafka
public import JobKit

/// What went wrong between Reeve and a Kafka cluster, in the words of librdkafka. Its text holds no secret and no message.
public struct KafkaError: DispositionedError, CustomStringConvertible, Hashable {
    /// What an operator can do something about; each is a state of its own in logs, metrics and `reeve doctor`.
    public enum Fault: String, Sendable, CaseIterable {
        /// No broker answers: it is down, slow, or elsewhere.
        case brokersDown = "brokers_down"
        /// The brokers refuse this login, or the TLS handshake.
        case authentication = "authentication_refused"
        /// The login is known and may not do this.
        case authorization = "not_authorized"
        /// The broker takes no message of this size.
        case tooLarge = "message_too_large"
        /// There is no such topic or partition.
        case unknownTopic = "unknown_topic"
        /// A partition does not hold the offset that was asked for.
        case offsetOutOfRange = "offset_out_of_range"
        /// The partition has too few replicas in sync, or its leader moves: for a while.
        case unavailable = "partition_unavailable"
        /// The handle can do no more and has to be made anew.
        case fatal = "fatal"
        /// A property that librdkafka does not take.
        case configuration = "configuration"
        /// Something else; the name says what.
        case other = "error"
    }

    /// The kind of fault.
    public let fault: Fault
    /// librdkafka's name of the error: `_TRANSPORT`, `TOPIC_AUTHORIZATION_FAILED`.
    public let name: String
    /// What is wrong.
    public let message: String
    /// What was tried: `subscribe`.
    public let operation: String

    /// An error in Reeve's own words.
    public init(_ fault: Fault, name: String, _ message: String, operation: String) {
        self.fault = fault
        self.name = name
        self.message = message
        self.operation = operation
    }

    init(_ code: rd_kafka_resp_err_t, _ message: String? = nil, operation: String) {
        self.init(
            Self.fault(of: code), name: rd_kafka_err2name(code).map { String(cString: $0) } ?? "\(code.rawValue)",
            message.flatMap { $0.isEmpty ? nil : $0 } ?? String(cString: rd_kafka_err2str(code)), operation: operation)
    }

    /// Takes over an error object; nil when there is none.
    init?(adopting error: OpaquePointer?, operation: String) {
        guard let error else { return nil }
        defer { rd_kafka_error_destroy(error) }
        let code = rd_kafka_error_code(error)
        let message = String(cString: rd_kafka_error_string(error))
        let known = KafkaError(code, message, operation: operation)
        self = rd_kafka_error_is_fatal(error) == 1 ? known.asFatal : known
    }

    var asFatal: KafkaError { KafkaError(.fatal, name: name, message, operation: operation) }

    /// `.retry`: clusters come back, and their operators change what they allow.
    public var disposition: Disposition { .retry }

    /// `subscribe: Broker: Topic authorization failed (TOPIC_AUTHORIZATION_FAILED)`.
    public var description: String { "\(operation): \(message) (\(name))" }

    private static func fault(of code: rd_kafka_resp_err_t) -> Fault {
        switch code {
        case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__RESOLVE,
            RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE, RD_KAFKA_RESP_ERR__MSG_TIMED_OUT,
            RD_KAFKA_RESP_ERR__WAIT_COORD, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
            .brokersDown
        case RD_KAFKA_RESP_ERR__AUTHENTICATION, RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, RD_KAFKA_RESP_ERR__SSL,
            RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM, RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE:
            .authentication
        case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
            RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            .authorization
        case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE: .tooLarge
        case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
            RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
            .unknownTopic
        case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE, RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET: .offsetOutOfRange
        case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
            .unavailable
        case RD_KAFKA_RESP_ERR__FATAL, RD_KAFKA_RESP_ERR__FENCED: .fatal
        default: .other
        }
    }
}
