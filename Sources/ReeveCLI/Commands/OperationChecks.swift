import Glibc
import JobKit
import Postgres
import Tenancy

/// What the doctor asks about the server's settings, what holds it up, and what somebody may have forgotten.
extension DatabaseChecks {
    static let operationChecks = [
        DatabaseChecks(name: "commits", run: commits), DatabaseChecks(name: "limits", run: limits),
        DatabaseChecks(name: "snapshots", run: snapshots), DatabaseChecks(name: "versions", run: versions),
        DatabaseChecks(name: "blocks", run: blocks), DatabaseChecks(name: "dead letters", run: deadLetters),
        DatabaseChecks(name: "access", run: access),
    ]

    /// Settings with which a crash loses what was accepted.
    private static func commits(_ doctor: Doctor, _ connection: Connection) throws {
        let wrong = try connection.execute(
            """
            SELECT s.name || ' = ' || s.setting FROM pg_settings s
            WHERE (s.name = 'synchronous_commit' AND s.setting = 'off') OR (s.name IN ('fsync', 'full_page_writes') AND s.setting = 'off')
               OR (s.name IN ('autovacuum', 'track_activities') AND s.setting = 'off') ORDER BY 1
            """
        ).map { try $0.text(0) }
        let isFatal = wrong.contains { !$0.hasPrefix("autovacuum") && !$0.hasPrefix("track") }
        doctor.report(
            "commits", wrong.isEmpty ? .ok : .warn,
            wrong.isEmpty ? "commits are durable, autovacuum runs" : wrong.joined(separator: ", "),
            isFatal
                ? "a crash loses jobs that were accepted; set it to on"
                : "dead rows slow every claim down; set it to on")
    }

    /// Timeouts of this login: what keeps one forgotten transaction from slowing every claim.
    private static func limits(_ doctor: Doctor, _ connection: Connection) throws {
        let missing = try connection.execute(
            """
            SELECT name FROM pg_settings WHERE name IN ('idle_in_transaction_session_timeout', 'statement_timeout')
              AND setting::bigint = 0 ORDER BY 1
            """
        ).map { try $0.text(0) }
        let user = try connection.execute("SELECT quote_ident(current_user)")[0].text(0)
        doctor.report(
            "limits", missing.isEmpty ? .ok : .warn,
            missing.isEmpty
                ? "transactions of this login end" : "\(missing.joined(separator: " and ")) of this login is 0",
            missing.map { "ALTER ROLE \(user) SET \($0) = '60s'" }.joined(separator: "; "))
    }

    /// Whatever keeps dead rows from being removed: they slow claims within seconds.
    private static func snapshots(_ doctor: Doctor, _ connection: Connection) throws {
        let holders = try connection.execute(
            """
            SELECT format('%s (pid %s%s) for %s', a.usename, a.pid, coalesce(', ' || nullif(a.application_name, ''), ''),
                          date_trunc('second', clock_timestamp() - a.xact_start)), format('SELECT pg_terminate_backend(%s)', a.pid)
            FROM pg_stat_activity a WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
              AND a.xact_start < clock_timestamp() - interval '1 min' AND a.backend_type = 'client backend'
            UNION ALL
            SELECT format('prepared transaction %s for %s', p.gid, date_trunc('second', clock_timestamp() - p.prepared)),
                   format('ROLLBACK PREPARED %L', p.gid)
            FROM pg_prepared_xacts p WHERE p.database = current_database() AND p.prepared < clock_timestamp() - interval '1 min'
            UNION ALL
            SELECT format('replication slot %s, which nobody reads', s.slot_name), format('SELECT pg_drop_replication_slot(%L)', s.slot_name)
            FROM pg_replication_slots s WHERE NOT s.active AND (s.xmin IS NOT NULL OR s.catalog_xmin IS NOT NULL OR s.restart_lsn IS NOT NULL)
            """)
        let dead = try connection.execute(
            """
            SELECT n_dead_tup, n_live_tup FROM pg_stat_user_tables WHERE schemaname = 'reeve' AND relname = 'job'
            """
        ).first
        let (rows, live) = (try dead?.int(0) ?? 0, try dead?.int(1) ?? 0)
        if let first = holders.first {
            doctor.report(
                "snapshots", .warn,
                try holders.prefix(5).map { try $0.text(0) }.joined(separator: "; ")
                    + (rows > 0 ? "; \(rows) dead rows in reeve.job" : ""),
                "end it if it is not meant: \(try first.text(1))")
        } else {
            let isMuch = rows > 200_000 && rows > live
            doctor.report(
                "snapshots", isMuch ? .warn : .ok,
                isMuch ? "\(rows) dead rows in reeve.job" : "none is held, \(rows) dead rows in reeve.job",
                "run: VACUUM reeve.job, and see why autovacuum does not")
        }
    }

