import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Synchronization
import Tenancy
import Testing
import WorkerEngine

@testable import Erasure

@Suite("Requests of data subjects")
struct ErasureRequestTests {
    private func refusal(_ body: () throws -> Void) -> String? {
        do {
            try body()
            return nil
        } catch let error as PostgresError { return "\(error.sqlState ?? "") \(error.message)" } catch {
            return "\(error)"
        }
    }

    @Test(
        "nothing runs without an approved request: not by hand, not by whoever filed it, not without a verified identity, not under a hold"
    )
    func approval() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        let before = try fixture.everything(acme)
        let request = try fixture.request(acme, identity: nil)
        // By hand, naming a request that nobody approved, or one that is another job's.
        if let byHand = try? fixture.enqueue(
            acme, "erasures", "erasure", ["request": .string(request.uuidString.lowercased())])
        {
            guard case .discarded? = try? fixture.runToEnd(byHand, acme) else {
                Issue.record("an erasure ran without an approval")
                return
            }
        }
        #expect(refusal { _ = try fixture.approve(request, acme) }?.contains("identity") == true)
        _ = try fixture.connection.execute("SELECT reeve.identify_erasure($1::uuid, 'TICKET-1')", [request])
        #expect(refusal { _ = try fixture.approve(request, acme, by: "filer") }?.contains("filed by") == true)
        let other = try fixture.tenant("other", .schema)
        #expect(refusal { _ = try fixture.approve(request, other) }?.contains("confirmation") == true)
        _ = try fixture.connection.execute("SELECT reeve.hold_tenant($1::text, 'case', NULL)", [acme.code])
        #expect(refusal { _ = try fixture.approve(request, acme) }?.contains("legal hold") == true)
        _ = try fixture.connection.execute("SELECT reeve.release_tenant($1::text, 'over', NULL)", [acme.code])
        #expect(try fixture.everything(acme) == before)
        let job = try fixture.approve(request, acme)
        #expect(refusal { _ = try fixture.approve(request, acme) }?.contains("is approved") == true)
        // A second job that names the same request is not the request's.
        if let second = try? fixture.enqueue(
            acme, "erasures", "erasure", ["request": .string(request.uuidString.lowercased())])
        {
            guard case .discarded? = try? fixture.runToEnd(second, acme) else {
                Issue.record("a job that is not the request's ran")
                return
            }
        }
        _ = job
    }

    @Test(
        "a second request about the same person is refused while the first is open, in another spelling too; other tenants' are not"
    )
    func duplicates() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        let globex = try fixture.tenant("globex", .schema)
        let first = try fixture.request(acme)
        let again = refusal { _ = try fixture.request(acme, ["email": [" ANN.LEE@example.com ", "x@example.com"]]) }
        #expect(again?.contains(first.uuidString.lowercased()) == true)
        _ = try fixture.request(globex)
        _ = try fixture.request(acme, purpose: "access")
        _ = try fixture.connection.execute("SELECT reeve.cancel_erasure($1::uuid, 'withdrawn')", [first])
        #expect(try fixture.state(first) == "cancelled")
        #expect(
            try fixture.connection.execute(
                "SELECT sealed IS NULL FROM reeve.erasure_request WHERE id = $1::uuid", [first])[0].bool(0))
        _ = try fixture.request(acme)
        // Hashes of two tenants are not to be compared.
        let distinct = try fixture.connection.execute(
            "SELECT count(DISTINCT hash) FROM reeve.erasure_identifier WHERE name = 'email'")[0].int(0)
        #expect(distinct == 2)
    }

    @Test("the deadline is a month after the person asked, and moves once, by up to two months, before it has passed")
    func deadline() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        let request = try fixture.request(acme)
        func due() throws -> String {
            try fixture.connection.execute(
                "SELECT age(due_at, received_at)::text FROM reeve.erasure_request WHERE id = $1::uuid", [request])[0]
                .text(0)
        }
        #expect(try due() == "1 mon")
        func extend(_ months: Int, _ reason: String?) -> String? {
            refusal {
                _ = try fixture.connection.execute(
                    "SELECT reeve.extend_erasure($1::uuid, $2::int, $3::text)", [request, months, reason])
            }
        }
        #expect(extend(3, "many")?.contains("1 or 2") == true)
        #expect(extend(2, " ")?.contains("reason") == true)
        #expect(extend(2, "many requests") == nil)
        #expect(try due() == "3 mons")
        #expect(extend(1, "more")?.contains("before") == true)
        let late = try fixture.request(acme, ["email": "late@example.com"])
        _ = try fixture.connection.execute(
            "UPDATE reeve.erasure_request SET due_at = reeve.clock() - interval '1 day' WHERE id = $1::uuid", [late])
        let refused = refusal {
            _ = try fixture.connection.execute("SELECT reeve.extend_erasure($1::uuid, 1, 'late')", [late])
        }
        #expect(refused?.contains("has passed") == true)
        #expect(
            try fixture.connection.execute("SELECT count(*) FROM reeve.erasure_list WHERE is_overdue")[0].int(0) == 1)
    }

    @Test(
        "a legal hold that is placed while an erasure runs stops it before its next part; it goes on when the hold is over"
    )
    func held() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        let request = try fixture.request(acme)
        let job = try fixture.approve(request, acme)
        let places = Mutex<[String]>([])
        let control = fixture.control
        let held = AnyJob(
            fixture.job(between: { place in
                places.withLock { $0.append(place) }
                guard place == "find" else { return }
                try control.withConnection {
                    _ = try $0.execute("SELECT reeve.hold_tenant($1::text, 'case', NULL)", [acme.code])
                }
            }))
        let before = try fixture.everything(acme)
        let claimed = try #require(try fixture.claim().first { $0.id == job })
        guard case .snoozed = try held.run(args: claimed.args, in: fixture.context(claimed, acme)) else {
            Issue.record("it was not held")
            return
        }
        try fixture.settle(claimed, .snooze(.zero))
        #expect(try fixture.everything(acme) == before)
        #expect(places.withLock { $0 } == ["find"])
        _ = try fixture.connection.execute("SELECT reeve.release_tenant($1::text, 'over', NULL)", [acme.code])
        try fixture.runToEnd(job, acme)
        #expect(try fixture.state(request) == "completed")
    }

    @Test("ledger and maps cannot be changed, not even by their owner")
    func fixed() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        try fixture.erase(acme)
        for sql in [
            "UPDATE reeve.erasure_ledger SET at = now()", "DELETE FROM reeve.erasure_ledger",
            "TRUNCATE reeve.erasure_ledger",
            "UPDATE reeve.data_map SET version = 9", "DELETE FROM reeve.data_map", "TRUNCATE reeve.data_map CASCADE",
            "SET session_replication_role = replica; DELETE FROM reeve.erasure_ledger",
        ] {
            #expect(throws: PostgresError.self) {
                try fixture.connection.transaction { try fixture.connection.executeScript(sql) }
            }
        }
    }
}
