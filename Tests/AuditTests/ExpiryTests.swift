import FoundationEssentials
import Postgres
import Processes
import ReeveTesting
import Testing

@testable import Audit

@Suite("Expiry of audit entries")
struct ExpiryTests {
    private let later = Date(timeIntervalSinceNow: 14 * 31 * 86_400)

    @Test("each tier's entries are kept for their years; what goes leaves a checkpoint, and the rest still verifies")
    func tiers() throws {
        let fixture = try AuditFixture()
        try fixture.advanceClock(by: "14 months")
        // acme is on a tier that keeps a year, birch on one that keeps seven.
        try AuditFixture.write(fixture.owner, "acme")
        #expect(try (fixture.value("SELECT reeve.tend_audit()").flatMap { Int($0) } ?? 0) > 0)
        #expect(
            try fixture.value("SELECT string_agg(first_seq || '-' || last_seq, ',') FROM reeve.audit_checkpoint")
                == "1-12")
        #expect(try fixture.value("SELECT count(*) FROM reeve.audit_entry WHERE action = 'test.entry'") == "25")
        #expect(
            try fixture.value(
                "SELECT object || ' ' || detail::text FROM reeve.audit_entry WHERE action = 'audit.expire' AND tenant_id = $1::uuid",
                [fixture.acme.id]) == #"entries 1 to 12 {"last": 12, "first": 1}"#)
        try Anchoring.seal(fixture.owner)
        let report = try fixture.verify(now: later)
        #expect(report.faults == [] && report.checkpoints == 1 && report.entries == 24 + 2)
        #expect(try fixture.verifyExport(now: later).text == "ok\n")
        // The same checkpoint, said a year too early, is a lie.
        #expect(try fixture.verify(now: Date()).faults.map(\.kind) == [.expired])
        #expect(try fixture.verifyExport(now: Date()).exit == .exited(1))
        // Nothing more to do, also for those who are late.
        #expect(try fixture.value("SELECT reeve.tend_audit()") == "0")
    }

    @Test("what remains after a checkpoint cannot be changed unseen either")
    func afterwards() throws {
        let fixture = try AuditFixture()
        try fixture.advanceClock(by: "14 months")
        for _ in 0..<3 { try AuditFixture.write(fixture.owner, "acme") }
        try fixture.value("SELECT reeve.tend_audit()")
        try Anchoring.seal(fixture.owner)
        try fixture.owner.executeScript(
            """
            DO $$ DECLARE v text; BEGIN
              FOR v IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'reeve.audit_entry'::regclass LOOP
                EXECUTE format('ALTER TABLE %s DISABLE TRIGGER USER', v);
              END LOOP;
            END $$;
            UPDATE reeve.audit_entry SET object = 'else' WHERE id = (SELECT entry_id FROM reeve.audit_seal WHERE chain = '\(fixture.acme)' ORDER BY seq LIMIT 1);
            """)
        #expect(try fixture.verify(now: later).faults.map(\.kind) == [.changed])
        #expect(try fixture.verifyExport(now: later).exit == .exited(1))
    }

    @Test("entries of a tenant that is held, or whose tier keeps them longer by now, stay, in their places")
    func kept() throws {
        let fixture = try AuditFixture()
        try fixture.value("SELECT reeve.hold_tenant('acme', 'case 7', NULL)")
        try Anchoring.seal(fixture.owner)
        try fixture.advanceClock(by: "14 months")
        try fixture.value("SELECT reeve.tend_audit()")
        #expect(try fixture.value("SELECT count(*) FROM reeve.audit_checkpoint") == "0")
        #expect(
            try fixture.value("SELECT count(*) FROM reeve.audit_seal WHERE chain = $1::uuid", [fixture.acme.id]) == "13"
        )
        #expect(try fixture.verify(now: later).faults == [])
        try fixture.value("SELECT reeve.release_tenant('acme', 'closed')")
        try fixture.value("SELECT reeve.set_tenant_tier('acme', 'professional', 'grew')")
        try Anchoring.seal(fixture.owner)
        try fixture.advanceClock(by: "20 months")
        try fixture.value("SELECT reeve.tend_audit()")
        #expect(try fixture.value("SELECT count(*) FROM reeve.audit_checkpoint") == "0", "three years by now")
        #expect(try fixture.verify(now: later).faults == [])
        try fixture.advanceClock(by: "40 months")
        try fixture.value("SELECT reeve.tend_audit()")
        #expect(
            try fixture.value("SELECT min(first_seq) || '-' || max(last_seq) FROM reeve.audit_checkpoint") == "1-13")
    }

    @Test("nothing goes before it is sealed, and a reader in the way costs a try and no wait")
    func inTheWay() throws {
        let fixture = try AuditFixture()
        try AuditFixture.write(fixture.owner, "acme")
        try fixture.advanceClock(by: "14 months")
        try fixture.value("SELECT reeve.tend_audit()")
        #expect(try fixture.value("SELECT count(*) FROM reeve.audit_checkpoint") == "0")
        try Anchoring.seal(fixture.owner)
        let reader = try Connection(fixture.settings)
        defer { reader.close() }
        _ = try reader.execute("BEGIN")
        _ = try reader.execute("SELECT count(*) FROM reeve.audit_entry")
        let start = ContinuousClock.now
        try fixture.value("SELECT reeve.tend_audit()")
        #expect(ContinuousClock.now - start < .seconds(30))
        #expect(try fixture.value("SELECT count(*) FROM reeve.audit_checkpoint") == "0", "and no half of it")
        _ = try reader.execute("COMMIT")
        try fixture.value("SELECT reeve.tend_audit()")
        #expect(try fixture.value("SELECT count(*) FROM reeve.audit_checkpoint") == "1")
    }

    @Test(
        "entries that come before their month has a partition get one later, and every partition is as protected as its table"
    )
    func partitions() throws {
        let fixture = try AuditFixture()
        try fixture.advanceClock(by: "5 years")
        try AuditFixture.write(fixture.owner, "acme")
        try Anchoring.seal(fixture.owner)
        #expect(try fixture.value("SELECT count(*) FROM reeve.audit_entry_default") == "1")
        try fixture.value("SELECT reeve.tend_audit()")
        #expect(try fixture.value("SELECT count(*) FROM reeve.audit_entry_default") == "0")
        #expect(try fixture.value("SELECT count(*) FROM reeve.audit_seal_default") == "0")
        try Anchoring.seal(fixture.owner)
        #expect(try fixture.verify(now: Date(timeIntervalSinceNow: 6 * 366 * 86_400)).faults == [])
        let tables = try fixture.owner.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent IN ('reeve.audit_entry'::regclass, 'reeve.audit_seal'::regclass)"
        ).map { try $0.text(0) }
        #expect(tables.count >= 20)
        for table in tables + ["reeve.audit_entry", "reeve.audit_seal", "reeve.audit_checkpoint", "reeve.audit_anchor"]
        {
            for mode in ["SET ROLE reeve_owner", "RESET ROLE", "SET session_replication_role = replica"] {
                try fixture.owner.executeScript(mode)
                #expect(throws: PostgresError.self, "\(table) \(mode)") {
                    try fixture.owner.execute("TRUNCATE \(table)")
                }
                let isEmpty = try fixture.owner.execute("SELECT NOT EXISTS (SELECT FROM \(table))")[0].bool(0)
                if isEmpty && mode != "SET ROLE reeve_owner" { continue }
                #expect(throws: PostgresError.self, "\(table) \(mode)") {
                    try fixture.owner.execute("DELETE FROM \(table)")
                }
            }
            try fixture.owner.executeScript("RESET session_replication_role")
        }
    }
}
