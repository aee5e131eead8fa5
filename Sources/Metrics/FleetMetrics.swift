import JobKit
public import Postgres

/// What the control database says about the whole fleet, as metrics. One process serves them (`reeve dashboard`): summed over workers
/// they would count everything several times.
///
/// By tier and kind always; by tenant only the busiest, the others summed as `_other`, so that ten thousand tenants don't become a
/// million series. Every tenant's own are at `/metrics/tenants`.
public struct FleetMetrics: Sendable {
    private let pool: Pool
    private let version: String
    private let top: Int

    /// Reads through `pool`; `top` tenants get series of their own.
    public init(pool: Pool, version: String, top: Int = 20) {
        self.pool = pool
        self.version = version
        self.top = top
    }

    /// The page. Asks the database once; blocks for that.
    public func page() throws -> String {
        let found = try pool.withConnection {
            try $0.execute("SELECT reeve.fleet_metrics($1::int)", [top])[0].json(0)
        }
        var text = MetricsText()
        text.family("reeve_build_info", .gauge, "The version that runs.")
        text.sample(["version": version], 1)
        write(found, to: &text)
        ProcessMetrics.write(to: &text)
        return text.text
    }

    private func write(_ found: JSON, to text: inout MetricsText) {
        let now = found["now"]?.number ?? 0
        let parts = found["parts"]
        text.counter("reeve_jobs_enqueued_total", "Job ids given out.", found["accepted"]?.number)
        var families = JobFamilies(
            bounds: found["bounds"]?.array?.compactMap(\.number) ?? [], isByTenant: false)
        for row in found["jobs"]?.array ?? [] { families.add(row) }
        families.write { text.append($0) }
        writeLive(parts?["live"], to: &text)
        text.family("reeve_tenant_jobs", .gauge, "Jobs of the busiest tenants; the others are summed as _other.")
        for tenant in found["busy"]?.array ?? [] {
            let name = tenant["tenant"]?.string ?? ""
            let tier = tenant["tier"]?.string ?? ""
            text.sample(["tenant": name, "tier": tier, "state": "running"], known: tenant["running"]?.number)
            text.sample(["tenant": name, "tier": tier, "state": "waiting"], known: tenant["waiting"]?.number)
        }
        for state in ["running", "waiting"] {
            text.sample(["tenant": "_other", "tier": "", "state": state], known: found["other"]?[state]?.number)
        }
        writeSlow(parts?["slow"], now: now, to: &text)
        FlowMetrics.write(parts?["flow"], now: now, to: &text)
        let proof = parts?["proof"]
        text.gauge("reeve_backups_missing_tenants", "Tenants without any backup.", proof?["without"]?.number)
        text.gauge(
            "reeve_backups_overdue_tenants", "Tenants without a backup of the last 26 hours.", proof?["overdue"]?.number
        )
        text.gauge(
            "reeve_backups_unproven_tenants", "Tenants whose backups no restore has proven in time.",
            proof?["unproven"]?.number)
        text.gauge(
            "reeve_backups_unscheduled_tenants", "Tenants that no schedule in force backs up.",
            proof?["unprotected"]?.number)
        text.gauge(
            "reeve_backup_oldest_success_timestamp_seconds", "The last backup of the tenant whose last is oldest.",
            proof?["oldest_backup"]?.number)
        text.family("reeve_statistics_age_seconds", .gauge, "How old what housekeeping looks up is, by part.")
        for (name, part) in (parts?.object ?? [:]).sorted(by: { $0.key < $1.key }) {
            text.sample(["part": name], known: part["age"]?.number)
        }
    }

