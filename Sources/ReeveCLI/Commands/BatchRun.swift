import Glibc
import JobKit
import Postgres

extension Command {
    static let batchRun: Command = Command(
        "run", "start a batch: one job for each tenant that is selected now",
        details: """
            Prints the batch's id. With --wait it shows the progress and its exit code is the verdict: 0 every job succeeded or
            was left out, 1 some failed, 6 the timeout is over (the batch goes on). Without a status in the selection those
            tenants are selected whose status the kind allows. A scheduler that may run the command again gives a --key: the same
            batch is waited for then, and no second one is started.
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
            CommandOption(
                "key", "TEXT", "start it once: with the same key that batch comes back, for 90 days after its end"),
            .flag("wait", "wait until the batch has ended"),
            CommandOption("timeout", "TIME", "how long to wait (24h)", .duration),
        ],
        examples: [
            "reeve batch run backup --tenants 'tier=professional,status=active' --spread 2h --max-running 8 --wait",
            "reeve batch run backup-verify --tenants 'code=acme|globex' --json",
            "reeve batch run report --args @month.json --tenants all --key report-2026-11 --wait --timeout 6h",
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
                                         $7::jsonb, $8::int, $9::text)
                """,
                [
                    invocation.argument("KIND"), args, chosen.text,
                    invocation.duration("spread")?.components.seconds ?? 0, invocation.int("max-running"),
                    invocation.string("queue"), invocation.string("on-finish"), invocation.int("priority") ?? 0,
                    invocation.string("key"),
                ])[0].int(0)
        }
        if invocation.flag("wait") {
            invocation.output.message("batch \(id); if this ends before it does: reeve batch wait \(id)")
            return try BatchWait(invocation, id).run()
        }
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

    /// 0 nothing failed, 1 something did or it was cancelled, 6 timed out. A database that goes away is asked again for two minutes.
    func run() throws -> ExitCode {
        let started = ContinuousClock.now
        let timeout = invocation.duration("timeout") ?? .seconds(86_400)
        var progress = ProgressLine(invocation.output)
        var pause: UInt32 = 50_000
        var connection = try invocation.connect()
        var lastAnswer = ContinuousClock.now
        while true {
            do {
                guard let batch = try read(connection) else {
                    throw CommandError(.notFound, "there is no batch \(id)", hint: "see: reeve batch list")
                }
                lastAnswer = .now
                if let verdict = verdict(of: batch, &progress) { return verdict }
                show(batch, &progress)
            } catch let error as PostgresError where error.isConnectionLost && .now - lastAnswer < .seconds(120) {
                progress.show("batch \(id): the database is away")
                // It may be away for longer: the next round says so.
                if let another = try? invocation.connect() { connection = another }
            }
            if .now - started >= timeout {
                progress.clear()
                throw CommandError(
                    .timedOut, "batch \(id) has not ended within \(Durations.humane(Int(timeout.components.seconds)))",
                    hint: "it goes on; see: reeve batch show \(id)")
            }
            usleep(pause)
            pause = min(pause * 2, 1_000_000)
        }
    }

    private func read(_ connection: Connection) throws -> JSON? {
        try connection.execute("SELECT to_jsonb(b) FROM reeve.batch_list b WHERE b.id = $1::bigint", [id]).first?
            .json(0)
    }

    private func failed(_ batch: JSON) -> Int64 {
        ["dead", "refused", "cancelled"].reduce(0) { $0 + (batch[$1]?.int ?? 0) }
    }

    /// Prints how it went and answers the exit code, once it has ended.
    private func verdict(of batch: JSON, _ progress: inout ProgressLine) -> ExitCode? {
        guard let state = batch["state"]?.string, ["finished", "cancelled"].contains(state) else { return nil }
        progress.clear()
        let failed = failed(batch)
        let failures = failed > 0 ? ", \(failed) failed; see: reeve batch show \(id)" : ""
        let (succeeded, total) = (batch["succeeded"]?.int ?? 0, batch["total"]?.int ?? 0)
        invocation.output.result(batch, "batch \(id) \(state): \(succeeded) of \(total) succeeded\(failures)")
        return failed == 0 && state == "finished" ? .done : .failed
    }

    private func show(_ batch: JSON, _ progress: inout ProgressLine) {
        func count(_ name: String) -> Int64 { batch[name]?.int ?? 0 }
        let eta = batch["eta"]?.string.map { ", ends \(Times.age($0))" } ?? ""
        let problem = batch["problem"]?.string.map { "; \($0)" } ?? ""
        progress.show(
            "batch \(id): \(count("total") - count("waiting") - count("enqueued")) of \(count("total")), "
                + "\(failed(batch)) failed\(eta)\(problem)")
    }
}
