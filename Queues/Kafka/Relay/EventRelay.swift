import Dispatch
import FoundationEssentials
import Glibc
public import JobKit
public import Kafka
public import KafkaIntake
public import Postgres

/// Sends events to `<tenant>.events` and audit entries to `<tenant>.audit`, those of no tenant to `_fleet.audit`:
/// 1. takes a task's turn, which one process has at a time;
/// 2. reads the oldest that wait, sends them, and waits until the cluster has them;
/// 3. deletes events that were sent, or notes how far a chain was sent; a topic that takes nothing is tried again later, and others go on.
/// At least once: a process that ends in between sends some again, with the same ids. Blocks nobody: events wait in their table.
public final class EventRelay: Sendable {
    /// How it works.
    public struct Options: Sendable {
        /// How many messages are under way at once.
        public var batch = 2000
        /// How long a turn lasts that is not renewed.
        public var lease: Duration = .seconds(15)
        /// How long it sleeps when nothing waits.
        public var pause: Duration = .milliseconds(250)

        /// The options as they are.
        public init() {}
    }

    private let control: Pool
    private let kafka: KafkaSettings
    private let names: TopicNames
    private let options: Options
    private let log: Log
    private let process = UUID()

    /// Reads with connections of its own to the control database.
    public init(
        _ control: ConnectionSettings, kafka: KafkaSettings, names: TopicNames, log: Log, options: Options = Options()
    ) {
        self.control = Pool(
            control.with(["application_name": "reeve events"]), bound: 2, waitTimeout: .seconds(30), name: "events")
        self.kafka = kafka
        self.names = names
        self.options = options
        self.log = log
    }

    /// Sends until `stop` is raised. Blocks; databases and brokers that are away are waited for.
    public func run(until stop: StopSignal) {
        let group = DispatchGroup()
        for task in RelayTask.allCases {
            DispatchQueue(label: "reeve.\(task.rawValue)").async(group: group) { [self] in run(task, stop) }
        }
        group.wait()
        _ = try? control.withConnection {
            try $0.execute("SELECT reeve.report_kafka($1::uuid, 'relay', '', 0, NULL, NULL, NULL)", [process])
        }
        control.close()
    }

    private func run(_ task: RelayTask, _ stop: StopSignal) {
        var sender: EventSender?
        var failures = 0
        var noteAt = ContinuousClock.now
        while stop.reason == nil {
            var wait = options.pause
            do {
                guard try hold(task) else {
                    sender = nil
                    stop.wait(.seconds(2))
                    continue
                }
                let made = try sender ?? EventSender(kafka, log: log)
                sender = made
                let sent = try round(task, made, stop)
                if failures > 0 { log.info("\(task.rawValue) are sent again") }
                if failures > 0 || made.fault != nil || noteAt <= .now {
                    noteAt = .now + .seconds(15)
                    try note(task, nil)
                }
                failures = 0
                if sent > 0 { wait = .zero }
            } catch {
                if stop.reason != nil { break }
                // A fault of the client or of the cluster; the events stay where they are.
                if let fault = error as? KafkaError {
                    if fault.fault == .fatal || fault.fault == .configuration { sender = nil }
                    if failures == 0 {
                        log.warning(
                            "\(task.rawValue) cannot be sent now",
                            ["error": .string("\(fault)"), "state": .string(fault.fault.rawValue)])
                    }
                    // The database may be away too: then this is only in the log.
                    try? note(task, fault)
                } else if failures == 0 {
                    log.warning("\(task.rawValue) cannot be read now", ["error": .string("\(error)")])
                }
                failures += 1
                wait = .milliseconds(min(30_000, 500 << min(failures - 1, 6)))
            }
            if wait > .zero { stop.wait(wait) }
        }
        _ = try? control.withConnection {
            try $0.execute("SELECT reeve.hold_turn($1::text, $2::uuid, '0')", [task.rawValue, process])
        }
    }

    /// Whether there is anything to do and it is this process's turn. A fleet that sends nothing costs one look now and then.
    private func hold(_ task: RelayTask) throws -> Bool {
        try control.withConnection {
            try $0.execute(
                """
                SELECT s.is_wanted AND reeve.hold_turn($1::text, $2::uuid, $3::bigint * interval '1 ms')
                FROM reeve.relay_wanted($1::text) AS s (is_wanted)
                """, [task.rawValue, process, Int64(options.lease / .milliseconds(1))], name: "hold turn", stop: nil,
                deadline: .now + .seconds(10))[0].bool(0)
        }
    }

