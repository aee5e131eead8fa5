import JobKit
import Postgres
import WorkerEngine

extension Command {
    static let tiers = Command(
        "tiers", "see and edit tiers", examples: ["reeve tiers list", "reeve tiers set starter --concurrency 8"],
        subcommands: [
            Command("list", "list the tiers and their limits", examples: ["reeve tiers list --json"]) { invocation in
                let tiers = try invocation.objects(
                    "SELECT to_jsonb(t) FROM reeve.tier t ORDER BY t.concurrency, t.name")
                let columns = [
                    Column("TIER", "name"), Column("CONCURRENCY", "concurrency", .number),
                    Column("BACKLOG", "backlog_limit", .number),
                    Column("BACKUP DAYS", "backup_retention_days", .number),
                    Column("BACKUP MINIMUM", "backup_minimum", .number),
                    Column("REPORT DAYS", "report_retention_days", .number),
                    Column("EXPORT DAYS", "export_retention_days", .number),
                    Column("AUDIT YEARS", "audit_retention_years", .number),
                    Column("REPORTS", "scheduled_reports", .number), Column("TRIAL DAYS", "trial_days", .number),
                    Column("REMINDERS", "trial_milestones"),
                    Column("START", "promised_start_seconds", .number), Column("SUCCESS", "promised_success", .number),
                    Column("FEATURES", "features"),
                ]
                invocation.output.list(tiers, columns, empty: "no tiers")
                return .done
            },
            Command(
                "add", "add a tier; what is not given is as in starter",
                arguments: [CommandArgument("TIER", "its name")], options: numbers,
                examples: ["reeve tiers add free --concurrency 1 --backlog 1000"]
            ) { invocation in
                try write(invocation, mustExist: false)
            },
            Command(
                "set", "change a tier; what is not given stays, a new cap binds the next claim",
                arguments: [CommandArgument("TIER", "its name")], options: numbers,
                examples: ["reeve tiers set starter --concurrency 8"]
            ) { invocation in
                try write(invocation, mustExist: true)
            },
        ])

    private static let numbers = [
        CommandOption("concurrency", "N", "running jobs per tenant", .integer(1...10000)),
        CommandOption("backlog", "N", "unfinished jobs per tenant", .integer(1...1_000_000_000)),
        CommandOption("backup-days", "N", "how long backups are kept", .integer(1...36500)),
        CommandOption(
            "backup-minimum", "N", "newest backups that are kept whatever their age", .integer(0...1000)),
        CommandOption("report-days", "N", "how long reports are kept", .integer(1...36500)),
        CommandOption("export-days", "N", "how long exports are kept", .integer(1...36500)),
        CommandOption("audit-years", "N", "how long the audit is kept", .integer(1...100)),
        CommandOption("trial-days", "N", "how long a trial lasts", .integer(0...3650)),
        CommandOption("trial-milestones", "DAYS", "how many days before its end a trial's reminders go: 7,3,1,0"),
        CommandOption("reports", "N", "scheduled reports per tenant", .integer(0...1_000_000)),
        CommandOption("report-rows", "N", "rows of a report", .integer(1...1_000_000_000)),
        CommandOption("report-bytes", "SIZE", "size of each of a report's files", .bytes),
        CommandOption("report-seconds", "N", "how long a report may take in the database", .integer(1...6000)),
        CommandOption(
            "report-daytime", "N", "seconds of its last run over which a report waits for off-peak hours",
            .integer(0...1_000_000)),
        CommandOption("off-peak-from", "TIME", "when the tenants' off-peak window opens, in their time zones: 22:00"),
        CommandOption("off-peak-until", "TIME", "when it closes: 06:00"),
        CommandOption(
            "promised-start", "N", "seconds within which jobs start; metrics say who waited longer", .integer(1...86400)
        ),
        CommandOption("promised-success", "SHARE", "the share of jobs that succeed: 0.99"),
    ]

