import FoundationEssentials
import JobKit
import Postgres
import Processes
import ReeveTesting
import Storage
import Testing

@testable import Audit

@Suite("Verification of the audit")
struct VerificationTests {
    @Test("an audit that nobody touched is well, for both verifiers, with anchors and without")
    func intact() throws {
        let fixture = try AuditFixture()
        for anchored in [true, false] {
            let report = try fixture.verify(anchored: anchored)
            #expect(report.faults == [])
            #expect(report.entries == 36 && report.chains == 3)
            #expect(report.anchors == (anchored ? 3 : nil))
            let export = try fixture.verifyExport(anchored: anchored)
            #expect(export.exit == .exited(0) && export.text == "ok\n", "\(export.text)")
        }
    }

    @Test("whatever the database's owner does to it shows, to both verifiers", arguments: Tampering.allCases)
    func tampered(_ tampering: Tampering) throws {
        let fixture = try AuditFixture()
        try tampering.apply(fixture)
        let faults = try fixture.verify().faults
        #expect(faults.contains { $0.kind == tampering.kind && $0.chain == fixture.acme }, "\(faults)")
        #expect(
            faults.allSatisfy { $0.chain == fixture.acme || tampering == .moved }, "nobody else is accused: \(faults)")
        let export = try fixture.verifyExport()
        #expect(export.exit == .exited(1) && export.text.contains(fixture.acme.description), "\(export.text)")
        #expect(try fixture.verify(anchored: false).faults.isEmpty != tampering.showsWithoutAnchors)
    }

    @Test("an entry that was put in around reeve.audit shows, and so does one that was taken out before it was sealed")
    func strays() throws {
        let fixture = try AuditFixture()
        try fixture.owner.executeScript(
            """
            INSERT INTO reeve.audit_entry (tenant_id, actor, login, action, object, expires_on)
            VALUES ('\(fixture.acme)', 'ann', 'ann', 'test.forged', 'x', '2999-01-01');
            """)
        let forged = try fixture.verify().faults
        #expect(forged.map(\.kind) == [.stray] && forged[0].chain == fixture.acme)
        try AuditFixture.write(fixture.owner, "birch")
        try fixture.owner.executeScript(
            """
            SET session_replication_role = replica; ALTER TABLE reeve.audit_entry DISABLE TRIGGER USER;
            DO $$ DECLARE v text; BEGIN
              FOR v IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'reeve.audit_entry'::regclass LOOP
                EXECUTE format('ALTER TABLE %s DISABLE TRIGGER USER', v);
              END LOOP;
            END $$;
            DELETE FROM reeve.audit_entry WHERE id = (SELECT max(entry_id) FROM reeve.audit_pending);
            RESET session_replication_role;
            """)
        #expect(try fixture.value("SELECT reeve.seal_audit()") == "0", "what is gone is not sealed and not forgotten")
        let faults = try fixture.verify().faults
        #expect(faults.contains { $0.kind == .removed && $0.chain == fixture.birch }, "\(faults)")
    }

    @Test("an anchor that is taken away or changed shows")
    func anchorsGone() throws {
        let fixture = try AuditFixture()
        let store = FolderStore(root: fixture.folder)
        var keys: [ObjectKey] = []
        try store.list(TenantID(rawValue: AuditChain.fleet.id), .anchors) { keys.append($0.key) }
        try #require(keys.count == 3)
        var bytes: [UInt8] = []
        try store.read(keys[0]) { bytes += $0 }
        try store.delete(keys[0])
        let gone = try fixture.verify().faults
        #expect(gone.contains { $0.kind == .anchor && $0.message.contains("is gone") }, "\(gone)")
        let writer = try store.writer(for: keys[0], attempt: UUID())
        bytes[bytes.count / 2] ^= 1
        try writer.write(bytes)
        try writer.publish()
        let changed = try fixture.verify().faults
        #expect(changed.contains { $0.kind == .anchor }, "\(changed)")
    }

    @Test(
        "the export is what a program in any language can read: one object to a line, details as the text that is hashed"
    )
    func lines() throws {
        let fixture = try AuditFixture()
        try AuditFixture.write(fixture.owner, "acme", action: "test.last")
        var lines: [JSON] = []
        try AuditExport(AuditReader(fixture.owner), anchors: fixture.anchors).write(fixture.acme) {
            lines.append(try JSON(parsing: $0))
        }
        let types = lines.compactMap { $0["type"]?.string }
        #expect(
            types == ["audit", "anchor", "anchor", "anchor"] + Array(repeating: "entry", count: 12) + [
                "head", "unsealed",
            ])
        #expect(lines.last?["action"]?.string == "test.last")
        #expect(
            lines.dropFirst().allSatisfy {
                ($0["tenant"]?.string ?? fixture.acme.description) == fixture.acme.description
            })
        let known: [UInt8] = [UInt8](repeating: 0, count: 32)
        let entry = AuditEntry(
            id: 7, tenant: nil, at: "2026-11-21T14:00:00.123456Z", actor: "ann@ops", login: "ann", action: "test.entry",
            object: "ü", reason: nil, startedAt: nil, endedAt: nil, detail: "{}")
        // sha256 of 32 zero bytes and 13:reeve-audit-1,36:00000000-0000-0000-0000-000000000000,1:1,1:7,27:2026-…
        #expect(hexText(entry.hash(after: known, at: 1)) == "c378")
    }

    private func hexText(_ bytes: [UInt8]) -> String {
        bytes.prefix(2).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }
}
