import Dispatch
import EmbeddedPostgres
import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Synchronization
import Testing

/// Raises or cancels after a while, from another thread.
func after(_ milliseconds: Int, _ body: @escaping @Sendable () -> Void) {
    DispatchQueue(label: "after").asyncAfter(deadline: .now() + .milliseconds(milliseconds), execute: body)
}

@Suite("Connection")
struct ConnectionTests {
    let connection: Connection
    init() throws { connection = try ScratchServer.shared.connect() }

    @Test("values of every type come back as they went")
    func roundTrip() throws {
        let id = UUID()
        let row = try connection.execute(
            """
            SELECT $1::text AS text, $2::bigint AS number, $3::bool AS yes, $4::float8 AS ratio, $5::uuid AS id,
                $6::jsonb AS doc, $7::bytea AS raw, $8::text AS nothing, $9::bytea AS empty
            """,
            [
                "it's \"quoted\" \\ € 🦊", Int64.min, true, 0.1, id, JSON.object(["a": [1, "x"]]),
                [0, 255, 39] as [UInt8], nil, Data(),
            ])[0]
        #expect(try row.text("text") == "it's \"quoted\" \\ € 🦊")
        #expect(try row.int(1) == .min && row.int("number") == .min)
        #expect(try row.bool("yes") == true)
        #expect(try row.double("ratio") == 0.1)
        #expect(try row.uuid(4) == id && row.text(4) == id.uuidString.lowercased())
        #expect(try row.json("doc") == ["a": [1, "x"]])
        #expect(try row.bytes("raw") == [0, 255, 39])
        #expect(try row.optionalText("nothing") == nil)
        let isNull = try row.isNull(7)
        #expect(isNull)
        #expect(try row.bytes("empty") == [])
    }

    @Test("arrays come back as they went, quotes, NULL and all")
    func arrays() throws {
        let texts: [String?] = ["a,b", "{}", "\"q\"", "back\\slash", "", "NULL", nil, "a\nb ", "€'"]
        let rows = try connection.execute("SELECT unnest($1::text[])", [texts])
        #expect(try rows.map { try $0.optionalText(0) } == texts)
        let numbers: [Int64] = [1, -2, .max, .min]
        #expect(try connection.execute("SELECT unnest($1::bigint[])", [numbers]).map { try $0.int(0) } == numbers)
        let ids = [UUID(), UUID()]
        #expect(try connection.execute("SELECT unnest($1::uuid[])", [ids]).map { try $0.uuid(0) } == ids)
        #expect(try connection.execute("SELECT cardinality($1::int[])", [[Int]()])[0].int(0) == 0)
    }

