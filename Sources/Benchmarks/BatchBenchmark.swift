import Dispatch
import FoundationEssentials
public import JobKit
public import Postgres
import Synchronization
import WorkerEngine

/// What a batch over very many tenants costs the others: how long selecting takes and what memory its session needs, and how long single jobs wait to
/// start while it is started and fed, against the same fleet without it. One worker runs everything.
public struct BatchBenchmark {
    private let settings: ConnectionSettings
    private let tenants: Int
    private let jobs: Int
    private let log: Log

    /// A batch over `tenants` tenants beside `jobs` single jobs.
    public init(_ settings: ConnectionSettings, tenants: Int, jobs: Int, log: Log) {
        self.settings = settings
        self.tenants = tenants
        self.jobs = jobs
        self.log = log
    }

    /// Runs it; throws `BenchFailure` when a tenant has no job or two, or the batch's end does not come once.
    public func run() throws -> JSON {
        let ledger = BenchLedger(jobs: 2 * jobs, keepsStarts: true)
        let registry = JobRegistry([AnyJob(BenchJob(ledger: ledger))])
        let fleet = try BenchFleet(settings, tenants: tenants, registry: registry)
        try fleet.settleDown()
        let few = fleet.narrowed(to: min(100, tenants))
        return try BenchWorker.during(settings, registry: registry, options: WorkerOptions(), log: log) { _ in
            sleep(.seconds(1))
            let alone = try few.waits(ledger, 0..<jobs)
            let started = ContinuousClock.now
            let starting = BatchStart(settings)
            let beside = try few.waits(ledger, jobs..<2 * jobs)
            let start = try starting.wait()
            try waitForEnd(fleet.control)
            let took = ContinuousClock.now - started
            try verify(fleet.control)
            let ratio = percentile(beside, 0.99) / max(percentile(alone, 0.99), .microseconds(1))
            return [
                "tenants": .int(Int64(tenants)), "start_ms": .double(milliseconds(start.took)),
                "start_memory_mb": .double((Double(start.memory) / 10_485.76).rounded() / 100),
                "jobs_per_second": .double((Double(tenants) / seconds(took)).rounded()),
                "p99_ms_alone": .double(milliseconds(percentile(alone, 0.99))),
                "p99_ms": .double(milliseconds(percentile(beside, 0.99))),
                "max_ms": .double(milliseconds(beside.last ?? .zero)), "ratio": .double((ratio * 100).rounded() / 100),
            ]
        }
    }

    private func waitForEnd(_ control: Connection) throws {
        let limit = ContinuousClock.now + .seconds(900)
        while try control.execute("SELECT finished_at IS NULL FROM reeve.batch")[0].bool(0) {
            guard .now < limit else { throw BenchFailure("the batch has not ended within 15 minutes") }
            sleep(.milliseconds(100))
        }
    }

    private func verify(_ control: Connection) throws {
        let row = try control.execute(
            """
            SELECT (SELECT count(*) FROM reeve.batch_item WHERE state = 'succeeded'),
                   (SELECT count(DISTINCT tenant_id) FROM reeve.job_history WHERE args = '{"n": 1000000000}'),
                   (SELECT count(*) FROM reeve.job_history WHERE args = '{"n": 1000000000}'),
                   (SELECT count(*) FROM reeve.audit_entry WHERE action = 'batch.end')
            """)[0]
        let counts = try (0..<4).map { try row.int($0) }
        guard counts == [Int64(tenants), Int64(tenants), Int64(tenants), 1] else {
            throw BenchFailure("succeeded, tenants, jobs and ends are \(counts), not \(tenants) each and one")
        }
    }
}

/// Starts the batch on a thread and in a session of its own.
private final class BatchStart: Sendable {
    /// How long it took, and by how many bytes the session's process grew.
    struct Outcome {
        let took: Duration
        let memory: Int
    }

    private let outcome = Mutex<Result<Outcome, any Error>?>(nil)
    private let ended = DispatchSemaphore(value: 0)

    init(_ settings: ConnectionSettings) {
        DispatchQueue(label: "reeve.bench.batch").async { [self] in
            let result = Result { try Self.start(settings) }
            outcome.withLock { $0 = result }
            ended.signal()
        }
    }

    func wait() throws -> Outcome {
        ended.wait()
        return try outcome.withLock { try $0?.get() } ?? Outcome(took: .zero, memory: 0)
    }

    private static func start(_ settings: ConnectionSettings) throws -> Outcome {
        let connection = try Connection(settings)
        defer { connection.close() }
        let before = residentPeak(connection.backendPID)
        let start = ContinuousClock.now
        _ = try connection.execute("SELECT reeve.start_batch('bench', '{\"n\": 1000000000}', '{}')")
        return Outcome(took: .now - start, memory: residentPeak(connection.backendPID) - before)
    }

    /// The most memory of its own that a process of this machine has had, in bytes: its peak without what is shared or a file's, which
    /// only grow; 0 elsewhere.
    private static func residentPeak(_ pid: some BinaryInteger) -> Int {
        // A server on another machine has no such file here.
        guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/status") else { return 0 }
        func kilobytes(_ name: String) -> Int {
            let line = String(decoding: data, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("\(name):") }
            return line.flatMap { Int($0.drop { !$0.isNumber }.prefix { $0.isNumber }) } ?? 0
        }
        return (kilobytes("VmHWM") - kilobytes("RssShmem") - kilobytes("RssFile")) << 10
    }
}
