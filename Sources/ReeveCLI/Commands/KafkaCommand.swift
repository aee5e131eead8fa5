import JobKit
import Kafka
import KafkaIntake
import Postgres

extension Command {
    static let kafka = Command(
        "kafka", "topics, offsets and clients of Kafka",
        examples: [
            "reeve kafka topics plan", "reeve kafka offsets", "reeve kafka clients",
            "reeve kafka reset acme.reports --to 0 --reason 'the topic was made anew'",
        ],
        subcommands: [
            kafkaTopics, kafkaOffsets, kafkaReset,
            Command(
                "clients", "how the processes that speak to Kafka are", examples: ["reeve kafka clients"]
            ) { invocation in
                let items = try invocation.objects(
                    "SELECT to_jsonb(c) FROM reeve.kafka_client c ORDER BY c.role, c.node, c.pid")
                let columns = [
                    Column("ROLE", "role"), Column("NODE", "node"), Column("PID", "pid", .number),
                    Column("STATE", "state", .state), Column("SINCE", "since", .time), Column("SEEN", "seen_at", .age),
                    Column("COUNTS", "counts"), Column("DETAIL", "detail"),
                ]
                invocation.output.list(items, columns, empty: "nothing speaks to Kafka; start: reeve intake")
                return .done
            },
        ])

    private static let kafkaOffsets = Command(
        "offsets", "how far each partition was read",
        details: """
            next is the first offset that was not taken, lag how many messages there were from it on when the reader last looked. A partition with a problem is not read until somebody decides: recreated (another
            topic of that name), expired (messages were deleted before they were taken), missing, other_cluster.
            """,
        options: [
            CommandOption("topic", "TOPIC", "of this topic"), .flag("stopped", "those that are not read"),
            CommandOption("limit", "N", "at most this many (1000)", .integer(1...1_000_000)),
        ], examples: ["reeve kafka offsets --topic acme.reports", "reeve kafka offsets --stopped --json"]
    ) { invocation in
        let items = try invocation.objects(
            """
            SELECT to_jsonb(o) - 'digest' || jsonb_build_object('lag', greatest(o.high - o.next, 0)) FROM reeve.kafka_offset o
            WHERE ($1::text IS NULL OR o.topic = $1::text) AND (NOT $2::boolean OR o.problem IS NOT NULL) ORDER BY o.topic, o.partition LIMIT $3::bigint
            """, [invocation.string("topic"), invocation.flag("stopped"), invocation.int("limit") ?? 1000])
        let columns = [
            Column("TOPIC", "topic"), Column("PARTITION", "partition", .number), Column("NEXT", "next", .number),
            Column("LAG", "lag", .number), Column("MOVED", "moved_at", .age), Column("PROBLEM", "problem", .state),
            Column("DETAIL", "detail"),
        ]
        invocation.output.list(
            items, columns, empty: invocation.flag("stopped") ? "no partition is stopped" : "no partition was read yet")
        return .done
    }

    private static let kafkaReset = Command(
        "reset", "read a topic's partitions from another offset on, or go on with stopped ones",
        details: """
            0 is the oldest message. Events that are known make no second job; those whose source and id were forgotten (reeve intake
            --remember) do. Running intakes follow within seconds.
            """,
        arguments: [CommandArgument("TOPIC", "the topic, with its prefix")],
        options: [
            CommandOption("partition", "N", "this partition only", .integer(0...1_000_000)),
            CommandOption("to", "OFFSET", "the first offset to take", .integer(0...Int(Int64.max))),
            CommandOption("reason", "TEXT", "why; the audit keeps it"), .yes,
        ], examples: ["reeve kafka reset acme.reports --to 0 --reason 'the topic was made anew' --yes"]
    ) { invocation in
        let topic = invocation.argument("TOPIC")
        guard let next = invocation.int("to"), let reason = invocation.string("reason") else {
            throw CommandError(.usage, "--to and --reason are needed", hint: "for example --to 0 --reason 'INC-77'")
        }
        try invocation.confirm("Read \(topic) from offset \(next) on?")
        let count = try invocation.change { connection in
            try connection.execute(
                "SELECT reeve.reset_kafka_offset($1::text, $2::int, $3::bigint, $4::text)",
                [topic, invocation.int("partition"), next, reason])[0].int(0)
        }
        invocation.output.result(
            ["topic": .string(topic), "partitions": .int(count), "next": .int(Int64(next))],
            "\(count) partition\(count == 1 ? "" : "s") of \(topic) will be read from \(next) on")
        return .done
    }
}
