import Dispatch
public import JobKit
import Synchronization

/// The waiting room of one worker for dumps of each database server. How many may run in the whole fleet is the control
/// database's to say; whoever waits asks it again when a dump of this worker ends, and twice a second.
public final class DumpSlots: Sendable {
    private struct State {
        var next = 0
        var waiting: [Int: (server: String, signal: DispatchSemaphore)] = [:]
    }

    private let state = Mutex(State())

    /// Nobody waits.
    public init() {}

    /// Runs `body` once `take` got a dump for it, and then gives it back; nil when `take` found none free until the patience
    /// was over. Throws `Stopped` when the signal is raised.
    public func withSlot<T>(
        on server: String, within patience: Duration, stop: StopSignal, take: () throws -> Bool, giveBack: () -> Void,
        _ body: () throws -> T
    ) throws -> T? {
        guard try wait(server, until: .now + patience, stop, take) else { return nil }
        defer {
            giveBack()
            state.withLock { state in
                for waiter in state.waiting.values where waiter.server == server { waiter.signal.signal() }
            }
        }
        return try body()
    }

    private func wait(
        _ server: String, until deadline: ContinuousClock.Instant, _ stop: StopSignal, _ take: () throws -> Bool
    ) throws -> Bool {
        let signal = DispatchSemaphore(value: 0)
        let id = state.withLock { state in
            state.next += 1
            state.waiting[state.next] = (server, signal)
            return state.next
        }
        defer { state.withLock { _ = $0.waiting.removeValue(forKey: id) } }
        while true {
            try stop.throwIfStopped()
            if try take() { return true }
            let left = (deadline - .now) / .milliseconds(1)
            if left <= 0 { return false }
            // Spread, so that those who wait do not all ask at once.
            let pause = min(left, Double.random(in: 250...750))
            stop.whileStopping({ _ in signal.signal() }) {
                _ = signal.wait(timeout: .now() + .milliseconds(Int(pause.rounded(.up))))
            }
        }
    }
}
