import FoundationEssentials
import JobKit
import ReeveTesting

/// The context of an attempt that needs nothing.
func emptyContext() -> JobContext {
    JobContext(
        attempt: JobAttempt(
            jobID: 1, tenant: JobHarness.tenant(), queue: "acme.tests", kind: "test", number: 1, leaseID: UUID(),
            traceparent: nil),
        deadline: .now + .seconds(3600), stop: StopSignal(), log: .quiet, resources: JobResources(),
        store: MemoryAttemptStore())
}
