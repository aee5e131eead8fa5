import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Testing

/// `reeve purge` as operators and approvers have it: the built program, a restore worker, each person with a login.
@Suite(.serialized) struct PurgeCommandTests {
    private final class Fixture: Sendable {
        static let shared = Result { try Fixture() }
        let tenants: TenantFixture
        let folder = "/tmp/reeve-purge-cli-\(getpid())"
        let environment: [String: String]

        private init() throws {
            tenants = try TenantFixture()
            try tenants.addServer()
            for name in ["identities", "signing", "objects"] {
                try FileManager.default.createDirectory(
                    atPath: "\(folder)/\(name)", withIntermediateDirectories: true,
                    attributes: [.posixPermissions: 0o700])
            }
            environment = tenants.environment.merging([
                "REEVE_STORAGE": "\(folder)/objects", "REEVE_IDENTITIES": "\(folder)/identities",
                "REEVE_SIGNING_KEYS": "\(folder)/signing", "PATH": "/usr/local/bin:/usr/bin:/bin",
            ]) { $1 }
            let connection = try Connection(control)
            defer { connection.close() }
            for (person, role) in [
                ("asker", "reeve_operator"), ("first", "reeve_approver"), ("second", "reeve_approver"),
            ] {
                try connection.executeScript(
                    "CREATE ROLE cli_\(person) LOGIN PASSWORD 'only for this test'; GRANT \(role) TO cli_\(person)")
            }
            try ReeveRun.write("*:*:*:*:only for this test\n", to: "\(folder)/pass")
            chmod("\(folder)/pass", 0o600)
            for words in [["migrate", "up"], ["keys", "signing", "create"]] { try done(words) }
        }

        var control: ConnectionSettings { tenants.control.settings }

        func done(_ words: [String]) throws {
            let run = try ReeveRun(words, environment)
            guard run.code == 0 else { throw ReeveRun.Failure(what: "\(words): \(run)") }
        }

        func addTenant(_ code: String) throws {
            try done(["tenant", "create", code, "--tier", "starter", "--isolation", "schema", "--server", "main"])
        }

        /// Runs it as one of the people.
        func reeve(as person: String? = nil, _ words: String...) throws -> ReeveRun {
            var environment = environment
            if let person {
                environment["REEVE_DATABASE_URL"] =
                    control.with([
                        "user": "cli_\(person)", "passfile": "\(folder)/pass",
                    ]).conninfo
            }
            return try ReeveRun(words, environment)
        }

        /// A statement of a person at another machine: `reeve` names this user on this host as the actor.
        func ask(_ person: String, _ sql: String, _ parameters: [(any PostgresEncodable)?]) throws -> String {
            let connection = try Connection(control.with(["user": "cli_\(person)", "passfile": "\(folder)/pass"]))
            defer { connection.close() }
            _ = try connection.execute("SELECT set_config('reeve.actor', $1::text, false)", ["\(person)@elsewhere"])
            return try connection.execute(sql, parameters)[0].text(0)
        }

        func worker() throws -> ChildProcess {
            try ChildProcess(
                program: BuiltProducts.path("reeve"), arguments: ["worker", "--role", "restore", "--lease", "2s"],
                environment: environment, supervisor: BuiltProducts.supervisor)
        }

        /// Waits until the kinds are known: a purge can be asked for then.
        func waitFor(_ sql: String) throws {
            let connection = try Connection(control)
            defer { connection.close() }
            let limit = ContinuousClock.now + .seconds(60)
            while try !connection.execute(sql)[0].bool(0) {
                guard .now < limit else { throw ReeveRun.Failure(what: sql) }
                usleep(50_000)
            }
        }
    }

