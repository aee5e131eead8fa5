import Dispatch
import FoundationEssentials
import Glibc
import JobKit
import Synchronization
import Testing

@testable import WorkerEngine

/// A limit that only a broken promise reaches, however busy the machine is.
let generous = Duration.seconds(30)

/// The pause between two looks at a condition.
func breathe() { usleep(1000) }

/// Whether the condition comes true within the limit.
func eventually(within limit: Duration = generous, _ condition: () -> Bool) -> Bool {
    let until = ContinuousClock.now + limit
    while !condition() {
        if ContinuousClock.now >= until { return false }
        breathe()
    }
    return true
}

/// Opens once, for all who wait and whoever comes later.
final class Latch: Sendable {
    private let semaphore = DispatchSemaphore(value: 0)

    func open() { semaphore.signal() }

    /// True once open; false when the limit is over.
    @discardableResult
    func wait(within limit: Duration = generous) -> Bool {
        guard semaphore.wait(timeout: .now() + .milliseconds(Int(limit / .milliseconds(1)))) == .success else {
            return false
        }
        semaphore.signal()
        return true
    }
}

/// Counts from any thread.
final class Counter: Sendable {
    private let state = Mutex(0)
    var value: Int { state.withLock { $0 } }
    func add(_ count: Int = 1) { state.withLock { $0 += count } }
}

func tenant(
    _ code: String = "acme", tier: String = "starter", status: TenantStatus = .active, region: String = "local",
    features: Set<String> = [], version: Int64 = 1, id: TenantID = TenantID(rawValue: UUID())
) -> Tenant {
    Tenant(
        id: id, code: code, tier: tier, status: status, isolation: .schema, region: region, timezone: "UTC",
        features: features, version: version)
}

func policy(
    timeLimit: Duration = .seconds(600), backoff: Backoff = .exponentialJitter(),
    statuses: Set<TenantStatus> = [.trial, .active], otherwise: StatusRefusal = .hold, feature: String? = nil
) -> JobPolicy {
    JobPolicy(
        queue: "work", timeLimit: timeLimit, backoff: backoff, statuses: statuses, otherwise: otherwise,
        feature: feature)
}

func job(
    _ kind: JobKind = "work", _ policy: JobPolicy = policy(),
    _ body: @escaping @Sendable (JobContext) throws -> JobOutcome
) -> AnyJob {
    AnyJob(kind: kind, policy: policy, schema: .object([:])) { _, context in try body(context) }
}

/// A log that writes nothing at all.
let silent = Log(format: .text, minimum: .error, descriptor: -1)

/// Blocks until the attempt is told to stop, then lets that pass, as a good handler does.
func untilStopped(_ context: JobContext) throws -> JobOutcome {
    let stopped = Latch()
    return try context.stop.whileStopping({ _ in stopped.open() }) {
        stopped.wait()
        try context.throwIfStopped()
        return .done
    }
}

/// A worker that runs on a thread of its own for the length of `body`, then is stopped and must end.
struct RunningWorker {
    let source: MemoryJobSource
    let worker: Worker
    let stop = StopSignal()
    private let ended = Latch()

    init(_ source: MemoryJobSource, _ jobs: [AnyJob], _ options: WorkerOptions) {
        self.init(source, JobRegistry(jobs), options)
    }

    init(_ source: MemoryJobSource, _ registry: JobRegistry, _ options: WorkerOptions) {
        self.source = source
        let worker = Worker(
            source: source, registry: registry, options: options, resources: JobResources(), log: silent)
        self.worker = worker
        let (stop, ended) = (stop, ended)
        _ = EngineThread("test-worker") {
            do { try worker.run(until: stop) } catch { Issue.record(error) }
            ended.open()
        }
    }

    /// Whether the worker has ended.
    func hasEnded(within limit: Duration = generous) -> Bool { ended.wait(within: limit) }

    /// Stops the worker at once and waits for its end.
    func end() {
        stop.stop(.shutdown)
        worker.hurryUp()
        #expect(hasEnded())
    }
}

extension WorkerOptions {
    /// One pool, quick to notice things.
    static func one(
        _ slots: Int, lease: Duration = .seconds(15), grace: Duration = .seconds(30)
    ) -> WorkerOptions {
        WorkerOptions(pools: ["starter": slots], otherSlots: nil, lease: lease, grace: grace)
    }
}

extension Settlement.Outcome {
    var succeeded: Bool { if case .succeeded = self { true } else { false } }
    var isRelease: Bool { if case .release = self { true } else { false } }
    var isCancel: Bool { if case .cancel = self { true } else { false } }
    var retryError: String? { if case .retry(_, let error) = self { error } else { nil } }
    var deadReason: String? { if case .dead(let reason, _, _) = self { reason } else { nil } }
}
