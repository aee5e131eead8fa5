import CLibpq
import Glibc
import JobKit

/// What may end a wait early.
struct Interruption {
    var stop: StopSignal?
    var deadline: ContinuousClock.Instant?

    static let none = Interruption()

    /// After a cancel request the server gets this long to answer before the connection is given up.
    static let grace = Duration.seconds(5)

    var isPossible: Bool { stop != nil || deadline != nil }
    var isDue: Bool { stop?.reason != nil || deadline.map { $0 <= .now } ?? false }

    /// The error of an interrupted statement; `rethrowing` turns it into `Stopped` where a stop signal was the cause.
    func error(_ operation: String, connectionLost: Bool = false) -> PostgresError {
        PostgresError(
            sqlState: "57014", message: stop?.reason == nil ? "the deadline passed" : "stopped", operation: operation,
            isConnectionLost: connectionLost)
    }

    /// Throws `Stopped` in place of the server's "canceling statement" when the stop signal was its cause.
    func translate(_ error: PostgresError) -> any Error {
        if let reason = stop?.reason, error.sqlState == "57014" { return Stopped(reason: reason) }
        return error
    }

    /// Runs `body`, which must return soon after `wakeup` is signalled and `isDue`.
    func watching<T>(_ connection: Connection, _ body: (Wakeup?) throws(PostgresError) -> T) throws(PostgresError) -> T
    {
        guard isPossible else { return try body(nil) }
        let wakeup = try connection.makeWakeup()
        wakeup.clear()
        func attempt() -> Result<T, PostgresError> {
            do throws(PostgresError) { return .success(try body(wakeup)) } catch { return .failure(error) }
        }
        guard let stop else { return try attempt().get() }
        return try stop.whileStopping({ _ in wakeup.signal() }, attempt).get()
    }
}

/// Waits until the socket is ready for `events`, the wake-up is signalled or the deadline passes.
func pollSocket(_ socket: Int32, _ events: Int32, _ wakeup: Wakeup?, until deadline: ContinuousClock.Instant?) -> Bool {
    while true {
        var milliseconds: Int32 = -1
        if let deadline {
            let left = (deadline - .now).components
            let total = Double(left.seconds) * 1000 + Double(left.attoseconds) / 1e15
            milliseconds = Int32(min(max(total.rounded(.up), 0), 1_000_000_000))
        }
        var watched = (
            pollfd(fd: socket, events: Int16(events), revents: 0),
            pollfd(fd: wakeup?.readEnd ?? -1, events: Int16(POLLIN), revents: 0)
        )
        let count = withUnsafeMutableBytes(of: &watched) {
            poll($0.baseAddress?.assumingMemoryBound(to: pollfd.self), 2, milliseconds)
        }
        if count < 0 && errno == EINTR { continue }
        return count > 0 && watched.0.revents != 0
    }
}