    @Test("from the plan to a certificate that openssl verifies, with two approvers")
    func wholeWay() throws {
        let fixture = try Fixture.shared.get()
        let code = "gone-\(getpid())"
        try fixture.addTenant(code)
        let worker = try fixture.worker()
        defer { worker.stop() }
        try fixture.waitFor("SELECT EXISTS (SELECT FROM reeve.kind WHERE name = 'purge')")

        let plan = try fixture.reeve("purge", "plan", code, "--json")
        #expect(plan.code == 4, "\(plan.all)")
        try #require(!plan.out.isEmpty, "\(plan.all)")
        #expect(try plan.json["irreversible_from"] == "logins" && plan.json["databases"]?.array?.count == 1)
        #expect(plan.out.contains("explicit request"))
        #expect(try fixture.reeve("purge", "plan", "nobody").code == 3)

        let unconfirmed = try fixture.reeve(as: "asker", "purge", "request", code, "--reason", "letter of 3 May")
        #expect(unconfirmed.code == 4)
        let early = try fixture.reeve(as: "asker", "purge", "request", code, "--reason", "x", "--confirm", code)
        #expect(early.code == 5 && early.err.contains("--owner"), "\(early.all)")
        let nameless = try fixture.reeve(
            as: "asker", "purge", "request", code, "--reason", "x", "--owner", "J. Roe", "--confirm", code)
        #expect(nameless.code == 2 || nameless.code == 4, "\(nameless.all)")
        let wrong = try fixture.reeve(
            as: "asker", "purge", "request", code, "--reason", "x", "--owner", "J. Roe", "--identity", "T-1",
            "--confirm",
            "other")
        #expect(wrong.code == 4)
        let asked = try fixture.reeve(
            as: "asker", "purge", "request", code, "--reason", "letter of 3 May", "--owner", "J. Roe", "--identity",
            "TICKET-17", "--backup-days", "1", "--confirm", code, "--json")
        try #require(asked.code == 0, "\(asked.all)")
        let id = try #require(try asked.json["request"]?.string)
        #expect(
            try fixture.reeve(
                as: "asker", "purge", "request", code, "--reason", "x", "--owner", "J", "--identity", "T", "--confirm",
                code
            ).code == 5)
        #expect(try fixture.reeve(as: "asker", "purge", "approve", code, "--confirm", code).code == 4)
        #expect(try fixture.reeve(as: "first", "purge", "approve", code).code == 4, "it is not confirmed")
        // The same user of the same machine is the same person, whatever the login.
        #expect(try fixture.reeve(as: "first", "purge", "approve", code, "--confirm", code).code == 4)
        let approve = "SELECT reeve.approve_purge($1::text, $1::text)"
        #expect(try fixture.ask("first", approve, [code]) == "requested")
        let open = try fixture.reeve("purge", "status", "--json")
        #expect(open.out.contains(id))
        #expect(try fixture.ask("second", approve, [code]) == "grace")

