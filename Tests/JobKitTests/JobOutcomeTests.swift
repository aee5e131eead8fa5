import FoundationEssentials
import JobKit
import Testing

@Suite("JobOutcome: what is said when nothing is said")
struct JobOutcomeTests {
    @Test("done reports nothing and leaves no file")
    func done() {
        guard case .finished(let result) = JobOutcome.done else {
            Issue.record("done is not finished")
            return
        }
        #expect(result.summary == nil)
        #expect(result.artifacts.isEmpty)
    }

    @Test("an artifact is kept for as long as the rules say unless its maker says otherwise")
    func artifact() {
        let id = UUID()
        let artifact = Artifact(id: id, entity: "backup", key: "k", bytes: 3, sha256: "ff", manifest: ["tables": 2])
        #expect(artifact.keptFor == nil)
        #expect(artifact.id == id && artifact.bytes == 3 && artifact.manifest["tables"] == 2)
        let short = Artifact(
            id: id, entity: "report", key: "k", bytes: 0, sha256: "", manifest: .null, keptFor: .seconds(1))
        #expect(short.keptFor == .seconds(1))
    }

    @Test("a failure is tried again unless it says otherwise, and reads as its code and its message")
    func failure() {
        let failure = JobFailure("disk_full", "free some space")
        #expect(failure.disposition == .retry)
        #expect(failure.description == "disk_full: free some space")
        #expect(JobFailure("x", "y", .giveUp).disposition == .giveUp)
    }

    @Test("two holds are equal only when reason and wait are")
    func dispositions() {
        #expect(Disposition.hold(reason: "down", .seconds(1)) == .hold(reason: "down", .seconds(1)))
        #expect(Disposition.hold(reason: "down", .seconds(1)) != .hold(reason: "down", .seconds(2)))
        #expect(Disposition.hold(reason: "down", .seconds(1)) != .hold(reason: "up", .seconds(1)))
        #expect(Disposition.retryAfter(.zero) != .retry)
    }

    @Test("a kind runs for tenants on trial and active ones, five times at most, and waits for the others")
    func policy() {
        let policy = JobPolicy(queue: "q", timeLimit: .seconds(1))
        #expect(policy.statuses == [.trial, .active])
        #expect(policy.otherwise == .hold)
        #expect(policy.attemptLimit == 5)
        #expect(policy.feature == nil)
        #expect(policy.backoff == .exponentialJitter())
    }
}
