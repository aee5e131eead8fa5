import Dispatch
public import JobKit
import Synchronization

/// How many dumps run on each database server: a dump reads the whole catalog and holds a lock on every table.
public final class DumpSlots: Sendable {
    private struct State {
        var running: [String: Int] = [:]
        var next = 0
        var waiting: [Int: (server: String, signal: DispatchSemaphore)] = [:]
    }

    private let state = Mutex(State())

    /// No dump runs.
    public init() {}

    /// Runs `body` in a slot of the server; nil when none came free in time. Throws `Stopped` when the signal is raised.
    public func withSlot<T>(
        on server: String, of limit: Int, within patience: Duration, stop: StopSignal, _ body: () throws -> T
    ) throws -> T? {
        guard try enter(server, limit, until: .now + patience, stop) else { return nil }
        defer { leave(server) }
        return try body()
    }

    private func enter(
        _ server: String, _ limit: Int, until deadline: ContinuousClock.Instant, _ stop: StopSignal
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
            let isIn = state.withLock { state in
                guard state.running[server, default: 0] < limit else { return false }
                state.running[server, default: 0] += 1
                return true
            }
            if isIn { return true }
            let left = (deadline - .now) / .milliseconds(1)
            if left <= 0 { return false }
            stop.whileStopping({ _ in signal.signal() }) {
                _ = signal.wait(timeout: .now() + .milliseconds(Int(min(left, 1e9).rounded(.up))))
            }
        }
    }

    private func leave(_ server: String) {
        state.withLock { state in
            state.running[server, default: 1] -= 1
            for waiter in state.waiting.values where waiter.server == server { waiter.signal.signal() }
        }
    }
}
