import Glibc
import JobKit
import Postgres
import PostgresQueue
import Processes
import Program

/// What the doctor asks the control database.
struct DatabaseChecks: Sendable {
    let name: String
    let run: @Sendable (Doctor, Connection) throws -> Void

    static let all =
        [
            DatabaseChecks(name: "server", run: server), DatabaseChecks(name: "schema", run: schema),
            DatabaseChecks(name: "roles", run: roles), DatabaseChecks(name: "connections", run: connections),
            DatabaseChecks(name: "durability", run: durability),
            DatabaseChecks(name: "clock", run: clock), DatabaseChecks(name: "workers", run: workers),
            DatabaseChecks(name: "counters", run: counters), DatabaseChecks(name: "circuits", run: circuits),
            DatabaseChecks(name: "programs", run: programs), DatabaseChecks(name: "holds", run: holds),
            DatabaseChecks(name: "backups", run: backups), DatabaseChecks(name: "proofs", run: proofs),
            DatabaseChecks(name: "schedules", run: schedules), DatabaseChecks(name: "erasures", run: erasures),
            DatabaseChecks(name: "audit", run: audit), DatabaseChecks(name: "functions", run: functions),
            DatabaseChecks(name: "outboxes", run: outboxes), DatabaseChecks(name: "events", run: events),
        ] + keyChecks + mailChecks + operationChecks + kafkaChecks

    private static func server(_ doctor: Doctor, _ connection: Connection) throws {
        doctor.serverVersion = connection.serverVersion
        let row = try connection.execute(
            """
            SELECT current_setting('server_version'), pg_is_in_recovery(),
                   current_setting('default_transaction_read_only') = 'on'
            """
        )[0]
        let version = try row.text(0)
        if connection.serverVersion < 140_000 {
            doctor.report("server", .fail, "PostgreSQL \(version)", "Reeve needs PostgreSQL 14 or newer")
        } else if try row.bool(1) || row.bool(2) {
            doctor.report(
                "server", .fail, "PostgreSQL \(version), read-only", "point REEVE_DATABASE_URL at the primary")
        } else {
            doctor.report("server", .ok, "PostgreSQL \(version)\(connection.usesTLS ? ", TLS" : "")")
        }
    }

    private static func schema(_ doctor: Doctor, _ connection: Connection) throws {
        let status: MigrationStatus
        do {
            status = try Migrator(connection).status()
        } catch {
            return doctor.report("schema", .fail, "\(error)", "connect as a role that may read schema reeve")
        }
        if status.isTooNew {
            doctor.report("schema", .fail, "version \(status.version) is newer than this program", "use a newer reeve")
        } else if status.isCurrent {
            doctor.report("schema", .ok, "version \(status.version)")
        } else {
            doctor.report(
                "schema", .fail, "version \(status.version), \(status.pending.count) to apply", "run: reeve migrate up")
        }
    }

    private static func roles(_ doctor: Doctor, _ connection: Connection) throws {
        let row = try connection.execute(
            """
            SELECT current_user::text, coalesce(string_agg(r.rolname, ', ' ORDER BY r.rolname), ''),
                   (SELECT s.rolsuper FROM pg_roles s WHERE s.rolname = current_user)
            FROM pg_roles r WHERE r.rolname LIKE 'reeve\\_%' AND pg_has_role(current_user, r.oid, 'MEMBER')
            """)[0]
        let (user, member) = (try row.text(0), try row.text(1))
        if try row.bool(2) {
            doctor.report(
                "roles", .warn, "\(user) is a superuser", "give workers a login that is only a member of reeve_worker")
        } else if member.isEmpty {
            doctor.report(
                "roles", .fail, "\(user) is a member of no role of Reeve",
                "run: GRANT reeve_operator TO \(connection.quoteIdentifier(user))")
        } else {
            doctor.report("roles", .ok, "\(user): \(member)")
        }
    }

    private static func connections(_ doctor: Doctor, _ connection: Connection) throws {
        let row = try connection.execute(
            """
            SELECT count(*),
                   current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            FROM pg_stat_activity WHERE backend_type = 'client backend'
            """)[0]
        let (used, all) = (try row.int(0), try row.int(1))
        let left = max(all - used, 0)
        doctor.report(
            "connections", left * 10 < all ? .warn : .ok, "\(left) of \(all) left",
            "raise max_connections, or put a pooler in front")
    }

