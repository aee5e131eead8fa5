import Dispatch
import FoundationEssentials
import JobKit
import Postgres
import Synchronization
import Testing

@Suite("Enqueue")
struct EnqueueTests {
    @Test(
        "bad input is refused where it enters, with a code and the remedy, and nothing is kept",
        arguments: [
            ("nobody.work", "work", #"{"n": 1}"#, "RV001", "unknown"),
            ("work", "work", #"{"n": 1}"#, "RV002", "<tenant code>.<name>"),
            ("acme.events", "work", #"{"n": 1}"#, "RV002", "<tenant code>.<name>"),
            ("acme.a.b", "work", #"{"n": 1}"#, "RV002", "<tenant"),
            ("ACME.work", "work", #"{"n": 1}"#, "RV002", "<tenant"),
            (#"a"b.work"#, "work", #"{"n": 1}"#, "RV002", "<tenant"),
            ("acme.work", "nothing", #"{"n": 1}"#, "RV004", "not registered"),
            ("acme.work", "work", #"{}"#, "RV005", "args.n is missing"),
            ("acme.work", "work", #"{"n": "1"}"#, "RV005", "args.n must be integer, not string"),
            ("acme.work", "work", #"{"n": 1.5}"#, "RV005", "integer"),
            ("acme.work", "work", #"{"n": -1}"#, "RV005", "at least 0"),
            ("acme.work", "work", #"{"n": 1, "x": 2}"#, "RV005", "args.x is unknown"),
            ("acme.work", "work", "[]", "RV005", "object"),
            ("acme.work", "work", #"{"n": 1, "day": "2026-02-30"}"#, "RV005", "date"),
            ("acme.work", "work", #"{"n": 1, "tags": ["toolong"]}"#, "RV005", "args.tags[0]"),
            ("acme.work", "work", #"{"n": 1, "tags": ["a", "b", "c"]}"#, "RV005", "more than 2 items"),
        ])
    func refusals(_ queue: String, _ kind: String, _ args: String, _ code: String, _ words: String) throws {
        let control = try Control()
        let (state, message) = try control.refusal(
            "SELECT reeve.enqueue($1::text, $2::text, $3::jsonb)", [queue, kind, args])
        #expect(state == code)
        #expect(message.contains(words), "\(message)")
        #expect(try control.value("SELECT count(*) FROM reeve.job") == "0")
    }

    @Test("arguments over 1 MiB, unknown fields, odd priorities and archived tenants are refused")
    func moreRefusals() throws {
        let control = try Control()
        let large = JSON.object(["n": .int(1), "tags": .array([.string(String(repeating: "x", count: 1 << 20))])])
        #expect(try control.refusal("SELECT reeve.enqueue('acme.work', 'work', $1::jsonb)", [large]).0 == "RV006")
        #expect(
            try control.refusal(
                #"SELECT reeve.enqueue_many('[{"queue": "acme.work", "kind": "work", "args": {"n": 1}, "que": 1}]')"#
            ).0 == "RV010")
        #expect(try control.refusal(#"SELECT reeve.enqueue_many('{"queue": "acme.work"}')"#).0 == "RV010")
        #expect(
            try control.refusal(#"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}', priority => 2000000)"#).0
                == "RV010")
        try control.value("UPDATE reeve.tenant SET status = 'churned' WHERE code = 'globex'")
        try control.value("UPDATE reeve.tenant SET status = 'archived' WHERE code = 'globex'")
        #expect(try control.refusal(#"SELECT reeve.enqueue('globex.work', 'work', '{"n": 1}')"#).0 == "RV009")
    }

    @Test("one bad job of an array refuses them all and names its place")
    func allOrNone() throws {
        let control = try Control()
        let (state, message) = try control.refusal(
            #"SELECT reeve.enqueue_many('[{"queue": "acme.work", "kind": "work", "args": {"n": 1}}, {"queue": "acme.work", "kind": "work", "args": {}}]')"#
        )
        #expect(state == "RV005" && message.contains("job 2 of the array"))
        #expect(try control.value("SELECT count(*) FROM reeve.job") == "0")
    }

    @Test("a job named for one tenant cannot enter another's queue, nor can a tenant's own login")
    func spoof() throws {
        let control = try Control()
        let globex = try control.value("SELECT id FROM reeve.tenant WHERE code = 'globex'")
        #expect(
            try control.refusal(#"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}', tenant => $1::uuid)"#, [globex])
                .0 == "RV003")
        let login = "login_\(UUID().uuidString.lowercased().prefix(8))"
        try control.connection.executeScript(
            """
            CREATE ROLE \(login) LOGIN PASSWORD 'x' IN ROLE reeve_enqueuer;
            INSERT INTO reeve.tenant_login SELECT '\(login)', id FROM reeve.tenant WHERE code = 'globex';
            """)
        defer { try? control.connection.executeScript("DROP OWNED BY \(login); DROP ROLE \(login)") }
        let theirs = try Connection(control.settings.with(["user": login, "password": "x"]))
        #expect(try control.refusal(#"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}')"#, on: theirs).0 == "RV003")
        #expect(
            try control.refusal(#"SELECT reeve.enqueue('globex.work', 'work', '{"n": 1}')"#, on: theirs).1 == "accepted"
        )
        theirs.close()
    }

    @Test("an enqueue is part of the caller's transaction")
    func transactional() throws {
        let control = try Control()
        struct Changed: Error {}
        #expect(throws: Changed.self) {
            try control.connection.transaction {
                try control.enqueue()
                throw Changed()
            }
        }
        #expect(try control.value("SELECT count(*) FROM reeve.job") == "0")
    }

    @Test(
        "the same idempotency key gives the first job's id, also to callers that come at once, and other arguments are refused"
    )
    func idempotency() throws {
        let control = try Control()
        let ids = Mutex<[Int64]>([])
        let group = DispatchGroup()
        for number in 0..<8 {
            let connection = SendableConnection(try control.another())
            DispatchQueue(label: "caller \(number)").async(group: group) {
                for _ in 0..<5 {
                    guard
                        let id = try? connection.value.execute(
                            #"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}', idempotency_key => 'k')"#)[0].int(0)
                    else { continue }  // shows as a missing id
                    ids.withLock { $0.append(id) }
                }
            }
        }
        group.wait()
        #expect(ids.withLock { $0.count } == 40)
        #expect(Set(ids.withLock { $0 }).count == 1)
        #expect(try control.value("SELECT count(*) FROM reeve.job") == "1")
        #expect(
            try control.refusal(#"SELECT reeve.enqueue('acme.work', 'work', '{"n": 2}', idempotency_key => 'k')"#).0
                == "RV008")
        // Another tenant's key is another key.
        #expect(
            try control.refusal(#"SELECT reeve.enqueue('globex.work', 'work', '{"n": 2}', idempotency_key => 'k')"#).1
                == "accepted")
    }

    @Test("a key whose first transaction rolled back is free")
    func idempotencyRollback() throws {
        let control = try Control()
        let other = try control.another()
        try other.executeScript("BEGIN")
        _ = try other.execute(#"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}', idempotency_key => 'k')"#)
        try other.executeScript("ROLLBACK")
        let id = try control.enqueue(n: 2, more: ", idempotency_key => 'k'")
        #expect(try control.state(id) == "available")
    }

    @Test("keys are kept for 24 hours and as long as their job lives")
    func idempotencyExpiry() throws {
        let control = try Control()
        let worker = try control.worker()
        try control.enqueue(n: 1, more: ", idempotency_key => 'ended'")
        try control.complete(try control.claim(worker))
        try control.enqueue(n: 1, more: ", idempotency_key => 'living'")
        try control.value("SELECT reeve.tend_leftovers()")
        #expect(try control.value("SELECT count(*) FROM reeve.idempotency_key") == "2")
        try control.advanceClock(by: "25 hours")
        try control.value("SELECT reeve.tend_leftovers()")
        #expect(try control.value("SELECT count(*) FROM reeve.idempotency_key") == "1")
    }

    @Test("a full backlog refuses, and takes jobs again once it has run")
    func backlog() throws {
        let control = try Control()
        try control.stopClock()
        try control.value("UPDATE reeve.tenant SET overrides = '{\"backlog_limit\": 3}' WHERE code = 'acme'")
        for n in 0..<3 { try control.enqueue(n: n) }
        try control.value("SELECT reeve.tend_backlog()")
        #expect(try control.refusal(#"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}')"#).0 == "RV007")
        #expect(try control.refusal(#"SELECT reeve.enqueue('globex.work', 'work', '{"n": 1}')"#).1 == "accepted")
        try control.complete(try control.claim(try control.worker()))
        try control.value("SELECT reeve.tend_backlog()")
        #expect(try control.refusal(#"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}')"#).1 == "accepted")
    }

    @Test("an enqueue that stays open stalls neither claims nor completions of the same tenant")
    func longTransaction() throws {
        let control = try Control()
        let worker = try control.worker()
        try control.enqueue()
        let other = try control.another()
        try other.executeScript("BEGIN")
        _ = try other.execute(#"SELECT reeve.enqueue('acme.work', 'work', '{"n": 7}')"#)
        try control.connection.executeScript("SET lock_timeout = '500ms'")
        let claimed = try control.claim(worker)
        #expect(claimed.count == 1)
        #expect(try control.complete(claimed).isEmpty)
        try other.executeScript("COMMIT")
        #expect(try control.claim(worker).count == 1)
    }

    @Test("an enqueue says when no running worker serves the tier")
    func notice() throws {
        let control = try Control()
        try control.enqueue()
        #expect(control.connection.takeNotices().contains { $0.contains("no running worker serves the tier") })
        _ = try control.worker()
        try control.enqueue()
        #expect(control.connection.takeNotices().isEmpty)
    }

    @Test("a schema with a keyword that would not be checked is refused at registration")
    func schemas() throws {
        let control = try Control()
        let (_, message) = try control.refusal(
            #"SELECT reeve.register_kinds('[{"name": "odd", "queue": "odd", "time_limit_ms": 1, "max_attempts": 1, "statuses": [], "schema": {"oneOf": []}}]')"#
        )
        #expect(message.contains("refused") || message.contains("oneOf"), "\(message)")
        #expect(try control.value("SELECT count(*) FROM reeve.kind WHERE name = 'odd'") == "0")
    }
}

/// Hands a connection to one other thread. `@unchecked Sendable`: the thread that made it does not use it again.
struct SendableConnection: @unchecked Sendable {
    let value: Connection
    init(_ value: Connection) { self.value = value }
}
