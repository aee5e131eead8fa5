import JobKit
import Postgres

extension Command {
    static let recover = Command(
        "recover", "after the control database was restored to an earlier time: fetch again what it lost",
        details: """
            Run it once, with the time to which the control database was restored, before workers, intake and relays start.
            Outboxes hand in again what they relayed in the last 24 hours (what is known is left out), partitions of Kafka are read
            from the offsets that came back with the database, numbers of jobs that were given out since are given to nobody
            else, and trial reminders that were due wait for `reeve reminders resolve`, since they may have been sent. Jobs that
            ran since run again; jobs that were enqueued straight into this database since are gone: their services enqueue
            them again, by the same idempotency keys.
            """,
        options: [
            CommandOption("since", "TIME", "the time to which it was restored: 2026-03-01T02:00:00Z; needed"),
            CommandOption("reason", "TEXT", "why, for the audit; needed"), .yes,
        ],
        examples: ["reeve recover --since 2026-03-01T02:00:00Z --reason 'restored, INC-204'"]
    ) { invocation in
        guard let since = invocation.string("since") else {
            throw CommandError(
                .usage, "--since is missing", hint: "give the time to which the control database was restored")
        }
        guard let reason = invocation.string("reason") else {
            throw CommandError(.usage, "--reason is missing", hint: "say why; the audit keeps it")
        }
        try invocation.confirm("Was the control database restored to \(since), and do no workers run?")
        let done = try invocation.change {
            try $0.execute("SELECT reeve.recover($1::timestamptz, $2::text)", [since, reason])[0].json(0)
        }
        invocation.output.result(done, told(done).joined(separator: "\n"))
        return .done
    }

    private static func told(_ done: JSON) -> [String] {
        func count(_ name: String) -> Int { done[name]?.array?.count ?? 0 }
        var lines = [
            "outboxes that hand in again what they hold: \(count("outboxes"))",
            "partitions of Kafka that are read from where this database was: \(done["partitions"]?.int ?? 0)",
            "jobs that run again when their leases are over: \(done["running"]?.int ?? 0)",
            "new jobs are numbered from \(done["job_ids_from"]?.int ?? 0)",
        ]
        if done["outbox_rows_expired"] == true {
            lines.append("outboxes keep what they relayed for 24 hours: what is older than that is not handed in again")
        }
        if count("reminders") > 0 {
            lines.append(
                "reminders that may have been sent: \(count("reminders")); see: reeve reminders list --state unknown")
        }
        if count("stopped_partitions") > 0 {
            lines.append("partitions that are stopped: \(count("stopped_partitions")); see: reeve kafka offsets")
        }
        if let requests = done["requests"]?.int, requests > 0 {
            lines.append("purges and erasures that go on: \(requests); see: reeve purge status, reeve erasure list")
        }
        return lines + ["next: reeve doctor, then start the workers; afterwards reeve audit verify"]
    }
}
