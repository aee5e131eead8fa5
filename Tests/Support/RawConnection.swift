import Glibc

/// A connection to a port of 127.0.0.1 that sends and reads bytes as they are. Not for several threads at once.
public final class RawConnection {
    private var descriptor: Int32

    /// Connects; nil when nobody listens.
    public init?(port: Int) {
        descriptor = connectLocally(port)
        guard descriptor >= 0 else { return nil }
    }

    deinit { close() }

    /// Sends a text; false when the other side is gone.
    @discardableResult
    public func send(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { bytes in
            var sent = 0
            while sent < bytes.count {
                guard let base = bytes.baseAddress else { return false }
                let count = Glibc.send(descriptor, base + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
                if count < 0 && errno == EINTR { continue }
                guard count > 0 else { return false }
                sent += count
            }
            return true
        }
    }

    /// Says that nothing more will be sent.
    public func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// Everything that comes until the other side ends the connection or `limit` is over; and whether it ended it.
    public func readAll(within limit: Duration) -> (text: String, ended: Bool) {
        let until = ContinuousClock.now + limit
        var all: [UInt8] = []
        while let piece = read(until: until) {
            if piece.isEmpty { return (String(decoding: all, as: UTF8.self), true) }
            all += piece
        }
        return (String(decoding: all, as: UTF8.self), false)
    }

    /// The same as bytes, however it ends.
    public func readBytes(within limit: Duration) -> [UInt8] {
        let until = ContinuousClock.now + limit
        var all: [UInt8] = []
        while let piece = read(until: until), !piece.isEmpty { all += piece }
        return all
    }

    /// What comes until it holds this text; nil when the connection or the time ended first.
    public func read(untilIt holds: String, within limit: Duration) -> String? {
        let until = ContinuousClock.now + limit
        var all = ""
        while let piece = read(until: until), !piece.isEmpty {
            all += String(decoding: piece, as: UTF8.self)
            if all.contains(holds) { return all }
        }
        return nil
    }

    /// One piece; empty at the end (or a reset), nil when the time is over.
    private func read(until moment: ContinuousClock.Instant) -> [UInt8]? {
        while true {
            let left = (moment - .now) / .milliseconds(1)
            guard left > 0 else { return nil }
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&entry, 1, Int32(left.rounded(.up))) > 0 else { continue }
            var bytes = [UInt8](repeating: 0, count: 65_536)
            let count = recv(descriptor, &bytes, bytes.count, 0)
            if count < 0 && errno == EINTR { continue }
            return count > 0 ? Array(bytes[..<count]) : []
        }
    }

    /// Ends the connection.
    public func close() {
        if descriptor >= 0 { Glibc.close(descriptor) }
        descriptor = -1
    }

    /// One request and its whole answer.
    public static func exchange(_ request: String, port: Int, within limit: Duration = .seconds(10)) -> String? {
        guard let connection = RawConnection(port: port), connection.send(request) else { return nil }
        return connection.readAll(within: limit).text
    }
}
