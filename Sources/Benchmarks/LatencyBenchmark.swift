import Dispatch
public import JobKit
public import Postgres
import PostgresQueue
import Synchronization
import WorkerEngine

/// On an idle fleet: from the commit of a single enqueue to the start of its handler.
public struct LatencyBenchmark {
    private let settings: ConnectionSettings
    private let jobs: Int
    private let tenants: Int
    private let log: Log

    /// Enqueues `jobs` jobs one by one, and a tenth as many inside transactions of 200 ms.
    public init(_ settings: ConnectionSettings, jobs: Int, tenants: Int, log: Log) {
        self.settings = settings
        self.jobs = jobs
        self.tenants = tenants
        self.log = log
    }

    /// Runs it; throws `BenchFailure` when a job never started.
    public func run() throws -> JSON {
        let slow = max(1, jobs / 10)
        let ledger = BenchLedger(jobs: jobs + slow, keepsStarts: true)
        let registry = JobRegistry([AnyJob(BenchJob(ledger: ledger))])
        let fleet = try BenchFleet(settings, tenants: tenants, registry: registry)
        let (commit, single, inside) = try BenchWorker.during(
            settings, registry: registry, options: WorkerOptions(), log: log
        ) { _ in
            sleep(.seconds(1))  // the fleet is idle before the first enqueue: that is what is measured
            return (
                try medianCommit(fleet), try fleet.waits(ledger, 0..<jobs),
                try fleet.waits(ledger, jobs..<jobs + slow, transaction: .milliseconds(200))
            )
        }
        return [
            "jobs": .int(Int64(jobs)), "median_commit_ms": .double(milliseconds(commit)),
            "p50_ms": .double(milliseconds(percentile(single, 0.5))),
            "p95_ms": .double(milliseconds(percentile(single, 0.95))),
            "p99_ms": .double(milliseconds(percentile(single, 0.99))),
            "max_ms": .double(milliseconds(single.last ?? .zero)), "in_transaction_jobs": .int(Int64(slow)),
            "in_transaction_p50_ms": .double(milliseconds(percentile(inside, 0.5))),
            "in_transaction_p99_ms": .double(milliseconds(percentile(inside, 0.99))),
        ]
    }

    private func medianCommit(_ fleet: BenchFleet) throws -> Duration {
        var times: [Duration] = []
        for _ in 0..<101 {
            let start = ContinuousClock.now
            _ = try fleet.control.execute(
                "UPDATE reeve.tenant_backlog SET counted_at = reeve.clock() WHERE tenant_id = (SELECT min(tenant_id::text)::uuid FROM reeve.tenant_backlog)"
            )
            times.append(ContinuousClock.now - start)
        }
        times.sort()
        return times[50]
    }
}
