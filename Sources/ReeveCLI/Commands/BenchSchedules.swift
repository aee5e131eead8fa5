import Benchmarks

extension Command {
    /// `reeve bench schedules`.
    static let benchSchedules: Command = Command(
        "schedules", "what schedules cost: looking for what is due, and many that tick in the same second",
        options: [
            CommandOption("schedules", "N", "how many schedules (default 100000)", .integer(1000...10_000_000)),
            CommandOption("due", "N", "how many of them tick in the same second (default 1000)", .integer(1...100_000)),
        ],
        examples: ["reeve bench schedules --json"]
    ) { invocation in
        let (schedules, due) = (invocation.int("schedules") ?? 100_000, invocation.int("due") ?? 1000)
        guard schedules >= due + 200 else {
            throw CommandError(
                .usage, "--schedules must be at least 200 more than --due", hint: "raise it, or lower --due")
        }
        return try bench(invocation) { settings, log in
            try ScheduleBenchmark(settings, schedules: schedules, due: due, log: log).run()
        }
    }
}