    private static func write(_ invocation: Invocation, mustExist: Bool) throws -> ExitCode {
        let name = invocation.argument("TIER")
        guard name != WorkerRole.restorePool else {
            throw CommandError(.usage, "restore is the name of the restore workers' pool", hint: "choose another name")
        }
        for option in ["off-peak-from", "off-peak-until"] {
            guard let text = invocation.string(option) else { continue }
            guard WallTime.isOne(text) else {
                throw CommandError(.usage, "--\(option) must be a time of day", hint: "for example --\(option) 22:00")
            }
        }
        try invocation.change { connection in
            let exists = try connection.execute(
                "SELECT EXISTS (SELECT FROM reeve.tier WHERE name = $1::text)", [name])[0].bool(0)
            if mustExist && !exists {
                throw PostgresError(
                    sqlState: "RV010", message: "tier \"\(name)\" is unknown", operation: "tier",
                    hint: "see: reeve tiers list")
            }
            if !mustExist && exists {
                throw CommandError(.conflict, "tier '\(name)' exists", hint: "change it with: reeve tiers set \(name)")
            }
            try connection.execute(
                setTier,
                [
                    name, invocation.int("concurrency"), invocation.int("backlog"), invocation.int("backup-days"),
                    invocation.int("audit-years"), invocation.int("trial-days"), invocation.int("reports"),
                    invocation.int("backup-minimum"), invocation.int("report-rows"), invocation.bytes("report-bytes"),
                    invocation.int("report-seconds"), invocation.int("report-days"),
                    invocation.int("report-daytime"), invocation.int("export-days"),
                    invocation.string("off-peak-from"), invocation.string("off-peak-until"),
                ])
            if let text = invocation.string("trial-milestones") {
                let days = text.split(separator: ",").map { Int($0) ?? -1 }
                guard days.allSatisfy({ (0...365).contains($0) }), days.count <= 20 else {
                    throw CommandError(
                        .usage, "'\(text)' is not a list of days from 0 to 365", hint: "for example 7,3,1,0")
                }
                try connection.execute(
                    "UPDATE reeve.tier SET trial_milestones = $2::int[] WHERE name = $1::text",
                    [name, days.map { "\($0)" }])
            }
            try connection.execute(
                "SELECT reeve.audit(NULL, $2::text, 'tier ' || $1::text)", [name, mustExist ? "tier.set" : "tier.add"])
        }
        invocation.output.result(["tier": .string(name)], "tier \(name) is \(mustExist ? "changed" : "added")")
        return .done
    }

    private static func setPromises(_ invocation: Invocation, _ name: String, _ connection: Connection) throws {
        let share = try invocation.string("promised-success").map { text in
            guard let share = Double(text), share > 0, share <= 1 else {
                throw CommandError(.usage, "--promised-success must be a share up to 1", hint: "for example 0.99")
            }
            return text
        }
        guard share != nil || invocation.int("promised-start") != nil else { return }
        try connection.execute(
            """
            UPDATE reeve.tier SET promised_start_seconds = coalesce($2::int, promised_start_seconds),
              promised_success = coalesce($3::text::numeric, promised_success) WHERE name = $1::text
            """, [name, invocation.int("promised-start"), share])
    }

    /// What is not given stays, or is as in `starter` for a new tier.
    private static let setTier = """
        INSERT INTO reeve.tier AS t (name, concurrency, backlog_limit, backup_retention_days, audit_retention_years,
                                     trial_days, scheduled_reports, backup_minimum, report_rows, report_bytes,
                                     report_seconds, report_retention_days, report_daytime_seconds,
                                     export_retention_days, offpeak_from, offpeak_until, features)
        SELECT $1::text, coalesce($2::int, b.concurrency), coalesce($3::bigint, b.backlog_limit),
               coalesce($4::int, b.backup_retention_days), coalesce($5::int, b.audit_retention_years),
               coalesce($6::int, b.trial_days), coalesce($7::int, b.scheduled_reports),
               coalesce($8::int, b.backup_minimum), coalesce($9::bigint, b.report_rows),
               coalesce($10::bigint, b.report_bytes), coalesce($11::int, b.report_seconds),
               coalesce($12::int, b.report_retention_days), coalesce($13::int, b.report_daytime_seconds),
               coalesce($14::int, b.export_retention_days), coalesce($15::time, b.offpeak_from),
               coalesce($16::time, b.offpeak_until), b.features
        FROM reeve.tier b WHERE b.name IN ($1::text, 'starter') ORDER BY b.name = $1::text DESC LIMIT 1
        ON CONFLICT (name) DO UPDATE SET concurrency = excluded.concurrency, backlog_limit = excluded.backlog_limit,
          backup_retention_days = excluded.backup_retention_days,
          audit_retention_years = excluded.audit_retention_years,
          trial_days = excluded.trial_days, scheduled_reports = excluded.scheduled_reports,
          backup_minimum = excluded.backup_minimum, report_rows = excluded.report_rows,
          report_bytes = excluded.report_bytes, report_seconds = excluded.report_seconds,
          report_retention_days = excluded.report_retention_days,
          report_daytime_seconds = excluded.report_daytime_seconds,
          export_retention_days = excluded.export_retention_days, offpeak_from = excluded.offpeak_from,
          offpeak_until = excluded.offpeak_until
        """
}
