import EmbeddedPostgres
import JobKit
import Postgres
import ReeveTesting
import Testing

@testable import Erasure

@Suite("An erasure whose server goes away")
struct ErasureFaultTests {
    @Test(
        "PostgreSQL restarted before every part, inside the transaction and after it: it goes on to the same end, and nothing comes twice"
    )
    func restarts() throws {
        let server = try TestServer.make("erasure-restarts")
        defer { server.stop() }
        let fixture = try ErasureFixture(server: server)
        let acme = try fixture.tenant("acme", .schema)
        let request = try fixture.request(acme)
        let job = try fixture.approve(request, acme)
        let visits = FirstVisits()
        try fixture.runThroughRestarts(
            job, acme,
            AnyJob(
                fixture.job(between: { place in
                    if visits.isFirst(place) { try server.crashAndRestart() }
                })))
        let places = visits.all
        for place in ["find", "erase", "in ", "after", "jobs", "artifacts", "hooks", "proof", "certificate", "finish"] {
            #expect(places.contains { $0.hasPrefix(place) }, "\(place)")
        }
        #expect(try fixture.state(request) == "completed")
        for (table, text) in try fixture.everything(acme) where table != "invoices" {
            #expect(!ErasureJobTests.isIn(text), "\(table)")
        }
        // What was there before the first attempt is what the report says, whatever attempts found of it later.
        let before = try #require(try fixture.report(request)["before"]?.array)
        #expect(before.contains { $0["table"]?.string?.hasSuffix(".messages") == true && $0["rows"] == 2 })
        let counts = try fixture.connection.execute(
            """
            SELECT (SELECT count(*) FROM reeve.erasure_ledger) || ' ' || (SELECT count(*) FROM reeve.notice WHERE topic = 'erasure.completed')
              || ' ' || (SELECT count(*) FROM reeve.audit_entry WHERE action = 'erasure.run')
            """)[0].text(0)
        #expect(counts == "1 1 2")
    }
}
