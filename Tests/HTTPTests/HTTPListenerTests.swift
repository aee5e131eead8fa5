import Dispatch
import Glibc
import HTTP
import JobKit
import ReeveTesting
import Synchronization
import Testing

/// Answers at once, after a signal, in pieces or with events.
private final class TestResponder: HTTPResponder {
    let entered = DispatchSemaphore(value: 0)
    let gate = DispatchSemaphore(value: 0)
    let writers = Mutex<[HTTPWriter]>([])
    let failure = Mutex<(any Error)?>(nil)
    let failed = DispatchSemaphore(value: 0)

    func answerAtOnce(_ request: HTTPRequest) -> HTTPResponse? {
        switch request.path {
        case "/now": HTTPResponse(200, "now\n")
        case "/events": HTTPResponse(200, body: .events { writer in self.writers.withLock { $0.append(writer) } })
        default: nil
        }
    }

    func answer(_ request: HTTPRequest) -> HTTPResponse {
        switch request.path {
        case "/wait":
            entered.signal()
            gate.wait()
            return HTTPResponse(200, "waited\n")
        case "/echo": return HTTPResponse(200, String(decoding: request.body, as: UTF8.self))
        case "/pieces":
            return HTTPResponse(200, body: .stream(length: nil) { for n in 0..<3 { try $0.write("piece \(n)\n") } })
        case "/broken":
            return HTTPResponse(
                200,
                body: .stream(length: nil) {
                    try $0.write("half\n")
                    throw TestFailure()
                })
        case "/endless":
            return HTTPResponse(
                200,
                body: .stream(length: nil) { writer in
                    do { while true { try writer.write(String(repeating: "x", count: 65_536)) } } catch {
                        self.failure.withLock { $0 = error }
                        self.failed.signal()
                        throw error
                    }
                })
        default: return HTTPResponse(404, "no\n")
        }
    }
}

private struct TestFailure: Error {}

@Suite("HTTP listener")
struct HTTPListenerTests {
    private let responder = TestResponder()

    private func listen(_ change: (inout HTTPOptions) -> Void = { _ in }) throws -> (HTTPListener, Int) {
        var options = HTTPOptions()
        change(&options)
        let any = try #require(ListenAddress(parsing: "127.0.0.1:0"))
        let listener = try HTTPListener(any, options: options, log: .quiet, responder: responder)
        return (listener, Int(listener.address.port))
    }

    private func get(_ path: String) -> String { "GET \(path) HTTP/1.1\r\nHost: h\r\n\r\n" }

    @Test("answers from memory, from a handler and in pieces come whole, and a HEAD without a body")
    func answers() throws {
        let (listener, port) = try listen()
        defer { listener.stop() }
        let now = try #require(RawConnection.exchange(get("/now"), port: port))
        #expect(now.hasPrefix("HTTP/1.1 200 OK\r\n") && now.hasSuffix("\r\n\r\nnow\n"))
        let head = try #require(RawConnection.exchange("HEAD /now HTTP/1.1\r\nHost: h\r\n\r\n", port: port))
        #expect(head.contains("Content-Length: 4\r\n") && head.hasSuffix("\r\n\r\n"))
        let post = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
        #expect(RawConnection.exchange(post, port: port)?.hasSuffix("\r\n\r\nabc") == true)
        let pieces = try #require(RawConnection.exchange(get("/pieces"), port: port))
        #expect(pieces.contains("Transfer-Encoding: chunked") && pieces.hasSuffix("8\r\npiece 2\n\r\n0\r\n\r\n"))
        let old = try #require(RawConnection.exchange("GET /pieces HTTP/1.0\r\n\r\n", port: port))
        #expect(!old.contains("chunked") && old.hasSuffix("piece 0\npiece 1\npiece 2\n"))
    }

