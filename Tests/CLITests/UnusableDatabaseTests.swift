import EmbeddedPostgres
import Glibc
import JobKit
import Postgres
import ReeveTesting
import Testing

@Suite("A control database that cannot be used")
struct UnusableDatabaseTests {
    private static let commands = [["enqueue", "acme.reports", "stocktake"], ["worker"]]

    @Test("down: enqueue and worker end with 69, the doctor with 1, and all say what to check")
    func down() throws {
        try expect(
            69, ["cannot reach the control database"], "check REEVE_DATABASE_URL",
            "host=127.0.0.1 port=1 dbname=reeve user=reeve")
    }

    @Test("read-only by its settings: enqueue and worker end with 69, the doctor with 1, and all name the primary")
    func readOnly() throws {
        let control = try ControlFixture()
        try expect(
            69, ["read-only"], "point REEVE_DATABASE_URL at the primary",
            control.conninfo + " options='-c default_transaction_read_only=on'")
    }

    @Test("a standby: enqueue and worker end with 69, the doctor with 1, and all name the primary; lists still work")
    func standby() throws {
        let server = try TestServer.make("cli-standby")
        defer { server.stop(immediately: true) }
        let control = try ControlFixture(server)
        server.stop()
        // Without a primary to follow it stays in recovery, as a standby whose primary is gone.
        try ReeveRun.write("", to: "\(server.directory)/data/standby.signal")
        try server.start()
        try expect(69, ["read-only"], "point REEVE_DATABASE_URL at the primary", control.conninfo)
        #expect(try control.run("jobs", "list").code == 0)
        let connection = try Connection(control.settings)
        defer { connection.close() }
        #expect(try connection.execute("SELECT pg_is_in_recovery()")[0].bool(0))
    }

    @Test("at max_connections: enqueue and worker end with 75, the doctor with 1, and all say what frees some")
    func full() throws {
        let server = try TestServer.make(
            "cli-no-slots",
            settings: ["max_connections": "4", "superuser_reserved_connections": "0", "max_wal_senders": "0"])
        defer { server.stop(immediately: true) }
        let conninfo = server.conninfo(database: "postgres")
        var held: [Connection] = []
        defer { for connection in held { connection.close() } }
        // Until it is full: backends of the server's own start may still be there.
        while held.count < 10, let next = try? Connection(ConnectionSettings(conninfo)) { held.append(next) }
        try expect(75, ["no connection left"], "raise max_connections", conninfo)
    }

    /// Runs what changes and what serves, and the doctor; `found` and `remedy` must be said by each.
    private func expect(_ code: Int32, _ found: [String], _ remedy: String, _ conninfo: String) throws {
        let environment = ["REEVE_DATABASE_URL": conninfo]
        for words in Self.commands {
            let run = try ReeveRun(words, environment)
            #expect(run.code == code && run.err.contains(remedy), "\(words) \(run)")
            for text in found { #expect(run.err.contains(text), "\(words) \(run)") }
        }
        let doctor = try ReeveRun(["doctor", "--json"], environment)
        let failed = try doctor.json.array?.filter { $0["verdict"]?.string == "fail" } ?? []
        #expect(doctor.code == 1, "\(doctor)")
        #expect(
            failed.contains { check in
                found.allSatisfy { check["finding"]?.string?.contains($0) == true }
                    && check["remedy"]?.string?.contains(remedy) == true
            }, "\(doctor)")
    }
}
