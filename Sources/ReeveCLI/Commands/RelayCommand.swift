import Dispatch
import EventRelay
import Glibc
import JobKit
import Kafka
import KafkaIntake
import OutboxRelay
import Postgres
import PostgresQueue

extension Command {
    static let relay = Command(
        "relay", "bring what services enqueue in their databases here, and send events, until SIGTERM",
        details: """
            Every worker does the same beside its jobs, unless REEVE_RELAY is alone. Any number of relays share the outboxes; one at a
            time sends the events.
            """,
        options: [
            CommandOption("lease", "TIME", "how long a lease lasts: others take over after it (15s)", .duration),
            .setting(.keyFile), .setting(.log), .setting(.logLevel),
        ], examples: ["reeve relay"]
    ) { invocation in
        let settings = try invocation.databaseSettings()
        let connection = try invocation.connect()
        try Migrator(connection).requireCurrent()
        connection.close()
        let signals = StopSignals()
        signals.onHurry { exit(ExitCode.interrupted.rawValue) }
        let lease = invocation.duration("lease") ?? .seconds(15)
        guard lease >= .seconds(1), lease <= .seconds(600) else {
            throw CommandError(.usage, "--lease must be from 1s to 10m")
        }
        let relays = try Relays(invocation, settings: settings, lease: lease)
        relays.log.info("relaying")
        relays.run(until: signals.stop)
        return .done
    }
}

/// What carries rows and events between databases and brokers, beside a worker or alone.
struct Relays {
    let log: Log
    private let outboxes: OutboxFleet
    private let events: EventRelay?

    init(_ invocation: Invocation, settings: ConnectionSettings, lease: Duration = .seconds(15)) throws {
        let log = invocation.configuration.makeLog()
        self.log = log
        let sealer = try invocation.configuration.makeSealer()
        if sealer == nil { log.info("REEVE_KEY_FILE is not set: this process relays no outboxes") }
        events = try invocation.configuration.kafkaSettings().map { kafka in
            let names = try invocation.configuration.topicNames()
            // What is wrong with the properties is said before anything runs.
            _ = try asking { () throws(KafkaError) in try KafkaProducer(kafka) }
            var options = EventRelay.Options()
            options.lease = lease
            return EventRelay(settings, kafka: kafka, names: names, log: log, options: options)
        }
        outboxes = OutboxFleet(settings, sealer: sealer, log: log, lease: lease)
    }

    /// Relays until `stop` is raised. Blocks.
    func run(until stop: StopSignal) {
        let group = DispatchGroup()
        if let events { DispatchQueue(label: "reeve.events").async(group: group) { events.run(until: stop) } }
        outboxes.run(until: stop)
        group.wait()
    }

    /// Relays while `body` runs. A relay that cannot do its work is no reason for a worker to end.
    func run<T>(while body: () throws -> T) rethrows -> T {
        let stop = StopSignal()
        let group = DispatchGroup()
        DispatchQueue(label: "reeve.relays").async(group: group) { run(until: stop) }
        defer {
            stop.stop(.shutdown)
            _ = group.wait(timeout: .now() + .seconds(15))
        }
        return try body()
    }
}
