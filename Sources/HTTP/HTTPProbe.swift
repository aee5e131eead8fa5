import Glibc

/// Asks a listener for one path, as an exec probe does: no redirects, no names, a total deadline.
public enum HTTPProbe {
    /// The status and the start of the body; nil when nobody answered in time. An address that means every interface is asked on this
    /// machine's own. Blocks for at most `limit`.
    public static func get(_ address: ListenAddress, _ path: String, within limit: Duration) -> (
        status: Int, body: String
    )? {
        let host = ["0.0.0.0": "127.0.0.1", "::": "::1"][address.host] ?? address.host
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, String(address.port), &hints, &found) == 0, let target = found else { return nil }
        defer { freeaddrinfo(found) }
        let connection = socket(
            target.pointee.ai_family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard connection >= 0 else { return nil }
        defer { close(connection) }
        let until = ContinuousClock.now + limit
        _ = fcntl(connection, F_SETFL, O_NONBLOCK)
        if connect(connection, target.pointee.ai_addr, target.pointee.ai_addrlen) != 0 {
            guard errno == EINPROGRESS, wait(connection, POLLOUT, until) else { return nil }
        }
        var request = Array("GET \(path) HTTP/1.1\r\nHost: \(address)\r\nConnection: close\r\n\r\n".utf8)
        guard wait(connection, POLLOUT, until),
            send(connection, &request, request.count, Int32(MSG_NOSIGNAL)) == request.count
        else { return nil }
        var answer: [UInt8] = []
        var bytes = [UInt8](repeating: 0, count: 4096)
        while answer.count < 65_536, wait(connection, POLLIN, until) {
            let count = recv(connection, &bytes, bytes.count, 0)
            if count <= 0 { break }
            answer += bytes[..<count]
        }
        let text = String(decoding: answer, as: UTF8.self)
        let words = text.prefix { $0 != "\r\n" }.split(separator: " ")
        guard words.count > 1, let status = Int(words[1]) else { return nil }
        return (status, text.firstRange(of: "\r\n\r\n").map { String(text[$0.upperBound...]) } ?? "")
    }

    private static func wait(_ socket: Int32, _ event: Int32, _ until: ContinuousClock.Instant) -> Bool {
        while true {
            let left = (until - .now) / .milliseconds(1)
            guard left > 0 else { return false }
            var entry = pollfd(fd: socket, events: Int16(event), revents: 0)
            let count = poll(&entry, 1, Int32(min(left.rounded(.up), 60_000)))
            if count > 0 { return true }
            if count < 0 && errno != EINTR { return false }
        }
    }
}
