import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Testing

/// `reeve erasure` as an operator has it: the built program, workers, a tenant of the shipped template with its data map.
@Suite(.serialized) struct ErasureCommandTests {
    private final class Fixture: Sendable {
        static let shared = Result { try Fixture() }
        let tenants: TenantFixture
        let code = "era-\(getpid())"
        let folder = "/tmp/reeve-erasure-cli-\(getpid())"
        let environment: [String: String]
        let schema: String

        private init() throws {
            tenants = try TenantFixture()
            try tenants.addServer()
            for name in ["identities", "signing"] {
                try FileManager.default.createDirectory(
                    atPath: "\(folder)/\(name)", withIntermediateDirectories: true,
                    attributes: [.posixPermissions: 0o700])
            }
            environment = tenants.environment.merging([
                "REEVE_STORAGE": "\(folder)/objects", "REEVE_IDENTITIES": "\(folder)/identities",
                "REEVE_SIGNING_KEYS": "\(folder)/signing", "PATH": "/usr/local/bin:/usr/bin:/bin",
                "REEVE_DATA_MAP": (tenants.environment["REEVE_TEMPLATE"] ?? "") + "/data-map.json",
            ]) { $1 }
            for words in [
                ["migrate", "up"], ["keys", "signing", "create"],
                ["tenant", "create", code, "--tier", "starter", "--isolation", "schema", "--server", "main"],
            ] {
                let run = try ReeveRun(words, environment)
                guard run.code == 0 else { throw ReeveRun.Failure(what: "\(words): \(run)") }
            }
            let connection = try Connection(tenants.control.settings)
            defer { connection.close() }
            schema = try connection.execute(
                "SELECT o.schemas[1] FROM reeve.tenant_store o JOIN reeve.tenant t ON t.id = o.tenant_id WHERE t.code = $1::text",
                [code])[0].text(0)
        }

        var control: ConnectionSettings { tenants.control.settings }
        var data: ConnectionSettings { control.with(["dbname": "tenants_of_\(control["dbname"] ?? "")"]) }

        func reeve(_ words: String..., input: String = "") throws -> ReeveRun {
            try ReeveRun(words, environment, input: input)
        }

        /// In the tenant's schema.
        func value(_ sql: String) throws -> String? {
            let connection = try Connection(data)
            defer { connection.close() }
            try connection.executeScript("SET search_path = \(quoteIdentifier(schema)), reference")
            return try connection.execute(sql).first?.optionalText(0)
        }

        func addCustomer(_ account: String, _ name: String, _ email: String) throws {
            _ = try value(
                """
                INSERT INTO customers (account_code, company, contact_name, email, phone, street, postcode, city, country, payment_days, credit_limit, created_on)
                VALUES ('\(account)', 'Works', '\(name)', '\(email)', '+44 20 7946 0018', '1 High St', 'SW1A', 'London', 'GB', 30, 1000, '2026-01-01')
                """)
        }

        /// Somebody else approves.
        func approve(_ request: String) throws -> Int64 {
            let connection = try Connection(control)
            defer { connection.close() }
            return try connection.transaction {
                _ = try connection.execute("SELECT set_config('reeve.actor', 'approver', true)")
                return try connection.execute(
                    "SELECT reeve.approve_erasure($1::uuid, $2::text)", [request, code])[0].int(0)
            }
        }

        /// Waits for a job's end; its document.
        func end(of job: Int64) throws -> JSON {
            let connection = try Connection(control)
            defer { connection.close() }
            let limit = ContinuousClock.now + .seconds(60)
            while true {
                let found = try connection.execute("SELECT reeve.job($1::bigint)", [job])[0].json(0)
                if ["succeeded", "dead", "cancelled"].contains(found["state"]?.string) || .now > limit { return found }
                usleep(50_000)
            }
        }

        func worker() throws -> [ChildProcess] {
            try [["worker", "--lease", "2s"], ["worker", "--role", "restore", "--lease", "2s"]].map { words in
                try ChildProcess(
                    program: BuiltProducts.path("reeve"), arguments: words, environment: environment,
                    supervisor: BuiltProducts.supervisor)
            }
        }
    }

