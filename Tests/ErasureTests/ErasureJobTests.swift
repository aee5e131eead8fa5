import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Synchronization
import Tenancy
import Testing
import WorkerEngine

@testable import Erasure

@Suite("Erasing a data subject")
struct ErasureJobTests {
    /// Whether anything of the person is in a text.
    static func isIn(_ text: String) -> Bool {
        let text = text.lowercased()
        return ["ann.lee@example.com", "ann zo", "946 0018", "'lee"].contains { text.contains($0) }
    }

    @Test(
        "is nowhere afterwards, in any table, column type or relation, except where the map says retain",
        arguments: Isolation.allCases)
    func nowhere(isolation: Isolation) throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", isolation)
        let globex = try fixture.tenant("globex", isolation, marker: "theirs")
        let theirs = try fixture.everything(globex)
        #expect(try fixture.everything(acme).values.filter(Self.isIn).count >= 8)
        let report = try fixture.erase(acme)
        let after = try fixture.everything(acme)
        for (table, text) in after where table != "invoices" {
            #expect(!Self.isIn(text), "\(table): \(text)")
        }
        #expect(Self.isIn(try #require(after["invoices"])), "the map retains it")
        #expect(try fixture.everything(globex) == theirs, "the same person is another tenant's, too")
        // Bob is untouched, but for what he wrote about the person.
        for name in ["persons", "cards", "loose", "events", "messages", "badges", "oddities"] {
            #expect(after[name]?.contains("ob-mine") == true, "\(name)")
        }
        #expect(try fixture.value(acme, "SELECT note FROM orders WHERE id = 3") == "friend of [erased], bring mine")
        #expect(try fixture.value(acme, "SELECT count(*) FROM messages") == "2")
        let person = try fixture.value(
            acme,
            "SELECT concat_ws('|', full_name, phone, born_on, postcode, height, tags, profile, greeting) FROM persons WHERE id = 42"
        )
        #expect(person == "erased|1980-01-01|SW|170|{}|{}|Dear erased")
        #expect(
            try fixture.value(acme, "SELECT email ~ '^erased-[0-9a-f]{24}@invalid.example$' FROM persons WHERE id = 42")
                == "t")
        let left = report["left"]?.array ?? []
        #expect(left.allSatisfy { $0["standing"] == "retained" } && !left.isEmpty)
        #expect(report["retained"]?.array?.contains { $0["basis"] == "HGB § 257" } == true)
        #expect(!Self.isIn(report.text))
    }

    @Test("a request's row holds nothing of the person once it is over, and before it holds it sealed")
    func sealed() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        let request = try fixture.request(acme)
        func rows() throws -> String {
            try [
                "erasure_request", "erasure_identifier", "erasure_ledger", "audit_entry", "job", "job_history",
                "job_step", "data_map",
            ].map {
                try fixture.connection.execute("SELECT coalesce(string_agg(t::text, ' '), '') FROM reeve.\($0) t")[0]
                    .text(0)
            }.joined()
        }
        #expect(try !Self.isIn(rows()))
        let job = try fixture.approve(request, acme)
        try fixture.runToEnd(job, acme)
        #expect(try !Self.isIn(rows()))
        #expect(
            try fixture.connection.execute(
                "SELECT sealed IS NULL AND found IS NULL AND state = 'completed' FROM reeve.erasure_request")[0].bool(0)
        )
        #expect(try fixture.connection.execute("SELECT count(*) FROM reeve.erasure_ledger")[0].int(0) == 1)
        let audited = try fixture.connection.execute(
            "SELECT array_to_string(array_agg(action || coalesce(detail ->> 'outcome', '') ORDER BY id), ' ') FROM reeve.audit_entry WHERE action LIKE 'erasure%'"
        )[0].text(0)
        #expect(audited == "erasure.request erasure.approve erasure.runintent erasure.rundone")
    }

    struct Stop: Error {}

    @Test("an attempt that ends before any part, between the passes or inside a transaction is resumed to the same end")
    func resumed() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        let request = try fixture.request(acme)
        let job = try fixture.approve(request, acme)
        // At every place the first attempt that comes to it ends.
        let visits = FirstVisits()
        try fixture.runToEnd(
            job, acme, AnyJob(fixture.job(between: { place in if visits.isFirst(place) { throw Stop() } })))
        #expect(visits.all.count >= 10, "\(visits.all)")
        #expect(try fixture.state(request) == "completed")
        for (table, text) in try fixture.everything(acme) where table != "invoices" {
            #expect(!Self.isIn(text), "\(table)")
        }
        let before = try #require(try fixture.report(request)["before"]?.array)
        #expect(before.contains { $0["table"]?.string?.hasSuffix(".messages") == true && $0["rows"] == 2 })
    }

    @Test("a session that is ended inside the transaction leaves nothing half done, and the next attempt does all")
    func sessionEnds() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        let job = try fixture.approve(fixture.request(acme), acme)
        let store = try fixture.store(of: acme)
        let once = Mutex(true)
        let states = Mutex<[Bool]>([])
        nonisolated(unsafe) let unsafe = fixture
        try fixture.runToEnd(
            job, acme,
            AnyJob(
                fixture.job(between: { place in
                    guard place.hasPrefix("in "),
                        once.withLock({
                            let was = $0; $0 = false; return was
                        })
                    else { return }
                    try unsafe.admin(acme) { connection in
                        _ = try connection.execute(
                            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1::text AND state = 'idle in transaction'",
                            [store.login])
                        let left = try connection.execute("SELECT count(*) FROM persons WHERE full_name <> 'erased'")[0]
                            .int(0)
                        states.withLock { $0.append(left == 2) }
                    }
                })))
        #expect(states.withLock { $0 } == [true], "nothing was committed")
        for (table, text) in try fixture.everything(acme) where table != "invoices" {
            #expect(!Self.isIn(text), "\(table)")
        }
    }

    @Test("whoever writes the subject back while it is erased is found by the next pass")
    func writtenBack() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        let job = try fixture.approve(fixture.request(acme), acme)
        let count = Mutex(0)
        nonisolated(unsafe) let unsafe = fixture
        try fixture.runToEnd(
            job, acme,
            AnyJob(
                fixture.job(between: { place in
                    guard place.hasPrefix("after ") || place == "proof" else { return }
                    let number = count.withLock {
                        $0 += 1; return $0
                    }
                    guard number <= 2 || place == "proof" else { return }
                    try unsafe.write(
                        acme,
                        "INSERT INTO loose VALUES ('Ann.Lee@Example.com', 'again'), ('ann.lee@example.com', 'back'); INSERT INTO messages (id, person_id, body) VALUES (\(100 + number), 42, 'late')"
                    )
                })))
        #expect(try fixture.value(acme, "SELECT count(*) FROM loose WHERE email ILIKE 'ann%'") == "0")
        #expect(
            try fixture.value(acme, "SELECT count(*) FROM messages WHERE person_id = 42") == "0",
            "found by what was remembered")
    }

    @Test("a subject in many rows, in none, under odd identifiers, and under another Unicode form")
    func identifiers() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        try fixture.write(
            acme,
            """
            INSERT INTO loose SELECT 'many@example.com', 'row ' || n FROM generate_series(1, 10000) n;
            INSERT INTO loose VALUES (E'ren\\u0065\\u0301e@example.com', 'nfd'), (E'REN\\u00c9E@example.com', 'upper'), ('o''hare"\\%_@example.com', 'odd'),
              ('ohareXX@example.com', 'stays')
            """)
        let many = try fixture.erase(acme, ["email": "many@example.com"])
        #expect(
            many["deleted"]?["tenant_acme_e\(fixture.suffix).loose"] == 10000
                || many["deleted"]?.object?.values.contains(10000) == true)
        let none = try fixture.erase(acme, ["email": "nobody@example.com"])
        #expect(none["before"] == [] && none["deleted"] == [:] && none["left"] == [])
        try fixture.erase(acme, ["email": ["ren\u{e9}e@example.com"]])
        try fixture.erase(acme, ["email": "o'hare\"\\%_@example.com"])
        #expect(
            try fixture.value(
                acme,
                "SELECT string_agg(what, ',' ORDER BY what) FROM loose WHERE email ILIKE 'ren%' OR email LIKE 'o%hare%'"
            ) == "stays")
        // By number: the same person, whose addresses are then known from the row.
        let byNumber = try fixture.erase(acme, ["person_id": 42])
        #expect(byNumber["changed"]?.object?.isEmpty == false)
        #expect(try fixture.value(acme, "SELECT full_name FROM persons WHERE id = 42") == "erased")
        #expect(throws: JobFailure.self) { try fixture.request(acme, ["nickname": "x"]) }
        #expect(throws: JobFailure.self) { try fixture.request(acme, ["email": "  "]) }
    }

    @Test("what the map does not cover is left, said, and ends the request as failed where the map says that it goes")
    func leftovers() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        // In a column that the map knows, of somebody else's row; and in one that it does not know.
        try fixture.write(
            acme,
            "UPDATE persons SET profile = '{\"friend\": \"ann.lee@example.com\"}' WHERE id = 7; UPDATE colours SET label = 'like ann.lee@example.com'"
        )
        let request = try fixture.request(acme)
        let outcome = try fixture.runToEnd(fixture.approve(request, acme), acme)
        guard case .discarded(let reason) = outcome else { throw JobFailure("test", "\(outcome)") }
        #expect(reason.contains("persons.profile") && !Self.isIn(reason))
        #expect(try fixture.state(request) == "failed")
        let left = try #require(try fixture.report(request)["left"]?.array)
        #expect(left.contains { $0["column"] == "profile" && $0["standing"] == "mapped" && $0["rows"] == 1 })
        #expect(left.contains { $0["column"] == "label" && $0["standing"] == "unmapped" })
        // Put right, and approved anew.
        try fixture.write(acme, "UPDATE persons SET profile = '{}' WHERE id = 7")
        try fixture.runToEnd(fixture.approve(request, acme), acme)
        #expect(try fixture.state(request) == "completed")
        #expect(try fixture.report(request)["left"]?.array?.contains { $0["column"] == "label" } == true)
    }
}
