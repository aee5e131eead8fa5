import Dispatch
import Glibc
import JobKit
import Synchronization

/// The listener's thread and what others hand to it. Everything not in a lock belongs to the thread that runs `run()`.
final class HTTPLoop: Sendable {
    private struct Shared {
        var work: [(id: Int, request: HTTPRequest)] = []
        var answers: [(id: Int, response: HTTPResponse)] = []
        var isStopping = false
        var isWoken = false
    }

    private let listener: Int32
    private let options: HTTPOptions
    private let responder: any HTTPResponder
    private let log: Log
    private let shared = Mutex(Shared())
    private let hands = SemaphoreBell()
    private let count = Mutex(0)
    private let wakeRead: Int32
    private let wakeWrite: Int32

    init(_ listener: Int32, _ options: HTTPOptions, _ responder: any HTTPResponder, _ log: Log) {
        self.listener = listener
        self.options = options
        self.responder = responder
        self.log = log
        var ends: [Int32] = [0, 0]
        precondition(pipe(&ends) == 0, "no pipe: the process is out of descriptors")
        for end in ends {
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
        }
        (wakeRead, wakeWrite) = (ends[0], ends[1])
    }

    deinit {
        close(wakeRead)
        close(wakeWrite)
    }

    var connectionCount: Int { count.withLock { $0 } }

    func stop() {
        shared.withLock { $0.isStopping = true }
        hands.ring(options.handlers)
        wake()
    }

    private func wake() {
        let isNew = shared.withLock { shared in
            defer { shared.isWoken = true }
            return !shared.isWoken
        }
        if isNew { _ = write(wakeWrite, [1], 1) }
    }

    // MARK: Handlers

    /// Answers requests until the listener stops; one of the handlers' threads.
    func handleRequests() {
        while true {
            _ = hands.wait(until: .now + .seconds(60))
            let (work, isStopping) = shared.withLock { shared in
                (shared.work.isEmpty ? nil : shared.work.removeFirst(), shared.isStopping)
            }
            if isStopping { return }
            guard let work else { continue }
            var response = responder.answer(work.request)
            guard case .stream(let length, let body) = response.body else {
                give(work.id, response)
                continue
            }
            // The handler's thread writes the body itself; what it writes to is made here and handed to the loop.
            let writer = HTTPWriter(isChunked: length == nil && work.request.isHTTP11, patience: options.patience) {
                [weak self] in self?.wake()
            }
            response.body = .stream(length: length) { _ in }
            handOver(work.id, response, writer)
            do {
                try body(writer)
                writer.finish()
            } catch is HTTPDisconnected {
                writer.breakOff()
            } catch {
                log.warning("an answer was broken off", ["error": .string("\(error)")])
                writer.breakOff()
            }
        }
    }

    private func give(_ id: Int, _ response: HTTPResponse) {
        shared.withLock { $0.answers.append((id, response)) }
        wake()
    }

    private func handOver(_ id: Int, _ response: HTTPResponse, _ writer: HTTPWriter) {
        streams.withLock { $0[id] = writer }
        give(id, response)
    }

    private let streams = Mutex<[Int: HTTPWriter]>([:])

    // MARK: The thread

    /// Serves until stopped; closes everything at the end.
    func run() {
        var loop = State()
        while !shared.withLock({ $0.isStopping }) {
            poll(&loop)
            takeAnswers(&loop)
            for id in Array(loop.connections.keys) {
                guard let connection = loop.connections[id] else { continue }
                connection.advance(now: .now)
                if let request = connection.takeRequest() { dispatch(id, request, connection) }
                if connection.isDone { remove(id, &loop) }
            }
            count.withLock { $0 = loop.connections.count }
        }
        for id in Array(loop.connections.keys) { remove(id, &loop) }
        count.withLock { $0 = 0 }
        close(listener)
        if loop.spare >= 0 { close(loop.spare) }
    }

