import Glibc
import JobKit
import Postgres

extension Command {
    static let batchRun: Command = Command(
        "run", "start a batch: one job for each tenant that is selected now",
        details: """
            Prints the batch's id. With --wait it shows the progress and its exit code is the verdict: 0 every job succeeded or
            was left out, 1 some failed, 6 the timeout is over (the batch goes on). Without a status in the selection those
            tenants are selected whose status the kind allows.
            """,
        arguments: [CommandArgument("KIND", "the kind of job; see: reeve kind list")],
        options: [
            tenantSelection,
            CommandOption("args", "JSON", "the arguments: JSON, @file, or - for standard input"),
            CommandOption("spread", "TIME", "spread the starts over this long", .duration),
            CommandOption("max-running", "N", "how many of its jobs at once", .integer(1...1_000_000)),
            CommandOption("queue", "NAME", "the queue's name without the tenant (the kind's own)"),
            CommandOption("priority", "N", "lower runs first (0)", .integer(-1_000_000...1_000_000)),
            CommandOption(
                "on-finish", "JSON",
                "a job that is enqueued once at the end: {\"queue\": .., \"kind\": .., \"args\": ..}"),
            .flag("wait", "wait until the batch has ended"),
            CommandOption("timeout", "TIME", "how long to wait (24h)", .duration),
        ],
        examples: [
            "reeve batch run backup --tenants 'tier=professional,status=active' --spread 2h --max-running 8 --wait",
            "reeve batch run backup-verify --tenants 'code=acme|globex' --json",
        ]
    ) { invocation in
        let args = try readArgs(invocation)
        let id = try invocation.change { connection in
            guard let text = invocation.string("tenants") else {
                throw CommandError(
                    .usage, "--tenants is missing", hint: "for example --tenants 'tier=professional', or --tenants all")
            }
            let chosen = try selection(text)
            return try connection.execute(
                """
                SELECT reeve.start_batch($1::text, $2::jsonb, $3::jsonb, $4::bigint * interval '1 s', $5::int, $6::text,
                                         $7::jsonb, $8::int)
                """,
                [
                    invocation.argument("KIND"), args, chosen.text,
                    invocation.duration("spread")?.components.seconds ?? 0, invocation.int("max-running"),
                    invocation.string("queue"), invocation.string("on-finish"), invocation.int("priority") ?? 0,
                ])[0].int(0)
        }
        if invocation.flag("wait") { return try BatchWait(invocation, id).run() }
        let row = try batchRow(invocation, id)
        invocation.output.result(row, "\(id)")
        invocation.output.message("\(row["total"]?.int ?? 0) tenants; see: reeve batch show \(id)")
        return .done
    }
}

/// Waits for a batch's end and says how it went.
struct BatchWait {
    private let invocation: Invocation
    private let id: Int64

    init(_ invocation: Invocation, _ id: Int64) {
        self.invocation = invocation
        self.id = id
    }

    /// 0 nothing failed, 1 something did or it was cancelled, 6 timed out.
    func run() throws -> ExitCode {
        let started = ContinuousClock.now
        let timeout = invocation.duration("timeout") ?? .seconds(86_400)
        var progress = ProgressLine(invocation.output)
        var pause: UInt32 = 50_000
        let connection = try invocation.connect()
        while true {
            let rows = try connection.execute(
                "SELECT to_jsonb(b) FROM reeve.batch_list b WHERE b.id = $1::bigint", [id])
            guard let row = rows.first else {
                throw CommandError(.notFound, "there is no batch \(id)", hint: "see: reeve batch list")
            }
            let batch = try row.json(0)
            func count(_ name: String) -> Int64 { batch[name]?.int ?? 0 }
            let failed = count("dead") + count("refused") + count("cancelled")
            if let state = batch["state"]?.string, ["finished", "cancelled"].contains(state) {
                progress.clear()
                let failures = failed > 0 ? ", \(failed) failed; see: reeve batch show \(id)" : ""
                invocation.output.result(
                    batch, "batch \(id) \(state): \(count("succeeded")) of \(count("total")) succeeded\(failures)")
                return failed == 0 && state == "finished" ? .done : .failed
            }
            if .now - started >= timeout {
                progress.clear()
                throw CommandError(
                    .timedOut, "batch \(id) has not ended within \(Durations.humane(Int(timeout.components.seconds)))",
                    hint: "it goes on; see: reeve batch show \(id)")
            }
            let eta = batch["eta"]?.string.map { ", ends \(Times.age($0))" } ?? ""
            progress.show(
                "batch \(id): \(count("total") - count("waiting") - count("enqueued")) of \(count("total")), "
                    + "\(failed) failed\(eta)")
            usleep(pause)
            pause = min(pause * 2, 1_000_000)
        }
    }
}
