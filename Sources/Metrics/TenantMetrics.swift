import JobKit
public import Postgres

/// The same families for every tenant. Read by pages of tenants and kept as numbers, since a family's samples must stand together; handed
/// out family by family.
public struct TenantMetrics: Sendable {
    private struct Facts {
        let name: String
        let tier: String
        let row: JSON
    }

    private static let pageSize = 500
    private let pool: Pool

    /// Reads through `pool`.
    public init(pool: Pool) { self.pool = pool }

    /// Hands the text to `emit` in pieces: of all tenants, or of the one with this code. Blocks; holds a connection only while it asks.
    public func write(code: String?, _ emit: (String) throws -> Void) throws {
        let bounds = try pool.withConnection { connection in
            try connection.execute("SELECT to_jsonb(reeve.stat_bounds())")[0].json(0).array?.compactMap(\.number) ?? []
        }
        var families = JobFamilies(bounds: bounds, isByTenant: true)
        var tenants: [Facts] = []
        var after: String?
        repeat {
            let page = try pool.withConnection { connection in
                try connection.execute(
                    "SELECT reeve.tenant_metrics($1::text, $2::text, $3::int)", [after, code, Self.pageSize]
                ).map { try $0.json(0) }
            }
            for tenant in page {
                let name = tenant["tenant"]?.string ?? ""
                for row in tenant["jobs"]?.array ?? [] { families.add(row, tenant: name) }
                tenants.append(Facts(name: name, tier: tenant["tier"]?.string ?? "", row: Self.facts(tenant)))
            }
            after = page.count == Self.pageSize ? page.last?["tenant"]?.string : nil
        } while after != nil
        try gauges(tenants, emit)
        try families.write(emit)
    }

    /// The row without its jobs, whose sums are all that is kept of them.
    private static func facts(_ tenant: JSON) -> JSON {
        var members = tenant.object ?? [:]
        let jobs = members.removeValue(forKey: "jobs")?.array ?? []
        func sum(_ name: String, where isWanted: (JSON) -> Bool = { _ in true }) -> JSON {
            .double(jobs.reduce(0.0) { $0 + (isWanted($1) ? $1[name]?.number ?? 0 : 0) })
        }
        members["ended"] = sum("jobs")
        members["late"] = sum("late")
        members["dead"] = sum("jobs") { $0["outcome"]?.string == "dead" }
        return .object(members)
    }

    private func gauges(_ tenants: [Facts], _ emit: (String) throws -> Void) rethrows {
        try family("reeve_tenant_jobs", "Unfinished jobs.", tenants, emit) { row in
            [("state", "running", row["running"]?.number), ("state", "waiting", row["waiting"]?.number)]
        }
        let simple = [
            ("reeve_tenant_cap_jobs", "Jobs that may run at once.", "cap"),
            ("reeve_tenant_oldest_available_timestamp_seconds", "When the first job in line became due.", "oldest"),
            ("reeve_backup_last_success_timestamp_seconds", "The last backup.", "backup"),
            ("reeve_backup_last_proven_timestamp_seconds", "The last drill that restored one.", "proven"),
            ("reeve_erasure_next_due_timestamp_seconds", "The next statutory deadline.", "erasure_due"),
            ("reeve_promised_start_seconds", "Within what time the tier promises a start.", "promised_start"),
            ("reeve_promised_success_ratio", "The share of successes that the tier promises.", "promised_success"),
        ]
        for (name, help, member) in simple {
            try family(name, help, tenants, emit) { [("", "", $0[member]?.number)] }
        }
        try family("reeve_promise_kept", "1 while what ended has kept the tier's promise.", tenants, emit) { row in
            let (ended, late, dead) = (row["ended"]?.number ?? 0, row["late"]?.number ?? 0, row["dead"]?.number ?? 0)
            let start = row["promised_start"]?.number.map { _ in late == 0 ? 1.0 : 0 }
            let success = row["promised_success"]?.number.map { ended == 0 || 1 - dead / ended >= $0 ? 1.0 : 0 }
            return [("promise", "start", start), ("promise", "success", success)]
        }
    }

    private func family(
        _ name: String, _ help: String, _ tenants: [Facts], _ emit: (String) throws -> Void,
        _ values: (JSON) -> [(label: String, value: String, number: Double?)]
    ) rethrows {
        var text = MetricsText()
        text.family(name, .gauge, help)
        for tenant in tenants {
            for (label, value, number) in values(tenant.row) {
                guard let number else { continue }
                let more = label.isEmpty ? [] : [(label, value)]
                text.sample(pairs: [("tenant", tenant.name), ("tier", tenant.tier)] + more, number)
            }
        }
        try emit(text.text)
    }
}