        try fixture.waitFor("SELECT state = 'certified' FROM reeve.purge_request WHERE id = '\(id)'")
        let status = try fixture.reeve("purge", "status", code, "--json")
        try #require(!status.out.isEmpty, "\(status.all)")
        #expect(try status.json["state"] == "certified" && status.json["steps"]?.array?.count == 16, "\(status.all)")
        let table = try fixture.reeve("purge", "status", code)
        #expect(table.code == 0 && table.out.contains("cli_first") && table.out.contains("tombstone"))
        #expect(try !fixture.reeve("purge", "status").out.contains(id))
        #expect(try fixture.reeve("purge", "status", "--all").out.contains(code))
        #expect(try fixture.reeve("purge", "cancel", code, "--reason", "late").code == 3)
        #expect(try fixture.reeve("tenant", "activate", code).code == 5)
        let plan2 = try fixture.reeve("purge", "plan", code)
        #expect(plan2.code == 4)
        try verify(fixture, code)
    }

    /// As the README says.
    private func verify(_ fixture: Fixture, _ code: String) throws {
        let certificate = try fixture.reeve("purge", "certificate", code, "--json")
        #expect(certificate.code == 0 && !certificate.out.contains("J. Roe"))
        let listed = try fixture.reeve("certificate", "list", "--tenant", code, "--json")
        let id = try #require(
            try JSON(parsing: "[" + listed.out.split(separator: "\n").joined(separator: ",") + "]").array?.first.flatMap
            {
                $0["id"]?.string ?? $0.array?.first?["id"]?.string
            }, "\(listed.all)")
        let shown = try fixture.reeve("certificate", "show", id)
        #expect(shown.out == certificate.out)
        let signature = try fixture.reeve("certificate", "show", id, "--signature").out
        for (name, data) in [
            ("certificate.json", Data(shown.out.utf8)),
            ("certificate.sig", Data(base64Encoded: signature.split(separator: "\n").joined()) ?? Data()),
            ("key.pem", Data(try fixture.reeve("keys", "signing", "publish").out.utf8)),
        ] { try data.write(to: URL(filePath: "\(fixture.folder)/\(name)")) }
        let path = fixture.folder
        let verified = try ChildProcess.run(
            program: "openssl",
            arguments: [
                "pkeyutl", "-verify", "-pubin", "-inkey", "\(path)/key.pem", "-rawin", "-in",
                "\(path)/certificate.json",
                "-sigfile", "\(path)/certificate.sig",
            ], environment: ["PATH": "/usr/bin:/bin"], supervisor: BuiltProducts.supervisor)
        #expect(verified.exit == .exited(0), "\(verified.standardError)")
        #expect(try fixture.reeve("certificate", "verify", "--all").code == 0)
        let backup = try fixture.reeve("purge", "certificate", code, "--backup")
        #expect(backup.code == 3, "its backup is kept for a day yet")
    }

    @Test("cancel, resume, hooks and policy, and what they refuse")
    func others() throws {
        let fixture = try Fixture.shared.get()
        let code = "stays-\(getpid())"
        try fixture.addTenant(code)
        for words in [
            ["cancel", code, "--reason", "x"], ["resume", code, "--reason", "x"], ["certificate", code],
            ["status", code],
        ] {
            let run = try ReeveRun(["purge"] + words, fixture.environment)
            #expect(run.code == 3, "\(words): \(run.all)")
        }
        _ = try fixture.ask(
            "asker", "SELECT reeve.request_purge($1::text, 'why', $1::text, 'J', 'T')", [code])
        let first = try fixture.reeve(as: "first", "purge", "approve", code, "--confirm", code, "--json")
        try #require(first.code == 0, "\(first.all)")
        #expect(try first.json["state"] == "requested")
        #expect(try fixture.reeve(as: "first", "purge", "approve", code, "--confirm", code).code == 4)
        #expect(try fixture.reeve(as: "first", "purge", "cancel", code).code == 2)
        let cancelled = try fixture.reeve(as: "first", "purge", "cancel", code, "--reason", "they stay", "--json")
        #expect(try cancelled.json["state"] == "cancelled", "\(cancelled.all)")
        #expect(try fixture.reeve("tenant", "show", code, "--json").out.contains("\"trial\""))
        #expect(try fixture.reeve("purge", "hooks").all.contains("no hooks"))
        #expect(try fixture.reeve("purge", "hooks", "--forget", "search", "--reason", "x").code == 3)
        let policy = try fixture.reeve("purge", "policy", "--grace-days", "30", "--backup-days", "0", "--json")
        #expect(try policy.json["grace_days"] == 30 && policy.json["backup_days"] == .null, "\(policy.all)")
        #expect(try fixture.reeve("purge", "policy").out.contains("grace after churn 30 days"))
        #expect(try fixture.reeve("purge", "policy", "--grace-days", "-1").code == 2)
        #expect(try fixture.reeve(as: "first", "purge", "policy", "--grace-days", "1").code == 4)
        #expect(try fixture.reeve("purge", "policy", "--grace-days", "90", "--backup-days", "90").code == 0)
        let near = try fixture.reeve("purge", "aprove", code)
        #expect(near.code == 2 && near.err.contains("approve"))
    }
}
