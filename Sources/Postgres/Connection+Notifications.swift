import CLibpq
import Glibc
public import JobKit

/// A NOTIFY that arrived.
public struct Notification: Sendable, Hashable {
    /// The channel.
    public let channel: String
    /// The payload; empty when there is none.
    public let payload: String
    /// The process id of the backend that sent it.
    public let backendPID: Int32
}

extension Connection {
    /// The notifications that arrived since the last call on the channels this session listens to. With none at hand it
    /// waits for the first until the time is over or the stop signal is raised, and then returns none.
    public func notifications(waiting: Duration, stop: StopSignal? = nil) throws(PostgresError) -> [Notification] {
        let connection = try open("notifications")
        let interruption = Interruption(stop: stop, deadline: .now + waiting)
        return try interruption.watching(self) { wakeup throws(PostgresError) in
            while true {
                guard PQconsumeInput(connection) == 1 else { throw connectionError("notifications") }
                var arrived: [Notification] = []
                while let next = PQnotifies(connection) {
                    defer { PQfreemem(next) }
                    arrived.append(
                        Notification(
                            channel: String(cString: next.pointee.relname),
                            payload: next.pointee.extra.map { String(cString: $0) } ?? "",
                            backendPID: next.pointee.be_pid))
                }
                if !arrived.isEmpty || interruption.isDue { return arrived }
                _ = pollSocket(PQsocket(connection), POLLIN, wakeup, until: interruption.deadline)
            }
        }
    }

    /// Whether an idle connection is still open, without a round trip: what the server sent meanwhile is read.
    func isStillOpen() -> Bool {
        guard let pointer else { return false }
        // The farewell of a server that shuts down comes before the end of the stream, so there may be two things to
        // read; PQisBusy makes libpq look at what was read.
        while isUsable && pollSocket(PQsocket(pointer), POLLIN, nil, until: .now) {
            guard PQconsumeInput(pointer) == 1 else { return false }
            _ = PQisBusy(pointer)
        }
        return isUsable && !notices.saidFarewell
    }
}
