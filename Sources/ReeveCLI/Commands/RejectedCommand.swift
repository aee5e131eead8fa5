import FoundationEssentials
import JobKit
import Kafka
import KafkaIntake
import Postgres

extension Command {
    static let rejected = Command(
        "rejected", "see and redrive messages that could not become jobs",
        examples: [
            "reeve rejected list", "reeve rejected redrive 12", "reeve rejected drop 13,14 --reason 'load test'",
        ],
        subcommands: [
            Command(
                "list", "list them, the newest first",
                options: [
                    CommandOption("tenant", "CODE", "on this tenant's topics"),
                    CommandOption("topic", "TOPIC", "of this topic"),
                    CommandOption("reason", "WORD", "refused for this reason: not_json, unknown_kind, arguments …"),
                    CommandOption(
                        "state", "STATE", "kept, redriven or dropped (kept)", .choice(["kept", "redriven", "dropped"])),
                    CommandOption("limit", "N", "at most this many (100)", .integer(1...1_000_000)),
                ], examples: ["reeve rejected list --tenant acme --reason arguments", "reeve rejected list --json"]
            ) { invocation in
                let items = try invocation.objects(
                    """
                    SELECT to_jsonb(r) FROM reeve.rejected_list r
                    WHERE ($1::text IS NULL OR r.tenant_code = $1::text) AND ($2::text IS NULL OR r.topic = $2::text)
                      AND ($3::text IS NULL OR r.reason = $3::text) AND r.state = $4::text ORDER BY r.id DESC LIMIT $5::bigint
                    """,
                    [
                        invocation.string("tenant"), invocation.string("topic"), invocation.string("reason"),
                        invocation.string("state") ?? "kept", invocation.int("limit") ?? 100,
                    ])
                let columns = [
                    Column("MESSAGE", "id", .number), Column("TOPIC", "topic"),
                    Column("PARTITION", "partition", .number),
                    Column("OFFSET", "offset", .number), Column("AT", "rejected_at", .time),
                    Column("SIZE", "size", .bytes),
                    Column("REASON", "reason", .state), Column("DETAIL", "detail"),
                ]
                invocation.output.list(items, columns, empty: "no messages were rejected")
                return .done
            },
            Command(
                "show", "show one with its contents; the audit records that you looked",
                arguments: [CommandArgument("MESSAGE", "its number")],
                options: [CommandOption("reason", "TEXT", "why you look; the audit keeps it")],
                examples: ["reeve rejected show 12 --json"]
            ) { invocation in
                let connection = try invocation.connect()
                let start = try invocation.accessStart(connection)
                let message = try RejectedMessage(invocation.argument("MESSAGE"), connection)
                try invocation.recordAccess(
                    to: message.tenant, "kafka.show", "rejected message \(message.id)", since: start)
                invocation.output.result(.object(message.members), Details(message.members).text)
                return .done
            },
            Command(
                "redrive", "make their jobs after all, now that what was wrong is mended",
                details: """
                    What is still wrong stays rejected (exit code 5). --data replaces the data of one message: JSON in a file, or - for standard
                    input.
                    """,
                arguments: [CommandArgument("MESSAGE", "its number, or several with commas")],
                options: [CommandOption("data", "FILE", "the job's arguments instead of the message's")],
                examples: ["reeve rejected redrive 12,13", "reeve rejected redrive 12 --data arguments.json"]
            ) { try redrive($0) },
            Command(
                "drop", "give them up: contents go, that they came stays",
                arguments: [CommandArgument("MESSAGE", "its number, or several with commas")],
                options: [CommandOption("reason", "TEXT", "why; the audit keeps it"), .yes],
                examples: ["reeve rejected drop 13,14 --reason 'load test' --yes"]
            ) { invocation in
                let ids = try numbers(invocation)
                guard let reason = invocation.string("reason") else {
                    throw CommandError(.usage, "--reason is needed", hint: "the audit keeps why contents were given up")
                }
                try invocation.confirm("Give up the contents of \(ids.count) message\(ids.count == 1 ? "" : "s")?")
                let count = try invocation.change {
                    try $0.execute("SELECT reeve.drop_rejected($1::bigint[], $2::text)", [ids, reason])[0].int(0)
                }
                invocation.output.result(["dropped": .int(count)], "dropped: \(count)")
                return count == Int64(ids.count) ? .done : .notFound
            },
        ])

