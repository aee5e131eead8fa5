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

    /// Runs `body` with the number of dumps that `take` got for it, and gives them back; nil when `take` found none free
    /// until the patience was over. Throws `Stopped` when the signal is raised.
    public func withSlots<T>(
        on server: String, within patience: Duration, stop: StopSignal, take: () throws -> Int, giveBack: () -> Void,
        _ body: (Int) throws -> T
    ) throws -> T? {
        guard let count = try wait(server, until: .now + patience, stop, take) else { return nil }
        defer {
            giveBack()
            state.withLock { state in
                for waiter in state.waiting.values where waiter.server == server { waiter.signal.signal() }
            }
        }
        return try body(count)
    }

    private func wait(
        _ server: String, until deadline: ContinuousClock.Instant, _ stop: StopSignal, _ take: () throws -> Int
    ) throws -> Int? {
        let signal = DispatchSemaphore(value: 0)
        let id = state.withLock { state in
            state.next += 1
            state.waiting[state.next] = (server, signal)
            return state.next
        }
        defer { state.withLock { _ = $0.waiting.removeValue(forKey: id) } }
        while true {
            try stop.throwIfStopped()
            let count = try take()
            if count > 0 { return count }
            let left = (deadline - .now) / .milliseconds(1)
            if left <= 0 { return nil }
            // Spread, so that those who wait do not all ask at once.
            let pause = min(left, Double.random(in: 250...750))
            stop.whileStopping({ _ in signal.signal() }) {
                _ = signal.wait(timeout: .now() + .milliseconds(Int(pause.rounded(.up))))
            }
        }
    }
}
