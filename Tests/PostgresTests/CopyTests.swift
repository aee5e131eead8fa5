import JobKit
import Postgres
import Testing

@Suite("COPY", .serialized)
struct CopyTests {
    let connection: Connection
    init() throws { connection = try ScratchServer.shared.connect() }

    /// The most memory that the process has had, in bytes.
    private func peakMemory() throws -> Int { try statusField("VmHWM:") }

    @Test("200 MB go in and out in constant memory")
    func constantMemory() throws {
        try connection.executeScript("CREATE TEMPORARY TABLE bulk (line text)")
        try connection.executeScript("ALTER TABLE bulk ALTER line SET STORAGE PLAIN")
        let line = Array((String(repeating: "x", count: 999) + "\n").utf8)
        let chunk = [[UInt8]](repeating: line, count: 50).flatMap { $0 }
        let before = try peakMemory()
        let rows = try connection.copyIn("COPY bulk FROM STDIN") { writer in
            for _ in 0..<4000 { try writer.write(chunk) }
        }
        #expect(rows == 200_000)
        var bytes = 0
        try connection.copyOut("COPY bulk TO STDOUT") { bytes += $0.count }
        #expect(bytes == 200_000_000)
        // Other tests run meanwhile; a client that keeps the data would need 200 MB and more.
        let grown = try peakMemory() - before
        #expect(grown < 60_000_000, "grew by \(grown) bytes")
    }

    @Test("what is copied in comes out, text split anywhere")
    func content() throws {
        try connection.executeScript("CREATE TEMPORARY TABLE pair (n int, word text)")
        let rows = try connection.copyIn("COPY pair FROM STDIN") { writer in
            try writer.write("1\tone\n2\t")
            try writer.write("zwölf\n")
        }
        #expect(rows == 2)
        var text = ""
        try connection.copyOut("COPY pair TO STDOUT") { text += String(decoding: $0, as: UTF8.self) }
        #expect(text == "1\tone\n2\tzwölf\n")
    }

    @Test("a body that throws ends the copy either way, keeps nothing and leaves the connection usable")
    func throwing() throws {
        struct Refusal: Error {}
        try connection.executeScript("CREATE TEMPORARY TABLE part (n int)")
        #expect(throws: Refusal.self) {
            try connection.copyIn("COPY part FROM STDIN") { writer in
                try writer.write("1\n2\n")
                throw Refusal()
            }
        }
        #expect(try connection.execute("SELECT count(*) FROM part")[0].int(0) == 0)
        var chunks = 0
        #expect(throws: Refusal.self) {
            try connection.copyOut("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000000)) TO STDOUT") {
                _ in
                chunks += 1
                if chunks == 10 { throw Refusal() }
            }
        }
        #expect(chunks == 10)
        #expect(try connection.execute("SELECT 1")[0].int(0) == 1)
    }

    @Test("bad data, wrong statements and COPY through execute are errors without values")
    func errors() throws {
        try connection.executeScript("CREATE TEMPORARY TABLE strict (n int)")
        let error = #expect(throws: PostgresError.self) {
            try connection.copyIn("COPY strict FROM STDIN") { try $0.write("hunter2\n") }
        }
        #expect(error?.sqlState == "22P02")
        #expect(error.map { !"\($0)".contains("hunter2") } == true)
        #expect(throws: PostgresError.self) { try connection.copyOut("SELECT 1") { _ in } }
        #expect(throws: PostgresError.self) { try connection.copyOut("COPY strict FROM STDIN") { _ in } }
        #expect(throws: PostgresError.self) { try connection.copyIn("COPY strict TO STDOUT") { _ in } }
        #expect(throws: PostgresError.self) { try connection.copyOut("COPY absent TO STDOUT") { _ in } }
        #expect(throws: PostgresError.self) { try connection.execute("COPY strict FROM STDIN") }
        #expect(throws: PostgresError.self) { try connection.execute("COPY (SELECT 1) TO STDOUT") }
        #expect(try connection.execute("SELECT 1")[0].int(0) == 1)
    }

    @Test("a stop signal ends a copy that is waiting, in both directions")
    func stop() throws {
        let stop = StopSignal()
        after(100) { stop.stop(.deadline) }
        let start = ContinuousClock.now
        #expect(throws: Stopped.self) {
            try connection.copyOut("COPY (SELECT pg_sleep(20)) TO STDOUT", stop: stop) { _ in }
        }
        #expect(try connection.execute("SELECT 1")[0].int(0) == 1)
        let flowing = StopSignal()
        after(100) { flowing.stop(.cancelled) }
        #expect(throws: Stopped.self) {
            try connection.copyOut("COPY (SELECT generate_series(1, 2000000000)) TO STDOUT", stop: flowing) { _ in }
        }
        let locker = try ScratchServer.shared.connect()
        try locker.executeScript("DROP TABLE IF EXISTS target; CREATE TABLE target (n int)")
        try locker.transaction {
            try locker.execute("LOCK TABLE target")
            let second = StopSignal()
            after(100) { second.stop(.cancelled) }
            #expect(throws: Stopped.self) {
                try connection.copyIn("COPY target FROM STDIN", stop: second) { try $0.write("1\n") }
            }
        }
        #expect(ContinuousClock.now - start < .seconds(8))
        #expect(try connection.execute("SELECT count(*) FROM target")[0].int(0) == 0)
    }
}