    @Test(
        "1,000 idle connections and 200 that send a byte at a time keep no probe waiting, and all of them end by their deadline"
    )
    func idle() throws {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(UInt32(RLIMIT_NOFILE.rawValue)), &limit)
        limit.rlim_cur = min(limit.rlim_max, 8192)
        setrlimit(__rlimit_resource_t(UInt32(RLIMIT_NOFILE.rawValue)), &limit)
        let (listener, port) = try listen { $0.requestTime = .seconds(3) }
        defer { listener.stop() }
        var idle: [RawConnection] = []
        for _ in 0..<1200 { idle.append(try #require(RawConnection(port: port))) }
        let text = Array(get("/now"))
        for byte in text.prefix(8) {
            for connection in idle[1000...] { connection.send(String(byte)) }
            // Behind the others it would be answered at their deadline.
            let answer = RawConnection.exchange(get("/now"), port: port, within: .seconds(2))
            #expect(answer?.hasSuffix("now\n") == true)
        }
        for connection in idle { #expect(connection.readAll(within: .seconds(10)).ended) }
    }

    @Test("a request that comes drop by drop ends by the total deadline, not by one for each drop")
    func slow() throws {
        let (listener, port) = try listen { $0.requestTime = .milliseconds(400) }
        defer { listener.stop() }
        let connection = try #require(RawConnection(port: port))
        let started = ContinuousClock.now
        var isOpen = true
        while isOpen, .now - started < .seconds(20) {
            isOpen = connection.send("X") && !connection.readAll(within: .milliseconds(30)).ended
        }
        #expect(!isOpen)
    }

    @Test("beyond the limit a new connection takes the place of the one that has been reading longest")
    func crowded() throws {
        let (listener, port) = try listen { $0.connections = 5 }
        defer { listener.stop() }
        var idle: [RawConnection] = []
        for _ in 0..<5 { idle.append(try #require(RawConnection(port: port))) }
        #expect(RawConnection.exchange(get("/now"), port: port)?.hasSuffix("now\n") == true)
        #expect(idle[0].readAll(within: .seconds(2)).ended)
    }

    @Test("busy handlers keep no answer from memory waiting, and what cannot even wait is told so")
    func busy() throws {
        let (listener, port) = try listen {
            $0.handlers = 1
            $0.waiting = 1
        }
        defer { listener.stop() }
        var waiting: [RawConnection] = []
        for _ in 0..<3 {
            let connection = try #require(RawConnection(port: port))
            connection.send(get("/wait"))
            waiting.append(connection)
            // The first is with the handler before the others come: one of them may wait, and one may not.
            if waiting.count == 1 { #expect(responder.entered.wait(timeout: .now() + 10) == .success) }
        }
        // Of the other two the one that is read last cannot even wait.
        let until = ContinuousClock.now + .seconds(10)
        var isRefused = false
        while !isRefused, .now < until {
            isRefused = waiting[1...].contains { $0.read(untilIt: "HTTP/1.1 503", within: .milliseconds(50)) != nil }
        }
        #expect(isRefused)
        #expect(RawConnection.exchange(get("/now"), port: port)?.hasSuffix("now\n") == true)
        for _ in 0..<3 { responder.gate.signal() }
        let answers = waiting.map { $0.readAll(within: .seconds(5)).text }
        #expect(answers.filter { $0.hasSuffix("waited\n") }.count == 2)
    }

    @Test("a reader that takes nothing is left behind, and the writer is told")
    func stalled() throws {
        let (listener, port) = try listen { $0.patience = .milliseconds(300) }
        defer { listener.stop() }
        let connection = try #require(RawConnection(port: port))
        connection.send(get("/endless"))
        #expect(responder.failed.wait(timeout: .now() + 10) == .success)
        #expect(responder.failure.withLock { $0 } is HTTPDisconnected)
    }

    @Test("an answer that breaks off is not taken for whole")
    func broken() throws {
        let (listener, port) = try listen()
        defer { listener.stop() }
        let answer = RawConnection.exchange(get("/broken"), port: port) ?? ""
        #expect(!answer.hasSuffix("0\r\n\r\n"))
    }

    @Test("events come as they are sent, and a reader that leaves is noticed")
    func events() throws {
        let (listener, port) = try listen()
        defer { listener.stop() }
        let connection = try #require(RawConnection(port: port))
        connection.send(get("/events"))
        #expect(connection.read(untilIt: "text/event-stream", within: .seconds(5)) != nil)
        let writer = try #require(responder.writers.withLock { $0.first })
        #expect(writer.send(event: "news", data: "a\nb"))
        #expect(connection.read(untilIt: "event: news\ndata: a\ndata: b\n\n", within: .seconds(5)) != nil)
        connection.close()
        let until = ContinuousClock.now + .seconds(5)
        while !writer.isGone, .now < until { usleep(10_000) }
        #expect(writer.isGone)
        #expect(!writer.send(event: "news", data: "c"))
    }

    @Test("one request for each connection: what follows it is not answered, and half-closing after it is fine")
    func single() throws {
        let (listener, port) = try listen()
        defer { listener.stop() }
        let two = RawConnection.exchange(get("/now") + get("/now"), port: port) ?? ""
        #expect(two.ranges(of: "HTTP/1.1 200").count == 1)
        let connection = try #require(RawConnection(port: port))
        connection.send(get("/pieces"))
        connection.finishSending()
        #expect(connection.readAll(within: .seconds(5)).text.contains("piece 2"))
    }

    @Test("what is not a request gets its status and the end, however much of it there is")
    func malformed() throws {
        let (listener, port) = try listen()
        defer { listener.stop() }
        #expect(RawConnection.exchange("\u{16}\u{3}\u{1}", port: port)?.hasPrefix("HTTP/1.1 400") == true)
        let connection = try #require(RawConnection(port: port))
        let chunk = "X-Y: " + String(repeating: "a", count: 1 << 20)
        connection.send("GET / HTTP/1.1\r\nHost: h\r\n")
        var isOpen = true
        for _ in 0..<10 where isOpen { isOpen = connection.send(chunk) }
        _ = connection.readAll(within: .seconds(5))
        #expect(RawConnection.exchange(get("/now"), port: port)?.hasSuffix("now\n") == true)
        let until = ContinuousClock.now + .seconds(5)
        while listener.connectionCount > 0, .now < until { usleep(10_000) }
        #expect(listener.connectionCount == 0)
    }

    @Test("a listener that stops ends its connections and frees its port; a taken port is said in words")
    func stop() throws {
        let (listener, port) = try listen()
        let connection = try #require(RawConnection(port: port))
        connection.send(get("/events"))
        #expect(connection.read(untilIt: "\r\n\r\n", within: .seconds(5)) != nil)
        #expect(throws: ListenError.self) {
            _ = try HTTPListener(listener.address, log: .quiet, responder: responder)
        }
        listener.stop()
        #expect(connection.readAll(within: .seconds(5)).ended)
        #expect(RawConnection(port: port) == nil)
    }

    @Test("a probe says what it was told, and nobody there is no answer")
    func probe() throws {
        let (listener, _) = try listen()
        let answer = HTTPProbe.get(listener.address, "/now", within: .seconds(5))
        #expect(answer?.status == 200 && answer?.body == "now\n")
        listener.stop()
        #expect(HTTPProbe.get(listener.address, "/now", within: .seconds(2)) == nil)
    }

    @Test("only addresses are listened on", arguments: ["localhost:80", "127.0.0.1", "127.0.0.1:99999", ":80", "x:1"])
    func names(_ text: String) { #expect(ListenAddress(parsing: text) == nil) }
}
