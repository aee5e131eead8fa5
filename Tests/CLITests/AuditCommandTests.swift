import Foundation
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Testing

@testable import ReeveCLI

/// `reeve audit` and what workers do to the audit, as the processes that they are.
@Suite struct AuditCommandTests {
    private let control: ControlFixture
    private let connection: Connection
    private let folder: String

    init() throws {
        control = try ControlFixture()
        connection = try Connection(control.settings)
        folder = try #require(TemporaryFolder.make("/tmp/reeve-audit-command."))
    }

    private func run(_ words: String...) throws -> ReeveRun {
        try ReeveRun(
            words,
            ["REEVE_DATABASE_URL": control.conninfo, "REEVE_ANCHOR_STORAGE": "\(folder)/anchors", "REEVE_REGION": "eu"])
    }

    private func value(_ sql: String) throws -> String? { try connection.execute(sql).first?.optionalText(0) }

    private func clean() {
        connection.close()
        // What stays is swept with /tmp.
        try? FileManager.default.removeItem(atPath: folder)
    }

    @Test("anchor, verify and export: well until the database's owner cuts the end off, which both verifiers say")
    func tampered() throws {
        defer { clean() }
        for n in 0..<5 {
            _ = try connection.execute(
                "SELECT reeve.audit((SELECT id FROM reeve.tenant WHERE code = 'acme'), 'test.entry', $1::text)",
                ["\(n)"])
        }
        let anchored = try run("audit", "anchor", "--json")
        #expect(try anchored.json["sealed"]?.int == 5 && anchored.json["chains"]?.int == 1)
        let well = try run("audit", "verify", "--json")
        #expect(well.code == 0)
        #expect(try well.json["ok"] == true && well.json["entries"]?.int == 5 && well.json["anchors"]?.int == 1)
        #expect(try well.json["unsealed"]?.int == 0 && well.json["unanchored"]?.int == 0)
        let export = try run(
            "audit", "export", "--tenant", "acme", "--output", "\(folder)/a.jsonl", "--reason", "review", "--ticket",
            "OPS-7")
        #expect(export.code == 0 && export.out.isEmpty && export.err.contains("entries"))
        #expect(try run("audit", "export", "--output", "\(folder)/a.jsonl").code == 5, "never replaced")
        let root = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
        #expect(try ReeveRun(program: "\(root)/deploy/audit/verify.py", ["\(folder)/a.jsonl"]).out == "ok\n")
        try connection.executeScript(
            """
            DO $$ DECLARE v text; BEGIN
              FOR v IN SELECT oid::regclass FROM pg_class WHERE oid::regclass::text ~ '^reeve\\.audit_(entry|seal)' AND relkind IN ('r', 'p') LOOP
                EXECUTE format('ALTER TABLE %s DISABLE TRIGGER USER', v);
              END LOOP;
            END $$;
            DELETE FROM reeve.audit_entry WHERE id >= 4; DELETE FROM reeve.audit_seal WHERE seq >= 4; DELETE FROM reeve.audit_pending;
            UPDATE reeve.audit_head h SET seq = 3, hash = (SELECT s.hash FROM reeve.audit_seal s WHERE s.seq = 3);
            """)
        #expect(try run("audit", "verify", "--no-anchors").code == 0)
        let found = try run("audit", "verify")
        #expect(found.code == 1 && found.out.contains("NOT OK") && found.err.contains("cut: "), "\(found.all)")
        _ = try run("audit", "export", "--output", "\(folder)/b.jsonl")
        #expect(try ReeveRun(program: "\(root)/deploy/audit/verify.py", ["\(folder)/b.jsonl"]).code == 1)
    }

