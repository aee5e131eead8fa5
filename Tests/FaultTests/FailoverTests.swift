import EmbeddedPostgres
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Testing

extension Faults {
    @Suite struct FailoverTests {
        @Test(
            "claims and ends that a failover forgot change nothing on the promoted server; those jobs run again, once")
        func promotion() throws {
            var random = SeededGenerator.fromEnvironment()
            let fleet = try FaultFleet("primary")
            let standby = try TestServer.makeStandby(of: fleet.server, "standby")
            defer { standby.stop(immediately: true) }
            // As operators write it: both servers, whichever can be written to.
            fleet.route =
                "host=\(fleet.server.socketDirectory),\(standby.socketDirectory) port=\(fleet.server.port),\(standby.port) "
                + "user=\(EmbeddedPostgres.superuser) dbname=\(fleet.database) passfile=\(fleet.server.passwordFile) target_session_attrs=read-write"
            // What the handlers did is not for the failover to forget.
            let history = try TestServer.freshDatabase()
            try fleet.keepHistory(in: history, TestServer.shared.conninfo(database: history["dbname"] ?? "postgres"))
            for _ in 0..<2 { try fleet.startWorker() }
            let long = try fleet.enqueue("ignore", ms: 6000)
            try fleet.enqueue(400, using: &random)
            #expect(try TestServer.isReplayed(fleet.server, by: standby), "the standby does not follow")
            let standbySettings = try ConnectionSettings(standby.conninfo(database: fleet.database))
            try stopReceiving(standby)
            // From here on the standby misses what the primary commits: claims, ends, leases.
            let known = try number(standbySettings, "SELECT count(*) FROM claim_log")
            #expect(
                try eventually {
                    try fleet.number("SELECT count(*) FROM claim_log") > known + 20 && fleet.unfinished() > 50
                })
            #expect(try eventually { try number(history, "SELECT count(*) FROM fault_log WHERE job_id = \(long)") > 0 })
            let forgotten = try claims(fleet.settings)
            // More than a sequence writes ahead (src/backend/commands/sequence.c: 32).
            let lost = try fleet.number(
                """
                SELECT max(reeve.enqueue('fault-1.probe', 'probe', '{"ms": 1, "deed": "work"}', run_at => now() + interval '1 day'))
                FROM generate_series(1, 100)
                """)
            fleet.server.stop(immediately: true)
            let promoter = try Connection(standbySettings)
            #expect(try promoter.execute("SELECT pg_promote()")[0].bool(0))
            promoter.close()
            try fleet.moveTo(standby)
            let remembered = try claims(fleet.settings)
            #expect(forgotten.subtracting(remembered).count > 3, "the failover lost no claim: the test proved nothing")
            #expect(try fleet.number("SELECT reeve.id_base()") == 10_000_000_000)
            #expect(
                try fleet.enqueue("work", ms: 1) > max(lost, 10_000_000_000),
                "the number of a job that was lost is given again")
            #expect(fleet.terminate(0), "a worker did not end on SIGTERM after the failover")
            try fleet.startWorker()
            try finishAndExpectPromises(fleet, beforeChecks: { try fleet.adoptHistory(from: history) })
            let ends = try fleet.withControl { control in
                try control.execute("SELECT lease_id::text FROM reeve.job_history WHERE state = 'succeeded'").map {
                    try $0.text(0)
                }
            }
            let doubled = Set(ends).intersection(forgotten.subtracting(try claims(fleet.settings)))
            #expect(doubled.isEmpty, "an end under a lease that the failover forgot was accepted")
        }

        private func claims(_ settings: ConnectionSettings) throws -> Set<String> {
            let control = try Connection(settings)
            defer { control.close() }
            return Set(try control.execute("SELECT DISTINCT lease_id::text FROM claim_log").map { try $0.text(0) })
        }

        private func number(_ settings: ConnectionSettings, _ sql: String) throws -> Int64 {
            let control = try Connection(settings)
            defer { control.close() }
            return try control.execute(sql)[0].int(0)
        }

        /// Ends the stream, and has what came replayed: what comes after is on the primary alone.
        private func stopReceiving(_ standby: EmbeddedPostgres) throws {
            let control = try Connection(ConnectionSettings(standby.conninfo(database: "postgres")))
            defer { control.close() }
            _ = try control.execute("ALTER SYSTEM SET primary_conninfo = ''")
            _ = try control.execute("SELECT pg_reload_conf()")
            // What came is replayed; the last of it may be half a record, so that replay never gets as far as was received.
            var place: String?
            #expect(
                try eventually {
                    let row = try control.execute(
                        "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver), pg_last_wal_replay_lsn()::text")[0]
                    let now = try row.bool(0) ? nil : row.optionalText(1)
                    defer { place = now }
                    if now == nil || now != place {
                        usleep(200_000)
                        return false
                    }
                    return true
                })
        }
    }
}
