import JobKit
import Postgres

extension Command {
    static let deadRedrive = Command(
        "redrive", "run dead letters again as new jobs: one, or many at a limited rate",
        details: """
            With an ID that one, with other arguments if --args gives them. Without it those that the filter names, the oldest
            first: each is scheduled for its moment, so that a pause or drain of its queue holds it and `reeve jobs cancel`
            takes it back. A letter is redriven once; what dies again is a new one.
            """,
        arguments: [CommandArgument("ID", "the job's id; those that the filter names without", optional: true)],
        options: deadFilters + [
            CommandOption("args", "JSON", "other arguments for the one: JSON, @file, or - for standard input"),
            CommandOption("rate", "RATE", "how fast the many start: 10 (a second), 30/m or 100/h (10)"),
            CommandOption("limit", "N", "at most this many, the oldest (all)", .integer(1...10_000_000)),
            CommandOption("reason", "TEXT", "why, for the audit; needed for many"), .yes,
        ],
        examples: [
            "reeve dead redrive 42", "reeve dead redrive 42 --args '{\"definition\": \"stock\"}'",
            "reeve dead redrive --kind report --since 1d --rate 5 --reason 'the disk was full' --yes",
        ]
    ) { invocation in
        if invocation.optionalArgument("ID") != nil { return try redriveOne(invocation) }
        if invocation.string("args") != nil {
            throw CommandError(.usage, "--args is for one dead letter", hint: "reeve dead redrive ID --args JSON")
        }
        let filter = try deadFilter(invocation, redriven: false)
        try requireFilter(filter, "redrive")
        let rate = try perSecond(invocation.string("rate") ?? "10")
        let most = invocation.int("limit") ?? 10_000_000
        let found = try invocation.objects(
            "SELECT to_jsonb(d.id) FROM reeve.dead_list($1::jsonb, $2::int) d", [filter, min(most, 100_000)]
        ).count
        if found == 0 { throw CommandError(.notFound, "no dead letters match", hint: "see: reeve dead list") }
        try invocation.confirm(
            "Run \(found)\(found == 100_000 ? " or more" : "") dead letters again within "
                + "\(Durations.humane(Int(Double(found) / rate)))?")
        return try redriveMany(invocation, filter, rate, most)
    }

    private static func redriveOne(_ invocation: Invocation) throws -> ExitCode {
        let id = try invocation.jobID("ID")
        let args = invocation.string("args") == nil ? nil : try readArgs(invocation)
        let next = try invocation.change {
            try $0.execute(
                "SELECT reeve.redrive($1::bigint, $2::text, $3::jsonb)", [id, invocation.string("reason"), args])[0]
                .int(0)
        }
        invocation.output.result(["id": .int(next), "retried_from": .int(id)], "job \(id) runs again as job \(next)")
        return .done
    }

    /// In calls of a thousand, each a transaction of its own that goes on where and when the one before ended.
    private static func redriveMany(
        _ invocation: Invocation, _ filter: JSON, _ rate: Double, _ most: Int
    ) throws -> ExitCode {
        var (count, refused): (Int64, Int64) = (0, 0)
        var why: [String: Int64] = [:]
        var (after, start): (Int64?, String?) = (nil, nil)
        var (first, last): (JSON, JSON) = (.null, .null)
        var progress = ProgressLine(invocation.output)
        while count + refused < most {
            let call = try invocation.change { connection in
                try connection.execute(
                    """
                    SELECT reeve.redrive_many($1::jsonb, $2::text, $3::float8, $4::int, $5::bigint, $6::timestamptz)
                    """,
                    [
                        filter, invocation.string("reason"), rate, min(1000, most - Int(count + refused)), after, start,
                    ])[0].json(0)
            }
            count += call["count"]?.int ?? 0
            refused += call["refused"]?.int ?? 0
            for (word, number) in call["why"]?.object ?? [:] { why[word, default: 0] += number.int ?? 0 }
            if first == .null { first = call["first_at"] ?? .null }
            if let end = call["last_at"], end != .null { last = end }
            guard let next = call["next_after"]?.int else { break }
            (after, start) = (next, call["next_start"]?.string)
            progress.show("\(count) redriven")
        }
        progress.clear()
        for (word, number) in why.sorted(by: { $0.key < $1.key }) {
            invocation.output.message("note: \(number) not: \(Log.printable(word))")
        }
        invocation.output.result(
            [
                "count": .int(count), "refused": .int(refused), "why": .object(why.mapValues(JSON.int)),
                "first_at": first, "last_at": last,
            ],
            "\(count) dead letters run again\(last.string.map { ", the last at \(Times.local($0))" } ?? "")"
                + (refused > 0 ? "; \(refused) do not" : ""))
        return refused > 0 && count == 0 ? .refused : .done
    }

    /// `10`, `10/s`, `30/m` or `100/h` in jobs a second.
    private static func perSecond(_ text: String) throws -> Double {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        let units: [Substring: Double] = ["s": 1, "m": 60, "h": 3600]
        let unit = parts.count == 1 ? 1 : parts.count == 2 ? units[parts[1]] : nil
        guard let unit, let number = Double(parts[0]), number.isFinite, number > 0, number / unit <= 10_000,
            number / unit >= 0.0001
        else {
            throw CommandError(.usage, "'\(text)' is not a rate", hint: "for example --rate 10, 30/m or 100/h")
        }
        return number / unit
    }
}
