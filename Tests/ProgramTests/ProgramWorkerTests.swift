import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Program
import ReeveTesting
import Tenancy
import Testing

@Suite("Programs in a worker", .serialized)
struct ProgramWorkerTests {
    @Test("a kind that is added, changed and removed while a worker runs is served so, without a restart")
    func added() throws {
        let fleet = try ProgramFleet()
        try fleet.startWorker()
        try fleet.programs.shell("cat > /dev/null; echo '{\"result\": {\"version\": 1}}'")
        #expect(
            try fleet.refusal("SELECT reeve.enqueue($1::text, 'late')", ["\(fleet.code("acme")).work"]).0 == "RV004")
        try fleet.addKind("late", more: ["schema": ["type": "object", "required": ["n"]]])
        #expect(
            try fleet.refusal("SELECT reeve.enqueue($1::text, 'late')", ["\(fleet.code("acme")).work"]).0 == "RV005")
        let first = try fleet.end(of: fleet.enqueue("late", ["n": 1]))
        #expect(first["state"]?.string == "succeeded" && first["result"] == ["version": 1], "\(first)")
        let other = try fleet.programs.install("#!/bin/sh\necho '{\"result\": {\"version\": 2}}'\n", as: "other")
        try fleet.addKind("late", program: other, replace: true)
        let second = try fleet.end(of: fleet.enqueue("late"))
        #expect(second["result"] == ["version": 2], "\(second)")
        _ = try fleet.connection.execute("SELECT reeve.remove_exec_kind('late')")
        #expect(
            try fleet.refusal("SELECT reeve.enqueue($1::text, 'late')", ["\(fleet.code("acme")).work"]).0 == "RV004")
    }

    @Test("attempts that fail or ask to be tried again come back until the last one, and the error says why")
    func retries() throws {
        let fleet = try ProgramFleet([("acme", .schema)])
        try fleet.startWorker()
        try fleet.programs.shell(
            "if [ $REEVE_ATTEMPT = 1 ]; then echo 'not yet' >&2; exit 75; fi; echo \"{\\\"result\\\": {\\\"attempt\\\": $REEVE_ATTEMPT}}\""
        )
        try fleet.addKind("again")
        let again = try fleet.end(of: fleet.enqueue("again"))
        #expect(again["state"]?.string == "succeeded" && again["result"] == ["attempt": 2], "\(again)")
        try fleet.programs.install("#!/bin/sh\necho 'no such customer' >&2; exit 1\n", as: "fails")
        try fleet.addKind("fails", program: "\(fleet.programs.folder)/fails")
        let failed = try fleet.end(of: fleet.enqueue("fails"))
        #expect(failed["state"]?.string == "dead" && failed["attempt"]?.int == 3, "\(failed)")
        #expect(failed["error"]?.string?.contains("exit status 1: no such customer") == true, "\(failed)")
    }

    @Test("the same checks hold as for every kind: status and tier feature")
    func validation() throws {
        let fleet = try ProgramFleet([("acme", .schema)])
        try fleet.startWorker()
        try fleet.programs.shell("echo ran > \(fleet.programs.folder)/ran")
        try fleet.addKind("special", more: ["feature": "custom_reports"])
        let special = try fleet.end(of: fleet.enqueue("special"))
        #expect(special["state"]?.string == "dead" && special["reason"]?.string == "feature_custom_reports_not_in_tier")
        try fleet.addKind("only-churned", more: ["statuses": ["churned"]])
        let refused = try fleet.end(of: fleet.enqueue("only-churned"))
        #expect(refused["state"]?.string == "dead" && refused["reason"]?.string == "tenant_trial")
        #expect(fleet.programs.lines("ran").isEmpty)
    }

    @Test("a worker that may not run the program holds the job, says why, and runs it once that is mended")
    func held() throws {
        let fleet = try ProgramFleet([("acme", .schema)])
        try fleet.startWorker()
        try fleet.programs.install("#!/bin/sh\necho '{\"result\": {}}'\n", mode: 0o777)
        try fleet.addKind("loose")
        let id = try fleet.enqueue("loose")
        #expect(try eventually { try fleet.job(id)["hold_reason"]?.string?.hasPrefix("program_refused: ") == true })
        let job = try fleet.job(id)
        #expect(job["hold_reason"]?.string?.contains("chmod go-w") == true && job["attempt"]?.int == 0, "\(job)")
        chmod("\(fleet.programs.folder)/program", 0o755)
        _ = try fleet.connection.execute("UPDATE reeve.job SET run_at = reeve.clock() WHERE id = $1::bigint", [id])
        #expect(try fleet.end(of: id)["state"]?.string == "succeeded")
    }

    @Test("a job cancelled while its program runs ends as cancelled, with the program")
    func cancelled() throws {
        let fleet = try ProgramFleet([("acme", .schema)])
        try fleet.startWorker()
        try fleet.programs.shell("echo $$ > \(fleet.programs.folder)/pid; exec sleep 1000")
        try fleet.addKind("long")
        let id = try fleet.enqueue("long")
        #expect(eventually { !fleet.programs.lines("pid").isEmpty })
        _ = try fleet.connection.execute("SELECT reeve.cancel($1::bigint)", [id])
        #expect(try fleet.end(of: id)["state"]?.string == "cancelled")
        let pid = try #require(fleet.programs.lines("pid").first.flatMap { pid_t($0) })
        #expect(!isAlive(pid))
    }

    @Test("the tenant's password is in no argument and no environment, and its files are gone afterwards")
    func secrets() throws {
        let fleet = try ProgramFleet([("acme", .schema)])
        try fleet.startWorker()
        try fleet.programs.python(
            """
            import json, os, subprocess
            password = open(os.environ["PGPASSFILE"]).read().strip().rsplit(":", 1)[1]
            modes = [oct(os.stat(os.environ[n]).st_mode & 0o777) for n in ("PGPASSFILE", "PGSERVICEFILE")]
            modes.append(oct(os.stat(os.path.dirname(os.environ["PGPASSFILE"])).st_mode & 0o777))
            found = []
            for pid in filter(str.isdigit, os.listdir("/proc")):
                for name in ("cmdline", "environ"):
                    try:
                        if password in open(f"/proc/{pid}/{name}", errors="replace").read(): found.append(f"{pid}/{name}")
                    except OSError: pass
            service = open(os.environ["PGSERVICEFILE"]).read()
            print(json.dumps({"result": {"found": found, "modes": modes, "length": len(password), "in_service": password in service,
              "file": os.environ["PGPASSFILE"]}}))
            """)
        try fleet.addKind("look")
        let job = try fleet.end(of: fleet.enqueue("look"))
        let result = try #require(job["result"], "\(job)")
        #expect(
            result["found"]?.array == [] && result["in_service"] == false && (result["length"]?.int ?? 0) >= 20,
            "\(result)")
        #expect(result["modes"]?.array == ["0o600", "0o600", "0o700"])
        #expect(access(try #require(result["file"]?.string), F_OK) != 0)
    }

    @Test("a program reaches its own tenant's rows and no other's", arguments: [Isolation.schema, .shared, .database])
    func isolation(_ isolation: Isolation) throws {
        let fleet = try ProgramFleet([("acme", isolation), ("globex", isolation)])
        try fleet.startWorker()
        let (own, other) = (try fleet.store("acme"), try fleet.store("globex"))
        try fleet.programs.python(
            """
            import json, subprocess, sys
            job = json.load(sys.stdin)
            def psql(*words):
                done = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", *words], capture_output=True, text=True)
                return done.stdout.strip() if done.returncode == 0 else "refused: " + done.stderr.strip()
            insert = '''INSERT INTO customers (account_code, company, contact_name, email, street, postcode, city, country, payment_days,
              credit_limit, created_on) VALUES ('A', 'C', 'N', 'a@b.example', 's', '1', 'c', 'DE', 30, 1, '2026-01-01')'''
            args = job["args"]
            print(json.dumps({"result": {
              "user": psql("-c", "SELECT session_user"), "inserted": psql("-c", insert), "seen": psql("-c", "SELECT count(*) FROM customers"),
              "schema": psql("-c", f'SELECT count(*) FROM "{args["schema"]}".customers'),
              "role": psql("-c", f'SET ROLE "{args["login"]}"'), "owner": psql("-c", f'SET ROLE "{args["login"]}_owner"'),
              "lied": psql("-c", f"SET app.current_tenant = '{args['id']}'", "-c", "SELECT count(*) FROM customers"),
              "as_other": psql("-d", f"service=reeve user={args['login']}", "-c", "SELECT 1"),
              "database": psql("-d", f"service=reeve dbname={args['database']}", "-c", "SELECT count(*) FROM customers"),
              "control": psql("-d", f"service=reeve dbname={args['control']}", "-c", "SELECT count(*) FROM reeve.tenant_store"),
              "schemas": job["tenant"]["schemas"], "services": [s["service"] for s in job["stores"]]}}))
            """)
        try fleet.addKind("peek")
        let args: JSON = [
            "schema": .string(other.schemas[0]), "login": .string(other.login), "database": .string(other.database),
            "id": .string(other.tenantID.description), "control": .string(fleet.settings["dbname"] ?? ""),
        ]
        let theirs = try fleet.end(
            of: fleet.enqueue(
                "peek",
                [
                    "schema": .string(own.schemas[0]), "login": .string(own.login), "database": .string(own.database),
                    "id": .string(own.tenantID.description), "control": "postgres",
                ], tenant: "globex"))
        #expect(theirs["result"]?["seen"]?.string == "1", "\(theirs)")
        let job = try fleet.end(of: fleet.enqueue("peek", args))
        let result = try #require(job["result"], "\(job)")
        func isRefused(_ name: String) -> Bool { result[name]?.string?.hasPrefix("refused: ") == true }
        #expect(
            result["user"]?.string == own.login && result["inserted"]?.string == "" && result["seen"]?.string == "1",
            "\(result)")
        #expect(isRefused("role") && isRefused("owner") && isRefused("as_other") && isRefused("control"), "\(result)")
        #expect(result["lied"]?.string == "1", "\(result)")
        #expect(result["schemas"]?.array?.compactMap(\.string) == own.schemas && result["services"]?.array == ["reeve"])
        switch isolation {
        case .schema: #expect(isRefused("schema"), "\(result)")
        case .shared: #expect(result["schema"]?.string == "1", "\(result)")
        case .database: #expect(isRefused("database"), "\(result)")
        }
    }

    @Test("the examples run as they are: invoices in Python, rows in shell")
    func examples() throws {
        let fleet = try ProgramFleet([("acme", .schema)])
        try fleet.startWorker()
        let store = try fleet.store("acme")
        let admin = try fleet.tenantsDatabase()
        defer { admin.close() }
        try admin.executeScript(
            "SET search_path = \(quoteIdentifier(store.schemas[0])), reference; SET demo.marker = 'acme'")
        try admin.executeScript("SET demo.customers = 12; SET demo.orders_per_customer = 4; SET demo.lots = 60")
        let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let data = try String(
            contentsOf: URL(filePath: "\(root)/deploy/templates/steel/demo-data.sql"), encoding: .utf8)
        try admin.executeScript("BEGIN;" + data + ";COMMIT")
        let most = try admin.execute(
            "SELECT to_char(invoiced_on, 'YYYY-MM'), count(*) FROM invoices GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1")[0]
        let schema = try String(
            contentsOf: URL(filePath: "\(root)/deploy/examples/send-invoice.schema.json"), encoding: .utf8)
        try fleet.addKind(
            "send-invoice", program: fleet.programs.example("send-invoice"), more: ["schema": JSON(parsing: schema)])
        #expect(
            try fleet.refusal(
                "SELECT reeve.enqueue($1::text, 'send-invoice', '{\"month\": \"2026-3\"}')",
                ["\(fleet.code("acme")).work"]
            ).0 == "RV005")
        let invoices = try fleet.end(of: fleet.enqueue("send-invoice", ["month": .string(most.text(0))]))
        #expect(try invoices["result"] == ["invoices": .int(most.int(1))], "\(invoices)")
        try fleet.addKind("count-rows", program: fleet.programs.example("count-rows"))
        let rows = try fleet.end(of: fleet.enqueue("count-rows"))
        // Six of the tenant's own and three of reference data.
        #expect(rows["result"]?["tables"]?.int == 9 && (rows["result"]?["rows"]?.int ?? 0) > 12, "\(rows)")
    }
}
