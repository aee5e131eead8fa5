import Dispatch
import FoundationEssentials
import JobKit
import Postgres
import PostgresQueue
import ReeveTesting
import Synchronization
import Testing

@testable import Audit

@Suite("Sealing of the audit")
struct SealingTests {
    @Test(
        "entries that many sessions write, some in transactions that end late or never, are all sealed once by several sealers at once, and verify at every moment"
    )
    func concurrent() throws {
        let fixture = try AuditFixture()
        let errors = Mutex<[String]>([])
        let group = DispatchGroup()
        let writing = Mutex(4)
        for writer in 0..<4 {
            DispatchQueue(label: "writer \(writer)").async(group: group) { [settings = fixture.settings] in
                defer { writing.withLock { $0 -= 1 } }
                do {
                    let connection = try Connection(settings)
                    defer { connection.close() }
                    for round in 0..<30 {
                        _ = try connection.execute("BEGIN")
                        for _ in 0..<(round % 4 + 1) {
                            try AuditFixture.write(connection, ["acme", "birch", "nobody"][(round + writer) % 3])
                        }
                        // Ids are handed out before others commit: a later one is often sealed first.
                        _ = try connection.execute(round % 7 == 6 ? "ROLLBACK" : "COMMIT")
                    }
                } catch { errors.withLock { $0.append("\(error)") } }
            }
        }
        for sealer in 0..<3 {
            DispatchQueue(label: "sealer \(sealer)").async(group: group) { [settings = fixture.settings] in
                do {
                    let connection = try Connection(settings)
                    defer { connection.close() }
                    while writing.withLock({ $0 > 0 }) { _ = try connection.execute("SELECT reeve.seal_audit(7)") }
                } catch { errors.withLock { $0.append("\(error)") } }
            }
        }
        repeat { #expect(try fixture.verify().faults == []) } while writing.withLock { $0 > 0 }
        group.wait()
        #expect(errors.withLock { $0 } == [])
        try Anchoring.seal(fixture.owner)
        let report = try fixture.verify()
        #expect(report.faults == [] && report.window?.unsealed == 0)
        #expect(try fixture.value("SELECT count(*) FROM reeve.audit_entry") == "\(report.entries)")
        #expect(try fixture.value("SELECT count(*) FROM reeve.audit_seal") == "\(report.entries)")
        #expect(try fixture.verifyExport().text == "ok\n")
    }

    @Test("a sealer that is killed in the middle leaves nothing half done, and another goes on at once")
    func killed() throws {
        let fixture = try AuditFixture()
        for _ in 0..<20 { try AuditFixture.write(fixture.owner, "acme") }
        for round in 0..<3 {
            let victim = try Connection(fixture.settings)
            let pid = try victim.execute("SELECT pg_backend_pid()")[0].int(0)
            _ = try victim.execute("BEGIN")
            #expect(try victim.execute("SELECT reeve.seal_audit(4)")[0].int(0) == 4)
            // It holds acme's head: others leave that chain to it, and do not wait.
            try AuditFixture.write(fixture.owner, "birch")
            #expect(try fixture.value("SELECT reeve.seal_audit(100)") == "1")
            _ = try fixture.owner.execute("SELECT pg_terminate_backend($1::int, 5000)", [pid])
            #expect(throws: PostgresError.self) { try victim.execute("COMMIT") }
            victim.close()
            #expect(try fixture.value("SELECT reeve.seal_audit(3)") == "3", "round \(round)")
            #expect(try fixture.verify().faults == [])
        }
        try Anchoring.seal(fixture.owner)
        #expect(try fixture.verify().entries == 36 + 20 + 3)
    }

    @Test("two transactions that write to the audits of two tenants in opposite order do not wait for each other")
    func noDeadlock() throws {
        let fixture = try AuditFixture()
        let other = try Connection(fixture.settings)
        defer { other.close() }
        for connection in [fixture.owner, other] {
            _ = try connection.execute("BEGIN")
            _ = try connection.execute("SET LOCAL lock_timeout = '1s'")
        }
        try AuditFixture.write(fixture.owner, "acme")
        try AuditFixture.write(other, "birch")
        try AuditFixture.write(fixture.owner, "birch")
        try AuditFixture.write(other, "acme")
        #expect(try fixture.value("SELECT reeve.seal_audit()") == "2", "what is not committed is nobody else's to seal")
        _ = try fixture.owner.execute("COMMIT")
        _ = try other.execute("COMMIT")
        #expect(try fixture.value("SELECT reeve.seal_audit()") == "2")
        #expect(try fixture.verify().faults == [])
    }

    @Test("the window says how many entries are not sealed, since when, and how many no anchor covers")
    func window() throws {
        let fixture = try AuditFixture()
        let before = try #require(try fixture.verify().window)
        #expect(
            before.unsealed == 0 && before.oldestUnsealed == nil && before.unanchored == 0
                && before.anchorAge ?? -1 >= 0)
        for _ in 0..<3 { try AuditFixture.write(fixture.owner, "acme") }
        try fixture.advanceClock(by: "90 seconds")
        let during = try #require(try fixture.verify().window)
        #expect(during.unsealed == 3 && during.unsealedSeconds >= 90 && during.oldestUnsealed != nil)
        try Anchoring.seal(fixture.owner)
        let after = try #require(try fixture.verify().window)
        #expect(after.unsealed == 0 && after.unanchored == 3)
    }

    @Test("a ticket that a session names is kept with what it did; something else than a ticket is not")
    func ticket() throws {
        let fixture = try AuditFixture()
        for (ticket, kept) in [("OPS-1042", "OPS-1042"), ("a b", nil), ("x'; DROP", nil), ("", nil)]
            as [(String, String?)]
        {
            _ = try fixture.owner.execute("SELECT set_config('reeve.ticket', $1::text, false)", [ticket])
            let id = try fixture.value("SELECT reeve.audit(NULL, 'test.ticket', 'x')")
            #expect(
                try fixture.value("SELECT detail ->> 'ticket' FROM reeve.audit_entry WHERE id = $1::bigint", [id])
                    == kept)
        }
    }

    @Test("entries from before there were chains are sealed with the rest")
    func migrated() throws {
        let settings = try TestServer.freshDatabase()
        let connection = try Connection(settings)
        defer { connection.close() }
        try MigratorSteps.up(connection, before: "audit") {
            try connection.executeScript(
                """
                INSERT INTO reeve.tenant (code, name, tier, isolation, region) VALUES ('acme', 'A', 'starter', 'schema', 'eu');
                SELECT reeve.audit((SELECT id FROM reeve.tenant), 'test.early', 'x', 'y', '{"n": 1}'), reeve.audit(NULL, 'test.early', 'x');
                """)
        }
        #expect(try connection.execute("SELECT reeve.audit(NULL, 'test.late', 'x')")[0].int(0) == 3)
        #expect(try connection.execute("SELECT reeve.seal_audit()")[0].int(0) == 3)
        let report = try AuditVerification(AuditReader(connection), anchors: nil).run()
        #expect(report.faults == [] && report.entries == 3 && report.chains == 2)
    }
}
