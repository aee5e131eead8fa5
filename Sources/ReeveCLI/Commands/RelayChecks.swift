import JobKit
import Postgres

extension DatabaseChecks {
    /// Whether services' outboxes are relayed, and nothing waits in them for long.
    static func outboxes(_ doctor: Doctor, _ connection: Connection) throws {
        guard try connection.execute("SELECT to_regclass('reeve.outbox_list') IS NOT NULL")[0].bool(0) else { return }
        let rows = try connection.execute(
            """
            SELECT o.name, o.state, coalesce(o.problem, ''), coalesce(extract(epoch FROM reeve.clock() - o.oldest_at), 0)::bigint, o.ids_left, o.block_size
            FROM reeve.outbox_list o ORDER BY o.name
            """)
        let relay = "run a worker or reeve relay with REEVE_KEY_FILE; see: reeve outbox status NAME"
        var faults: [(finding: String, remedy: String)] = []
        for row in rows {
            let (name, state) = (try row.text(0), try row.text(1))
            switch state {
            case "stopped":
                faults.append(("\(name) is stopped: \(try row.text(2))", "deploy/runbooks/kafka-and-outboxes.md"))
            case "failing":
                faults.append(("\(name) is failing: \(try row.text(2))", "see: reeve outbox status \(name)"))
            case "unattended": faults.append(("no relay holds \(name)", relay))
            default:
                if try row.int(3) > 300 {
                    faults.append(("rows wait in \(name) for \(Durations.humane(Int(try row.int(3))))", relay))
                } else if let left = try row.optionalInt(4), try left < row.int(5) {
                    faults.append(("\(name) has only \(left) job ids left", relay))
                }
            }
        }
        for fault in faults.prefix(10) { doctor.report("outboxes", .warn, fault.finding, fault.remedy) }
        if faults.count > 10 {
            doctor.report("outboxes", .warn, "and \(faults.count - 10) more", "see: reeve outbox list")
        }
        if faults.isEmpty, !rows.isEmpty { doctor.report("outboxes", .ok, "\(rows.count) are relayed") }
    }

    /// Whether events that somebody asked for are sent.
    static func events(_ doctor: Doctor, _ connection: Connection) throws {
        guard try connection.execute("SELECT to_regclass('reeve.event_status') IS NOT NULL")[0].bool(0) else { return }
        let row = try connection.execute(
            """
            SELECT types <> '{}' OR audit, waiting, coalesce(extract(epoch FROM reeve.clock() - oldest_at), 0)::bigint, relayed, coalesce(problem, block_reason, audit_problem, ''),
              expired
            FROM reeve.event_status
            """)[0]
        let (waiting, age, problem) = (try row.int(1), try row.int(2), try row.text(4))
        guard try row.bool(0) || waiting > 0 else { return }
        if problem.isEmpty, age < 300, try row.bool(3) || !row.bool(0) {
            return doctor.report("events", .ok, "\(waiting) wait")
        }
        let finding =
            problem.isEmpty
            ? try row.bool(3) ? "\(waiting) wait, the oldest for \(Durations.humane(Int(age)))" : "nobody sends them"
            : problem
        let expired = try row.int(5)
        doctor.report(
            "events", .warn, finding + (expired > 0 ? "; \(expired) were dropped, since nobody sent them" : ""),
            "run a worker or reeve relay with REEVE_KAFKA_BOOTSTRAP_SERVERS; see: reeve events show")
    }
}
