import JobKit
import Kafka
import Postgres

extension DatabaseChecks {
    /// What the processes that speak to Kafka say, and which partitions are not read.
    static let kafkaChecks = [
        DatabaseChecks(name: "kafka clients", run: clients), DatabaseChecks(name: "kafka partitions", run: partitions),
    ]

    private static func clients(_ doctor: Doctor, _ connection: Connection) throws {
        let rows = try connection.execute(
            """
            SELECT role, node, pid, state, coalesce(detail, '') FROM reeve.kafka_client
            WHERE seen_at > reeve.clock() - interval '1 minute' ORDER BY state = 'up', node, pid
            """)
        guard let worst = rows.first else {
            if doctor.invocation.configuration.kafkaSettings() != nil {
                doctor.report(
                    "kafka clients", .warn, "Kafka is configured, and nothing reads it",
                    "run: reeve intake, or reeve worker")
            }
            return
        }
        let state = try worst.text(3)
        if state == "up" {
            doctor.report("kafka clients", .ok, "\(rows.count) up")
        } else {
            doctor.report(
                "kafka clients", .fail,
                "\(try worst.text(0)) \(try worst.int(2)) on \(try worst.text(1)): \(state): \(try worst.text(4))",
                remedy(state))
        }
    }

    private static func remedy(_ state: String) -> String {
        switch KafkaError.Fault(rawValue: state) {
        case .brokersDown: "see whether the brokers run and can be reached (REEVE_KAFKA_BOOTSTRAP_SERVERS)"
        case .authentication: "compare REEVE_KAFKA_SASL_… and REEVE_KAFKA_SSL_… with what the cluster expects"
        case .authorization: "let this user read the tenants' topics and the group; see: reeve kafka topics plan"
        case .tooLarge: "raise max.message.bytes of the topic"
        default: "see the log of that process"
        }
    }

    private static func partitions(_ doctor: Doctor, _ connection: Connection) throws {
        let rows = try connection.execute(
            "SELECT topic, partition, problem FROM reeve.kafka_offset WHERE problem IS NOT NULL ORDER BY topic, partition"
        )
        let kept = try connection.execute("SELECT count(*) FROM reeve.rejected_messages WHERE state = 'kept'")[0].int(0)
        if let first = rows.first {
            doctor.report(
                "kafka partitions", .fail,
                "\(rows.count) not read: \(try first.text(0)) \(try first.int(1)) is \(try first.text(2))\(rows.count > 1 ? " …" : "")",
                "see: reeve kafka offsets --stopped; then: reeve kafka reset")
        }
        if kept > 0 {
            doctor.report(
                "rejected messages", .warn, "\(kept) messages could not become jobs", "see: reeve rejected list")
        }
    }
}

extension Doctor {
    /// Whether the cluster answers this process.
    func checkKafka() {
        guard let settings = invocation.configuration.kafkaSettings() else { return }
        do throws(KafkaError) {
            let topics = try KafkaAdmin(settings, limit: .seconds(5)).topics()
            report("kafka", .ok, "\(settings.servers ?? "") answers, \(topics.count) topics")
        } catch {
            report("kafka", .fail, error.description, "see REEVE_KAFKA_… in: reeve config")
        }
    }
}
