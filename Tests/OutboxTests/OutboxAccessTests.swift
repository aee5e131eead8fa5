import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Testing

@testable import OutboxRelay

@Suite("Who may do what in an outbox")
struct OutboxAccessTests {
    @Test("a tenant's own database enqueues for that tenant alone, whatever is written into its tables")
    func tenantOwned() throws {
        let fixture = try OutboxFixture(tenant: "acme")
        try fixture.relayAll()
        let id = try fixture.enqueue(1)
        for queue in ["globex.work", "nobody.work"] {
            let refusal = Refusal(fixture.service, "SELECT reeve.enqueue('\(queue)', 'work', '{\"n\": 1}')")
            #expect(refusal.state == "RV003" && refusal.message == "queue \"\(queue)\" belongs to another tenant")
        }
        #expect(
            try fixture.service.execute("SELECT string_agg(code, ',') FROM reeve.outbox_tenant")[0].text(0) == "acme")
        // The database's owner can write what enqueue refuses.
        try fixture.service.executeScript(
            """
            INSERT INTO reeve.outbox_tenant SELECT 'globex', gen_random_uuid(), 'active', false, false;
            UPDATE reeve.outbox_state SET tenant_id = NULL;
            """)
        _ = try fixture.enqueue(2, queue: "globex.work")
        try fixture.service.executeScript(
            "UPDATE reeve.outbox_state SET tenant_id = (SELECT id FROM reeve.outbox_tenant WHERE code = 'acme')")
        try fixture.relayAll()
        #expect(try fixture.jobs() == [id: 1])
        #expect(try fixture.value("SELECT code FROM reeve.outbox_refusal") == "RV003")
        #expect(
            try fixture.value(
                "SELECT t.code FROM reeve.audit_entry e JOIN reeve.tenant t ON t.id = e.tenant_id WHERE e.action = 'outbox.spoof'"
            ) == "acme")
        #expect(try fixture.value("SELECT count(*) FROM reeve.dead_letter") == "0")
    }

    @Test(
        "an enqueuer calls enqueue and nothing else; the relay's login calls its functions and nothing else; nobody calls any without a grant"
    )
    func grants() throws {
        let fixture = try OutboxFixture()
        try fixture.relayAll()
        let logins = ["\(fixture.name)-enqueuer", "\(fixture.name)-nobody"]
        for login in logins { try fixture.service.execute("CREATE ROLE \(quoteIdentifier(login))") }
        defer {
            for login in logins {
                _ = try? fixture.service.execute("RESET ROLE")
                _ = try? fixture.service.execute("DROP ROLE \(quoteIdentifier(login))")
            }
        }
        try fixture.service.execute("GRANT reeve_enqueuer TO \(quoteIdentifier(logins[0]))")
        let relay = try fixture.value("SELECT login FROM reeve.outbox") ?? ""
        let mayCall: [String: Set<String>] = [
            logins[0]: ["enqueue", "enqueue_many"], logins[1]: [],
            relay: [
                "outbox_read", "outbox_relayed", "outbox_listen", "outbox_identity", "outbox_add_ids", "outbox_refresh",
                "outbox_tend", "outbox_waiting",
            ],
        ]
        for (login, expected) in mayCall {
            let rows = try fixture.service.execute(
                """
                SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'reeve'::regnamespace AND p.proname <> 'clock'
                  AND has_function_privilege($1::text, p.oid, 'EXECUTE')
                """, [login])
            #expect(Set(try rows.map { try $0.text(0) }) == expected, "\(login)")
            let tables = try fixture.service.execute(
                """
                SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'reeve'::regnamespace AND c.relkind IN ('r', 'S')
                  AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege($1::text, c.oid, 'USAGE, SELECT, UPDATE')
                      ELSE has_table_privilege($1::text, c.oid, 'SELECT, INSERT, UPDATE, DELETE') END
                """, [login])
            #expect(tables.isEmpty, "\(login)")
        }
        let definers = try fixture.service.execute(
            """
            SELECT p.proname::text FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner WHERE p.pronamespace = 'reeve'::regnamespace AND p.prosecdef
              AND (r.rolsuper OR NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c ~ '^search_path=.+, ?pg_temp$'))
            """)
        #expect(definers.isEmpty)
        try fixture.service.execute("SET SESSION AUTHORIZATION \(quoteIdentifier(logins[0]))")
        let id = try fixture.enqueue(7)
        #expect(Refusal(fixture.service, "SELECT * FROM reeve.outbox_row").state == "42501")
        try fixture.service.execute("RESET SESSION AUTHORIZATION")
        try fixture.relayAll()
        #expect(try fixture.jobs() == [id: 7])
    }

    @Test(
        "installed again it is brought up to date: its rows stay, its relay's password is new; a foreign schema or role is left alone"
    )
    func again() throws {
        let fixture = try OutboxFixture()
        try fixture.relayAll()
        let old = try #require(try fixture.relay())
        let id = try fixture.enqueue(1)
        try fixture.install()
        #expect(throws: (any Error).self) { try old.relay() }
        try fixture.relayAll()
        #expect(try fixture.jobs() == [id: 1])
        #expect(throws: (any Error).self) { try fixture.install(tenant: "acme") }

        let control = Result { try OutboxFixture(control: fixture, database: fixture.control) }
        #expect("\(control)".contains("RV012") && "\(control)".contains("control database"), "\(control)")
        let foreign = try TestServer.freshDatabase()
        let connection = try Connection(foreign)
        defer { connection.close() }
        try connection.executeScript("CREATE SCHEMA reeve; CREATE TABLE reeve.theirs (x int)")
        let taken = Result { try OutboxFixture(control: fixture, database: foreign) }
        #expect("\(taken)".contains("RV012"), "\(taken)")
        #expect(
            try connection.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'reeve'::regnamespace")[0].int(0)
                == 1)
        #expect(try fixture.value("SELECT count(*) FROM reeve.outbox") == "1")
    }

    @Test("removed, it leaves nothing behind in the service's database, and the control database knows no more of it")
    func removed() throws {
        let fixture = try OutboxFixture()
        try fixture.relayAll()
        let id = try fixture.enqueue(1)
        try fixture.relayAll()
        try OutboxInstaller.uninstall(fixture.name, from: fixture.database, dropping: true)
        try fixture.connection.execute("SELECT reeve.remove_outbox($1::text, 'over')", [fixture.name])
        #expect(try fixture.service.execute("SELECT to_regnamespace('reeve') IS NULL")[0].bool(0))
        let login = OutboxInstaller.login(fixture.name)
        #expect(try fixture.service.execute("SELECT FROM pg_roles WHERE rolname = $1::text", [login]).isEmpty)
        #expect(try fixture.jobs() == [id: 1])
        #expect(try fixture.relay() == nil)
        // Installed anew, it hands out other ids.
        try fixture.install()
        try fixture.relayAll()
        let next = try fixture.enqueue(2)
        try fixture.relayAll()
        #expect(try fixture.jobs() == [id: 1, next: 2])
    }
}
