public import JobKit
public import Postgres
import PostgresQueue

/// How fast jobs are accepted by one connection: with a commit each, and 1,000 to a call.
public struct EnqueueBenchmark {
    private let settings: ConnectionSettings
    private let jobs: Int
    private let tenants: Int

    /// Enqueues `jobs` jobs in bulk and a tenth as many one by one.
    public init(_ settings: ConnectionSettings, jobs: Int, tenants: Int) {
        self.settings = settings
        self.jobs = jobs
        self.tenants = tenants
    }

    /// Runs it; throws `BenchFailure` when a job was not accepted.
    public func run() throws -> JSON {
        let registry = JobRegistry([AnyJob(BenchJob(ledger: BenchLedger(jobs: 0)))])
        let fleet = try BenchFleet(settings, tenants: tenants, registry: registry)
        let single = max(1, jobs / 10)
        let start = ContinuousClock.now
        for n in 0..<single {
            _ = try fleet.control.execute(
                "SELECT reeve.enqueue($1::text, 'bench', $2::jsonb)",
                [fleet.tenants[n % fleet.tenants.count] + ".bench", JSON.object(["n": .int(Int64(n))])],
                name: "enqueue_one")
        }
        let singly = ContinuousClock.now - start
        let bulk = try fleet.enqueue(single..<single + jobs)
        let accepted = try fleet.control.execute("SELECT count(*) FROM reeve.job")[0].int(0)
        guard accepted == single + jobs else {
            throw BenchFailure("of \(single + jobs) jobs \(accepted) were accepted")
        }
        return [
            "jobs": .int(Int64(jobs)), "tenants": .int(Int64(tenants)),
            "single_per_second": .double((Double(single) / seconds(singly)).rounded()),
            "bulk_per_second": .double((Double(jobs) / seconds(bulk)).rounded()),
        ]
    }
}