    @Test("from the check of the map to the certificate")
    func wholeWay() throws {
        let fixture = try Fixture.shared.get()
        try fixture.addCustomer("A-1", "Ann Lee", "Ann.Lee@example.com")
        try fixture.addCustomer("B-1", "Bob Stone", "bob@example.com")
        let check = try fixture.reeve("erasure", "map", "check", fixture.code, "--json")
        #expect(try check.code == 0 && check.json["ok"] == true, "\(check.all)")
        let refused = try fixture.reeve("erasure", "request", fixture.code)
        #expect(refused.code == 2 && refused.err.contains("--subject"))
        let filed = try fixture.reeve(
            "erasure", "request", fixture.code, "--subject", "-", "--json", input: "email=ann.lee@EXAMPLE.com\n")
        let request = try #require(try filed.json["request"]?.string, "\(filed.all)")
        #expect(!filed.all.lowercased().contains("ann.lee"))
        let again = try fixture.reeve(
            "erasure", "request", fixture.code, "--subject", "-", input: "{\"email\": \"Ann.Lee@example.com\"}")
        #expect(again.code == 5 && again.err.contains(request))
        let plan = try fixture.reeve("erasure", "plan", request, "--json")
        #expect(try plan.json["tables"]?.array?.count == 1 && plan.json["blocked_by"]?.array?.count == 1, "\(plan.all)")
        #expect(try fixture.reeve("erasure", "identify", request, "--reference", "TICKET-1").code == 0)
        let own = try fixture.reeve("erasure", "approve", request, "--confirm", fixture.code)
        #expect(own.code == 5 && own.err.contains("Somebody else"), "\(own.all)")
        let job = try fixture.approve(request)
        let workers = try fixture.worker()
        defer { for worker in workers { worker.stop() } }
        let ended = try fixture.end(of: job)
        #expect(ended["state"] == "succeeded", "\(ended) \(workers.map(\.standardErrorTail))")
        #expect(
            try fixture.value(
                "SELECT string_agg(contact_name, ',' ORDER BY id) FROM customers WHERE account_code IN ('A-1', 'B-1')")
                == "erased,Bob Stone")
        let shown = try fixture.reeve("erasure", "show", request, "--json").json
        #expect(shown["state"] == "completed" && shown["report"]?["left"] == [])
        #expect(try fixture.reeve("erasure", "plan", request).code == 5)
        #expect(try fixture.reeve("erasure", "list", fixture.code, "--json").out.contains(request))
        #expect(try fixture.reeve("erasure", "show", "nonsense").code == 2)
        let doctor = try fixture.reeve("doctor", "--json")
        #expect(doctor.out.contains("\"erasures\""))
    }

    @Test("deadlines, copies for the person, cancellation, and a map that is wrong")
    func others() throws {
        let fixture = try Fixture.shared.get()
        try fixture.addCustomer("X-1", "Max Frei", "max@example.com")
        func file(_ more: String...) throws -> String {
            let run = try ReeveRun(
                ["erasure", "request", fixture.code, "--subject", "-", "--json"] + more, fixture.environment,
                input: "account=X-1")
            return try #require(try run.json["request"]?.string, "\(run.all)")
        }
        // A copy needs a verified identity, and is closed when it was handed out.
        let access = try file("--access")
        let unknown = try fixture.reeve("erasure", "export", access)
        #expect(unknown.code == 5 && unknown.err.contains("identity"), "\(unknown.all)")
        #expect(try fixture.reeve("erasure", "identify", access, "--reference", "T-9").code == 0)
        #expect(try fixture.reeve("erasure", "approve", access, "--confirm", fixture.code).code == 5)
        let copy = try fixture.reeve("erasure", "export", access, "--no-wait", "--json")
        #expect(!copy.all.contains("X-1"))
        #expect(copy.code == 0, "\(copy.all)")
        #expect(try fixture.reeve("erasure", "close", access).code == 0)
        #expect(try fixture.reeve("erasure", "close", access).code == 5)
        // One extension, with a reason, and no second one.
        let request = try file("--identity", "T-10")
        #expect(try fixture.reeve("erasure", "extend", request).code == 2)
        let extended = try fixture.reeve(
            "erasure", "extend", request, "--months", "2", "--reason", "many systems", "--json")
        #expect(extended.code == 0, "\(extended.all)")
        #expect(try fixture.reeve("erasure", "extend", request, "--reason", "again").code == 5)
        #expect(try fixture.reeve("erasure", "list", "--open", "--json").out.contains(request))
        let wrong = try fixture.reeve("erasure", "approve", request, "--confirm", "other")
        #expect([4, 5].contains(wrong.code), "\(wrong.all)")
        #expect(try fixture.reeve("erasure", "cancel", request).code == 2)
        #expect(try fixture.reeve("erasure", "cancel", request, "--reason", "withdrawn").code == 0)
        #expect(try fixture.reeve("erasure", "cancel", request, "--reason", "withdrawn").code == 5)
        #expect(try fixture.reeve("erasure", "show", request, "--json").json["state"] == "cancelled")
        #expect(try fixture.reeve("erasure", "show", "00000000-0000-0000-0000-000000000000").code == 3)
        // A map that names what is not there fails its check.
        let map = "\(fixture.folder)/wrong.json"
        let text = try ReeveRun.read(fixture.environment["REEVE_DATA_MAP"] ?? "")
        try ReeveRun.write(text.replacing("\"customers\"", with: "\"clients\""), to: map)
        let check = try ReeveRun(
            ["erasure", "map", "check", fixture.code, "--json"],
            fixture.environment.merging(["REEVE_DATA_MAP": map]) { $1 })
        #expect(try check.code == 1 && check.json["ok"] == false && check.out.contains("clients"), "\(check.all)")
    }

    @Test(
        "a worker that is killed inside the transaction leaves nothing half done; the next one does all, and the certificate is one"
    )
    func killed() throws {
        let fixture = try Fixture.shared.get()
        try fixture.addCustomer("K-1", "Kim Novak", "kim@example.com")
        // Holds every update until a lock is let go.
        _ = try fixture.value(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NEW; END'"
        )
        _ = try fixture.value("CREATE TRIGGER waits BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION wait()")
        let gate = try Connection(fixture.data)
        defer { gate.close() }
        _ = try gate.execute("SELECT pg_advisory_lock(77)")
        let filed = try fixture.reeve(
            "erasure", "request", fixture.code, "--subject", "-", "--identity", "T-2", "--json", input: "account=K-1")
        let request = try #require(try filed.json["request"]?.string, "\(filed.all)")
        let job = try fixture.approve(request)
        var workers = try fixture.worker()
        defer { for worker in workers { worker.stop() } }
        let control = try Connection(fixture.control)
        defer { control.close() }
        let limit = ContinuousClock.now + .seconds(40)
        var isInside = false
        while !isInside, .now < limit {
            usleep(50_000)
            isInside = try gate.execute(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 77 AND NOT granted)")[0]
                .bool(0)
        }
        #expect(isInside)
        let pid = try control.execute(
            "SELECT w.pid FROM reeve.job j JOIN reeve.worker w ON w.id = j.worker_id WHERE j.id = $1::bigint", [job])[0]
            .int(0)
        #expect(kill(pid_t(pid), SIGKILL) == 0)
        #expect(try fixture.value("SELECT contact_name FROM customers WHERE account_code = 'K-1'") == "Kim Novak")
        _ = try gate.execute("SELECT pg_advisory_unlock(77)")
        workers += try fixture.worker()
        #expect(try fixture.end(of: job)["state"] == "succeeded")
        #expect(try fixture.value("SELECT contact_name FROM customers WHERE account_code = 'K-1'") == "erased")
        #expect(
            try control.execute("SELECT count(*) FROM reeve.erasure_ledger WHERE request_id = $1::uuid", [request])[0]
                .int(0) == 1)
        _ = try fixture.value("DROP TRIGGER waits ON customers")
    }
}
