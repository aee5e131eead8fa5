import Dispatch
import Glibc
import Synchronization

/// A TCP proxy in front of an HTTP server that answers in its place, keeps silent, cuts connections and changes answers, for
/// the requests that a fault names.
public final class FaultyProxy: Sendable {
    /// What goes wrong.
    public enum Effect: Sendable {
        /// The request is answered with 500 and never reaches the server.
        case internalError
        /// The request is answered with 403 and never reaches the server.
        case forbidden
        /// Nothing comes through, in either direction, until the client gives up.
        case silence
        /// The connection is reset after this many bytes of the request.
        case cutRequest(after: Int)
        /// The connection is reset after this many bytes of the answer.
        case cutAnswer(after: Int)
        /// A text in the answer's head is replaced by one of the same length.
        case rewrite(String, String)
    }

    /// Which requests, and how many of them.
    public struct Fault: Sendable {
        let requests: String
        let effect: Effect
        var times: Int

        /// A fault of requests whose first line contains a text: `PUT /bucket/`.
        public init(_ effect: Effect, requests: String, times: Int = .max) {
            self.effect = effect
            self.requests = requests
            self.times = times
        }
    }

    private struct State {
        var faults: [Fault] = []
        var struck = 0
        var isEnded = false
    }

    /// Where it listens, on 127.0.0.1.
    public let port: Int
    private let target: Int
    private let listener: Int32
    private let state = Mutex(State())

    /// Listens on a free port, in front of another port of 127.0.0.1.
    public init(target: Int, _ faults: Fault...) {
        self.target = target
        (listener, port) = listenLocally()
        state.withLock { $0.faults = faults }
        DispatchQueue(label: "faulty proxy").async { [self] in acceptAll() }
    }

    /// How many requests met a fault.
    public var struck: Int { state.withLock { $0.struck } }

    /// Ends every connection and listens no more.
    public func stop() {
        state.withLock { $0.isEnded = true }
        shutdown(listener, Int32(SHUT_RDWR))
    }

    private func acceptAll() {
        while true {
            let client = accept(listener, nil, nil)
            if state.withLock({ $0.isEnded }) { break }
            guard client >= 0 else { continue }
            _ = fcntl(client, F_SETFD, FD_CLOEXEC)
            // A serial queue each: a concurrent one starts few blocks that wait.
            DispatchQueue(label: "faulty connection").async { [self] in serve(client) }
        }
        close(listener)
    }

    private func serve(_ client: Int32) {
        let server = connectLocally(target)
        defer {
            close(client)
            if server >= 0 { close(server) }
        }
        guard server >= 0 else { return }
        var effect: Effect?
        var isAnswered = true
        var requestBytes = 0
        var answerBytes = 0
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        while !state.withLock({ $0.isEnded }) {
            var polled = [client, server].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            guard poll(&polled, 2, 50) > 0 else { continue }
            for isRequest in [true, false] where polled[isRequest ? 0 : 1].revents != 0 {
                let count = read(isRequest ? client : server, &buffer, buffer.count)
                guard count > 0 else { return }
                var data = Array(buffer[..<count])
                if isRequest, isAnswered, let line = Self.requestLine(data) {
                    effect = meet(line)
                    (isAnswered, requestBytes, answerBytes) = (false, 0, 0)
                }
                if isRequest { requestBytes += count } else { answerBytes += count }
                if !isRequest { isAnswered = true }
                switch effect {
                case .internalError: return refuse(client, "500 Internal Server Error", "InternalError")
                case .forbidden: return refuse(client, "403 Forbidden", "AccessDenied")
                case .silence: return waitForEnd(of: client)
                case .cutRequest(let limit) where isRequest && requestBytes > limit,
                    .cutAnswer(let limit) where !isRequest && answerBytes > limit:
                    // What was let through stays; the rest is a reset.
                    let whole = isRequest ? requestBytes - count : answerBytes - count
                    forward(Array(data.prefix(max(0, limit - whole))), isRequest ? server : client)
                    return reset(client)
                case .rewrite(let old, let new) where !isRequest:
                    var text = String(decoding: data, as: UTF8.self)
                    text.replace(old, with: new)
                    if Array(text.utf8).count == count { data = Array(text.utf8) }
                default: break
                }
                guard forward(data, isRequest ? server : client) else { return }
            }
        }
    }

    /// The effect that a request meets.
    private func meet(_ line: String) -> Effect? {
        state.withLock { state in
            guard let index = state.faults.firstIndex(where: { $0.times > 0 && line.contains($0.requests) }) else {
                return nil
            }
            state.faults[index].times -= 1
            state.struck += 1
            return state.faults[index].effect
        }
    }

    private static func requestLine(_ data: [UInt8]) -> String? {
        let line = String(decoding: data.prefix { $0 != UInt8(ascii: "\r") }.prefix(2000), as: UTF8.self)
        return ["GET /", "PUT /", "POST /", "HEAD /", "DELETE /"].contains { line.hasPrefix($0) } ? line : nil
    }

    private func refuse(_ client: Int32, _ status: String, _ code: String) {
        let body = "<?xml version=\"1.0\"?><Error><Code>\(code)</Code><Message>made to fail</Message></Error>"
        let head = "HTTP/1.1 \(status)\r\nContent-Type: application/xml\r\nContent-Length: \(body.utf8.count)\r\n"
        forward(Array("\(head)Connection: close\r\n\r\n\(body)".utf8), client)
        shutdown(client, Int32(SHUT_WR))
        waitForEnd(of: client)
    }

    /// Reads what comes until the client closes.
    private func waitForEnd(of client: Int32) {
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        while !state.withLock({ $0.isEnded }) {
            var polled = pollfd(fd: client, events: Int16(POLLIN), revents: 0)
            if poll(&polled, 1, 50) > 0, read(client, &buffer, buffer.count) <= 0 { return }
        }
    }

    private func reset(_ client: Int32) {
        var atOnce = linger(l_onoff: 1, l_linger: 0)
        setsockopt(client, SOL_SOCKET, SO_LINGER, &atOnce, socklen_t(MemoryLayout<linger>.size))
    }

    @discardableResult
    private func forward(_ data: [UInt8], _ to: Int32) -> Bool {
        data.withUnsafeBytes { bytes in
            var sent = 0
            while sent < bytes.count {
                let count = send(to, bytes.baseAddress.map { $0 + sent }, bytes.count - sent, Int32(MSG_NOSIGNAL))
                guard count > 0 else { return false }
                sent += count
            }
            return true
        }
    }
}
