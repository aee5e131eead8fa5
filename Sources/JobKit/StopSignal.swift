import Dispatch
import Synchronization

/// Why an attempt has to stop.
public enum StopReason: String, Sendable {
    /// Someone cancelled the job.
    case cancelled
    /// The kind's time limit is over.
    case deadline
    /// The worker's lease could not be renewed, or the job's is no longer this attempt's.
    case leaseLost = "lease_lost"
    /// The worker shuts down and its grace period is over.
    case shutdown
}

/// Thrown by `throwIfStopped()`; a handler lets it pass.
public struct Stopped: DispositionedError, CustomStringConvertible {
    /// Why.
    public let reason: StopReason
    /// Creates the error.
    public init(reason: StopReason) { self.reason = reason }
    /// What the reason means for the job; a cancelled job is settled as such by the engine.
    public var disposition: Disposition {
        switch reason {
        case .deadline: .retry
        case .cancelled: .giveUp
        case .leaseLost, .shutdown: .interrupted
        }
    }
    /// The reason in words.
    public var description: String {
        switch reason {
        case .cancelled: "the job was cancelled"
        case .deadline: "the attempt took longer than its time limit"
        case .leaseLost: "the worker lost its lease"
        case .shutdown: "the worker is shutting down"
        }
    }
}

/// The stop flag of one attempt. The first reason wins. Safe to use from any thread.
public final class StopSignal: Sendable {
    private struct State {
        var reason: StopReason?
        var next = 0
        var handlers: [Int: @Sendable (StopReason) -> Void] = [:]
    }

    private let state = Mutex(State())

    /// A signal that is not raised.
    public init() {}

    /// The reason once raised.
    public var reason: StopReason? { state.withLock { $0.reason } }

    /// Raises the signal and calls the handlers on this thread; a second call does nothing.
    public func stop(_ reason: StopReason) {
        let handlers = state.withLock { state -> [@Sendable (StopReason) -> Void] in
            guard state.reason == nil else { return [] }
            state.reason = reason
            defer { state.handlers = [:] }
            return Array(state.handlers.values)
        }
        for handler in handlers { handler(reason) }
    }

    /// Throws `Stopped` once the signal is raised.
    public func throwIfStopped() throws {
        if let reason { throw Stopped(reason: reason) }
    }

    /// Blocks for this time, or until the signal is raised; at once when it is.
    public func wait(_ time: Duration) {
        let bell = DispatchSemaphore(value: 0)
        whileStopping({ _ in bell.signal() }) {
            _ = bell.wait(timeout: .now() + .microseconds(Int(time / .microseconds(1))))
        }
    }

    /// Calls `handler` when the signal is raised while `body` runs (at once if it is raised already): to end a child
    /// process or cancel a query. The handler runs on the thread that raises and must not block for long. One that was
    /// called just before `body` ended may still be running after it, so it owns what it touches.
    public func whileStopping<T>(_ handler: @escaping @Sendable (StopReason) -> Void, _ body: () throws -> T) rethrows
        -> T
    {
        let (token, raised) = state.withLock { state -> (Int, StopReason?) in
            if let reason = state.reason { return (-1, reason) }
            state.next += 1
            state.handlers[state.next] = handler
            return (state.next, nil)
        }
        if let raised { handler(raised) }
        defer { state.withLock { _ = $0.handlers.removeValue(forKey: token) } }
        return try body()
    }
}