    @Test(
        "who looks at one tenant's record or job, or exports its audit, is in that tenant's audit: reason, ticket, from when to when"
    )
    func access() throws {
        defer { clean() }
        let job = try value("SELECT reeve.enqueue('acme.reports', 'stocktake')") ?? ""
        #expect(try run("tenant", "show", "acme", "--reason", "complaint", "--ticket", "OPS-1042").code == 0)
        #expect(try run("jobs", "show", job, "--json").code == 0)
        #expect(try run("audit", "export", "--tenant", "acme", "--no-anchors").code == 0)
        let listed = try run("audit", "list", "--tenant", "acme", "--action", "access.", "--json").json.array ?? []
        #expect(
            listed.compactMap { $0["action"]?.string } == [
                "access.audit", "access.audit", "access.job", "access.tenant",
            ])
        let first = try #require(listed.last)
        #expect(first["reason"]?.string == "complaint" && first["detail"]?["ticket"]?.string == "OPS-1042")
        #expect(first["object"]?.string == "tenant acme" && first["actor"]?.string?.contains("@") == true)
        #expect(listed.allSatisfy { $0["started_at"]?.string != nil && $0["ended_at"]?.string != nil })
        #expect(
            try value("SELECT bool_and(ended_at >= started_at) FROM reeve.audit_entry WHERE action LIKE 'access.%'")
                == "t")
        let refused = try run("tenant", "show", "acme", "--ticket", "not a ticket")
        #expect(refused.code == 2 && refused.err.contains("--ticket OPS-1042"))
        #expect(try run("audit", "verify", "--tenant", "nobody").code == 3)
        #expect(try run("audit", "verify", "--anchors-since", "soon").code == 2)
    }

    @Test("doctor says when entries are not sealed or heads not anchored")
    func doctor() throws {
        defer { clean() }
        let verdict = { () throws -> (String?, String?) in
            let checks = try run("doctor", "--json").json.array ?? []
            let check = checks.first { $0["check"]?.string == "audit" }
            return (check?["verdict"]?.string, check?["finding"]?.string)
        }
        #expect(try verdict().0 == "ok")
        _ = try connection.execute("SELECT reeve.audit(NULL, 'test.entry', 'x')")
        _ = try connection.execute("SELECT reeve.seal_audit()")
        #expect(try verdict().1?.contains("never anchored") == true)
        #expect(try run("audit", "anchor").code == 0)
        #expect(try verdict().0 == "ok")
        _ = try connection.execute("SELECT reeve.audit(NULL, 'test.entry', 'x')")
        try connection.executeScript(
            "CREATE OR REPLACE FUNCTION reeve.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT clock_timestamp() + interval '1 hour' $$"
        )
        let late = try verdict()
        #expect(late.0 == "warn" && late.1?.contains("1 entries are not sealed") == true, "\(late)")
    }

    @Test(
        "workers seal and anchor by themselves; killed at any moment, each leaves a chain that verifies and the next one goes on"
    )
    func killed() throws {
        defer { clean() }
        let writer = try Connection(control.settings)
        defer { writer.close() }
        let audit = "SELECT reeve.audit((SELECT id FROM reeve.tenant WHERE code = $1::text), 'test.entry', 'x')"
        for round in 0..<3 {
            let worker = try ChildProcess(
                program: BuiltProducts.path("reeve"), arguments: ["worker", "--lease", "1s"],
                environment: [
                    "REEVE_DATABASE_URL": control.conninfo, "REEVE_REGION": "eu", "PATH": "/usr/bin:/bin",
                    "REEVE_ANCHOR_STORAGE": "\(folder)/anchors", "REEVE_ANCHOR_EVERY": "1s",
                ], supervisor: BuiltProducts.supervisor, grace: .seconds(5))
            let before = try value("SELECT coalesce(max(seq), 0) FROM reeve.audit_seal").flatMap { Int64($0) } ?? 0
            let limit = ContinuousClock.now + .seconds(20)
            // Until it has sealed something that was written after it started, it goes on being given work.
            while try (value("SELECT coalesce(max(seq), 0) FROM reeve.audit_seal").flatMap { Int64($0) } ?? 0) <= before
            {
                for code in ["acme", "birch"] { _ = try writer.execute(audit, [code]) }
                try #require(ContinuousClock.now < limit, "round \(round)")
            }
            let pid = try #require(
                try value("SELECT pid FROM reeve.worker WHERE state = 'alive' ORDER BY started_at DESC LIMIT 1").flatMap
                { pid_t($0) })
            #expect(kill(pid, SIGKILL) == 0)
            worker.stop()
            let report = try run("audit", "verify", "--json")
            #expect(report.code == 0, "\(report.all)")
        }
        #expect(try run("audit", "anchor").code == 0)
        let report = try run("audit", "verify", "--anchors-since", "all", "--json")
        #expect(report.code == 0)
        let entries = try value("SELECT count(*) FROM reeve.audit_entry").flatMap { Int64($0) }
        #expect(try report.json["entries"]?.int == entries && report.json["unsealed"]?.int == 0)
    }
}
