import CLibpq
import Dispatch
import Glibc
import Synchronization

/// Ends what a connection runs when its time is over, from a thread of its own: also when the connection's own thread waits for
/// something else, and when the statement has taken its `statement_timeout` back. First it cancels, every second; after `grace` it
/// cuts the connection, so that the server gives the session up.
final class StatementWatchdog: Sendable {
    /// `@unchecked Sendable`: the timer is made before anybody else sees it and cancelled once, under the mutex.
    private struct Timer: @unchecked Sendable { let source: any DispatchSourceTimer }

    private struct State {
        var timer: Timer?
        var hasFired = false
    }

    private let state = Mutex(State())

    /// Watches until `end()`. `socket` stays open until then.
    init(_ handle: CancelHandle, socket: Int32, deadline: ContinuousClock.Instant, grace: Duration) {
        let queue = DispatchQueue(label: "reeve.watchdog")
        let source = DispatchSource.makeTimerSource(queue: queue)
        let left = max((deadline - .now) / .milliseconds(1), 0)
        source.schedule(deadline: .now() + .milliseconds(Int(min(left, 1e12))), repeating: .seconds(1))
        source.setEventHandler { @Sendable [weak self] in
            self?.fire(handle, socket: socket, cutAt: deadline + grace)
        }
        state.withLock { $0.timer = Timer(source: source) }
        source.resume()
    }

    /// Ends the watch; whether it had to end the statement.
    func end() -> Bool {
        state.withLock { state in
            state.timer?.source.cancel()
            state.timer = nil
            return state.hasFired
        }
    }

    private func fire(_ handle: CancelHandle, socket: Int32, cutAt: ContinuousClock.Instant) {
        let isWatching = state.withLock { state -> Bool in
            guard state.timer != nil else { return false }
            state.hasFired = true
            // Under the mutex: after `end()` the descriptor may be another connection's.
            if cutAt <= .now { shutdown(socket, Int32(SHUT_RDWR)) }
            return true
        }
        if isWatching && cutAt > .now { handle.cancel() }
    }
}

extension Connection {
    /// Runs `body` and ends what it has this connection run once `deadline` is over, from outside: see `StatementWatchdog`. Then a
    /// statement fails with 57014 or a lost connection. A cancel may hit the first statement after `deadline`, so the caller
    /// runs none that matters; when it came `body` counts as failed.
    public func watched<T>(
        until deadline: ContinuousClock.Instant, grace: Duration = .seconds(3), _ body: () throws -> T
    ) throws -> T {
        let connection = try open("watch")
        let watchdog = StatementWatchdog(
            cancelHandle, socket: PQsocket(connection), deadline: deadline, grace: grace)
        defer { _ = watchdog.end() }
        let value = try body()
        if watchdog.end() { throw PostgresError(sqlState: "57014", message: "the deadline passed", operation: "watch") }
        return value
    }
}
