import JobKit

/// The families of jobs that ended, from the sums that the control database keeps; the same for the fleet and for each tenant. What is
/// added is kept as numbers only: a few hundred bytes for each tenant and kind.
struct JobFamilies {
    private struct Key: Hashable, Comparable {
        let tenant: String
        let tier: String
        let kind: String
        let outcome: String

        static func < (a: Key, b: Key) -> Bool {
            (a.tenant, a.tier, a.kind, a.outcome) < (b.tenant, b.tier, b.kind, b.outcome)
        }
    }

    private struct Ranges {
        var counts: [Int64] = []
        var seconds = 0.0

        mutating func add(_ row: JSON, _ name: String) {
            seconds += row[name + "_seconds"]?.number ?? 0
            let more = row[name]?.array?.map { $0.int ?? 0 } ?? []
            counts = counts.isEmpty ? more : zip(counts, more).map { $0 + $1 }
        }
    }

    private struct Sum {
        var attempts = 0.0
        var late = 0.0
        var wait = Ranges()
        var run = Ranges()
        var dwell = Ranges()
    }

    private let bounds: [Double]
    private let isByTenant: Bool
    private var ended: [Key: Double] = [:]
    private var sums: [Key: Sum] = [:]
    private var quiet: [String: Ranges] = [:]

    init(bounds: [Double], isByTenant: Bool) {
        self.bounds = bounds
        self.isByTenant = isByTenant
    }

    /// Takes in a row of sums.
    mutating func add(_ row: JSON, tenant: String = "") {
        let tier = row["tier"]?.string ?? ""
        let kind = row["kind"]?.string ?? ""
        let outcome = row["outcome"]?.string ?? ""
        ended[Key(tenant: tenant, tier: tier, kind: kind, outcome: outcome), default: 0] += row["jobs"]?.number ?? 0
        let key = Key(tenant: tenant, tier: tier, kind: kind, outcome: "")
        sums[key, default: Sum()].attempts += row["attempts"]?.number ?? 0
        sums[key, default: Sum()].late += row["late"]?.number ?? 0
        sums[key, default: Sum()].wait.add(row, "wait")
        sums[key, default: Sum()].run.add(row, "run")
        sums[key, default: Sum()].dwell.add(row, "dwell")
        if row["quiet"] == .bool(true) { quiet[tier, default: Ranges()].add(row, "wait") }
    }

    /// Hands the families to `emit`, one after the other.
    func write(_ emit: (String) throws -> Void) rethrows {
        let sums = sums.sorted { $0.key < $1.key }
        try family("reeve_jobs_finished_total", .counter, "Jobs that ended, by outcome.", emit) { text in
            for (key, jobs) in ended.sorted(by: { $0.key < $1.key }) {
                text.sample(pairs: labels(key) + [("outcome", key.outcome)], jobs)
            }
        }
        try family("reeve_job_attempts_total", .counter, "Attempts of the jobs that ended.", emit) { text in
            for (key, sum) in sums { text.sample(pairs: labels(key), sum.attempts) }
        }
        try family("reeve_jobs_late_total", .counter, "Jobs that started later than promised.", emit) { text in
            for (key, sum) in sums { text.sample(pairs: labels(key), sum.late) }
        }
        let parts: [(String, String, KeyPath<Sum, Ranges>)] = [
            ("reeve_job_wait_seconds", "From due to the start of the last attempt.", \.wait),
            ("reeve_job_duration_seconds", "The last attempt, from start to end.", \.run),
            ("reeve_job_dwell_seconds", "From due to the end, retries included.", \.dwell),
        ]
        for (name, help, part) in parts {
            try family(name, .histogram, help, emit) { text in
                for (key, sum) in sums {
                    let ranges = sum[keyPath: part]
                    text.histogram(pairs: labels(key), bounds: bounds, counts: ranges.counts, sum: ranges.seconds)
                }
            }
        }
        guard !isByTenant else { return }
        let help = "The wait of jobs of tenants that are not noisy."
        try family("reeve_quiet_wait_seconds", .histogram, help, emit) { text in
            for (tier, ranges) in quiet.sorted(by: { $0.key < $1.key }) {
                text.histogram(pairs: [("tier", tier)], bounds: bounds, counts: ranges.counts, sum: ranges.seconds)
            }
        }
    }

    private func labels(_ key: Key) -> [(String, String)] {
        (isByTenant ? [("tenant", key.tenant)] : []) + [("tier", key.tier), ("kind", key.kind)]
    }

    private func family(
        _ name: String, _ kind: MetricsText.Kind, _ help: String, _ emit: (String) throws -> Void,
        _ body: (inout MetricsText) -> Void
    ) rethrows {
        var text = MetricsText()
        text.family(name, kind, help)
        body(&text)
        try emit(text.text)
    }
}
