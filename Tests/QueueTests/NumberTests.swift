import Dispatch
import Postgres
import ReeveTesting
import Synchronization
import Testing

/// Numbers of jobs when the control database goes on from an earlier state; FailoverTests has a real standby promoted.
@Suite struct NumberTests {
    private let control: Control
    private let last: Int64

    /// As the first look after a promotion finds it.
    init() throws {
        control = try Control()
        last = try control.enqueue()
        #expect(try control.enqueue() == last + 1)
        try control.value("SELECT setval('reeve.job_id_timeline', 77)")
    }

    private static func enqueue(_ connection: Connection) throws -> Int64 {
        try connection.execute("SELECT reeve.enqueue('acme.work', 'work', '{\"n\": 1}')")[0].int(0)
    }

    @Test("on a new timeline ten million numbers are left out, once, however many draw at the same time")
    func leap() throws {
        let drawn = Mutex<[Int64]>([])
        let settings = control.settings
        DispatchQueue.concurrentPerform(iterations: 8) { _ in
            do {
                let connection = try Connection(settings)
                defer { connection.close() }
                for _ in 0..<20 {
                    let id = try Self.enqueue(connection)
                    drawn.withLock { $0.append(id) }
                }
            } catch { Issue.record(error) }
        }
        let ids = drawn.withLock { $0 }
        #expect(ids.count == 160 && Set(ids).count == 160)
        #expect(ids.allSatisfy { (last + 10_000_000...last + 10_000_200).contains($0) })
        #expect(try control.value("SELECT last_value FROM reeve.job_id_timeline") == "1")
    }

    @Test("nobody waits for the transaction that was the first on a new timeline, and nothing stays locked")
    func open() throws {
        let first = try control.another()
        defer { first.close() }
        try first.executeScript("BEGIN")
        let id = try Self.enqueue(first)
        #expect(id > last + 10_000_000)
        try control.value("SET statement_timeout = '10s'")
        #expect(try control.enqueue() == id + 1)
        try first.executeScript("ROLLBACK")
        #expect(try control.enqueue() == id + 2)
        #expect(
            try control.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1919247734")
                == "0")
    }
}
