import Glibc
import JobKit
import Postgres

extension Command {
    static let backupRetain = Command(
        "retain", "delete backups, reports and exports that have expired, and objects that nothing names",
        details: """
            Runs a job for each tenant. A backup stays while its tenant is held, it is pinned, it has not expired, a restore
            reads it, it is the tenant's last verified one (or, when none is, the newest), or one of the newest that the tier
            keeps. --dry-run says what would go and why each other one stays; it deletes nothing and looks at no storage.
            Exit code 1 when a job failed or storage refused a deletion, 75 when a tenant's queue takes no jobs.
            """,
        options: [
            CommandOption("tenant", "CODE", "of this tenant"), .flag("all", "of every tenant that is not archived"),
            .flag("dry-run", "only say what would go"), .flag("no-wait", "do not wait for the jobs"),
            CommandOption("timeout", "TIME", "how long to wait (1h)", .duration),
        ],
        examples: [
            "reeve backup retain --tenant acme --dry-run", "reeve backup retain --all --no-wait",
        ]
    ) { invocation in
        let connection = try invocation.connect()
        let tenant = invocation.string("tenant")
        guard (tenant != nil) != invocation.flag("all") else {
            throw CommandError(.usage, "say --tenant CODE or --all", hint: "see: reeve backup retain --help")
        }
        let codes = try connection.execute(
            """
            SELECT t.code FROM reeve.tenant t
            WHERE CASE WHEN $1::text IS NULL THEN t.status <> 'archived' ELSE t.code = $1::text END ORDER BY t.code
            """, [tenant]
        ).map { try $0.text(0) }
        if let tenant, codes.isEmpty { throw unknownTenant(tenant) }
        if invocation.flag("dry-run") { return try planned(codes, invocation, connection) }
        let (jobs, isComplete) = try enqueueRetention(codes, invocation, connection)
        if invocation.flag("no-wait") {
            invocation.output.list(
                jobs.map { ["tenant": .string($0.code), "job": .int($0.id)] },
                [Column("TENANT", "tenant"), Column("JOB", "job", .number)], empty: "no tenants")
            return isComplete ? .done : .tryAgain
        }
        let code = try waitForRetention(jobs, invocation, connection)
        return code == .done && !isComplete ? .tryAgain : code
    }

    private static func planned(
        _ codes: [String], _ invocation: Invocation, _ connection: Connection
    ) throws -> ExitCode {
        let plan = try connection.execute(
            """
            SELECT to_jsonb(r) || jsonb_build_object('tenant', t.code)
            FROM reeve.tenant t CROSS JOIN LATERAL reeve.backup_retention(t.id) r
            WHERE t.code = ANY ($1::text[]) ORDER BY t.code, r.created_at, r.backup
            """, [codes]
        ).map { try $0.json(0) }
        let columns = [
            Column("TENANT", "tenant"), Column("ID", "backup", .number), Column("MADE", "created_at", .time),
            Column("EXPIRES", "expires_at", .time), Column("SIZE", "bytes", .bytes), Column("VERDICT", "verdict"),
            Column("WHY", "why"),
        ]
        invocation.output.list(plan, columns, empty: "no backups")
        let going = plan.filter { $0["verdict"]?.string == "delete" }
        if !plan.isEmpty && !invocation.output.isJSON {
            let bytes = going.reduce(0) { $0 + ($1["bytes"]?.int ?? 0) }
            invocation.output.message(
                "would delete \(going.count) of \(plan.count) backups, \(Durations.bytes(bytes)); nothing was deleted")
        }
        return .done
    }

    /// A job that waits already does what a new one would. A tenant whose queue refuses new jobs does not stop the others.
    private static func enqueueRetention(
        _ codes: [String], _ invocation: Invocation, _ connection: Connection
    ) throws -> (jobs: [(code: String, id: Int64)], isComplete: Bool) {
        var jobs: [(code: String, id: Int64)] = []
        for code in codes {
            do {
                let id = try connection.transaction {
                    _ = try connection.execute("SELECT set_config('reeve.actor', $1::text, true)", [invocation.actor])
                    return try connection.execute(
                        """
                        SELECT coalesce(
                          (SELECT min(j.id) FROM reeve.job_list j WHERE j.tenant_code = $1::text
                             AND j.kind = 'backup-retention' AND j.state = 'available'),
                          reeve.enqueue($1::text || '.backups', 'backup-retention', '{}'))
                        """, [code])[0].int(0)
                }
                jobs.append((code, id))
            } catch let error as PostgresError where codes.count > 1 && ["RV007", "RV013"].contains(error.sqlState) {
                invocation.output.message("\(code): \(error.message)")
            }
        }
        for notice in Set(connection.takeNotices().map { "\($0)" }).sorted() {
            invocation.output.message("note: \(notice)")
        }
        return (jobs, jobs.count == codes.count)
    }

    private static func waitForRetention(
        _ jobs: [(code: String, id: Int64)], _ invocation: Invocation, _ connection: Connection
    ) throws -> ExitCode {
        let limit = ContinuousClock.now + (invocation.duration("timeout") ?? .seconds(3600))
        var progress = ProgressLine(invocation.output)
        var pause: UInt32 = 20_000
        var ended: [JSON] = []
        while true {
            ended = try connection.execute(
                """
                SELECT j FROM unnest($1::bigint[]) WITH ORDINALITY AS u (id, n), LATERAL reeve.job(u.id) j
                WHERE j ->> 'state' IN ('succeeded', 'cancelled', 'dead') ORDER BY u.n
                """, [jobs.map(\.id)]
            ).map { try $0.json(0) }
            if ended.count == jobs.count { break }
            guard .now < limit else {
                progress.clear()
                throw CommandError(
                    .timedOut, "\(jobs.count - ended.count) of \(jobs.count) jobs have not ended",
                    hint: "they go on; see: reeve jobs list --kind backup-retention")
            }
            progress.show("\(ended.count) of \(jobs.count) tenants done")
            usleep(pause)
            pause = min(pause * 2, 500_000)
        }
        progress.clear()
        let results: [JSON] = ended.map { job in
            let members: [String: JSON] = [
                "tenant": job["tenant"] ?? .null, "job": job["id"] ?? .null, "state": job["state"] ?? .null,
                "error": job["reason"] ?? job["error"] ?? .null,
            ]
            return .object(members.merging(job["result"]?.object ?? [:]) { first, _ in first })
        }
        let columns = [
            Column("TENANT", "tenant"), Column("JOB", "job", .number), Column("STATE", "state", .state),
            Column("DELETED", "deleted", .number), Column("ARTIFACTS", "artifacts_deleted", .number),
            Column("REFUSED", "failed", .number),
            Column("SWEPT", "swept", .number), Column("UNNAMED LEFT", "unnamed_left", .number),
            Column("MISSING", "missing", .number), Column("ERROR", "error"),
        ]
        invocation.output.list(results, columns, empty: "no tenants")
        let isWell = results.allSatisfy { $0["state"]?.string == "succeeded" && $0["failed"]?.int == 0 }
        return isWell ? .done : .failed
    }
}
