import HTTP
import ReeveTesting
import Testing

@Suite("HTTP parser")
struct HTTPParserTests {
    private func parse(_ text: String) -> HTTPParser.Verdict { HTTPParser().parse(Array(text.utf8)) }

    @Test("a request is read with its path, query, fields and body decoded")
    func whole() throws {
        let text = "POST /a%20b?x=1&y=%C3%A4+b HTTP/1.1\r\nHost: h\r\nX-Y:  v \r\nContent-Length: 3\r\n\r\nabcREST"
        guard case .request(let request, let length) = parse(text) else {
            Issue.record("\(parse(text))")
            return
        }
        #expect(request.method == "POST")
        #expect(request.path == "/a b")
        #expect(request.queryValue("x") == "1")
        #expect(request.queryValue("y") == "ä b")
        #expect(request.header("x-y") == "v")
        #expect(request.body == Array("abc".utf8))
        #expect(length == text.utf8.count - 4)
    }

    @Test("every prefix of a request is incomplete, and the whole is the same however it came")
    func prefixes() {
        let bytes = Array("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok".utf8)
        for count in 0..<bytes.count { #expect(HTTPParser().parse(Array(bytes[..<count])) == .incomplete) }
        guard case .request = HTTPParser().parse(bytes) else {
            Issue.record("not taken")
            return
        }
    }

    @Test(
        "what two readers could take for two things is refused",
        arguments: [
            ("GET / HTTP/1.1\nHost: h\n\n", 400), ("GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400), ("POST / HTTP/1.1\r\nHost: h\r\n\r\n", 411),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\na", 400),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\na", 400),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n", 413),
            ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 501),
            ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\na", 400),
            ("GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n", 400), ("GET /#x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            ("GET /%0d%0a HTTP/1.1\r\nHost: h\r\n\r\n", 400), ("GET /%ff HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            ("GET /%4 HTTP/1.1\r\nHost: h\r\n\r\n", 400), ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            ("get / HTTP/1.1\r\nHost: h\r\n\r\n", 400), ("BREW / HTTP/1.1\r\nHost: h\r\n\r\n", 501),
            ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505), ("GET / HTTP/1.1\r\nHost: h\u{0}\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n", 417), ("\u{16}\u{3}\u{1}\u{2}", 400),
            ("GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", 400),
        ])
    func refused(_ text: String, _ status: Int) {
        #expect(parse(text) == .refused(status), "\(text.debugDescription)")
    }

    @Test("a head over the limit is refused before it is complete")
    func large() {
        #expect(parse("GET /" + String(repeating: "a", count: 9000)) == .refused(431))
        let fields = String(repeating: "X: y\r\n", count: 65)
        #expect(parse("GET / HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n") == .refused(431))
    }

    @Test("a hundred thousand damaged requests are each taken, refused or incomplete, and nothing traps")
    func damaged() {
        var random = SeededGenerator(seed: 4711)
        let seeds = [
            "GET /metrics?code=acme HTTP/1.1\r\nHost: localhost:9464\r\nAccept: */*\r\n\r\n",
            "POST /api/actions/pause HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"pattern\":\"*\"}",
        ].map { Array($0.utf8) }
        let parser = HTTPParser()
        var taken = 0
        for round in 0..<100_000 {
            var bytes = seeds[round % 2]
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: place)
                case 2: bytes.insert([13, 10, 0, 37, 32, 58].randomElement(using: &random) ?? 0, at: place)
                default: bytes.append(contentsOf: bytes[place...].prefix(40))
                }
            }
            if case .request(let request, let length) = parser.parse(bytes) {
                taken += 1
                #expect(length <= bytes.count && request.path.hasPrefix("/"))
                #expect(!request.headers.contains { ($0.name + $0.value).utf8.contains { $0 < 32 && $0 != 9 } })
            }
        }
        #expect(taken > 1000 && taken < 99_000)
    }
}