    private func writeLive(_ live: JSON?, to text: inout MetricsText) {
        let tiers = (live?["tiers"]?.object ?? [:]).sorted { $0.key < $1.key }
        text.family("reeve_queue_jobs", .gauge, "Unfinished jobs; those that wait are counted every few seconds.")
        for (tier, value) in tiers {
            text.sample(["tier": tier, "state": "running"], known: value["running"]?.number)
            text.sample(["tier": tier, "state": "waiting"], known: value["waiting"]?.number)
        }
        text.family("reeve_tenants_at_cap", .gauge, "Tenants that run as many jobs as their tier allows.")
        for (tier, value) in tiers { text.sample(["tier": tier], known: value["capped"]?.number) }
        text.family("reeve_fleet_slots", .gauge, "Slots of the workers whose lease is current.")
        for (tier, slots) in (live?["slots"]?.object ?? [:]).sorted(by: { $0.key < $1.key }) {
            text.sample(["tier": tier], known: slots.number)
        }
        text.family("reeve_workers", .gauge, "Workers; late: alive by their word, with a lease that has ended.")
        for state in ["alive", "late", "stopping"] {
            text.sample(["state": state], known: live?["workers"]?[state]?.number)
        }
        text.gauge(
            "reeve_workers_died_today", "Workers declared dead within a day.", live?["workers"]?["dead_today"]?.number)
        text.gauge("reeve_tenants_noisy", "Tenants that take a tenth of what runs or waits.", live?["noisy"]?.number)
        text.gauge("reeve_queue_blocks", "Pauses and drains in force.", live?["blocks"]?.number)
        text.gauge("reeve_circuits_open", "Tenants' databases that do not answer.", live?["circuits"]?.number)
        text.family("reeve_jobs_held", .gauge, "Jobs that wait for an event, by reason.")
        for (reason, count) in (live?["held"]?.object ?? [:]).sorted(by: { $0.key < $1.key }) {
            text.sample(["reason": reason], known: count.number)
        }
    }

    private func writeSlow(_ slow: JSON?, now: Double, to text: inout MetricsText) {
        text.family(
            "reeve_queue_oldest_available_age_seconds", .gauge, "How long the oldest job that could run has been due.")
        for (tier, at) in (slow?["oldest"]?.object ?? [:]).sorted(by: { $0.key < $1.key }) {
            text.sample(["tier": tier], known: at.number.map { max(0, now - $0) })
        }
        text.gauge(
            "reeve_dead_letters", "Dead letters that were not redriven, at most 10000.", slow?["dead_letters"]?.number)
        text.family("reeve_tenants", .gauge, "Tenants by status.")
        for (status, count) in (slow?["statuses"]?.object ?? [:]).sorted(by: { $0.key < $1.key }) {
            text.sample(["status": status], known: count.number)
        }
        text.gauge(
            "reeve_erasures_open", "Requests of data subjects that have not ended.", slow?["erasures"]?["open"]?.number)
        text.gauge(
            "reeve_erasures_overdue", "Of those, past their statutory deadline.", slow?["erasures"]?["overdue"]?.number)
        text.gauge("reeve_erasures_due_soon", "Of those, due within 7 days.", slow?["erasures"]?["near"]?.number)
        text.gauge(
            "reeve_erasure_next_due_timestamp_seconds", "The next statutory deadline.",
            slow?["erasures"]?["next"]?.number)
        text.gauge("reeve_purges_open", "Purges that have not ended.", slow?["purges"]?["open"]?.number)
        text.gauge("reeve_purges_due", "Of those, whose time has come.", slow?["purges"]?["due"]?.number)
        text.gauge(
            "reeve_audit_unsealed_entries", "Audit entries not chained yet, at most 10000.", slow?["unsealed"]?.number)
        text.gauge(
            "reeve_audit_last_anchor_timestamp_seconds", "When the audit's heads were last anchored outside.",
            slow?["anchored"]?.number)
        text.family("reeve_table_rows", .gauge, "Rows of the queue's tables, as PostgreSQL estimates them.")
        for (table, rows) in (slow?["tables"]?.object ?? [:]).sorted(by: { $0.key < $1.key }) {
            text.sample(["table": table, "state": "live"], known: rows["live"]?.number)
            text.sample(["table": table, "state": "dead"], known: rows["dead"]?.number)
        }
        text.gauge(
            "reeve_oldest_transaction_seconds",
            "The longest transaction in the control database that the login may see.",
            slow?["oldest_transaction"]?.number)
        text.gauge(
            "reeve_oldest_snapshot_transactions", "How many transactions the oldest snapshot there is behind.",
            slow?["oldest_xmin"]?.number)
    }
}
