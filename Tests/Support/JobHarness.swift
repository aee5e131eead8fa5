public import FoundationEssentials
public import JobKit
import Synchronization

/// Runs one attempt of a job without a queue: the payload makes its way through JSON as in a worker.
public enum JobHarness {
    /// A tenant for tests.
    public static func tenant(
        _ code: String = "acme", id: TenantID = TenantID(rawValue: UUID()), isolation: Isolation = .schema,
        tier: String = "starter"
    ) -> Tenant {
        Tenant(
            id: id, code: code, tier: tier, status: .active, isolation: isolation, region: "eu", timezone: "UTC",
            features: [], version: 1)
    }

    /// Runs the job once, on this thread, and returns its outcome.
    public static func run<J: Job>(
        _ job: J, _ payload: J.Payload, tenant: Tenant = tenant(), stop: StopSignal = StopSignal(),
        store: MemoryAttemptStore = MemoryAttemptStore(), resources: JobResources = JobResources(),
        leaseID: UUID = UUID(), number: Int = 1, timeLimit: Duration = .seconds(120)
    ) throws -> JobOutcome {
        let attempt = JobAttempt(
            jobID: 1, tenant: tenant, queue: "\(tenant.code).\(J.policy.queue)", kind: J.kind, number: number,
            leaseID: leaseID, traceparent: nil)
        let context = JobContext(
            attempt: attempt, deadline: .now + timeLimit, stop: stop, log: .quiet, resources: resources, store: store)
        return try AnyJob(job).run(args: JSON(encoding: payload).text, in: context)
    }
}

/// Progress and steps in memory.
public final class MemoryAttemptStore: AttemptStore {
    private struct State {
        var progress: [JSON] = []
        var steps: [String: JSON] = [:]
    }

    private let state = Mutex(State())

    /// Nothing recorded.
    public init() {}

    /// All recorded progress, oldest first.
    public var progress: [JSON] { state.withLock { $0.progress } }

    /// Records progress.
    public func recordProgress(_ progress: JSON, of attempt: JobAttempt) throws {
        state.withLock { $0.progress.append(progress) }
    }

    /// The recorded result of a step.
    public func stepResult(_ name: String, of attempt: JobAttempt) throws -> JSON? { state.withLock { $0.steps[name] } }

    /// Records a step.
    public func recordStep(_ name: String, result: JSON, of attempt: JobAttempt) throws {
        state.withLock { $0.steps[name] = result }
    }
}
