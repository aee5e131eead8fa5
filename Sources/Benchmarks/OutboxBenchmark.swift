import Glibc
public import JobKit
public import Postgres
import WorkerEngine

/// What a service's outbox costs beside `reeve.enqueue` in the control database: the time until a job starts, rows per second, both
/// again while a snapshot is held in the service's database; then the memory of many outboxes, and the slowest of them.
public struct OutboxBenchmark {
    private let settings: ConnectionSettings
    private let jobs: Int
    private let rows: Int
    private let outboxes: Int
    private let log: Log

    /// Times `jobs` jobs one by one and `rows` in transactions of 100, then looks at `outboxes` outboxes, a database each.
    public init(_ settings: ConnectionSettings, jobs: Int, rows: Int, outboxes: Int, log: Log) {
        self.settings = settings
        self.jobs = jobs
        self.rows = rows
        self.outboxes = outboxes
        self.log = log
    }

    /// Runs it; throws `BenchFailure` when a row is missing or became two jobs.
    public func run() throws -> JSON {
        let ledger = BenchLedger(jobs: 3 * jobs, keepsStarts: true)
        let registry = JobRegistry([AnyJob(BenchJob(ledger: ledger))])
        let fleet = try BenchFleet(settings, tenants: 10, registry: registry)
        var result: [String: JSON] = ["jobs": .int(Int64(jobs)), "rows": .int(Int64(rows))]
        try one(fleet, ledger, registry, &result)
        try fleet.clear()
        try many(fleet, &result)
        return .object(result)
    }

    private func one(
        _ fleet: BenchFleet, _ ledger: BenchLedger, _ registry: JobRegistry, _ result: inout [String: JSON]
    ) throws {
        let ground = OutboxBenchGround(fleet)
        defer { ground.remove() }
        try ground.make(1, block: max(10_000, rows))
        let service = try Connection(ground.databases[0])
        defer { service.close() }
        try ground.whileRelaying(log) {
            try ground.isReady(ground.databases[0])
            let worker = { (body: () throws -> Void) in
                try BenchWorker.during(settings, registry: registry, options: WorkerOptions(), log: log) { _ in
                    sleep(.seconds(1))  // idle before the first
                    try body()
                }
            }
            try worker {
                note(&result, "direct", try fleet.waits(ledger, 0..<jobs))
                note(&result, "outbox", try fleet.waits(ledger, jobs..<2 * jobs, on: service))
            }
            let direct = try rate(fleet, on: fleet.control)
            let plain = try rate(fleet, on: service)
            let holder = try Connection(ground.databases[0])
            try holder.executeScript("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM reeve.outbox_state")
            let held = try rate(fleet, on: service)
            // As many dead rows as were enqueued lie in the table now; their jobs would be run first.
            try fleet.clear()
            try worker { note(&result, "held", try fleet.waits(ledger, 2 * jobs..<3 * jobs, on: service)) }
            holder.close()
            result["direct_per_second"] = .double(direct.rounded())
            result["outbox_per_second"] = .double(plain.rounded())
            result["held_per_second"] = .double(held.rounded())
            result["direct_ratio"] = ratio(plain, direct)
            result["held_ratio"] = ratio(held, plain)
        }
    }

    private func note(_ result: inout [String: JSON], _ name: String, _ waits: [Duration]) {
        result["\(name)_p50_ms"] = .double(milliseconds(percentile(waits, 0.5)))
        result["\(name)_p99_ms"] = .double(milliseconds(percentile(waits, 0.99)))
    }

    private func ratio(_ one: Double, _ other: Double) -> JSON { .double((one / other * 100).rounded() / 100) }

    /// Jobs per second that arrive in the control database, enqueued 100 to a transaction.
    private func rate(_ fleet: BenchFleet, on connection: Connection) throws -> Double {
        try fleet.clear()
        let start = ContinuousClock.now
        var next = 0
        while next < rows {
            let end = min(next + 100, rows)
            try OutboxBenchGround.enqueue(next..<end, for: fleet.tenants, on: connection)
            next = end
        }
        let arrived = try arrive(rows, fleet)
        try expectDifferent(rows, fleet)
        return Double(rows) / seconds(arrived - start)
    }

    /// Waits until so many jobs are in the control database; returns when they were.
    private func arrive(_ count: Int, _ fleet: BenchFleet) throws -> ContinuousClock.Instant {
        let until = ContinuousClock.now + .seconds(120 + count / 1000)
        while true {
            let found = try fleet.control.execute("SELECT count(*) FROM reeve.job", name: "arrived")[0].int(0)
            if found == count { return .now }
            guard .now < until, found < count else { throw BenchFailure("\(count) rows became \(found) jobs") }
            sleep(.milliseconds(5))
        }
    }

    private func expectDifferent(_ count: Int, _ fleet: BenchFleet) throws {
        let found = try fleet.control.execute("SELECT count(DISTINCT args) FROM reeve.job")[0].int(0)
        guard found == count else { throw BenchFailure("of \(count) rows \(found) became jobs, some of them twice") }
    }

    /// One row in each of many outboxes, in turn.
    private func many(_ fleet: BenchFleet, _ result: inout [String: JSON]) throws {
        let ground = OutboxBenchGround(fleet)
        defer { ground.remove() }
        try ground.make(outboxes, block: 10_000)
        let before = try residentKilobytes()
        try ground.whileRelaying(log) {
            for database in ground.databases { try ground.isReady(database) }
            let memory = Double(try residentKilobytes() - before)
            let start = ContinuousClock.now
            for (number, database) in ground.databases.enumerated() {
                let service = try Connection(database)
                defer { service.close() }
                try OutboxBenchGround.enqueue(number..<number + 1, for: fleet.tenants, on: service)
            }
            let enqueued = ContinuousClock.now
            let arrived = try arrive(outboxes, fleet)
            try expectDifferent(outboxes, fleet)
            result["outboxes"] = .int(Int64(outboxes))
            result["kilobytes_per_outbox"] = .double((memory / Double(outboxes) * 10).rounded() / 10)
            result["enqueued_in_seconds"] = .double(seconds(enqueued - start))
            result["last_after_seconds"] = .double(seconds(arrived - enqueued))
        }
    }
}
