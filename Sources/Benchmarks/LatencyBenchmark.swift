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
        let source = PostgresJobSource(settings, registry: registry, version: "bench")
        defer { source.close() }
        let worker = Worker(
            source: source, registry: registry, options: WorkerOptions(), resources: JobResources(), log: log)
        let stop = StopSignal()
        let ended = DispatchSemaphore(value: 0)
        let failure = Mutex<(any Error)?>(nil)
        DispatchQueue(label: "reeve.bench.worker").async {
            do { try worker.run(until: stop) } catch { failure.withLock { $0 = error } }
            ended.signal()
        }
        sleep(.seconds(1))  // the fleet is idle before the first enqueue: that is what is measured
        let commit = try medianCommit(fleet)
        let single = try measure(fleet, ledger, 0..<jobs, transaction: nil)
        let inside = try measure(fleet, ledger, jobs..<jobs + slow, transaction: .milliseconds(200))
        stop.stop(.shutdown)
        ended.wait()
        if let error = failure.withLock({ $0 }) { throw error }
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
            _ = try fleet.control.execute("UPDATE reeve.tenant_backlog SET counted_at = reeve.clock() WHERE tenant_id = (SELECT min(tenant_id::text)::uuid FROM reeve.tenant_backlog)")
            times.append(ContinuousClock.now - start)
        }
        times.sort()
        return times[50]
    }

    private func measure(
        _ fleet: BenchFleet, _ ledger: BenchLedger, _ range: Range<Int>, transaction: Duration?
    ) throws -> [Duration] {
        var commits: [ContinuousClock.Instant] = []
        for n in range {
            let queue = fleet.tenants[n % fleet.tenants.count] + ".bench"
            let enqueue = {
                _ = try fleet.control.execute(
                    "SELECT reeve.enqueue($1::text, 'bench', $2::jsonb)", [queue, JSON.object(["n": .int(Int64(n))])],
                    name: "enqueue_one")
            }
            if let transaction {
                try fleet.control.transaction {
                    try enqueue()
                    sleep(transaction)
                }
            } else {
                try enqueue()
            }
            commits.append(.now)
            sleep(.milliseconds(10))
        }
        let until = ContinuousClock.now + .seconds(10)
        while ledger.ran < range.upperBound, ContinuousClock.now < until { sleep(.milliseconds(10)) }
        return try range.map { n in
            guard let start = ledger.start(of: n) else { throw BenchFailure("job \(n) never started") }
            return max(.zero, start - commits[n - range.lowerBound])
        }.sorted()
    }
}
