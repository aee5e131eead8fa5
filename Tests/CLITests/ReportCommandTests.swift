import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Testing

/// `reeve report`, `reeve export`, `reeve artifacts` and the tiers' limits as an operator has them: the built program, a worker, a
/// provisioned tenant with two invoices.
@Suite(.serialized) struct ReportCommandTests {
    /// Made once: what each test changes it leaves as it was, or says.
    private final class Fixture: Sendable {
        static let shared = Result { try Fixture() }
        let tenants: TenantFixture
        let code = "rep-\(getpid())"
        let folder = "/tmp/reeve-report-cli-\(getpid())"
        let environment: [String: String]

        private init() throws {
            tenants = try TenantFixture()
            try tenants.addServer()
            try FileManager.default.createDirectory(
                atPath: "\(folder)/identities", withIntermediateDirectories: true,
                attributes: [.posixPermissions: 0o700])
            try FileManager.default.createDirectory(atPath: "\(folder)/reports", withIntermediateDirectories: true)
            environment = tenants.environment.merging([
                "REEVE_STORAGE": "\(folder)/objects", "REEVE_IDENTITIES": "\(folder)/identities",
                "REEVE_REPORTS": "\(folder)/reports", "PATH": "/usr/local/bin:/usr/bin:/bin",
            ]) { $1 }
            try define(
                "open", "SELECT invoice_number, gross_amount AS gross FROM invoices WHERE gross_amount >= :least")
            for words in [
                ["migrate", "up"],
                ["tenant", "create", code, "--tier", "starter", "--isolation", "schema", "--server", "main"],
            ] {
                let run = try ReeveRun(words, environment)
                guard run.code == 0 else { throw ReeveRun.Failure(what: "\(words): \(run)") }
            }
            let connection = try Connection(tenants.control.settings)
            defer { connection.close() }
            let schema = try connection.execute(
                "SELECT o.schemas[1] FROM reeve.tenant_store o JOIN reeve.tenant t ON t.id = o.tenant_id WHERE t.code = $1::text",
                [code])[0].text(0)
            for (number, total) in [(1, "10.50"), (2, "99.00")] {
                try tenants.insert(invoice: number, total: total, schema: schema)
            }
        }

        func define(_ name: String, _ sql: String) throws {
            let document: JSON = [
                "name": .string(name), "title": "Open invoices",
                "columns": [["name": "invoice_number"], ["name": "gross"]],
                "parameters": sql.contains(":least") ? [["name": "least", "type": "decimal", "default": 0]] : [],
            ]
            try ReeveRun.write(document.text, to: "\(folder)/reports/\(name).json")
            try ReeveRun.write(sql, to: "\(folder)/reports/\(name).sql")
        }

        func reeve(_ words: String..., input: String = "") throws -> ReeveRun {
            try ReeveRun(words, environment, input: input)
        }

        /// While `body` runs a worker does.
        func working<T>(_ body: () throws -> T) throws -> T {
            let worker = try ChildProcess(
                program: BuiltProducts.path("reeve"), arguments: ["worker", "--lease", "2s"], environment: environment,
                supervisor: BuiltProducts.supervisor)
            defer { worker.stop() }
            return try body()
        }
    }

