/// What a client's state is, put together from what it meets. Pure.
public struct KafkaHealth: Sendable {
    /// The fault, or nil while the cluster answers.
    public private(set) var fault: KafkaError?
    /// Whether the cluster should be asked whether it answers: something hints at a fault.
    public private(set) var isDoubtful = false

    /// Nothing is known yet.
    public init() {}

    /// `up`, or the fault's word.
    public var state: String { fault?.fault.rawValue ?? "up" }

    /// An error came; returns whether the state changed. One broker's lost connection is no fault of the cluster: it is looked into.
    public mutating func meet(_ error: KafkaError) -> Bool {
        switch error.fault {
        case .brokersDown where error.name != "_ALL_BROKERS_DOWN", .unavailable, .unknownTopic, .other:
            isDoubtful = true
            return false
        default:
            // The refusal is what causes the silence, so it stays the word for it.
            if error.fault == .brokersDown, fault?.fault == .authentication { return false }
            isDoubtful = true
            defer { fault = error }
            return fault?.fault != error.fault
        }
    }

    /// The cluster was asked and did not answer.
    public mutating func miss(_ error: KafkaError) -> Bool {
        guard fault == nil else { return false }
        fault = error
        return true
    }

    /// The cluster answered; returns whether the state changed.
    public mutating func answer() -> Bool {
        isDoubtful = false
        defer { fault = nil }
        return fault != nil
    }
}
