import Certificates
import FoundationEssentials
import JobKit
import Postgres
import Processes
import ReeveTesting
import Storage
import Synchronization
import Tenancy
import Testing
import WorkerEngine

@testable import Erasure

@Suite("After an erasure")
struct LedgerReplayTests {
    @Test(
        "a backup that is restored brings everybody back but the erased person, who stays erased",
        arguments: Isolation.allCases)
    func restored(isolation: Isolation) throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", isolation)
        if isolation == .shared {
            // A restore into shared tables deletes and inserts, and refuses triggers that change rows of others.
            try fixture.admin(acme) { _ = try $0.execute("ALTER TABLE persons DISABLE TRIGGER persons_trail") }
        }
        let backup = try fixture.enqueue(acme, "backups", "backup")
        try fixture.runToEnd(backup, acme)
        let report = try fixture.erase(acme)
        #expect(report["backups"]?["backups"] == 1 && report["backups"]?["last_expires_at"]?.string != nil)
        try fixture.write(
            acme, "DELETE FROM loose; DELETE FROM tickets; UPDATE persons SET phone = 'scribbled' WHERE id = 7")
        func restore(_ backup: Int64) throws {
            let id = try fixture.connection.execute(
                "SELECT reeve.request_restore($1::text, $2::bigint, 'in-place', NULL, 'a test')", [acme.code, backup])[
                    0
                ].int(0)
            try fixture.runToEnd(id, acme)
        }
        try restore(backup)
        let after = try fixture.everything(acme)
        for (table, text) in after where table != "invoices" {
            #expect(!ErasureJobTests.isIn(text), "\(table): \(text)")
        }
        #expect(try fixture.value(acme, "SELECT phone FROM persons WHERE id = 7") == "+44 20 7946 0999")
        #expect(try fixture.value(acme, "SELECT count(*) FROM loose") == "1")
        #expect(try fixture.value(acme, "SELECT full_name FROM persons WHERE id = 42") == "erased")
        guard isolation == .schema else { return }
        // Who comes back later is a new customer, and a backup of that time brings the new data back.
        _ = try fixture.connection.execute(
            "UPDATE reeve.erasure_request SET ended_at = ended_at - interval '1 hour'")
        try fixture.write(acme, "INSERT INTO loose VALUES ('ann.lee@example.com', 'is back')")
        let later = try fixture.enqueue(acme, "backups", "backup")
        try fixture.runToEnd(later, acme)
        try fixture.write(acme, "DELETE FROM loose")
        try restore(later)
        #expect(try fixture.value(acme, "SELECT count(*) FROM loose WHERE what = 'is back'") == "1")
    }

    @Test("a copy of one person's data holds the person's rows, of every table that leads there, and nobody else's")
    func copy() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        let request = try fixture.request(acme, purpose: "access", by: "filer")
        let id = try fixture.connection.execute("SELECT reeve.export_subject($1::uuid, false)", [request])[0].int(0)
        #expect(
            try !ErasureJobTests.isIn(
                fixture.connection.execute("SELECT args::text FROM reeve.job WHERE id = $1::bigint", [id])[0].text(0)))
        let (control, secrets) = (fixture.control, fixture.secrets)
        let outcome = try fixture.runToEnd(
            id, acme,
            AnyJob(
                fixture.export(
                    subjects: Subjects { request, context in
                        try SubjectCondition(request: request, context: context, control: control, secrets: secrets)
                    })))
        guard case .finished = outcome else { throw JobFailure("test", "\(outcome)") }
        let key = try fixture.connection.execute("SELECT key FROM reeve.artifact WHERE entity = 'export'")[0].text(0)
        func member(_ name: String) throws -> String {
            var bytes: [UInt8] = []
            let output = try ChildProcess.run(
                program: "unzip", arguments: ["-p", "\(fixture.storage.root)/\(key)", name],
                environment: ["LC_ALL": "C.UTF-8"],
                supervisor: BuiltProducts.supervisor
            ) { bytes += $0 }
            guard output.exit == .exited(0) else { throw JobFailure("test", output.standardError) }
            return String(decoding: bytes, as: UTF8.self)
        }
        for (table, rows) in [
            ("persons", 1), ("orders", 2), ("order_lines", 1), ("invoices", 1), ("messages", 2), ("memberships", 2),
            ("badges", 2),
            ("holders", 1), ("cards", 1), ("events", 2), ("loose", 1), ("oddities", 1),
        ] {
            let lines = try member("data/\(table).jsonl").split(separator: "\n")
            #expect(lines.count == rows, "\(table)")
            #expect(lines.allSatisfy { !$0.contains("ob-mine") })
        }
        #expect(throws: JobFailure.self) { try member("data/colours.jsonl") }
    }

    /// As the composition root does it.
    private struct Certifier: ErasureCertifier {
        let control: Pool
        let keys: SigningKeys

        func certify(_ body: JSON, request: UUID, in context: JobContext) throws -> UUID? {
            let signed = try Certificate.sign(body, with: keys)
            return try control.withConnection {
                try Certificate.record(signed, kind: "erasure", request: request, attempt: context.attempt, on: $0)
            }
        }
    }

    @Test(
        "the certificate is one, also after a kill behind it; it names nobody, and says counts, approver, what stays and when the last backup expires"
    )
    func certificate() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        try fixture.runToEnd(fixture.enqueue(acme, "backups", "backup"), acme)
        let keys = SigningKeys(store: SigningKeyFolder(fixture.folder + "/signing"), control: fixture.control)
        _ = try keys.make(rotates: false, reason: nil, actor: nil)
        let request = try fixture.request(acme)
        let once = Mutex(true)
        let job = fixture.job(
            between: { place in
                if place == "finish",
                    once.withLock({
                        let was = $0; $0 = false; return was
                    })
                {
                    throw ErasureJobTests.Stop()
                }
            }, certifier: Certifier(control: fixture.control, keys: keys))
        try fixture.runToEnd(fixture.approve(request, acme), acme, AnyJob(job))
        let rows = try fixture.connection.execute(
            "SELECT canonical, id, kind, request_id = $1::uuid FROM reeve.certificate", [request])
        #expect(rows.count == 1)
        let (text, id) = (try rows[0].text(0), try rows[0].uuid(1))
        #expect(try rows[0].text(2) == "erasure" && rows[0].bool(3))
        #expect(!ErasureJobTests.isIn(text))
        let body = try JSON(parsing: text)
        #expect(
            body["requested_by"] == "filer" && body["approved_by"] == "approver"
                && body["identity_reference"] == "TICKET-1")
        #expect(body["backups"]?["last_expires_at"]?.string != nil && body["before"]?.array?.isEmpty == false)
        #expect(body["retained"]?.array?.first?["basis"] == "HGB § 257")
        #expect(try fixture.report(request)["certificate"]?.string == id.uuidString.lowercased())
        #expect(
            try fixture.connection.execute("SELECT count(*) FROM reeve.notice WHERE topic = 'erasure.completed'")[0]
                .int(0) == 1)
    }
}
