import Glibc

/// One connection; belongs to the listener's thread.
final class HTTPConnection {
    private enum Phase { case reading, answering, sending, lingering, done }

    let descriptor: Int32
    private let peer: String
    private let options: HTTPOptions
    private var phase = Phase.reading
    private var input: [UInt8] = []
    private var request: HTTPRequest?
    private var isHead = false
    private var isHTTP11 = true
    private var output: [UInt8] = []
    private var sent = 0
    private var writer: HTTPWriter?
    private var isEvents = false
    private var deadline: ContinuousClock.Instant
    private var lastProgress = ContinuousClock.now
    private var notices: Int16 = 0

    init(_ descriptor: Int32, peer: String, options: HTTPOptions) {
        self.descriptor = descriptor
        self.peer = peer
        self.options = options
        deadline = .now + options.requestTime
    }

    var isReading: Bool { phase == .reading }
    var isDone: Bool { phase == .done }

    /// What to wait for.
    var events: Int16 {
        switch phase {
        case .reading, .lingering: Int16(POLLIN)
        case .answering, .done: 0
        case .sending: (sent < output.count ? Int16(POLLOUT) : 0) | (isEvents ? Int16(POLLIN) : 0)
        }
    }

    func noticed(_ notices: Int16) { self.notices |= notices }

    /// The request, once.
    func takeRequest() -> HTTPRequest? {
        defer { request = nil }
        return request
    }

    /// Does what can be done now.
    func advance(now: ContinuousClock.Instant) {
        let notices = notices
        self.notices = 0
        if notices & Int16(POLLERR | POLLNVAL) != 0 { return phase = .done }
        switch phase {
        case .reading:
            if notices & Int16(POLLIN | POLLHUP) != 0 { readRequest() }
            if phase == .reading, now >= deadline {
                if input.isEmpty { phase = .done } else { refuse(408) }
            }
        case .answering:
            if notices & Int16(POLLHUP) != 0 || now >= deadline { phase = .done }
        case .sending:
            if notices & Int16(POLLHUP) != 0 || (isEvents && notices & Int16(POLLIN) != 0 && readerLeft()) {
                return phase = .done
            }
            sendMore(now: now)
        case .lingering:
            if notices & Int16(POLLIN | POLLHUP) != 0, readerLeft() { phase = .done }
            if now >= deadline { phase = .done }
        case .done: break
        }
    }

    /// Starts an answer.
    func send(_ response: HTTPResponse, writer: HTTPWriter?, isEvents: Bool) {
        output = response.head(isChunked: isHTTP11)
        if case .bytes(let bytes) = response.body, !isHead { output += bytes }
        self.writer = writer
        self.isEvents = isEvents
        if isHead { dropWriter() }
        deadline = .now + (writer == nil ? options.answerTime : options.streamTime)
        lastProgress = .now
        phase = .sending
        sendMore(now: .now)
    }

    /// Closes it; whoever writes to it is told.
    func end() {
        phase = .done
        dropWriter()
        close(descriptor)
    }

    private func dropWriter() {
        writer?.breakOff()
        writer = nil
    }

    private func readRequest() {
        var bytes = [UInt8](repeating: 0, count: 16_384)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        if count < 0 { return phase = errno == EAGAIN || errno == EINTR ? .reading : .done }
        // Half a request, and no more will come.
        guard count > 0 else { return phase = .done }
        input.append(contentsOf: bytes[..<count])
        switch HTTPParser(options.limits).parse(input) {
        case .incomplete: break
        case .refused(let status): refuse(status)
        case .request(var request, _):
            // What follows the first request is never looked at: the connection ends with its answer.
            request.peer = peer
            isHead = request.method == "HEAD"
            isHTTP11 = request.isHTTP11
            self.request = request
            input = []
            deadline = .now + options.answerTime
            phase = .answering
        }
    }

    private func refuse(_ status: Int) { send(HTTPResponse(status, "\(status)\n"), writer: nil, isEvents: false) }

    private func sendMore(now: ContinuousClock.Instant) {
        while phase == .sending {
            if sent >= output.count {
                output = []
                sent = 0
                switch writer?.take() {
                case nil, .finish:
                    writer = nil
                    return linger()
                case .breakOff:
                    // Reset, so that the reader does not take what came for the whole.
                    var option = LingerOption(l_onoff: 1, l_linger: 0)
                    setsockopt(
                        descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<LingerOption>.size))
                    return phase = .done
                case .wait:
                    lastProgress = now
                    if now >= deadline { phase = .done }
                    return
                case .send(let bytes): output = bytes
                }
            }
            let count = output.withUnsafeBytes { bytes -> Int in
                guard let base = bytes.baseAddress else { return 0 }
                return Glibc.send(descriptor, base + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else {
                if errno == EINTR { continue }
                if errno != EAGAIN || now >= deadline || now - lastProgress > options.patience { phase = .done }
                return
            }
            sent += count
            lastProgress = now
        }
    }

    /// Says that nothing more comes and waits a moment for the reader to close: closing with unread input would reset the
    /// connection and take the answer's end with it.
    private func linger() {
        shutdown(descriptor, Int32(SHUT_WR))
        deadline = .now + .seconds(1)
        phase = .lingering
    }

    /// Drops what comes; true at its end.
    private func readerLeft() -> Bool {
        var bytes = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(descriptor, &bytes, bytes.count, 0)
            if count > 0 { continue }
            return count == 0 || (errno != EAGAIN && errno != EINTR)
        }
    }
}

private typealias LingerOption = Glibc.linger