    private static func clock(_ doctor: Doctor, _ connection: Connection) throws {
        let before = time(nil)
        let server = try connection.execute("SELECT extract(epoch FROM clock_timestamp())::bigint")[0].int(0)
        let skew = abs(Int(server) - (before + time(nil)) / 2)
        doctor.report(
            "clock", skew > 5 ? .warn : .ok, skew <= 1 ? "agrees with the server's" : "\(skew) s from the server's",
            "run an NTP client; the server's clock decides, but logs will not line up")
    }

    private static func workers(_ doctor: Doctor, _ connection: Connection) throws {
        guard try hasSchema(connection) else { return }
        let rows = try connection.execute(
            """
            SELECT r.name, (SELECT count(*) FROM reeve.worker_list w
                            WHERE w.state = 'alive' AND w.lease_until > reeve.clock() AND w.pools ? r.name)
            FROM reeve.tier r ORDER BY r.concurrency, r.name
            """)
        var unserved: [String] = []
        var words: [String] = []
        for row in rows {
            let (tier, count) = (try row.text(0), try row.int(1))
            if count == 0 { unserved.append(tier) }
            words.append("\(tier) \(count)")
        }
        if unserved.isEmpty {
            doctor.report("workers", .ok, words.joined(separator: ", "))
        } else {
            doctor.report(
                "workers", .warn, "nobody serves \(unserved.joined(separator: ", "))",
                "start one with: reeve worker --tiers \(unserved.joined(separator: ","))")
        }
    }

    private static func counters(_ doctor: Doctor, _ connection: Connection) throws {
        guard try hasSchema(connection) else { return }
        let faults = try connection.execute("SELECT count(*) FROM reeve.counter_fault")[0].int(0)
        doctor.report(
            "counters", faults == 0 ? .ok : .fail,
            faults == 0 ? "equal to what they count" : "\(faults) tenants' differ",
            "report this as a defect, with the rows of reeve.counter_fault")
    }

    private static func circuits(_ doctor: Doctor, _ connection: Connection) throws {
        guard try hasSchema(connection) else { return }
        let open = try connection.execute(
            "SELECT server || '/' || database || ' (' || error || ')' FROM reeve.circuit_list ORDER BY 1"
        ).map { try $0.text(0) }
        doctor.report(
            "circuits", open.isEmpty ? .ok : .warn,
            open.isEmpty ? "every tenant database answered" : "down: \(open.joined(separator: ", "))",
            "bring those databases back; their tenants' jobs wait, at no cost of attempts")
    }

    /// Whether a worker with this configuration could run the kinds in other languages.
    private static func programs(_ doctor: Doctor, _ connection: Connection) throws {
        guard try connection.execute("SELECT to_regclass('reeve.exec_kind') IS NOT NULL")[0].bool(0) else { return }
        let kinds = try connection.execute("SELECT name, program, sha256 FROM reeve.exec_kind ORDER BY name")
        let folders = try doctor.invocation.configuration.programFolders()
        if folders.paths.isEmpty {
            return doctor.report(
                "programs", kinds.isEmpty ? .ok : .warn, "a worker here runs no kinds in other languages",
                "set REEVE_PROGRAMS to the folders of their programs")
        }
        var isWell = true
        for row in kinds {
            do { _ = try folders.check(row.text(1), sha256: row.optionalText(2)) } catch let failure as JobFailure {
                isWell = false
                doctor.report(
                    "programs", .warn, "\(try row.text(0)): \(failure.message)", "its jobs are held until then")
            }
        }
        if !Confinement.isSupported {
            doctor.report(
                "programs", .warn, "this kernel cannot hide the worker's files from programs",
                "enable Landlock (Linux 5.13 or newer, lsm=landlock,…)")
        } else if isWell {
            doctor.report("programs", .ok, "\(kinds.count) in \(folders.paths.joined(separator: ", ")), confined")
        }
    }

    private static func hasSchema(_ connection: Connection) throws -> Bool {
        try connection.execute("SELECT to_regclass('reeve.circuit_list') IS NOT NULL")[0].bool(0)
    }
}
