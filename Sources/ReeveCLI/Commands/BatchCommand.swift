import JobKit
import Postgres

extension Command {
    static let batch: Command = Command(
        "batch", "run one kind of job for many tenants",
        examples: ["reeve batch run backup --tenants 'tier=professional' --spread 2h --wait", "reeve batch list"],
        subcommands: [
            batchRun,
            Command(
                "list", "list batches and how far they are",
                options: [CommandOption("limit", "N", "how many (20)", .integer(1...10000))],
                examples: ["reeve batch list --json"]
            ) { invocation in
                let columns = [
                    Column("BATCH", "id", .number), Column("KIND", "kind"), Column("STATE", "state", .state),
                    Column("TENANTS", "total", .number), Column("WAITING", "waiting", .number),
                    Column("QUEUED", "enqueued", .number), Column("SUCCEEDED", "succeeded", .number),
                    Column("DEAD", "dead", .number), Column("REFUSED", "refused", .number),
                    Column("CANCELLED", "cancelled", .number), Column("SKIPPED", "skipped", .number),
                    Column("STARTED", "created_at", .age), Column("ETA", "eta", .age),
                    Column("SCHEDULE", "schedule_id", .number), Column("BY", "created_by"),
                ]
                invocation.output.list(
                    try invocation.objects(
                        "SELECT to_jsonb(b) FROM reeve.batch_list b ORDER BY b.id DESC LIMIT $1::int",
                        [invocation.int("limit") ?? 20]), columns, empty: "no batches")
                return .done
            },
            Command(
                "show", "show a batch and the tenants whose job has not succeeded", arguments: [batchID],
                options: [
                    .flag("all", "show every tenant"),
                    CommandOption("limit", "N", "how many tenants (50)", .integer(1...1_000_000)),
                ],
                examples: ["reeve batch show 12"]
            ) { invocation in
                try showBatch(invocation)
            },
            Command(
                "wait", "wait until a batch has ended", arguments: [batchID],
                options: [CommandOption("timeout", "TIME", "how long to wait (24h)", .duration)],
                examples: ["reeve batch wait 12 --timeout 2h"]
            ) { invocation in
                try BatchWait(invocation, try batchNumber(invocation)).run()
            },
            Command(
                "pause", "stop feeding a batch; what is queued goes on", arguments: [batchID],
                options: [CommandOption("reason", "TEXT", "why")], examples: ["reeve batch pause 12"]
            ) { invocation in
                let id = try batchNumber(invocation)
                try invocation.change {
                    _ = try $0.execute(
                        "SELECT reeve.pause_batch($1::bigint, $2::text)", [id, invocation.string("reason")])
                }
                invocation.output.result(["paused": .int(id)], "batch \(id) is paused")
                return .done
            },
            Command("resume", "feed a paused batch again", arguments: [batchID], examples: ["reeve batch resume 12"]) {
                invocation in
                let id = try batchNumber(invocation)
                try invocation.change { _ = try $0.execute("SELECT reeve.resume_batch($1::bigint)", [id]) }
                invocation.output.result(["resumed": .int(id)], "batch \(id) goes on")
                return .done
            },
            Command(
                "cancel", "cancel what waits and what is queued, and ask what runs to stop", arguments: [batchID],
                options: [CommandOption("reason", "TEXT", "why"), .yes],
                examples: ["reeve batch cancel 12 --reason 'wrong arguments' --yes"]
            ) { invocation in
                let id = try batchNumber(invocation)
                _ = try batchRow(invocation, id)
                try invocation.confirm("Cancel batch \(id)?")
                try invocation.change {
                    _ = try $0.execute(
                        "SELECT reeve.cancel_batch($1::bigint, $2::text)", [id, invocation.string("reason")])
                }
                invocation.output.result(["cancelled": .int(id)], "batch \(id) is being cancelled")
                return .done
            },
            Command(
                "retry", "try again what failed, as a new batch when this one has ended", arguments: [batchID],
                examples: ["reeve batch retry 12"]
            ) { invocation in
                let id = try batchNumber(invocation)
                let made = try invocation.change {
                    try $0.execute("SELECT reeve.retry_batch($1::bigint)", [id])[0].int(0)
                }
                invocation.output.result(["id": .int(made)], "what failed runs again in batch \(made)")
                return .done
            },
        ])

    private static let batchID = CommandArgument("ID", "the batch's id; see: reeve batch list")

    private static func batchNumber(_ invocation: Invocation) throws -> Int64 {
        guard let id = Int64(invocation.argument("ID")), id > 0 else {
            throw CommandError(
                .usage, "'\(invocation.argument("ID"))' is not a batch's id",
                hint: "ids are numbers; see: reeve batch list")
        }
        return id
    }

    static func batchRow(_ invocation: Invocation, _ id: Int64) throws -> JSON {
        guard
            let row = try invocation.objects(
                "SELECT to_jsonb(b) FROM reeve.batch_list b WHERE b.id = $1::bigint", [id]
            ).first
        else { throw CommandError(.notFound, "there is no batch \(id)", hint: "see: reeve batch list") }
        return row
    }

    private static func showBatch(_ invocation: Invocation) throws -> ExitCode {
        let id = try batchNumber(invocation)
        guard case .object(var batch) = try batchRow(invocation, id) else { return .failed }
        let tenants = try invocation.objects(
            """
            SELECT to_jsonb(t) - 'batch_id' FROM reeve.batch_tenant t
            WHERE t.batch_id = $1::bigint AND ($2::boolean OR t.state <> 'succeeded')
            ORDER BY t.state, t.tenant_code LIMIT $3::int
            """, [id, invocation.flag("all"), invocation.int("limit") ?? 50])
        if invocation.output.isJSON {
            batch["tenants"] = .array(tenants)
            invocation.output.line(JSON.object(batch).text)
            return .done
        }
        invocation.output.raw(Details(batch).text)
        if !tenants.isEmpty {
            invocation.output.raw("\n")
            invocation.output.list(
                tenants,
                [
                    Column("TENANT", "tenant_code"), Column("STATE", "state", .state), Column("JOB", "job_id", .number),
                    Column("DUE", "run_at", .time), Column("ERROR", "error"),
                ], empty: "")
        }
        return .done
    }
}