    private struct State {
        var connections: [Int: HTTPConnection] = [:]
        var next = 0
        // Given up for a moment when the process is out of descriptors, so that the waiting connection can be closed.
        var spare = open("/dev/null", O_RDONLY | O_CLOEXEC)
    }

    private func poll(_ loop: inout State) {
        var sockets = [
            pollfd(fd: listener, events: Int16(POLLIN), revents: 0),
            pollfd(fd: wakeRead, events: Int16(POLLIN), revents: 0),
        ]
        var ids: [Int] = []
        for (id, connection) in loop.connections {
            sockets.append(pollfd(fd: connection.descriptor, events: connection.events, revents: 0))
            ids.append(id)
        }
        let limit: Int32 = loop.connections.isEmpty ? 5000 : 200
        guard Glibc.poll(&sockets, nfds_t(sockets.count), limit) > 0 else { return }
        if sockets[1].revents != 0 {
            var bytes = [UInt8](repeating: 0, count: 64)
            while read(wakeRead, &bytes, bytes.count) > 0 {}
            shared.withLock { $0.isWoken = false }
        }
        for (index, id) in ids.enumerated() {
            loop.connections[id]?.noticed(sockets[index + 2].revents)
        }
        if sockets[0].revents != 0 { acceptAll(&loop) }
    }

    private func acceptAll(_ loop: inout State) {
        for _ in 0..<64 {
            var storage = sockaddr_storage()
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let socket = withUnsafeMutablePointer(to: &storage) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { accept(listener, $0, &length) }
            }
            if socket < 0 {
                guard errno == EMFILE || errno == ENFILE else { return }
                close(loop.spare)
                let refused = accept(listener, nil, nil)
                if refused >= 0 { close(refused) }
                loop.spare = open("/dev/null", O_RDONLY | O_CLOEXEC)
                continue
            }
            _ = fcntl(socket, F_SETFL, O_NONBLOCK)
            _ = fcntl(socket, F_SETFD, FD_CLOEXEC)
            if loop.connections.count >= options.connections {
                let reading = loop.connections.filter { $0.value.isReading }
                guard let oldest = reading.min(by: { $0.key < $1.key })?.key else {
                    close(socket)
                    continue
                }
                remove(oldest, &loop)
            }
            loop.next += 1
            loop.connections[loop.next] = HTTPConnection(
                socket, peer: addressAndPort(&storage).address, options: options)
        }
    }

    private func takeAnswers(_ loop: inout State) {
        var answers: [(id: Int, response: HTTPResponse)] = []
        shared.withLock { swap(&answers, &$0.answers) }
        for (id, response) in answers {
            let writer = streams.withLock { $0.removeValue(forKey: id) }
            guard let connection = loop.connections[id] else {
                writer?.breakOff()
                continue
            }
            begin(connection, response, writer)
        }
    }

    private func dispatch(_ id: Int, _ request: HTTPRequest, _ connection: HTTPConnection) {
        if let response = responder.answerAtOnce(request) { return begin(connection, response, nil) }
        let isTaken = shared.withLock { shared in
            guard shared.work.count < options.waiting else { return false }
            shared.work.append((id, request))
            return true
        }
        if isTaken {
            hands.ring()
        } else {
            begin(connection, HTTPResponse(503, "busy\n").with("Retry-After", "1"), nil)
        }
    }

    private func begin(_ connection: HTTPConnection, _ response: HTTPResponse, _ writer: HTTPWriter?) {
        switch response.body {
        case .bytes: connection.send(response, writer: nil, isEvents: false)
        case .stream: connection.send(response, writer: writer, isEvents: false)
        case .events(let start):
            let writer = HTTPWriter(isChunked: false, patience: options.patience) { [weak self] in self?.wake() }
            // Whoever has read the head misses no event.
            start(writer)
            connection.send(response, writer: writer, isEvents: true)
        }
    }

    private func remove(_ id: Int, _ loop: inout State) { loop.connections.removeValue(forKey: id)?.end() }
}