    /// Says how the cluster is: what keeps a task from going on, or that nothing does.
    private func note(_ task: RelayTask, _ fault: KafkaError?) throws {
        try control.withConnection { connection in
            _ = try connection.execute(
                "SELECT reeve.note_turn($1::text, $2::uuid, $3::text)",
                [task.rawValue, process, fault.map { "\($0.fault.rawValue): \($0)" }])
            _ = try connection.execute(
                "SELECT reeve.report_kafka($1::uuid, 'relay', $2::text, $3::int, $4::text, $5::text, '{}')",
                [
                    process, HostName.current, Int(getpid()), fault?.fault.rawValue ?? "up",
                    fault?.description,
                ])
        }
    }

    /// Reads, sends and settles once; returns how many were settled.
    private func round(_ task: RelayTask, _ sender: EventSender, _ stop: StopSignal) throws -> Int {
        let messages = try read(task)
        if messages.isEmpty { return 0 }
        let report = try sender.send(messages, stop: stop) {
            _ = try hold(task)
            if let fault = sender.fault { try note(task, fault) }
        }
        let isDown = report.failures.values.allSatisfy { $0.fault == KafkaError.Fault.brokersDown.rawValue }
        if report.sent.isEmpty, isDown {
            // When no broker answers it is no topic's fault.
            throw sender.fault
                ?? KafkaError(.brokersDown, name: "_ALL_BROKERS_DOWN", "no broker answers", operation: "send")
        }
        switch task {
        case .events: return try settleEvents(messages, report)
        case .audit: return try settleAudit(messages, report)
        }
    }

    private func read(_ task: RelayTask) throws -> [OutgoingMessage] {
        let names = names
        return try control.withConnection { connection in
            switch task {
            case .events:
                return try connection.execute(
                    """
                    SELECT e.id, e.tenant_id, e.tenant_code, e.type, to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                      e.job_id, e.queue, e.kind, e.attempt, e.traceparent, e.detail, (extract(epoch FROM e.at) * 1000000)::bigint
                    FROM reeve.read_events($1::uuid, $2::int) e
                    """, [process, options.batch], name: "read events", stop: nil, deadline: .now + .seconds(30)
                ).map { row in
                    try OutgoingMessage.event(row, source: "/reeve") { names.topic($0, "events") }
                }
            case .audit:
                return try connection.execute(
                    "SELECT chain, tenant_code, last_seq, at, line FROM reeve.read_audit($1::uuid, 50, $2::int)",
                    [process, max(1, options.batch / 50)], name: "read audit", stop: nil, deadline: .now + .seconds(30)
                ).map { row in
                    try OutgoingMessage.audit(row, source: "/reeve") { names.topic($0 ?? "_fleet", "audit") }
                }
            }
        }
    }

    private func settleEvents(_ messages: [OutgoingMessage], _ report: SendingReport) throws -> Int {
        var done = report.sent.map { messages[$0].mark }
        var failures: [JSON] = []
        for (tenant, failure) in report.failures {
            if failure.fault == KafkaError.Fault.tooLarge.rawValue {
                // It will never be taken, and must not keep what comes after it.
                done.append(messages[failure.index].mark)
                log.error("an event is larger than the broker takes, and is dropped", ["tenant": .string(tenant)])
            } else {
                failures.append(["tenant": .string(tenant), "reason": .string("\(failure.fault): \(failure.text)")])
            }
        }
        if !failures.isEmpty { log.warning("topics take no events now", ["tenants": .int(Int64(failures.count))]) }
        _ = try control.withConnection {
            try $0.execute(
                "SELECT reeve.settle_events($1::uuid, $2::bigint[], $3::jsonb)",
                [process, done, JSON.array(failures)], name: "settle events", stop: nil, deadline: .now + .seconds(30))
        }
        return done.count
    }

    private func settleAudit(_ messages: [OutgoingMessage], _ report: SendingReport) throws -> Int {
        let sent = report.sent.map { index -> JSON in
            ["chain": .string(messages[index].stream), "seq": .int(messages[index].mark)]
        }
        let failures = report.failures.map { chain, failure -> JSON in
            ["chain": .string(chain), "reason": .string("\(failure.fault): \(failure.text)")]
        }
        _ = try control.withConnection {
            try $0.execute(
                "SELECT reeve.settle_audit($1::uuid, $2::jsonb, $3::jsonb)",
                [process, JSON.array(sent), JSON.array(failures)], name: "settle audit", stop: nil,
                deadline: .now + .seconds(30))
        }
        return sent.count
    }
}

/// What is sent, each in turn by one process.
enum RelayTask: String, CaseIterable, Sendable {
    case events, audit
}
