import JobKit

/// What comes in by Kafka and services' outboxes, and what goes out as events.
enum FlowMetrics {
    static func write(_ flow: JSON?, now: Double, to text: inout MetricsText) {
        guard let flow else { return }
        func age(_ name: String) -> Double? { flow[name]?.number.map { max(0, now - $0) } }
        text.gauge(
            "reeve_intake_lag_messages", "Messages of Kafka that are not taken yet, as the readers last saw.",
            flow["lag"]?.number)
        text.family(
            "reeve_intake_partitions", .gauge,
            "Partitions of Kafka that were ever read; stopped: until a person decides.")
        for state in ["lagging", "stopped"] { text.sample(["state": state], known: flow[state]?.number) }
        text.sample(["state": "all"], known: flow["partitions"]?.number)
        text.family("reeve_kafka_clients", .gauge, "Processes that speak to Kafka; up, or the fault that they met.")
        for client in flow["clients"]?.array ?? [] {
            text.sample(
                ["role": client["role"]?.string ?? "", "state": client["state"]?.string ?? ""],
                known: client["count"]?.number)
        }
        text.gauge(
            "reeve_rejected_messages", "Messages of Kafka that could not become jobs and are kept, at most 100000.",
            flow["rejected"]?.number)
        text.family("reeve_outboxes", .gauge, "Outboxes in services' databases.")
        for state in ["relaying", "failing", "unattended", "stopped"] {
            text.sample(["state": state], flow["outboxes"]?[state]?.number ?? 0)
        }
        text.gauge(
            "reeve_outbox_waiting_rows", "Rows of outboxes that are not relayed yet.", flow["outbox_waiting"]?.number)
        text.gauge("reeve_outbox_oldest_age_seconds", "How long the oldest of them waits.", age("outbox_oldest"))
        text.gauge(
            "reeve_outbox_ids_left", "Job ids that the outbox with the fewest can still hand out.",
            flow["outbox_ids_left"]?.number)
        text.gauge("reeve_events_waiting", "Events that are not sent yet, at most 100000.", flow["events"]?.number)
        text.gauge("reeve_events_oldest_age_seconds", "How long the oldest of them waits.", age("events_oldest"))
        text.gauge(
            "reeve_events_blocked_tenants", "Tenants whose events cannot be sent.", flow["events_blocked"]?.number)
    }
}
