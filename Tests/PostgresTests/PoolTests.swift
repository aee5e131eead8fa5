import Dispatch
import Postgres
import Synchronization
import Testing

@Suite("Pool")
struct PoolTests {
    private func pool(_ bound: Int, wait: Duration = .seconds(20), _ name: String = "test") -> Pool {
        Pool(ScratchServer.shared.settings, bound: bound, waitTimeout: wait, name: name)
    }

    @Test("never more connections than the bound, however many threads ask")
    func bound() throws {
        let pool = pool(3)
        defer { pool.close() }
        let busy = Mutex((now: 0, most: 0, runs: 0))
        let group = DispatchGroup()
        for index in 0..<12 {
            DispatchQueue(label: "borrower \(index)").async(group: group) {
                // A failure leaves `runs` short of 12, which is checked below.
                try? pool.withConnection { connection in
                    busy.withLock {
                        $0.now += 1
                        $0.most = max($0.most, $0.now)
                    }
                    try connection.execute("SELECT pg_sleep(0.05)")
                    busy.withLock {
                        $0.now -= 1
                        $0.runs += 1
                    }
                }
            }
        }
        #expect(group.wait(timeout: .now() + 30) == .success)
        #expect(busy.withLock { $0.most } == 3)
        #expect(busy.withLock { $0.runs } == 12)
        #expect(pool.openCount == 3)
    }

    @Test("waiting too long names the pool and its bound")
    func timeout() throws {
        let pool = pool(1, wait: .milliseconds(50), "reports")
        defer { pool.close() }
        try pool.withConnection { _ in
            let error = #expect(throws: PostgresError.self) { try pool.withConnection { _ in } }
            #expect(error?.message.contains("reports") == true && error?.message.contains("1") == true)
            #expect(error?.isRetriable == true)
        }
        #expect(try pool.withConnection { try $0.execute("SELECT 1")[0].int(0) } == 1)
    }

    @Test("a connection is used again, and one whose backend ended is replaced unnoticed")
    func lost() throws {
        let pool = pool(1)
        defer { pool.close() }
        let first = try pool.withConnection { $0.backendPID }
        #expect(try pool.withConnection { $0.backendPID } == first)
        try ScratchServer.shared.connect().execute("SELECT pg_terminate_backend($1::int, 5000)", [first])
        #expect(try pool.withConnection { try $0.execute("SELECT pg_backend_pid()")[0].int(0) } != Int64(first))
        #expect(pool.openCount == 1)
    }

    @Test("a transaction left open is rolled back before the next borrower")
    func leftOpen() throws {
        let pool = pool(1)
        defer { pool.close() }
        try pool.withConnection { connection in
            try connection.executeScript("DROP TABLE IF EXISTS left_open")
            try connection.execute("BEGIN")
            try connection.execute("CREATE TABLE left_open (n int)")
        }
        try pool.withConnection { connection in
            #expect(!connection.inTransaction)
            let row = try connection.execute("SELECT to_regclass('left_open')::text")[0]
            let found = try row.optionalText(0)
            #expect(found == nil)
        }
    }

    @Test("onConnect runs once on each connection, and its error leaves no connection and no permit behind")
    func onConnect() throws {
        struct Refusal: Error {}
        let calls = Mutex(0)
        let pool = Pool(ScratchServer.shared.settings, bound: 1, waitTimeout: .milliseconds(100), name: "hook") {
            connection in
            try connection.execute("SET statement_timeout = '7s'")
            let call = calls.withLock { calls in
                calls += 1
                return calls
            }
            if call == 1 { throw Refusal() }
        }
        defer { pool.close() }
        #expect(throws: Refusal.self) { try pool.withConnection { _ in } }
        #expect(pool.openCount == 0)
        for _ in 0..<3 {
            #expect(try pool.withConnection { try $0.execute("SHOW statement_timeout")[0].text(0) } == "7s")
        }
        #expect(calls.withLock { $0 } == 2)
    }

    @Test("a closed pool keeps no connection and lends none")
    func closed() throws {
        let pool = pool(2)
        try pool.withConnection { _ in pool.close() }
        #expect(pool.openCount == 0)
        #expect(throws: PostgresError.self) { try pool.withConnection { _ in } }
    }
}
