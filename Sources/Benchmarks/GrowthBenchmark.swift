public import JobKit
public import Postgres
import WorkerEngine

/// What size costs: the rate with many tenants and a large backlog against the rate with few and a small one, both topped up
/// and timed over the same window. The small fleet is measured before and after the large one, so that a machine that
/// changes meanwhile shows.
public struct GrowthBenchmark {
    private static let longestWarmUp = Duration.seconds(2)

    private let settings: ConnectionSettings
    private let tenants: Int
    private let backlog: Int
    private let duration: Duration
    private let pools: [String: Int]
    private let log: Log

    /// Compares `tenants` tenants and `backlog` jobs with at most 100 tenants and 10,000 jobs.
    public init(
        _ settings: ConnectionSettings, tenants: Int, backlog: Int, duration: Duration,
        pools: [String: Int] = ["starter": 150, "professional": 150, "enterprise": 150], log: Log
    ) {
        self.settings = settings
        self.tenants = tenants
        self.backlog = backlog
        self.duration = duration
        self.pools = pools
        self.log = log
    }

    /// Runs it; throws `BenchFailure` when a job is missing, a counter is wrong or a cap was exceeded.
    public func run() throws -> JSON {
        let (fewTenants, fewJobs) = (min(100, tenants), min(10_000, backlog))
        let small = try BenchFleet(
            settings, tenants: fewTenants, registry: JobRegistry([AnyJob(BenchJob(ledger: BenchLedger(jobs: 0)))]))
        let before = try rate(small, fewJobs)
        let large = try small.grown(to: tenants)
        let big = try rate(large, backlog)
        let after = try rate(small, fewJobs)
        let reference = (before + after) / 2
        return [
            "tenants": .int(Int64(tenants)), "backlog": .int(Int64(backlog)), "seconds": .double(seconds(duration)),
            "small_tenants": .int(Int64(fewTenants)), "small_backlog": .int(Int64(fewJobs)),
            "jobs_per_second": .double(big.rounded()), "small_jobs_per_second": .double(reference.rounded()),
            "small_jobs_per_second_before": .double(before.rounded()),
            "small_jobs_per_second_after": .double(after.rounded()),
            "ratio": .double((big / reference * 1000).rounded() / 1000),
        ]
    }

    private func rate(_ fleet: BenchFleet, _ backlog: Int) throws -> Double {
        try fleet.clear()
        try fleet.seed(backlog)
        return try SteadyLoad(fleet, pools: pools, log: log).run { load in
            sleep(min(Self.longestWarmUp, duration))
            return load.rate(over: duration)
        }
    }
}
