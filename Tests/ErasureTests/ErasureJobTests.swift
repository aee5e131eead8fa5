import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Synchronization
import Testing

@testable import Erasure

@Suite("Erasing a data subject")
struct ErasureJobTests {
    /// Whether anything of the person is in a text.
    static func isIn(_ text: String) -> Bool {
        let text = text.lowercased()
        return ["ann.lee@example.com", "ann zo", "946 0018", "'lee"].contains { text.contains($0) }
    }

    @Test("is nowhere afterwards, in any table, column type or relation, except where the map says retain", arguments: Isolation.allCases)
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
        for name in ["persons", "cards", "loose", "events", "messages", "badges"] {
            #expect(after[name]?.contains("ob-mine") == true, "\(name)")
        }
        #expect(try fixture.value(acme, "SELECT note FROM orders WHERE id = 3") == "friend of [erased], bring mine")
        #expect(try fixture.value(acme, "SELECT count(*) FROM messages") == "2")
        let person = try fixture.value(
            acme, "SELECT concat_ws('|', full_name, phone, born_on, postcode, height, tags, profile, greeting) FROM persons WHERE id = 42")
        #expect(person == "erased|1980-01-01|SW|170|{}|{}|Dear erased")
        #expect(try fixture.value(acme, "SELECT email ~ '^erased-[0-9a-f]{24}@invalid.example$' FROM persons WHERE id = 42") == "t")
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
            try ["erasure_request", "erasure_identifier", "erasure_ledger", "audit_entry", "job", "job_history", "job_step", "data_map"].map {
                try fixture.connection.execute("SELECT coalesce(string_agg(t::text, ' '), '') FROM reeve.\($0) t")[0].text(0)
            }.joined()
        }
        #expect(try !Self.isIn(rows()))
        let job = try fixture.approve(request, acme)
        try fixture.runToEnd(job, acme)
        #expect(try !Self.isIn(rows()))
        #expect(try fixture.connection.execute("SELECT sealed IS NULL AND found IS NULL AND state = 'completed' FROM reeve.erasure_request")[0].bool(0))
        #expect(try fixture.connection.execute("SELECT count(*) FROM reeve.erasure_ledger")[0].int(0) == 1)
        let audited = try fixture.connection.execute(
            "SELECT array_to_string(array_agg(action || coalesce(detail ->> 'outcome', '') ORDER BY id), ' ') FROM reeve.audit_entry WHERE action LIKE 'erasure%'")[0].text(0)
        #expect(audited == "erasure.request erasure.approve erasure.runintent erasure.rundone")
    }

    struct Stop: Error {}

    @Test("an attempt that ends at any boundary, or inside a transaction, is resumed to the same end", arguments: [Isolation.schema])
    func resumed(isolation: Isolation) throws {
        let places = Mutex<[String]>([])
        let all: [String]
        do {
            let fixture = try ErasureFixture()
            let acme = try fixture.tenant("acme", isolation)
            let job = try fixture.approve(fixture.request(acme), acme)
            try fixture.runToEnd(job, acme, AnyJob(fixture.job(between: { place in places.withLock { $0.append(place) } })))
            all = places.withLock { $0 }
        }
        #expect(all.count >= 10)
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", isolation)
        let request = try fixture.request(acme)
        let job = try fixture.approve(request, acme)
        // Every attempt ends at the place after the one at which the attempt before ended.
        let left = Mutex(all.count)
        let seen = Mutex(0)
        try fixture.runToEnd(job, acme, AnyJob(fixture.job(between: { _ in
            let number = seen.withLock { $0 += 1; return $0 }
            if left.withLock({ number == all.count - $0 + 1 && $0 > 0 }) {
                left.withLock { $0 -= 1 }
                seen.withLock { $0 = 0 }
                throw Stop()
            }
        })))
        #expect(left.withLock { $0 } == 0)
        #expect(try fixture.state(request) == "completed")
        for (table, text) in try fixture.everything(acme) where table != "invoices" { #expect(!Self.isIn(text), "\(table)") }
        let before = try #require(try fixture.report(request)["before"]?.array)
        #expect(before.contains { $0["table"]?.string?.hasSuffix(".messages") == true && $0["rows"] == 2 })
    }
}
