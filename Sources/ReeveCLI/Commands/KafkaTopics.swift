import JobKit
import Kafka
import KafkaIntake
import Postgres

extension Command {
    private static let layout: [CommandOption] = [
        CommandOption("tenant", "CODE", "this tenant's; may be repeated (all that are not archived)", repeats: true),
        CommandOption("queues", "NAMES", "the topics that jobs come by (jobs,reports,exports,backups)"),
        CommandOption("partitions", "N", "partitions of each (3); events and audit have one", .integer(1...1000)),
        CommandOption("replication", "N", "replicas (the broker's standard)", .integer(1...20)),
        CommandOption("retention", "TIME", "how long messages are kept (7d)", .duration),
        CommandOption("principal", "USER", "access rules for this user, {tenant} is the code: 'User:{tenant}'"),
        .setting(.topicPrefix),
    ]

    static let kafkaTopics = Command(
        "topics", "the topics that tenants should have",
        examples: [
            "reeve kafka topics plan", "reeve kafka topics apply --tenant acme --principal 'User:{tenant}' --yes",
        ],
        subcommands: [
            Command(
                "plan", "show which topics and access rules are to be made; exit code 0, whatever is missing",
                options: layout, examples: ["reeve kafka topics plan --json"]
            ) { invocation in
                let (_, plan) = try planned(invocation)
                show(plan, invocation)
                return .done
            },
            Command(
                "apply", "make the topics and access rules that are missing",
                details: """
                    Topics that are there keep their settings; they only get more partitions. The rules let a user write to topics that begin
                    with the tenant's code and a dot, and to no others; its events and audit nobody but Reeve may write.
                    """,
                options: layout + [.yes], examples: ["reeve kafka topics apply --tenant acme --yes"]
            ) { invocation in
                let (admin, plan) = try planned(invocation)
                show(plan, invocation)
                if plan.isComplete && plan.rules.isEmpty { return .done }
                try invocation.confirm("Make them?")
                var failures: [KafkaError] = []
                failures += try told { () throws(KafkaError) in try admin.create(plan.create) }
                failures += try told { () throws(KafkaError) in try admin.grow(plan.grow.mapValues(\.wants)) }
                try asking { () throws(KafkaError) in try admin.allow(plan.rules) }
                for failure in failures { invocation.output.message(failure.description) }
                return failures.isEmpty ? .done : .failed
            },
        ])

    private static func planned(_ invocation: Invocation) throws -> (KafkaAdmin, TopicPlan) {
        let settings = try invocation.configuration.requireKafka()
        let names = try invocation.configuration.topicNames()
        var layout = TopicPlan.Layout()
        if let text = invocation.string("queues") {
            layout.queues = text.split(separator: ",").map(String.init)
            for queue in layout.queues where names.queue(of: names.topic("tenant", queue)) == nil {
                throw CommandError(
                    .usage, "'\(queue)' is not a queue's name", hint: "for example --queues jobs,reports")
            }
        }
        layout.partitions = invocation.int("partitions") ?? layout.partitions
        layout.replication = invocation.int("replication")
        layout.retention = invocation.duration("retention").map { Int($0 / .milliseconds(1)) } ?? layout.retention
        layout.principal = invocation.string("principal")
        let wanted = invocation.strings("tenant")
        let connection = try invocation.connect()
        defer { connection.close() }
        let tenants = try connection.execute(
            "SELECT code FROM reeve.tenant WHERE status <> 'archived' AND ($1::text[] = '{}' OR code = ANY ($1::text[])) ORDER BY code",
            [wanted]
        ).map { try $0.text(0) }
        if let missing = wanted.first(where: { !tenants.contains($0) }) {
            throw CommandError(.notFound, "there is no tenant '\(missing)'", hint: "see: reeve tenant list")
        }
        let admin = try asking { () throws(KafkaError) in try KafkaAdmin(settings) }
        let existing = try asking { () throws(KafkaError) in try admin.topics() }
        return (admin, TopicPlan(tenants: tenants, names: names, layout: layout, existing: existing))
    }

    private static func told(_ body: () throws(KafkaError) -> [String: KafkaError?]) throws -> [KafkaError] {
        try asking(body).sorted { $0.key < $1.key }.compactMap(\.value)
    }

    private static func show(_ plan: TopicPlan, _ invocation: Invocation) {
        var items: [JSON] = plan.create.map {
            [
                "action": "create", "topic": .string($0.name), "partitions": .int(Int64($0.partitions)),
                "detail": .string(
                    $0.settings.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " ")),
            ]
        }
        items += plan.grow.sorted { $0.key < $1.key }.map { topic, change in
            [
                "action": "grow", "topic": .string(topic), "partitions": .int(Int64(change.wants)),
                "detail": .string("has \(change.has); keys will go to other partitions"),
            ]
        }
        items += plan.rules.map {
            [
                "action": $0.isDenial ? "deny" : "allow", "topic": .string($0.topic + ($0.isPrefix ? "*" : "")),
                "detail": .string("\($0.principal) \($0.operation.rawValue)"),
            ]
        }
        invocation.output.list(
            items,
            [
                Column("ACTION", "action"), Column("TOPIC", "topic"), Column("PARTITIONS", "partitions", .number),
                Column("DETAIL", "detail"),
            ], empty: "every topic is there (\(plan.present.count))")
    }
}

/// Asks a cluster; what goes wrong is a dependency that is down, or a refusal.
func asking<T>(_ body: () throws(KafkaError) -> T) throws -> T {
    do throws(KafkaError) { return try body() } catch {
        switch error.fault {
        case .configuration:
            throw CommandError(
                .usage, "Kafka: \(error.message)", hint: "REEVE_KAFKA_<PROPERTY> is librdkafka's, dots as underscores")
        case .authentication, .authorization:
            throw CommandError(
                .refused, "Kafka: \(error.description)", hint: "see the cluster's users and access rules")
        default:
            throw CommandError(.unavailable, "Kafka: \(error.description)", hint: "see REEVE_KAFKA_BOOTSTRAP_SERVERS")
        }
    }
}
