public import JobKit

/// What bounds the calls of one attempt on a store.
public struct TransferLimits: Sendable {
    /// Ends a transfer under way when it is raised.
    public var stop: StopSignal?
    /// Ends a transfer under way when it passes.
    public var deadline: ContinuousClock.Instant?
    /// About how many bytes an object will have: folders refuse what cannot fit, and S3 stores choose the size of parts by it.
    public var expectedBytes: Int64?

    /// Creates the limits; nil sets none.
    public init(
        stop: StopSignal? = nil, deadline: ContinuousClock.Instant? = nil, expectedBytes: Int64? = nil
    ) {
        self.stop = stop
        self.deadline = deadline
        self.expectedBytes = expectedBytes
    }

    /// Throws `Stopped` once the attempt has to end.
    func check() throws(Stopped) {
        if let reason = stop?.reason { throw Stopped(reason: reason) }
        if let deadline, deadline <= .now { throw Stopped(reason: .deadline) }
    }
}

extension ObjectStore {
    /// The store itself: its calls are short, or nothing can end them.
    public func limited(by limits: TransferLimits) -> any ObjectStore { self }
}
