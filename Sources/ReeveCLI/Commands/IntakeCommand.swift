import Dispatch
import JobKit
import Kafka
import KafkaIntake
import Postgres
import PostgresQueue

extension Command {
    static let intake = Command(
        "intake", "move jobs from Kafka into the queue until SIGTERM",
        details: """
            Topic acme.reports is queue acme.reports, acme.jobs takes every kind; REEVE_KAFKA_<PROPERTY> configures librdkafka. Any number
            may run; workers do the same unless REEVE_INTAKE is alone. What cannot become a job is kept: reeve rejected list.
            """,
        options: [
            .setting(.topicPrefix), .setting(.log), .setting(.logLevel),
            CommandOption("batch", "N", "at most this many messages in one transaction (1000)", .integer(1...5000)),
            CommandOption(
                "remember", "TIME",
                "how long an event's source and id are known: longer than topics keep messages (8d)",
                .duration),
        ],
        examples: ["reeve intake", "reeve intake --topic-prefix prod. --batch 500"]
    ) { invocation in
        let settings = try invocation.databaseSettings()
        let kafka = try invocation.configuration.requireKafka()
        let connection = try invocation.connect()
        try Migrator(connection).requireCurrent()
        connection.close()
        var options = IntakeOptions(names: try invocation.configuration.topicNames())
        options.batchLimit = invocation.int("batch") ?? options.batchLimit
        options.remember = invocation.duration("remember") ?? options.remember
        let signals = StopSignals()
        let log = invocation.configuration.makeLog()
        let intake = try asking { () throws(KafkaError) in
            try Intake(kafka, control: settings, options: options, log: log)
        }
        log.info("intake", ["servers": .string(kafka.servers ?? ""), "pattern": .string(options.names.pattern)])
        intake.run(until: signals.stop)
        return .done
    }
}

/// The intake of a worker: in a thread of its own, while the worker runs.
final class WorkerIntake: Sendable {
    private let stop = StopSignal()
    private let ended = DispatchSemaphore(value: 0)

    /// Starts it; nil where Kafka is not configured or taken in elsewhere.
    static func start(_ invocation: Invocation, _ control: ConnectionSettings, _ log: Log) throws -> WorkerIntake? {
        let configuration = invocation.configuration
        guard let kafka = configuration.kafkaSettings(), configuration[.intake] != "alone" else { return nil }
        let options = IntakeOptions(names: try configuration.topicNames())
        // What is wrong with the properties is said before anything runs.
        _ = try asking { () throws(KafkaError) in try Intake(kafka, control: control, options: options, log: log) }
        let running = WorkerIntake()
        DispatchQueue(label: "reeve.intake").async {
            do throws(KafkaError) {
                try Intake(kafka, control: control, options: options, log: log.with(["part": "intake"])).run(
                    until: running.stop)
            } catch { log.error("the intake cannot start", ["error": .string(error.description)]) }
            running.ended.signal()
        }
        return running
    }

    /// Ends it, within ten seconds: what it has not taken stays in Kafka.
    func end() {
        stop.stop(.shutdown)
        _ = ended.wait(timeout: .now() + .seconds(10))
    }
}
