import Glibc
import JobKit
import ReeveTesting
import Testing

@testable import ReeveCLI

@Suite struct KindTests {
    @Test("a program is added, shown, changed and removed, and bad words are refused before anything is done")
    func life() throws {
        let control = try ControlFixture()
        let folder = try #require(TemporaryFolder.make("/tmp/reeve-kind-test."))
        defer { for name in ["program", "schema.json", ""] { remove("\(folder)/\(name)") } }
        let program = "\(folder)/program"
        try ReeveRun.write("#!/bin/sh\n", to: program)
        try ReeveRun.write(#"{"type": "object", "required": ["month"]}"#, to: "\(folder)/schema.json")
        let base = ["kind", "add", "send-invoice"]
        func run(_ words: [String], _ options: [String: String] = [:]) throws -> ReeveRun {
            try ReeveRun(words, ["REEVE_DATABASE_URL": control.conninfo].merging(options) { $1 })
        }
        let cases: [([String], String)] = [
            (base, "--program and --queue are needed"), (base + ["--program", "p", "--queue", "q"], "absolute path"),
            (base + ["--program", program, "--queue", "invoices", "--memory", "much"], "must be a size such as"),
            (base + ["--program", program, "--queue", "invoices", "--statuses", "activ"], "did you mean 'active'?"),
            (base + ["--program", program, "--queue", "invoices", "--schema", "/nowhere"], "cannot read /nowhere"),
            (base + ["--program", program, "--queue", "invoices", "--env", "REEVE_DATABASE_URL"], "not for programs"),
            (base + ["--program", program, "--queue", "events"], "kind_queue_check"),
        ]
        for (words, said) in cases {
            let refused = try run(words)
            #expect(refused.code == 2 && refused.err.contains(said), "\(words) \(refused)")
        }
        let all =
            base + [
                "--program", program, "--queue", "invoices", "--schema", "\(folder)/schema.json", "--timeout", "10m",
                "--memory",
                "256M", "--output", "1M", "--attempts", "7", "--statuses", "active,suspended", "--env", "HTTPS_PROXY",
                "--pin",
            ]
        let added = try run(all)
        #expect(added.code == 0 && added.err.contains("is not an executable file here"), "\(added)")
        #expect(try run(all).code == 5)
        let shown = try run(["kind", "show", "send-invoice", "--json"]).json
        #expect(shown["program"]?.string == program && shown["sha256"]?.string?.count == 64)
        #expect(shown["memory_limit"]?.int == 256 << 20 && shown["output_limit"]?.int == 1 << 20)
        #expect(shown["time_limit"]?.string == "00:10:00" && shown["max_attempts"]?.int == 7)
        #expect(shown["statuses"]?.array == ["active", "suspended"] && shown["environment"]?.array == ["HTTPS_PROXY"])
        let listed = try run(["kinds", "list", "--json"]).json.array
        #expect(listed?.first { $0["name"]?.string == "send-invoice" }?["program"]?.string == program)
        let refused = try run(["enqueue", "acme.invoices", "send-invoice"])
        #expect(refused.code == 2 && refused.err.contains("args.month is missing"), "\(refused)")
        #expect(try run(base + ["--program", program, "--queue", "invoices", "--replace"]).code == 0)
        #expect(try run(["enqueue", "acme.invoices", "send-invoice"]).code == 0)
        let doctor = try run(["doctor", "--json"])
        func programs(_ run: ReeveRun) throws -> [JSON] {
            try run.json.array?.filter { $0["check"]?.string == "programs" } ?? []
        }
        #expect(try programs(doctor).first?["verdict"]?.string == "warn")
        #expect(try programs(doctor).first?["remedy"]?.string?.contains("REEVE_PROGRAMS") == true)
        let inFolder = ["REEVE_PROGRAMS": folder]
        #expect(
            try programs(run(["doctor", "--json"], inFolder)).first?["finding"]?.string?.contains("chmod +x") == true)
        chmod(program, 0o755)
        #expect(try programs(run(["doctor", "--json"], inFolder)).first?["verdict"]?.string == "ok")
        let relative = try run(["worker"], ["REEVE_PROGRAMS": "jobs"])
        #expect(relative.code == 2 && relative.err.contains("is not an absolute path"), "\(relative)")
        let inUse = try run(["kind", "remove", "send-invoice"])
        #expect(
            inUse.code == 5 && inUse.err.contains("one job wait or run") && inUse.err.contains("--force"), "\(inUse)")
        #expect(
            try run(["kind", "remove", "send-invoice", "--force"]).out.contains(
                "is removed; jobs of it that are left: 1"))
        let brought = try run(["kind", "remove", "stocktake"])
        #expect(brought.code == 5 && brought.err.contains("a binary brings"), "\(brought)")
        let near = try run(["kind", "remove", "stocktak"])
        #expect(near.code == 2 && near.err.contains("did you mean 'stocktake'?"), "\(near)")
    }
}
