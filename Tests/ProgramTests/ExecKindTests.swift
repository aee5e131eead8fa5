import JobKit
import Postgres
import Testing

@Suite("The register of programs", .serialized)
struct ExecKindTests {
    private static let add =
        "SELECT reeve.add_exec_kind($1::jsonb, $2::text, $3::text, $4::bigint, $5::bigint, $6::text[])"

    private func add(
        _ fleet: ProgramFleet, _ name: JSON = "send-invoice", program: String = "/opt/jobs/send-invoice",
        sha256: String? = nil,
        memory: Int64 = 512 << 20, output: Int64 = 16 << 20, environment: [String] = [],
        schema: JSON = ["type": "object"],
        queue: JSON = "invoices", as role: String? = nil
    ) throws -> (String?, String) {
        try fleet.refusal(
            Self.add,
            [
                JSON.object(["name": name, "queue": queue, "time_limit_ms": 1000, "schema": schema]), program, sha256,
                memory, output,
                environment,
            ], as: role)
    }

    @Test("an operator adds and removes a kind, the audit says so, and nobody else may")
    func roles() throws {
        let fleet = try ProgramFleet([])
        for role in ["worker", "enqueuer", "viewer", "approver", "operator"] {
            try fleet.connection.executeScript(
                "CREATE ROLE \"exec_\(role)\" LOGIN; GRANT reeve_\(role) TO \"exec_\(role)\"")
        }
        defer {
            for role in ["worker", "enqueuer", "viewer", "approver", "operator"] {
                do { try fleet.connection.executeScript("DROP ROLE \"exec_\(role)\"") } catch {
                    Issue.record("\(error)")
                }
            }
        }
        for role in ["worker", "enqueuer", "viewer", "approver"] {
            #expect(try add(fleet, as: "exec_\(role)").0 == "42501", "\(role)")
            #expect(try fleet.refusal("SELECT reeve.remove_exec_kind('x')", as: "exec_\(role)").0 == "42501", "\(role)")
            for sql in [
                "INSERT INTO reeve.exec_kind (name, program, memory_limit, output_limit) VALUES ('x', '/bin/sh', 1, 1)",
                "UPDATE reeve.exec_kind SET program = '/bin/sh'", "DELETE FROM reeve.exec_kind",
            ] { #expect(try fleet.refusal(sql, as: "exec_\(role)").0 == "42501", "\(role): \(sql)") }
        }
        #expect(try fleet.refusal("UPDATE reeve.exec_kind SET program = '/bin/sh'", as: "exec_operator").0 == "42501")
        #expect(try add(fleet, as: "exec_operator").1 == "accepted")
        #expect(try fleet.refusal("SELECT reeve.exec_kind_facts('send-invoice')", as: "exec_worker").1 == "accepted")
        #expect(try fleet.refusal("SELECT reeve.exec_kind_facts('send-invoice')", as: "exec_enqueuer").0 == "42501")
        #expect(try fleet.refusal("SELECT reeve.remove_exec_kind('send-invoice')", as: "exec_operator").1 == "accepted")
        let audit = try fleet.connection.execute(
            "SELECT action, object, login, detail ->> 'program' FROM reeve.audit_entry WHERE action LIKE 'kind.%' ORDER BY id"
        )
        #expect(
            try audit.map { try [$0.text(0), $0.text(1), $0.text(2), $0.text(3)] } == [
                ["kind.add", "kind send-invoice", "exec_operator", "/opt/jobs/send-invoice"],
                ["kind.remove", "kind send-invoice", "exec_operator", "/opt/jobs/send-invoice"],
            ])
    }

    @Test("what is not complete or not allowed is refused")
    func refusals() throws {
        let fleet = try ProgramFleet([])
        #expect(try add(fleet, "Send Invoice").0 == "RV010")
        #expect(try add(fleet, .null).0 == "RV010")
        #expect(try add(fleet, program: "send-invoice").0 == "RV010")
        #expect(try add(fleet, program: "/opt/jobs/a\nb").0 == "23514")
        #expect(try add(fleet, sha256: "abc").0 == "23514")
        #expect(try add(fleet, memory: 1).0 == "23514")
        #expect(try add(fleet, output: 1).0 == "23514")
        #expect(try add(fleet, queue: "events").0 == "23514")
        #expect(try add(fleet, queue: .null).0 == "23502")
        #expect(try add(fleet, schema: ["type": "object", "oneOf": []]).0 == "22023")
        #expect(try add(fleet, schema: .null).0 == "22023")
        for name in ["REEVE_DATABASE_URL", "PGPASSWORD", "LD_PRELOAD", "PATH"] {
            #expect(try add(fleet, environment: [name]).0 == "RV010", "\(name)")
        }
        #expect(try add(fleet, environment: ["A=B"]).0 == "23514")
        #expect(try add(fleet, environment: ["HTTPS_PROXY", "LC_ALL"]).1 == "accepted")
        #expect(try add(fleet).0 == "RV012")
    }

    @Test("a program cannot take the place of a kind that a binary brings, nor a binary that of a program")
    func collisions() throws {
        let fleet = try ProgramFleet([])
        let register = """
            SELECT reeve.register_kinds(jsonb_build_array(jsonb_build_object('name', $1::text, 'queue', 'backups', 'schema', '{}'::jsonb,
              'time_limit_ms', 1000, 'max_attempts', 1, 'statuses', '["active"]'::jsonb)))
            """
        #expect(try fleet.refusal(register, ["backup"]).1 == "accepted")
        let taken = try add(fleet, "backup")
        #expect(taken.0 == "RV012" && taken.1.contains("a binary brings"), "\(taken)")
        #expect(
            try fleet.refusal(
                "SELECT reeve.add_exec_kind('{\"name\": \"backup\", \"queue\": \"backups\", \"time_limit_ms\": 1, \"schema\": {}}', '/bin/x', p_replace => true)"
            ).0 == "RV012")
        #expect(try fleet.refusal("SELECT reeve.remove_exec_kind('backup')").0 == "RV012")
        #expect(
            try fleet.connection.execute("SELECT max_attempts FROM reeve.kind WHERE name = 'backup'")[0].int(0) == 1)
        #expect(try add(fleet).1 == "accepted")
        let replaced = try fleet.refusal(register, ["send-invoice"])
        #expect(replaced.0 == "RV012" && replaced.1.contains("a binary cannot bring"), "\(replaced)")
        #expect(
            try fleet.connection.execute("SELECT queue FROM reeve.kind WHERE name = 'send-invoice'")[0].text(0)
                == "invoices")
    }

    @Test("a kind is not removed while jobs of it wait, unless forced")
    func inUse() throws {
        let fleet = try ProgramFleet([])
        _ = try fleet.connection.execute(
            "INSERT INTO reeve.tenant (code, name, tier, isolation, region) VALUES ('acme', 'Acme', 'starter', 'schema', 'local')"
        )
        #expect(try add(fleet).1 == "accepted")
        _ = try fleet.connection.execute("SELECT reeve.enqueue('acme.invoices', 'send-invoice')")
        let refused = try fleet.refusal("SELECT reeve.remove_exec_kind('send-invoice')")
        #expect(refused.0 == "RV012" && refused.1.contains("one job wait or run"), "\(refused)")
        #expect(try fleet.connection.execute("SELECT count(*) FROM reeve.exec_kind")[0].int(0) == 1)
        #expect(try fleet.connection.execute("SELECT reeve.remove_exec_kind('send-invoice', true)")[0].int(0) == 1)
        #expect(try fleet.refusal("SELECT reeve.remove_exec_kind('send-invoice')").0 == "RV004")
    }
}
