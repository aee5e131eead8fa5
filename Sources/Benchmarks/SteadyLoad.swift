import Dispatch
import JobKit
import Postgres
import Synchronization
import WorkerEngine

/// A worker whose backlog is topped up as fast as it is emptied, so that a rate can be taken at any time and for any time.
final class SteadyLoad {
    private let fleet: BenchFleet
    private let ledger = BenchLedger(jobs: 0)
    private let pools: [String: Int]
    private let log: Log

    init(_ fleet: BenchFleet, pools: [String: Int], log: Log) {
        self.fleet = fleet
        self.pools = pools
        self.log = log
    }

    /// Jobs run a second, over this long.
    func rate(over duration: Duration) -> Double {
        let (before, start) = (ledger.ran, ContinuousClock.now)
        sleep(duration)
        return Double(ledger.ran - before) / seconds(ContinuousClock.now - start)
    }

    /// Runs `body` while the worker runs and the backlog is topped up; then checks counters, caps and that no job is missing.
    /// The backlog must be there already.
    func run<T>(_ body: (SteadyLoad) throws -> T) throws -> T {
        let before = try accounted()
        let topUp = TopUp(fleet, ledger)
        let value = try BenchWorker.during(
            fleet.settings, registry: JobRegistry([AnyJob(BenchJob(ledger: ledger))]),
            options: WorkerOptions(pools: pools, otherSlots: nil), log: log
        ) { worker in
            topUp.start()
            defer { topUp.stop() }
            let value = try body(self)
            if try fleet.tenantsOverCap() > 0 { throw BenchFailure("a tenant had more current leases than its cap") }
            try worker.check()
            return value
        }
        try topUp.check()
        let after = try accounted()
        guard after - before == topUp.added else {
            throw BenchFailure("\(topUp.added) jobs were added, but there are \(after - before) more than before")
        }
        guard try fleet.control.execute("SELECT count(*) FROM reeve.counter_fault")[0].int(0) == 0 else {
            throw BenchFailure("counters differ from what they count")
        }
        return value
    }

    /// Jobs that are waiting, running or in the history.
    private func accounted() throws -> Int64 {
        try fleet.control.execute("SELECT (SELECT count(*) FROM reeve.job) + (SELECT count(*) FROM reeve.job_history)")[
            0
        ].int(0)
    }
}

/// Enqueues a job for each one that ran, on a thread and a connection of its own.
private final class TopUp: Sendable {
    private struct State {
        var added: Int64 = 0
        var failure: (any Error)?
    }

    private let settings: ConnectionSettings
    private let tenants: [String]
    private let ledger: BenchLedger
    private let state = Mutex(State())
    private let stopping = StopSignal()
    private let ended = DispatchSemaphore(value: 0)

    init(_ fleet: BenchFleet, _ ledger: BenchLedger) {
        settings = fleet.settings
        tenants = fleet.tenants
        self.ledger = ledger
    }

    var added: Int64 { state.withLock { $0.added } }

    func check() throws {
        if let error = state.withLock({ $0.failure }) { throw error }
    }

    func start() {
        DispatchQueue(label: "reeve.bench.top-up").async { [self] in
            do { try work() } catch { state.withLock { $0.failure = error } }
            ended.signal()
        }
    }

    func stop() {
        stopping.stop(.shutdown)
        ended.wait()
    }

    private func work() throws {
        let connection = try Connection(settings)
        defer { connection.close() }
        var next = 0
        while stopping.reason == nil {
            let missing = min(1000, ledger.ran - next)
            guard missing >= 250 else {
                sleep(.milliseconds(2))
                continue
            }
            try BenchFleet.enqueue(next..<next + missing, for: tenants, on: connection)
            next += missing
            state.withLock { $0.added += Int64(missing) }
        }
    }
}
