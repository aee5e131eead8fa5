import Crypto
import Glibc
import JobKit
import Postgres
import ReeveTesting
import Testing

@testable import ReeveCLI

@Suite struct OutboxCommandTests {
    @Test("an outbox is installed, listed, resumed and removed, and each refusal has its exit code")
    func outbox() throws {
        let fixture = try ControlFixture()
        let folder = ScratchFolder()
        _ = try SecretKey.generate(toFile: folder.path + "/key")
        let options = ["REEVE_KEY_FILE": folder.path + "/key"]
        let settings = try TestServer.freshDatabase()
        let service = settings.conninfo
        let name = "shop-\(settings["dbname"]?.filter(\.isNumber) ?? "")"

        #expect(try fixture.run("outbox", "list", "--json").json == [])
        #expect(try fixture.run("outbox", "install", service, "--name", name).code == ExitCode.usage.rawValue)
        let revealing = try fixture.run("outbox", "install", "host=x password=hunter2", options: options)
        #expect(revealing.code == ExitCode.usage.rawValue && !revealing.all.contains("hunter2"))
        let away = try fixture.run("outbox", "install", "host=/nowhere dbname=x", "--name", name, options: options)
        #expect(away.code == ExitCode.unavailable.rawValue, "\(away.all)")
        let wrong = try fixture.run("outbox", "install", service, "--name", "Shop!", options: options)
        #expect(wrong.code == ExitCode.usage.rawValue)
        let nobody = try fixture.run(
            "outbox", "install", service, "--name", name, "--tenant", "nobody", options: options)
        #expect(nobody.code == ExitCode.notFound.rawValue)
        let made = try fixture.run("outbox", "install", service, "--name", name, "--json", options: options)
        #expect(made.code == 0, "\(made.all)")
        #expect(try made.json["outbox"]?.string == name)
        #expect(try fixture.run("outbox", "install", service, "--name", name, options: options).code == 0)
        let listed = try fixture.run("outbox", "list", "--json").json.array ?? []
        #expect(listed.count == 1 && listed[0]["state"]?.string == "unattended")
        #expect(!(try fixture.run("outbox", "status", name)).all.contains("password"))
        #expect(try fixture.run("outbox", "status", "nothing").code == ExitCode.notFound.rawValue)
        #expect(try fixture.run("outbox", "resume", name, "--reason", "a test").code == 0)
        #expect(try fixture.run("outbox", "resume", "nothing").code == ExitCode.notFound.rawValue)
        #expect(try fixture.run("doctor", "--json").out.contains("no relay holds \(name)"))
        #expect(try fixture.run("outbox", "remove", name, service).code == ExitCode.refused.rawValue)
        #expect(try fixture.run("outbox", "remove", name, service, "--yes").code == 0)
        #expect(try fixture.run("outbox", "list", "--json").json == [])
        let connection = try Connection(settings)
        defer { connection.close() }
        #expect(try connection.execute("SELECT to_regnamespace('reeve') IS NULL")[0].bool(0))
    }

    @Test("events are asked for by name, shown, and switched off")
    func events() throws {
        let fixture = try ControlFixture()
        #expect(try fixture.run("events", "set", "--types", "job.lost").code == ExitCode.usage.rawValue)
        let set = try fixture.run(
            "events", "set", "--types", "job.succeeded,tenant.status", "--audit", "--keep", "30d", "--json")
        #expect(set.code == 0 && set.err == "", "\(set.all)")
        let shown = try fixture.run("events", "show", "--json").json
        #expect(shown["types"] == ["job.succeeded", "tenant.status"] && shown["audit"] == true)
        #expect(try fixture.run("doctor", "--json").out.contains("nobody sends them"))
        #expect(try fixture.run("events", "off").code == 0)
        #expect(try fixture.run("events", "show", "--json").json["types"] == [])
    }
}
