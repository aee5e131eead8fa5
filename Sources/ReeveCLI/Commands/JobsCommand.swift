import Glibc
import JobKit
import Postgres

extension Command {
    private static let states = ["scheduled", "available", "running", "succeeded", "cancelled", "dead"]
    private static let filters = [
        CommandOption("tenant", "CODE", "of this tenant"),
        CommandOption("queue", "QUEUE", "of this queue, or of a pattern such as 'acme.*'"),
        CommandOption("kind", "KIND", "of this kind"),
        CommandOption("state", "STATE", "in this state", .choice(states), repeats: true),
        CommandOption("limit", "N", "at most this many, the newest (50)", .integer(1...100_000)),
    ]
    private static let id = CommandArgument("ID", "the job's id")

    static let jobs = Command(
        "jobs", "see and steer jobs",
        examples: ["reeve jobs list --state dead", "reeve jobs show 42", "reeve jobs retry 42"],
        subcommands: [
            Command(
                "list", "list the newest jobs", options: filters,
                examples: ["reeve jobs list --tenant acme --state running", "reeve jobs list --state dead --json"]
            ) { invocation in
                invocation.output.list(try JobListing(invocation).fetch(), JobListing.columns, empty: "no jobs match")
                return .done
            },
            Command(
                "show", "show one job: why it waits, what it did, its files",
                details: "Who looked, and why, goes into the tenant's audit.", arguments: [id],
                options: [accessReason, showArguments],
                examples: ["reeve jobs show 42", "reeve jobs show 42 --ticket OPS-1042"]
            ) {
                try JobStory($0).show()
            },
            jobsExplain,
            Command(
                "cancel", "cancel a job: at once when it waits, as soon as it stops when it runs", arguments: [id],
                options: [
                    .flag("wait", "wait until it has ended"),
                    CommandOption("timeout", "TIME", "how long (1m)", .duration),
                ],
                examples: ["reeve jobs cancel 42"]
            ) { invocation in
                let id = try invocation.jobID("ID")
                let answer = try invocation.change {
                    try $0.execute("SELECT reeve.cancel($1::bigint)", [id])[0].text(0)
                }
                if answer != "cancelled" && invocation.flag("wait") {
                    let code = try JobWait(invocation, id, timeout: invocation.duration("timeout") ?? .seconds(60))
                        .run()
                    return code == .failed ? .done : code
                }
                invocation.output.result(
                    ["id": .int(id), "result": .string(answer)],
                    answer == "cancelled" ? "job \(id) is cancelled" : "job \(id) runs; it was asked to stop")
                return .done
            },
            Command(
                "retry", "run a job again: a waiting one now, one that ended as a new job", arguments: [id],
                examples: ["reeve jobs retry 42"]
            ) { invocation in
                let id = try invocation.jobID("ID")
                let next = try invocation.change { try $0.execute("SELECT reeve.retry($1::bigint)", [id])[0].int(0) }
                invocation.output.result(
                    ["id": .int(next), "retried_from": next == id ? .null : .int(id)],
                    next == id ? "job \(id) runs next" : "job \(id) runs again as job \(next)")
                return .done
            },
            Command(
                "watch", "follow the jobs that match, or one job to its end",
                details:
                    "On a terminal the list is redrawn; otherwise there is a line for each change. Ctrl-C ends it.",
                arguments: [CommandArgument("ID", "the job's id", optional: true)],
                options: filters + [
                    CommandOption("timeout", "TIME", "how long (one job: 10m; a list: no limit)", .duration)
                ],
                examples: ["reeve jobs watch --tenant acme", "reeve jobs watch 42"]
            ) { invocation in
                if invocation.optionalArgument("ID") != nil {
                    let timeout = invocation.duration("timeout") ?? .seconds(600)
                    return try JobWait(invocation, try invocation.jobID("ID"), timeout: timeout).run()
                }
                return try JobListing(invocation).watch()
            },
        ])
}
