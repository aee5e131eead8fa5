import FoundationEssentials
import JobKit
import Postgres
import Testing

@Suite("Circuits")
struct CircuitTests {
    @Test(
        "jobs held for a database that is down say so, cost no attempt, and run when it is back or their wait is over")
    func holdAndRelease() throws {
        let control = try Control()
        let worker = try control.worker()
        try control.connection.executeScript(
            """
            INSERT INTO reeve.tenant_server (name, conninfo, region, shared_database) VALUES ('one', 'host=nowhere', 'local', 'shared');
            INSERT INTO reeve.tenant_store (tenant_id, server, database, schemas, login, secret)
              SELECT id, 'one', 'db1', '{tenant_acme}', 'tenant_acme', 'x' FROM reeve.tenant WHERE code = 'acme'
            """)
        let ids = [try control.enqueue(), try control.enqueue()]
        for job in try control.claim(worker) {
            #expect(try control.settle(job, "hold", ["reason": "circuit_open", "delay_ms": 30000]).isEmpty)
        }
        try control.value("SELECT reeve.open_circuit('one', 'db1', 3, 30000, 'connection refused')")
        try control.value("SELECT reeve.open_circuit('one', 'db1', 4, 30000, 'connection refused')")
        #expect(
            try control.value(
                "SELECT server || ' ' || database || ' ' || failures || ' ' || held FROM reeve.circuit_list")
                == "one db1 4 2")
        let words = try #require(try control.value("SELECT reeve.explain($1::bigint)", [ids[0]]))
        #expect(words.contains("db1 on one does not answer (connection refused)"))
        #expect(try control.claim(worker).isEmpty)
        #expect(try control.value("SELECT reeve.close_circuit('one', 'db1')") == "2")
        try control.value("SELECT reeve.promote()")
        let back = try control.claim(worker)
        #expect(Set(back.map(\.id)) == Set(ids))
        #expect(try control.job(ids[0])["attempt"] == 1, "the hold gave its attempt back")
        #expect(try control.value("SELECT count(*) FROM reeve.circuit_list") == "0")
        // Without a word of the database the wait ends by itself.
        #expect(try control.settle(back[0], "hold", ["reason": "circuit_open", "delay_ms": 30000]).isEmpty)
        try control.advanceClock(by: "31 s")
        #expect(try control.value("SELECT reeve.promote()") == "1")
        #expect(try control.counterFaults() == 0)
    }
}