    @Test("definitions are listed, shown and checked; what would not run is named and ends with 1")
    func definitions() throws {
        let fixture = try Fixture.shared.get()
        let list = try fixture.reeve("report", "list", fixture.code, "--json")
        #expect(try list.code == 0 && list.json.array?.map { $0["name"]?.string } == ["open"], "\(list)")
        let shown = try fixture.reeve("report", "show", "open", "--tenant", fixture.code)
        #expect(shown.code == 0 && shown.out.contains("least") && shown.out.contains("type=decimal"), "\(shown)")
        #expect(try fixture.reeve("report", "show", "opne").code == 3)
        #expect(try fixture.reeve("report", "show", "../open").code == 3)
        let good = try fixture.reeve("report", "check", fixture.code)
        #expect(good.code == 0 && good.out.contains("ok  open"), "\(good)")
        try fixture.define("broken", "SELECT nothing AS invoice_number, 'x' AS gross FROM invoices")
        try fixture.define("unlike", "SELECT 1 AS invoice_number")
        try fixture.define("unread", "SELECT 1 AS invoice_number, 2 AS gross; DELETE FROM invoices")
        defer {
            for name in ["broken", "unlike", "unread"] {
                for kind in ["json", "sql"] { remove("\(fixture.folder)/reports/\(name).\(kind)") }
            }
        }
        let bad = try fixture.reeve("report", "check", fixture.code, "--json")
        let reports = try #require(try bad.json["reports"]?.array)
        #expect(bad.code == 1 && reports.map { $0["ok"] } == [false, true, false, false], "\(bad)")
        for (index, words) in [(0, "\"nothing\" does not exist"), (2, "no column \"gross\""), (3, "more than one")] {
            #expect(
                reports[index]["problems"]?.text.replacing("\\\"", with: "\"").contains(words) == true,
                "\(reports[index])")
        }
        #expect(try fixture.reeve("report", "check", fixture.code, "open").code == 0)
        #expect(try fixture.reeve("report", "check", "nobody").code == 3)
        #expect(try fixture.reeve("report", "list", "nobody").code == 3)
    }

    @Test(
        "a report is run and waited for; its file is what the tables hold, and is fetched by a link that can be taken back"
    )
    func runAndLink() throws {
        let fixture = try Fixture.shared.get()
        let run = try fixture.working {
            let bad = try fixture.reeve(
                "report", "run", fixture.code, "open", "--param", "least='; DROP TABLE invoices")
            #expect(bad.code == 1 && bad.all.contains("report_parameter"), "\(bad)")
            let scoped = try fixture.reeve("report", "run", fixture.code, "open", "--customer", "7")
            #expect(scoped.code == 1 && scoped.all.contains("does not honour the scope"), "\(scoped)")
            return try fixture.reeve(
                "report", "run", fixture.code, "open", "--param", "least=50", "--format", "csv", "--format", "html",
                "--json")
        }
        #expect(try run.code == 0 && run.json["state"] == "succeeded", "\(run)")
        #expect(try fixture.reeve("report", "run", fixture.code, "open", "--param", "least").code == 2)
        #expect(try fixture.reeve("report", "run", fixture.code, "open", "--format", "docx").code == 2)
        #expect(try fixture.reeve("report", "run", "nobody", "open").code == 3)

        let list = try fixture.reeve("artifacts", "list", fixture.code, "--entity", "report", "--json")
        let made = try #require(try list.json.array)
        #expect(
            Set(made.compactMap { $0["format"]?.string }) == ["csv", "html"]
                && made.allSatisfy { $0["state"] == "kept" })
        let id = try #require(made.first { $0["format"] == "csv" }?["id"]?.string)
        let file = "\(fixture.folder)/fetched-\(UUID()).csv"
        let link = try fixture.reeve("artifacts", "link", id, "--for", "1h", "--purpose", "ticket 4711").out
        #expect(!link.contains(fixture.code) && link.utf8.count > 60)
        let fetched = try fixture.reeve("artifacts", "fetch", "-", "--output", file, input: link)
        #expect(fetched.code == 0, "\(fetched)")
        #expect(try ReeveRun.read(file) == "\"invoice_number\",\"gross\"\r\n\"I-2\",99.00\r\n")
        #expect(try fixture.reeve("artifacts", "fetch", "-", "--output", file, input: link).code == 5)
        // Another signature, another artifact of the same link, no link at all.
        let trimmed = String(link.prefix { !$0.isNewline })
        for text in [String(trimmed.dropLast()) + (trimmed.hasSuffix("A") ? "B" : "A"), "x", trimmed + "A"] {
            let refused = try fixture.reeve("artifacts", "fetch", "-", "--output", file + "2", input: text)
            #expect(refused.code == 4, "\(refused)")
        }
        #expect(try fixture.reeve("artifacts", "revoke", id).code != 0)
        #expect(try fixture.reeve("artifacts", "revoke", id, "--reason", "sent wrongly").code == 0)
        let late = try fixture.reeve("artifacts", "fetch", "-", "--output", file + "2", input: link)
        #expect(late.code == 4 && late.err.contains("revoked"), "\(late)")
        #expect(access(file + "2", F_OK) != 0 && access(file + "2.part", F_OK) != 0)
        let links = try fixture.reeve("artifacts", "links", fixture.code, "--json")
        #expect(
            try links.json.array?.map { $0["state"] } == ["revoked"] && !links.out.contains(trimmed.suffix(30)),
            "\(links)")
        let presigned = try fixture.reeve("artifacts", "link", id, "--presigned")
        #expect(presigned.code == 4 && presigned.err.contains("no links of its own"), "\(presigned)")
        let connection = try Connection(fixture.tenants.control.settings)
        defer { connection.close() }
        let verdicts = try connection.execute(
            "SELECT detail ->> 'verdict' FROM reeve.audit_entry WHERE action = 'artifact.download' ORDER BY id"
        ).map { try $0.text(0) }
        #expect(verdicts == ["ok", "revoked"])
    }

    @Test("an export is made, encrypted when asked, and listed")
    func export() throws {
        let fixture = try Fixture.shared.get()
        #expect(try fixture.reeve("export", "nobody").code == 3)
        #expect(try fixture.reeve("export", fixture.code, "--format", "xml").code == 2)
        try fixture.working {
            let plain = try fixture.reeve(
                "export", fixture.code, "--format", "csv", "--reason", "moving away", "--json")
            #expect(try plain.code == 0 && plain.json["state"] == "succeeded", "\(plain)")
            let sealed = try fixture.reeve("export", fixture.code, "--encrypted")
            #expect(sealed.code == 0, "\(sealed)")
        }
        let list = try fixture.reeve("artifacts", "list", fixture.code, "--entity", "export", "--json")
        let made = try #require(try list.json.array)
        #expect(made.map { $0["encrypted"] } == [true, false])
        let id = try #require(made[1]["id"]?.string)
        let archive = "\(fixture.folder)/plain-\(UUID()).zip"
        let link = try fixture.reeve("artifacts", "link", id).out
        #expect(try fixture.reeve("artifacts", "fetch", "-", "--output", archive, input: link).code == 0)
        var invoices: [UInt8] = []
        let unzipped = try ChildProcess.run(
            program: "/usr/bin/unzip", arguments: ["-p", archive, "data/invoices.csv"],
            environment: ["PATH": "/usr/bin:/bin"], supervisor: BuiltProducts.supervisor
        ) { invoices += $0 }
        #expect(unzipped.exit == .exited(0) && String(decoding: invoices, as: UTF8.self).contains("I-1"))
        let sealedLink = try fixture.reeve("artifacts", "link", try #require(made[0]["id"]?.string)).out
        let sealed = archive + ".age"
        let fetched = try fixture.reeve("artifacts", "fetch", "-", "--output", sealed, "--json", input: sealedLink)
        #expect(try fetched.json["encrypted"] == true)
        #expect(try ReeveRun.read(sealed).hasPrefix("age-encryption.org/v1"))
        let waiting = try fixture.reeve("export", fixture.code, "--no-wait", "--json")
        #expect(try waiting.json["id"]?.int != nil)
    }

    @Test("doctor names a folder of definitions and a printer that are not there")
    func doctor() throws {
        let fixture = try Fixture.shared.get()
        func verdicts(_ more: [String: String]) throws -> [String: String] {
            let run = try ReeveRun(["doctor", "--json"], fixture.environment.merging(more) { $1 })
            return try (run.json.array ?? []).reduce(into: [:]) {
                $0[$1["check"]?.string ?? ""] = $1["verdict"]?.string
            }
        }
        let good = try verdicts(["REEVE_PDF_PROGRAM": "/usr/bin/chromium"])
        #expect(good["reports"] == "ok" && good["PDF"] == "ok")
        let bad = try verdicts(["REEVE_PDF_PROGRAM": "/usr/bin/chromiun", "REEVE_REPORTS": "/nonexistent"])
        #expect(bad["reports"] == "fail" && bad["PDF"] == "fail")
        #expect(try verdicts([:])["PDF"] == nil)
    }

    @Test("a tier's limits are set, and bind the next report; a tenant's own window and retention go before them")
    func limits() throws {
        let fixture = try Fixture.shared.get()
        let set = try fixture.reeve(
            "tiers", "set", "starter", "--report-rows", "1", "--report-bytes", "50M", "--report-seconds", "30",
            "--report-days", "14", "--report-daytime", "20", "--export-days", "3", "--off-peak-from", "20:30",
            "--off-peak-until", "05:00")
        #expect(set.code == 0, "\(set)")
        defer {
            // For the tests that come after.
            _ = try? fixture.reeve("tiers", "set", "starter", "--report-rows", "100000", "--report-days", "30")
        }
        let tier = try fixture.reeve("tiers", "list", "--json").json.array?.first { $0["name"] == "starter" }
        for (name, value) in [
            ("report_rows", 1), ("report_bytes", 50 << 20), ("report_seconds", 30), ("report_retention_days", 14),
            ("report_daytime_seconds", 20), ("export_retention_days", 3),
        ] as [(String, Int64)] {
            #expect(tier?[name] == .int(value), "\(name)")
        }
        #expect(tier?["offpeak_from"] == "20:30:00" && tier?["offpeak_until"] == "05:00:00", "\(tier ?? .null)")
        for (option, value) in [
            ("--report-rows", "0"), ("--report-seconds", "0"), ("--report-bytes", "x"), ("--export-days", "0"),
            ("--report-days", "-1"), ("--off-peak-from", "24:00"), ("--off-peak-until", "6"),
        ] {
            #expect(try fixture.reeve("tiers", "set", "starter", option, value).code == 2, "\(option) \(value)")
        }
        let many = try fixture.working { try fixture.reeve("report", "run", fixture.code, "open", "--format", "csv") }
        #expect(many.code == 1 && many.all.contains("report_too_large"), "\(many)")

        let window = try fixture.reeve("report", "window", fixture.code, "--from", "21:00", "--until", "05:30")
        #expect(window.code == 0 && window.out.contains("from 21:00 until 05:30"), "\(window)")
        #expect(try fixture.reeve("report", "window", fixture.code, "--from", "21:00").code == 2)
        #expect(try fixture.reeve("report", "window", fixture.code, "--from", "25:00", "--until", "01:00").code == 2)
        #expect(try fixture.reeve("report", "window", fixture.code, "--clear").code == 0)
        #expect(try fixture.reeve("report", "window", "nobody", "--clear").code == 3)

        let own = try fixture.reeve(
            "tenant", "update", fixture.code, "--overrides",
            #"{"report_retention_days": 2, "export_retention_days": 400}"#,
            "--reason", "contract")
        #expect(own.code == 0, "\(own)")
        defer {
            // For the tests that come after.
            _ = try? fixture.reeve("tenant", "update", fixture.code, "--overrides", "{}", "--reason", "as before")
        }
        #expect(
            try fixture.reeve(
                "tenant", "update", fixture.code, "--overrides", #"{"report_retention_days": 0}"#, "--reason", "no"
            ).code != 0)
        let connection = try Connection(fixture.tenants.control.settings)
        defer { connection.close() }
        let days = try connection.execute(
            "SELECT reeve.artifact_days(id, 'report'), reeve.artifact_days(id, 'export'), (reeve.report_reader(id) ->> 'days')::int FROM reeve.tenant WHERE code = $1::text",
            [fixture.code])[0]
        #expect(try days.int(0) == 2 && days.int(1) == 400 && days.int(2) == 2)
    }
}