    @Test("a NUL character is refused with the parameter's number, in SQL and in arrays too")
    func nul() throws {
        for parameters: [(any PostgresEncodable)?] in [[1, "a\0b"], [1, ["x", "\0"]]] {
            let error = #expect(throws: PostgresError.self) {
                try connection.execute("SELECT $1::int, $2::text", parameters)
            }
            #expect(error?.sqlState == "22021")
            #expect(error?.message.contains("$2") == true)
        }
        #expect(throws: PostgresError.self) { try connection.execute("SELECT \(quoteIdentifier("a\0b"))") }
        #expect(try connection.execute("SELECT 1")[0].int(0) == 1)
    }

    @Test("quoted identifiers and literals stand for exactly their text")
    func quoting() throws {
        for text in ["a\"b", "a'b", "back\\slash'", "'; DROP TABLE x; --", "€", "\\"] {
            let row = try connection.execute("SELECT \(quoteLiteral(text)) AS \(quoteIdentifier(text))")
            #expect(try row[0].text(0) == text)
            #expect(row.columns == [text])
        }
    }

    @Test("a wrong type, an unexpected NULL and a missing column are errors without the value")
    func getters() throws {
        let row = try connection.execute("SELECT 'hunter2' AS word, NULL AS nothing, '99999999999999999999' AS big")[0]
        let attempts: [() throws -> Void] = [
            { _ = try row.int(0) }, { _ = try row.uuid("word") }, { _ = try row.bool(0) }, { _ = try row.double(0) },
            { _ = try row.json(0) }, { _ = try row.bytes(0) }, { _ = try row.int(1) }, { _ = try row.text(1) },
            { _ = try row.int(2) }, { _ = try row.text(3) }, { _ = try row.text(-1) }, { _ = try row.text("absent") },
        ]
        for attempt in attempts {
            let error = #expect(throws: PostgresError.self) { try attempt() }
            #expect(error.map { !"\($0)".contains("hunter2") } == true)
        }
    }

    @Test("40,000 rows are read whole and in order")
    func manyRows() throws {
        let rows = try connection.execute("SELECT n::bigint, gen_random_uuid() FROM generate_series(1, 40000) n")
        #expect(rows.count == 40_000)
        var sum: Int64 = 0
        var ids: Set<UUID> = []
        for row in rows {
            sum += try row.int(0)
            ids.insert(try row.uuid(1))
        }
        #expect(sum == 800_020_000)
        #expect(ids.count == 40_000)
    }

    @Test("a transaction commits, rolls back on a throw and never reports a failed one as committed")
    func transactions() throws {
        struct Refusal: Error {}
        try connection.executeScript("CREATE TEMPORARY TABLE entry (n int)")
        try connection.transaction { _ = try connection.execute("INSERT INTO entry VALUES (1)") }
        #expect(throws: Refusal.self) {
            try connection.transaction(isolation: "serializable") {
                try connection.execute("INSERT INTO entry VALUES (2)")
                throw Refusal()
            }
        }
        #expect(throws: PostgresError.self) {
            try connection.transaction {
                try connection.execute("INSERT INTO entry VALUES (3)")
                _ = try? connection.execute("SELECT 1/0")  // the failure that the body hides
            }
        }
        #expect(throws: PostgresError.self) {
            try connection.transaction(readOnly: true) { _ = try connection.execute("CREATE TABLE public.no (n int)") }
        }
        #expect(throws: PostgresError.self) { try connection.transaction { try connection.transaction {} } }
        #expect(!connection.inTransaction)
        #expect(try connection.execute("SELECT sum(n) FROM entry")[0].int(0) == 1)
    }

    @Test("affected counts rows, and notices are collected instead of printed")
    func affectedAndNotices() throws {
        try connection.executeScript("CREATE TEMPORARY TABLE t (n int)")
        try connection.executeScript("CREATE TEMPORARY TABLE IF NOT EXISTS t (n int)")
        #expect(connection.takeNotices() == ["relation \"t\" already exists, skipping"])
        #expect(connection.takeNotices().isEmpty)
        #expect(try connection.execute("INSERT INTO t SELECT generate_series(1, 7)").affected == 7)
        for _ in 0..<150 { try connection.executeScript("CREATE TEMPORARY TABLE IF NOT EXISTS t (n int)") }
        #expect(connection.takeNotices().count == 100)
    }

    @Test("another thread cancels a running statement, and the connection stays usable")
    func cancel() throws {
        let handle = connection.cancelHandle
        after(100) { handle.cancel() }
        let start = ContinuousClock.now
        let error = #expect(throws: PostgresError.self) { try connection.execute("SELECT pg_sleep(20)") }
        #expect(error?.sqlState == "57014")
        #expect(ContinuousClock.now - start < .seconds(10))
        #expect(try connection.execute("SELECT 1")[0].int(0) == 1)
        connection.close()
        #expect(!handle.cancel())
    }

    @Test("a raised stop signal ends a statement within a moment, and the connection stays usable")
    func stop() throws {
        let stop = StopSignal()
        let raised = Mutex(ContinuousClock.now)
        after(100) {
            raised.withLock { $0 = .now }
            stop.stop(.cancelled)
        }
        let error = #expect(throws: Stopped.self) { try connection.execute("SELECT pg_sleep(20)", stop: stop) }
        #expect(error?.reason == .cancelled)
        #expect(ContinuousClock.now - raised.withLock { $0 } < .seconds(10))
        #expect(try connection.execute("SELECT 1")[0].int(0) == 1)
        #expect(throws: Stopped.self) { try connection.execute("SELECT 1", stop: stop) }
    }

    @Test("a deadline ends a statement and one that is waiting for a lock while it is prepared")
    func deadline() throws {
        let error = #expect(throws: PostgresError.self) {
            try connection.execute("SELECT pg_sleep(20)", stop: nil, deadline: .now + .milliseconds(100))
        }
        #expect(error?.sqlState == "57014")
        let other = try ScratchServer.shared.connect()
        try other.executeScript("DROP TABLE IF EXISTS locked; CREATE TABLE locked (n int)")
        try other.transaction {
            try other.execute("LOCK TABLE locked")
            let start = ContinuousClock.now
            #expect(throws: PostgresError.self) {
                try connection.execute(
                    "SELECT n FROM locked", name: "read_locked", stop: nil, deadline: .now + .milliseconds(100))
            }
            #expect(ContinuousClock.now - start < .seconds(15))
        }
        #expect(try connection.execute("SELECT n FROM locked", name: "read_locked", stop: StopSignal()).isEmpty)
    }

    @Test("parameters larger than the socket's buffers go through an interruptible statement")
    func largeParameter() throws {
        let text = String(repeating: "x", count: 4_000_000)
        let rows = try connection.execute("SELECT length($1::text), $1::text", [text], stop: StopSignal())
        #expect(try rows[0].int(0) == 4_000_000)
        #expect(try rows[0].text(1) == text)
    }

    @Test("a terminated backend is a lost connection, and reconnecting prepares named statements again")
    func reconnect() throws {
        #expect(try connection.execute("SELECT $1::int + 1", [1], name: "add").first?.int(0) == 2)
        let pid = connection.backendPID
        let handle = connection.cancelHandle
        try ScratchServer.shared.connect().execute("SELECT pg_terminate_backend($1::int, 5000)", [pid])
        let error = #expect(throws: PostgresError.self) { try connection.execute("SELECT 1") }
        #expect(error?.isConnectionLost == true && error?.isRetriable == true)
        #expect(!connection.isUsable)
        try connection.reconnect()
        #expect(connection.isUsable && connection.backendPID != pid)
        #expect(try connection.execute("SELECT $1::int + 1", [2], name: "add")[0].int(0) == 3)
        after(100) { handle.cancel() }
        #expect(throws: PostgresError.self) { try connection.execute("SELECT pg_sleep(20)") }
    }

    @Test("a server that was stopped at once, which warns before it hangs up, is a lost connection")
    func warned() throws {
        let server = try TestServer.make("warned")
        defer { server.stop(immediately: true) }
        let connection = try Connection(ConnectionSettings(server.conninfo(database: "postgres")))
        defer { connection.close() }
        try server.crashAndRestart()
        let error = #expect(throws: PostgresError.self) { try connection.execute("COMMIT") }
        #expect(error?.isConnectionLost == true && error?.isRetriable == true)
        #expect(!connection.isUsable)
        try connection.reconnect()
        #expect(try connection.execute("SELECT 1")[0].int(0) == 1)
    }

    @Test("a named statement survives DISCARD ALL, a changed table and another text under its name")
    func prepared() throws {
        #expect(try connection.execute("SELECT 1", name: "s")[0].int(0) == 1)
        try connection.executeScript("DISCARD ALL")
        #expect(try connection.execute("SELECT 1", name: "s")[0].int(0) == 1)
        #expect(try connection.execute("SELECT 2", name: "s")[0].int(0) == 2)
        try connection.executeScript("CREATE TEMPORARY TABLE shape (a int)")
        #expect(try connection.execute("SELECT * FROM shape", name: "shape").columns == ["a"])
        try connection.executeScript("ALTER TABLE shape ADD b int")
        #expect(try connection.execute("SELECT * FROM shape", name: "shape").columns == ["a", "b"])
    }

    @Test("a notification arrives and ends the wait; without one the wait ends on time or on a stop")
    func notifications() throws {
        try connection.execute("LISTEN news")
        #expect(try connection.notifications(waiting: .milliseconds(20)).isEmpty)
        let pid = Mutex<Int32>(0)
        let settings = ScratchServer.shared.settings
        after(100) {
            guard let sender = try? Connection(settings) else { return }  // the expectations below report it
            pid.withLock { $0 = sender.backendPID }
            _ = try? sender.execute("SELECT pg_notify('news', $1)", ["it's here"])
        }
        let start = ContinuousClock.now
        let arrived = try connection.notifications(waiting: .seconds(20))
        #expect(arrived.map(\.payload) == ["it's here"] && arrived.map(\.channel) == ["news"])
        #expect(arrived.first?.backendPID == pid.withLock { $0 })
        #expect(ContinuousClock.now - start < .seconds(10))
        let stop = StopSignal()
        after(50) { stop.stop(.shutdown) }
        #expect(try connection.notifications(waiting: .seconds(20), stop: stop).isEmpty)
        #expect(ContinuousClock.now - start < .seconds(15))
    }

    @Test("a closed connection fails every call and closes twice without harm")
    func closed() throws {
        connection.close()
        connection.close()
        #expect(connection.socketDescriptor == -1 && !connection.isUsable && !connection.inTransaction)
        let error = #expect(throws: PostgresError.self) { try connection.execute("SELECT 1") }
        #expect(error?.isConnectionLost == true)
    }
}
