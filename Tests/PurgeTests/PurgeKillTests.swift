import EmbeddedPostgres
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Storage
import Testing

@testable import Purge

@Suite("A purge that is killed")
struct PurgeKillTests {
    @Test(
        "with kill -9 before, in and after every step goes on where it stopped, and nothing is left",
        arguments: Isolation.allCases)
    func kills(isolation: Isolation) throws {
        let fixture = try PurgeFixture()
        let acme = try fixture.tenant("acme", isolation)
        let other = try fixture.tenant("other", isolation, marker: "THEIRS", isBackedUp: false)
        let theirs = try fixture.contents(other)
        let request = try fixture.request(acme)
        try fixture.approve(acme)
        // Each process comes one point further than the one before it.
        let points = PurgeStep.allCases.flatMap { step -> [String] in
            let inside =
                switch step {
                case .data: ["batch 1"]
                case .objects: ["batch objects"]
                case .records: ["batch records"]
                case .keys: ["batch key"]
                default: [String]()
                }
            return ["in \(step)"] + inside + ["after \(step)"]
        }
        for point in points {
            #expect(try run(fixture, killedAt: point) == .signalled(SIGKILL), "\(point)")
            // A job that was the only suspect in three crashes is dead; an operator lets the purge go on.
            let isDead = try fixture.value(
                "SELECT 1 FROM reeve.purge_request r JOIN reeve.dead_letter d ON d.id = r.job_id WHERE r.ended_at IS NULL"
            )
            if isDead != nil {
                _ = try fixture.connection.execute("SELECT reeve.resume_purge($1::text, 'crashed')", [acme.code])
            }
        }
        #expect(try run(fixture, killedAt: "-") == .exited(0))
        #expect(try fixture.state(acme) == "certified")
        // Its own dead jobs stay: they say nothing of the tenant.
        let traces = try fixture.traces(acme).filter { $0 != "reeve.dead_letter" && $0 != "reeve.job_history" }
        #expect(traces == PurgeJobTests.evidence.filter { $0 != "reeve.job_history" })
        #expect(try fixture.contents(other) == theirs)
        #expect(
            try fixture.value("SELECT count(*) FROM reeve.certificate WHERE request_id = $1::uuid", [request]) == "1")
        #expect(try fixture.value("SELECT count(*) FROM reeve.notice WHERE tenant_id = $1::uuid", [acme.id]) == "1")
        // Every step is finished once, however often it was begun.
        let steps = try fixture.value(
            "SELECT count(*) || ' ' || count(finished_at) FROM reeve.purge_step WHERE request_id = $1::uuid", [request])
        #expect(steps == "\(PurgeStep.allCases.count) \(PurgeStep.allCases.count)")
        let place = try fixture.storage.within(["retained", request.uuidString.lowercased()])
        #expect(try !place.contents(of: acme.id).isEmpty, "the final backup is kept for its time")
        // And its end, too.
        _ = try fixture.connection.execute("UPDATE reeve.retained_backup SET kept_until = reeve.clock()")
        _ = try fixture.connection.execute("SELECT reeve.tend_purges()")
        for point in ["before end", "after end", "end certified"] {
            #expect(try run(fixture, killedAt: point) == .signalled(SIGKILL), "\(point)")
        }
        #expect(try run(fixture, killedAt: "-") == .exited(0))
        #expect(try place.contents(of: acme.id).isEmpty)
        #expect(
            try fixture.value("SELECT count(*) FROM reeve.certificate WHERE request_id = $1::uuid", [request]) == "2")
    }

    /// Runs a worker process to its end, and gives its jobs back as the fleet does with a dead worker's.
    private func run(_ fixture: PurgeFixture, killedAt point: String) throws -> Processes.ExitStatus {
        var printed: [UInt8] = []
        let ended = try ChildProcess.run(
            program: BuiltProducts.path("purge-worker"),
            arguments: [
                fixture.server.conninfo(database: fixture.settings["dbname"] ?? ""), fixture.folder, point,
            ],
            environment: ["PATH": "/usr/local/bin:/usr/bin:/bin"], supervisor: BuiltProducts.supervisor
        ) { printed += $0 }
        if ended.exit == .exited(1) { Issue.record("\(point): \(ended.standardError)") }
        let worker = String(decoding: printed.prefix(36), as: UTF8.self)
        _ = try fixture.connection.execute("SELECT reeve.rescue($1::uuid)", [worker])
        return ended.exit
    }
}
