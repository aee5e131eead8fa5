public import JobKit
public import Postgres
import WorkerEngine

/// What a snapshot costs that somebody holds, as every pg_dump holds one: the rate of a drain that is topped up, without one,
/// with one in a tenant's database for the whole time, and after one in the control database has been held for long.
public struct HoldBenchmark {
    private static let tenantDatabase = "reeve_bench_tenant"
    private static let window = Duration.seconds(10)

    private let settings: ConnectionSettings
    private let jobs: Int
    private let tenants: Int
    private let held: Duration
    private let pools: [String: Int]
    private let log: Log

    /// Keeps a backlog of `jobs` jobs; the control database's snapshot is held for `held` before the rate is taken.
    public init(
        _ settings: ConnectionSettings, jobs: Int, tenants: Int, held: Duration, pools: [String: Int], log: Log
    ) {
        self.settings = settings
        self.jobs = jobs
        self.tenants = tenants
        self.held = held
        self.pools = pools
        self.log = log
    }

    /// Runs it; throws `BenchFailure` when a job is missing, a counter is wrong, a cap was exceeded or a snapshot was lost.
    public func run() throws -> JSON {
        let fleet = try BenchFleet(
            settings, tenants: tenants, registry: JobRegistry([AnyJob(BenchJob(ledger: BenchLedger(jobs: 0)))]))
        _ = try fleet.control.execute("DROP DATABASE IF EXISTS " + Self.tenantDatabase)
        _ = try fleet.control.execute("CREATE DATABASE " + Self.tenantDatabase)
        defer {
            // Left behind only when the connection is gone, and then with its server.
            _ = try? fleet.control.execute("DROP DATABASE IF EXISTS " + Self.tenantDatabase)
        }
        try fleet.seed(jobs)
        let window = min(Self.window, held)
        let rates = try SteadyLoad(fleet, pools: pools, log: log).run { load in
            sleep(min(.seconds(2), window))
            // In turn, so that a machine that changes meanwhile, or a table that has run for longer, favours neither.
            var (plain, tenant) = (0.0, 0.0)
            for _ in 0..<2 {
                plain += load.rate(over: window) / 2
                tenant += try holding(Self.tenantDatabase) { load.rate(over: window) } / 2
            }
            let (first, last) = try holding(nil) {
                let first = load.rate(over: window)
                sleep(held - window)
                return (first, load.rate(over: window))
            }
            return (plain: plain, tenant: tenant, first: first, last: last)
        }
        func ratio(_ rate: Double) -> JSON { .double((rate / rates.plain * 1000).rounded() / 1000) }
        return [
            "jobs": .int(Int64(jobs)), "tenants": .int(Int64(tenants)), "held_seconds": .double(seconds(held)),
            "jobs_per_second": .double(rates.plain.rounded()),
            "tenant_snapshot_jobs_per_second": .double(rates.tenant.rounded()),
            "control_snapshot_jobs_per_second_first": .double(rates.first.rounded()),
            "control_snapshot_jobs_per_second": .double(rates.last.rounded()),
            "tenant_snapshot_ratio": ratio(rates.tenant), "control_snapshot_ratio": ratio(rates.last),
        ]
    }

    /// Runs `body` while a session of the benchmark's own, which no guard ends, holds a snapshot in a database: the control
    /// database when none is named.
    private func holding<T>(_ database: String?, _ body: () throws -> T) throws -> T {
        let limits = "-c idle_in_transaction_session_timeout=0 -c statement_timeout=0"
        let connection = try Connection(
            settings.with(
                ["application_name": "pg_dump", "options": limits].merging(database.map { ["dbname": $0] } ?? [:]) {
                    $1
                }))
        defer { connection.close() }
        do {
            return try connection.transaction(isolation: "repeatable read", readOnly: true) {
                _ = try connection.execute("SELECT count(*) FROM pg_class")
                let value = try body()
                _ = try connection.execute("SELECT 1")
                return value
            }
        } catch let error as PostgresError {
            throw BenchFailure("the snapshot was lost: \(error)")
        }
    }
}
