import EmbeddedPostgres
import Glibc
import JobKit
import Postgres
import ReeveTesting
import Testing

@testable import ReeveCLI

@Suite struct DependencyTests {
    @Test("a control database that is down ends with 69 and names the setting, without the password")
    func down() throws {
        let run = try ReeveRun(["jobs", "list"], ["REEVE_DATABASE_URL": "postgres://reeve:CANARY@127.0.0.1:1/reeve"])
        #expect(run.code == 69 && run.err.contains("cannot reach the control database"), "\(run)")
        #expect(
            run.err.contains("REEVE_DATABASE_URL") && run.err.contains("password=***") && !run.all.contains("CANARY"))
    }

    @Test("a wrong password is not printed by any command")
    func wrongPassword() throws {
        let control = try ControlFixture()
        let settings = control.settings.with(["password": "CANARY-wrong"])
        let conninfo = settings.conninfo
        for (path, command) in HelpTests.walk(Command.table) where command.run != nil {
            if ["dev", "bench", "key"].contains(path[0]) || path == ["server", "add"] { continue }
            let words = path + command.arguments.filter { !$0.isOptional }.map { _ in "1" }
            let run = try ReeveRun(words, ["REEVE_DATABASE_URL": conninfo, "REEVE_REPORTS": "/"])
            #expect(!run.all.contains("CANARY"), "\(path)")
            let looksFirst =
                [["tenant", "update"], ["tenant", "set-tier"], ["kind", "add"], ["report", "list"]].contains(path)
                || HelpTests.looksFirst.contains(path)
            if !["config", "doctor", "completion", "man"].contains(path[0]) && !looksFirst {
                #expect(run.code == 69, "\(path) \(run)")
            }
        }
    }

    @Test("a read-only control database ends a change with 69 and says so")
    func readOnly() throws {
        let control = try ControlFixture()
        let options = ["REEVE_DATABASE_URL": control.conninfo + " options='-c default_transaction_read_only=on'"]
        let run = try control.run("enqueue", "acme.reports", "stocktake", options: options)
        #expect(
            run.code == 69 && run.err.contains("the control database is read-only") && run.err.contains("primary"),
            "\(run)")
        #expect(try control.run("jobs", "list", options: options).code == 0)
        let doctor = try control.run("doctor", "--json", options: options)
        #expect(doctor.code == 1)
        #expect(
            try doctor.json.array?.contains { $0["check"]?.string == "server" && $0["verdict"]?.string == "fail" }
                == true)
    }

    @Test("a server without a connection left ends with 75 and says what helps")
    func full() throws {
        let server = try TestServer.make(
            "cli-full",
            settings: ["max_connections": "4", "superuser_reserved_connections": "0", "max_wal_senders": "0"])
        defer { server.stop(immediately: true) }
        let settings = try ConnectionSettings(server.conninfo(database: "postgres"))
        var held: [Connection] = []
        defer { for connection in held { connection.close() } }
        while held.count < 10, let next = try? Connection(settings) { held.append(next) }
        let run = try ReeveRun(["jobs", "list"], ["REEVE_DATABASE_URL": server.conninfo(database: "postgres")])
        #expect(
            run.code == 75 && run.err.contains("no connection left") && run.err.contains("max_connections"), "\(run)")
    }

    @Test("a database without the schema ends with 69 and names migrate; status then says 5, and up mends it")
    func noSchema() throws {
        let settings = try TestServer.freshDatabase()
        let environment = [
            "REEVE_DATABASE_URL": settings.conninfo
        ]
        let run = try ReeveRun(["jobs", "list"], environment)
        #expect(run.code == 69 && run.err.contains("reeve migrate up"), "\(run)")
        let before = try ReeveRun(["migrate", "status"], environment)
        #expect(before.code == 5 && before.out.contains("behind"))
        #expect(try ReeveRun(["doctor"], environment).code == 1)
        #expect(try ReeveRun(["migrate", "up"], environment).code == 0)
        #expect(try ReeveRun(["kinds", "list"], environment).out.contains("backup"))
        #expect(try ReeveRun(["migrate", "status", "--json"], environment).json["current"] == true)
        #expect(try ReeveRun(["migrate", "up"], environment).out.contains("nothing to do"))
        let connection = try Connection(settings)
        try connection.executeScript("INSERT INTO reeve.schema_migration (number, name) VALUES (9999, 'later')")
        connection.close()
        let newer = try ReeveRun(["migrate", "up"], environment)
        #expect(newer.code == 5 && newer.err.contains("newer reeve"))
    }

    @Test("a login without Reeve's roles is refused with 4 and told which role it needs")
    func noRights() throws {
        let control = try ControlFixture()
        let connection = try Connection(control.settings)
        try connection.executeScript(
            "DROP ROLE IF EXISTS cli_stranger; CREATE ROLE cli_stranger LOGIN PASSWORD 'stranger'")
        connection.close()
        let settings = control.settings.with(["user": "cli_stranger", "password": "stranger"])
        let conninfo = settings.conninfo
        let run = try control.run("jobs", "list", options: ["REEVE_DATABASE_URL": conninfo])
        #expect(run.code == 4 && run.err.contains("reeve_operator"), "\(run)")
        let doctor = try control.run("doctor", options: ["REEVE_DATABASE_URL": conninfo])
        #expect(doctor.code == 1 && doctor.out.contains("GRANT reeve_operator TO"), "\(doctor)")
    }

    @Test("the doctor names what is missing: storage, key, workers")
    func doctor() throws {
        let control = try ControlFixture()
        func verdict(_ run: ReeveRun, _ check: String) throws -> String? {
            try run.json.array?.first { $0["check"]?.string == check }?["verdict"]?.string
        }
        let folder = try #require(TemporaryFolder.make("/tmp/reeve-doctor-test."))
        defer { for name in ["key", "pg_dump", ""] { remove("\(folder)/\(name)") } }
        try ReeveRun.write(String(repeating: "ab", count: 32), to: "\(folder)/key")
        chmod("\(folder)/key", 0o644)
        let open = try control.run(
            "doctor", "--json", "--storage", folder, "--key-file", "\(folder)/key", "--region", "eu")
        #expect(
            try verdict(open, "key") == "fail" && verdict(open, "storage") == "ok" && verdict(open, "workers") == "warn"
        )
        chmod("\(folder)/key", 0o600)
        let well = try control.run(
            "doctor", "--json", "--storage", folder, "--key-file", "\(folder)/key", "--region", "eu")
        #expect(well.code == 0, "\(well)")
        try ReeveRun.write("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n", to: "\(folder)/pg_dump")
        chmod("\(folder)/pg_dump", 0o755)
        let lost = try control.run(
            "doctor", "--json", "--storage", "/nowhere", options: ["PATH": "\(folder):/usr/bin:/bin"])
        #expect(lost.out.contains("9.6.24 cannot dump a server of version"))
        #expect(
            try lost.code == 1 && verdict(lost, "storage") == "fail" && verdict(lost, "pg_dump") == "fail", "\(lost)")
    }
}
