import Dispatch
import Glibc
public import JobKit
import Synchronization

/// Answers requests.
public protocol HTTPResponder: Sendable {
    /// Answers on the listener's own thread, if it can be done from memory: such an answer waits for nothing, however busy the
    /// handlers are. Must not block.
    func answerAtOnce(_ request: HTTPRequest) -> HTTPResponse?
    /// Answers on a handler's thread; may block.
    func answer(_ request: HTTPRequest) -> HTTPResponse
}

/// How much a listener gives to whom.
public struct HTTPOptions: Sendable {
    /// What one request may bring.
    public var limits = HTTPLimits()
    /// Open connections; a new one beyond takes the place of the one that has been sending its request for longest.
    public var connections = 2048
    /// Threads that answer; one that streams is taken until its reader has everything.
    public var handlers = 4
    /// Requests that may wait for a handler; what comes beyond gets 503.
    public var waiting = 128
    /// From the connection to the request's last byte, however many reads that takes.
    public var requestTime = Duration.seconds(5)
    /// From the request to the last byte of an ordinary answer.
    public var answerTime = Duration.seconds(60)
    /// The same of a streamed one, and the life of a connection with events.
    public var streamTime = Duration.seconds(3600)
    /// How long a reader may take nothing of what waits for it.
    public var patience = Duration.seconds(20)
    /// The usual ones.
    public init() {}
}

/// A small HTTP/1.1 server for metrics, health, the dashboard and links: one request for each connection, no files, no TLS (that is
/// a proxy's work).
///
/// 1. One thread waits for all sockets, which never block, reads requests, sends answers and keeps the deadlines. Idle or slow
///    connections cost a socket and nothing else.
/// 2. A few threads run what may block. Answers from memory do not wait for them.
/// 3. Every connection has an end: its deadlines count from its start, not from its last byte.
public final class HTTPListener: Sendable {
    /// Where it listens, with the port that it got.
    public let address: ListenAddress
    private let loop: HTTPLoop
    private let done = SemaphoreBell()

    /// Listens and answers from now on. Throws `ListenError`.
    public init(
        _ address: ListenAddress, options: HTTPOptions = HTTPOptions(), log: Log, responder: any HTTPResponder
    ) throws {
        let (descriptor, port) = try address.listen()
        self.address = address.with(port: port)
        loop = HTTPLoop(descriptor, options, responder, log)
        DispatchQueue(label: "reeve.http").async { [loop, done] in
            loop.run()
            done.ring()
        }
        for index in 0..<options.handlers {
            DispatchQueue(label: "reeve.http.\(index)").async { [loop] in loop.handleRequests() }
        }
    }

    /// How many connections are open; for tests and metrics.
    public var connectionCount: Int { loop.connectionCount }

    /// Ends every connection and stops listening. Blocks until the listener's thread has ended, at most 5 seconds.
    public func stop() {
        loop.stop()
        _ = done.wait(until: .now + .seconds(5))
    }
}
