import Glibc
import JobKit
import Testing

@Suite("Log: one line per event, whatever the values hold")
struct LogTests {
    @Test("a JSON line is one JSON object with the time, the level, the message and the fields")
    func json() throws {
        let line = try #require(try logged(.json) { $0.with(["tenant": "acme"]).info("hello", ["count": 3]) }.first)
        let object = try JSON(parsing: line)
        #expect(object["level"] == "info")
        #expect(object["message"] == "hello")
        #expect(object["tenant"] == "acme")
        #expect(object["count"] == 3)
        let time = try #require(object["time"]?.string)
        #expect(time.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/) != nil, "\(time)")
    }

    @Test("a text line has the time of day, the level, the message and the fields in order")
    func text() throws {
        let line = try #require(try logged(.text) { $0.with(["tenant": "acme"]).warning("hello", ["count": 3]) }.first)
        #expect(line.wholeMatch(of: /\d\d:\d\d:\d\d\.\d{3} WARNING hello tenant=acme count=3/) != nil, "\(line)")
    }

    @Test("no message, name or value can break a line or drive a terminal", arguments: [Log.Format.json, .text])
    func hostile(_ format: Log.Format) throws {
        for control in hostileScalars {
            let bad = "a\(Character(control))b"
            let lines = try logged(format) {
                $0.with([bad: .string(bad)]).error(
                    bad, ["list": [.string(bad)], "object": .object([bad: .string(bad)])])
            }
            let line = try #require(lines.first)
            #expect(lines.count == 1, "U+\(String(control.value, radix: 16))")
            #expect(!line.unicodeScalars.contains(control), "U+\(String(control.value, radix: 16))")
            if format == .json { #expect(try JSON(parsing: line)["message"] == .string(bad)) }
        }
    }

    @Test("a forged line in a value stays part of the line that carries it")
    func forged() throws {
        let lines = try logged(.text) { $0.info("login\n10:00:00.000 INFO all is well", ["name": "x\r\n\u{1b}[2Jy"]) }
        #expect(lines.count == 1)
        #expect(lines.first?.hasSuffix("INFO login 10:00:00.000 INFO all is well name=x   [2Jy") == true)
    }

    @Test("printable text is left as it is, letters and emoji of any script too")
    func printable() {
        #expect(Log.printable("Zürich 東京 👩‍👩‍👧 a=b") == "Zürich 東京 👩‍👩‍👧 a=b")
        #expect(Log.printable("a\r\nb\u{85}c") == "a  b c")
    }

    @Test("a line below the minimum is not written")
    func minimum() throws {
        func write(_ log: Log) {
            log.debug("d")
            log.info("i")
            log.warning("w")
            log.error("e")
        }
        #expect(try logged(.text, minimum: .debug, write).count == 4)
        #expect(try logged(.text, write).count == 3)
        #expect(try logged(.text, minimum: .error, write).count == 1)
        #expect(LogLevel.debug < .info && LogLevel.info < .warning && LogLevel.warning < .error)
    }

    @Test("fields are added to the new log and not to the old one")
    func fields() throws {
        let lines = try logged(.text) { log in
            let inner = log.with(["a": 1]).with(["b": 2])
            log.info("outer")
            inner.info("inner")
        }
        #expect(lines.first?.hasSuffix("INFO outer") == true)
        #expect(lines.last?.hasSuffix("INFO inner a=1 b=2") == true)
    }

    @Test("a name that comes twice is written once, with the value given last", arguments: [Log.Format.json, .text])
    func twice(_ format: Log.Format) throws {
        let line = try #require(try logged(format) { $0.with(["a": 1, "b": 2]).info("x", ["a": 3]) }.first)
        #expect(!line.contains(format == .json ? "\"a\":1" : "a=1"))
        #expect(line.contains(format == .json ? "\"a\":3" : "a=3"))
    }

    @Test("a field cannot take the place of the time, the level or the message")
    func reserved() throws {
        let line = try #require(
            try logged(.json) { $0.error("real", ["message": "forged", "level": "debug", "time": "never"]) }.first)
        let object = try JSON(parsing: line)
        #expect(object["message"] == "real")
        #expect(object["level"] == "error")
        #expect(object["time"] != "never")
        #expect(object["message_"] == "forged")
    }
}

/// Everything that ends a line or starts a command on some terminal: C0, DEL, C1 and Unicode's own line ends.
private let hostileScalars = (Array(0...0x1f) + Array(0x7f...0x9f) + [0x2028, 0x2029]).compactMap {
    UnicodeScalar($0 as UInt32)
}

/// The lines that `body` logs to a file, which a child that another test starts meanwhile cannot keep open.
private func logged(_ format: Log.Format, minimum: LogLevel = .info, _ body: (Log) -> Void) throws -> [String] {
    var path = Array("/tmp/reeve-log-XXXXXX".utf8CString)
    let file = mkstemp(&path)
    try #require(file >= 0)
    defer { close(file) }
    unlink(path)
    body(Log(format: format, minimum: minimum, descriptor: file))
    var bytes = [UInt8](repeating: 0, count: 64 << 10)
    let count = pread(file, &bytes, bytes.count, 0)
    return bytes[..<max(count, 0)].split(separator: UInt8(ascii: "\n")).map { String(decoding: $0, as: UTF8.self) }
}