    private static func numbers(_ invocation: Invocation) throws -> [Int64] {
        try invocation.argument("MESSAGE").split(separator: ",").map { word in
            guard let id = Int64(word), id > 0 else {
                throw CommandError(.usage, "'\(word)' is not a message's number", hint: "see: reeve rejected list")
            }
            return id
        }
    }

    private static func redrive(_ invocation: Invocation) throws -> ExitCode {
        let ids = try numbers(invocation)
        var data: JSON?
        if let path = invocation.string("data") {
            guard ids.count == 1 else { throw CommandError(.usage, "--data is for one message") }
            do { data = try JSON(parsing: try TextFile.read(path)) } catch let failure as TextFile.Failure {
                throw CommandError(.usage, "cannot read \(path): \(failure)")
            } catch { throw CommandError(.usage, "\(path) is not JSON") }
        }
        var code = ExitCode.done
        for id in ids {
            do {
                let job = try invocation.change { try RejectedMessage("\(id)", $0).redrive(data, $0) }
                invocation.output.result(["message": .int(id), "job": .int(job)], "message \(id): job \(job)")
            } catch {
                guard ids.count > 1 else { throw error }
                invocation.output.message("message \(id): \(ErrorReport(error, invocation).message)")
                code = .conflict
            }
        }
        return code
    }
}

/// A message that was kept.
struct RejectedMessage {
    let id: Int64
    let tenant: String?
    let members: [String: JSON]

    /// Reads it; throws `notFound`.
    init(_ word: String, _ connection: Connection) throws {
        guard let id = Int64(word), id > 0 else {
            throw CommandError(.usage, "'\(word)' is not a message's number", hint: "see: reeve rejected list")
        }
        let rows = try connection.execute(
            "SELECT to_jsonb(r) || jsonb_build_object('key', encode(r.key, 'base64'), 'bytes', encode(r.bytes, 'base64')) FROM reeve.rejected_messages r WHERE r.id = $1::bigint",
            [id])
        guard let members = try rows.first?.json(0).object else {
            throw CommandError(.notFound, "there is no rejected message \(id)", hint: "see: reeve rejected list")
        }
        self.id = id
        self.members = members
        tenant = members["tenant_id"]?.string
    }

    /// Makes its job after all.
    func redrive(_ data: JSON?, _ connection: Connection) throws -> Int64 {
        let value =
            members["body"]?.string.map { Array($0.utf8) }
            ?? members["bytes"]?.string.flatMap { Data(base64Encoded: $0.replacing("\n", with: "")) }.map { Array($0) }
        let headers = (members["headers"]?.array ?? []).map { pair in
            KafkaHeader(
                pair.array?.first?.string ?? "",
                pair.array?.last?.string.flatMap { Data(base64Encoded: $0) }.map { Array($0) })
        }
        let event: JobEvent
        do throws(JobEvent.Refusal) { event = try JobEvent(value: value, headers: headers, data: data) } catch {
            throw CommandError(
                .conflict, "message \(id) is still no event of a job: \(error.detail)",
                hint: "enqueue the job by hand (reeve enqueue) and drop the message")
        }
        return try connection.execute(
            """
            SELECT reeve.redrive_rejected($1::bigint, $2::text, $3::text, $4::text, $5::text, $6::text, $7::timestamptz, $8::int, $9::text, $10::boolean)
            """,
            [
                id, event.type, event.source, event.id, event.tenant, event.traceparent, event.runAt, event.priority,
                event.body, event.isWhole,
            ])[0].int(0)
    }
}
