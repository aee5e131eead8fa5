import Dispatch
import FoundationEssentials
import Glibc
import Synchronization

/// An HTTP server for one test: it answers every POST with the next of some statuses and keeps what it got.
public final class WebhookServer: Sendable {
    /// What was posted.
    public struct Request: Sendable {
        /// The headers, names in lower case.
        public let headers: [String: String]
        /// The body.
        public let body: String
    }

    /// Where it listens.
    public let port: Int
    private let listener: Int32
    private let requests = Mutex<[Request]>([])
    private let statuses: Mutex<[Int]>

    /// Answers with these statuses in turn, then with 200.
    public init(statuses: [Int] = []) {
        self.statuses = Mutex(statuses)
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, length) == 0 && listen(listener, 16) == 0 && getsockname(listener, $0, &length) == 0
            }
        }
        precondition(isBound, "no port")
        self.listener = listener
        port = Int(UInt16(bigEndian: address.sin_port))
        DispatchQueue(label: "webhook server").async { [self] in serve() }
    }

    /// What came so far.
    public var received: [Request] { requests.withLock { $0 } }

    /// Ends it.
    public func stop() { shutdown(listener, Int32(SHUT_RDWR)) }

    private func serve() {
        while true {
            let connection = accept(listener, nil, nil)
            guard connection >= 0 else {
                close(listener)
                return
            }
            answer(connection)
            close(connection)
        }
    }

    private func answer(_ connection: Int32) {
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = read(connection, &buffer, buffer.count)
            guard count > 0 else { return }
            text += buffer[..<count]
            let all = String(decoding: text, as: UTF8.self)
            guard let end = all.ranges(of: "\r\n\r\n").first else { continue }
            let pairs = all[..<end.lowerBound].split(separator: "\r\n").dropFirst().compactMap {
                line -> (String, String)? in
                guard let colon = line.firstIndex(of: ":") else { return nil }
                return (line[..<colon].lowercased(), String(line[line.index(after: colon)...].drop { $0 == " " }))
            }
            let headers = Dictionary(pairs) { $1 }
            let body = String(all[end.upperBound...])
            guard body.utf8.count >= Int(headers["content-length"] ?? "") ?? 0 else { continue }
            requests.withLock { $0.append(Request(headers: headers, body: body)) }
            let status = statuses.withLock { $0.isEmpty ? 200 : $0.removeFirst() }
            var reply = "HTTP/1.1 \(status) Answer\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            reply.withUTF8 { _ = send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            return
        }
    }
}