    /// Workers of other versions: a rolling release that was not finished.
    private static func versions(_ doctor: Doctor, _ connection: Connection) throws {
        guard try connection.execute("SELECT to_regclass('reeve.worker_list') IS NOT NULL")[0].bool(0) else { return }
        let others = try connection.execute(
            """
            SELECT w.version || ' on ' || string_agg(DISTINCT w.node, ', ' ORDER BY w.node) FROM reeve.worker_list w
            WHERE w.state IN ('alive', 'stopping') AND w.lease_until > reeve.clock() AND w.version <> $1::text GROUP BY w.version
            """, [reeveVersion]
        ).map { try $0.text(0) }
        doctor.report(
            "versions", others.isEmpty ? .ok : .warn,
            others.isEmpty
                ? "every worker is of version \(reeveVersion)"
                : "this is \(reeveVersion), workers: \(others.joined(separator: "; "))",
            "finish the release: restart those workers with this version")
    }

    /// Pauses, drains and isolations that have stood for a day.
    private static func blocks(_ doctor: Doctor, _ connection: Connection) throws {
        guard try connection.execute("SELECT to_regclass('reeve.block_list') IS NOT NULL")[0].bool(0) else { return }
        let rows = try connection.execute(
            """
            SELECT format('%s %s since %s by %s: %s', b.target,
                     CASE b.mode WHEN 'pause' THEN 'is paused' WHEN 'drain' THEN 'drains' ELSE 'is isolated' END,
                     to_char(b.since, 'YYYY-MM-DD'), b.actor, left(b.reason, 80)), count(*) OVER ()
            FROM reeve.block_list b WHERE b.since < reeve.clock() - interval '1 day' AND b.expires_at IS NULL
              -- Reeve's own, which end with what made them.
              AND b.reason !~ '\\((churn|purge|job) [^)]*\\)$' ORDER BY b.since LIMIT 5
            """)
        let count = try rows.first?.int(1) ?? 0
        let more = count > 5 ? " and \(count - 5) more" : ""
        doctor.report(
            "blocks", rows.isEmpty ? .ok : .warn,
            rows.isEmpty
                ? "nothing has been paused for a day" : try rows.map { try $0.text(0) }.joined(separator: "; ") + more,
            "if it was forgotten: reeve queue resume TARGET, or reeve tenant rejoin CODE")
    }

    private static func deadLetters(_ doctor: Doctor, _ connection: Connection) throws {
        guard try connection.execute("SELECT to_regprocedure('reeve.dead_groups(jsonb, int)') IS NOT NULL")[0].bool(0),
            try connection.execute("SELECT has_function_privilege('reeve.dead_groups(jsonb, int)', 'EXECUTE')")[0].bool(
                0)
        else { return }
        let rows = try connection.execute(
            """
            SELECT format('%s × %s: %s', g.count, g.kind, left(g.cause, 80)), sum(g.count) OVER ()
            FROM reeve.dead_groups(jsonb_build_object('redriven', false, 'since', reeve.clock() - interval '1 day')) g LIMIT 3
            """)
        let count = try rows.first?.int(1) ?? 0
        doctor.report(
            "dead letters", count == 0 ? .ok : .warn,
            count == 0
                ? "none in a day" : "\(count) in a day: \(try rows.map { try $0.text(0) }.joined(separator: "; "))",
            "see: reeve dead groups; then reeve dead redrive")
    }

    /// What lets a tenant reach another one's rows.
    private static func access(_ doctor: Doctor, _ connection: Connection) throws {
        // Without the key that opens the administrators' passwords, which has a finding of its own, nobody can look.
        guard try connection.execute("SELECT to_regclass('reeve.tenant_store') IS NOT NULL")[0].bool(0),
            try connection.execute("SELECT has_table_privilege('reeve.tenant_store', 'SELECT')")[0].bool(0),
            try doctor.invocation.configuration.makeSealer() != nil
        else { return }
        let faults = try doctor.invocation.withTenancy { registry, _ in try registry.accessFaults() }
        for fault in faults.prefix(10) { doctor.report("access", .fail, fault.finding, fault.remedy) }
        if faults.count > 10 {
            doctor.report("access", .fail, "and \(faults.count - 10) more of this", "mend those and look again")
        }
        if faults.isEmpty { doctor.report("access", .ok, "every tenant's login reaches its own alone") }
    }
}

extension Doctor {
    /// What of this process's surroundings has surprised programs that Reeve runs.
    func checkSurroundings() {
        if Environment.current["AWS_CA_BUNDLE"] != nil {
            report(
                "environment", .warn, "AWS_CA_BUNDLE is set, with which rclone's calls to S3 fail",
                "use RCLONE_CA_CERT instead; Reeve does not hand it on")
        }
        var files = rlimit()
        if getrlimit(__rlimit_resource_t(7), &files) == 0 {  // RLIMIT_NOFILE, an enumeration's case in Glibc
            let isLow = files.rlim_cur < 1024
            report(
                "open files", isLow ? .warn : .ok, "\(files.rlim_cur) allowed",
                "raise it for workers: ulimit -n 4096, or LimitNOFILE=4096")
        }
        let folder = Environment.current["TMPDIR"] ?? "/tmp"
        var space = statvfs()
        guard statvfs(folder, &space) == 0 else {
            return report(
                "temporary files", .fail, "\(folder): \(String(cString: strerror(errno)))", "set TMPDIR to a folder")
        }
        let free = Int64(space.f_bavail) * Int64(space.f_frsize)
        report(
            "temporary files", free < 1 << 30 ? .warn : .ok, "\(Durations.bytes(free)) free in \(folder)",
            "reports, exports and programs need room there: free some, or set TMPDIR")
    }
}
