import FoundationEssentials
import JobKit
import Testing

@testable import WorkerEngine

@Suite("Executor")
struct ExecutorTests {
    private let acme = tenant("acme")
    private let running = RunningJobs()

    private func settle(
        _ jobs: [AnyJob], kind: JobKind = "work", args: String = "{}", attempt: Int = 1, isSuspect: Bool = false
    ) -> Settlement.Outcome {
        executor(JobRegistry(jobs)).run(claimed(kind, args, attempt, isSuspect), tenant: acme).outcome
    }

    private func executor(_ registry: JobRegistry) -> Executor {
        Executor(
            registry: registry, check: TenantCheck(region: "local"), running: running, resources: JobResources(),
            store: MemoryJobSource(), log: silent)
    }

    private func claimed(_ kind: JobKind, _ args: String = "{}", _ attempt: Int = 1, _ isSuspect: Bool = false)
        -> ClaimedJob
    {
        ClaimedJob(
            id: 1, tenantID: acme.id, tenantVersion: 1, queue: "acme.work", kind: kind, attempt: attempt, isFirst: true,
            leaseID: UUID(), args: args, traceparent: nil, isSuspect: isSuspect)
    }

    @Test("a settlement carries the job and the lease of its claim")
    func fencing() {
        let claim = claimed("work")
        let settlement = executor(JobRegistry([job { _ in .done }])).run(claim, tenant: acme)
        #expect(settlement.jobID == claim.id && settlement.leaseID == claim.leaseID)
    }

    @Test("what a handler answers is what is recorded")
    func answers() {
        guard case .succeeded(let result) = settle([job { _ in .finished(JobResult(summary: ["rows": 3])) }]),
            result.summary == ["rows": 3]
        else {
            Issue.record("not finished")
            return
        }
        guard case .snooze(.seconds(7)) = settle([job { _ in .snoozed(.seconds(7)) }]),
            case .cancel("converted", false) = settle([job { _ in .obsolete("converted") }]),
            case .dead("no use", nil, false) = settle([job { _ in .discarded("no use") }])
        else {
            Issue.record("another outcome")
            return
        }
    }

    @Test("what an error says about the job is what is recorded")
    func dispositions() {
        func outcome(_ disposition: Disposition) -> Settlement.Outcome {
            settle([job { _ in throw JobFailure("code", "message", disposition) }])
        }
        guard case .retry(_, "code: message") = outcome(.retry),
            case .retry(.seconds(9), "code: message") = outcome(.retryAfter(.seconds(9))),
            case .hold("down", .some(.seconds(5)), false) = outcome(.hold(reason: "down", .seconds(5))),
            case .dead("gave up", "code: message", false) = outcome(.giveUp), case .release = outcome(.interrupted)
        else {
            Issue.record("another outcome")
            return
        }
    }

    struct Plain: Error { let secret = "a secret" }

    @Test("an unknown error is retried with the kind's backoff and stored by its type only")
    func unknownError() {
        let backoff = Backoff.exponentialJitter(base: .seconds(2), cap: .seconds(10))
        for attempt in 1...6 {
            guard
                case .retry(let wait, let error) = settle(
                    [job("work", policy(backoff: backoff)) { _ in throw Plain() }], attempt: attempt)
            else {
                Issue.record("not retried")
                return
            }
            #expect(wait >= .zero && wait <= min(.seconds(2) * (1 << (attempt - 1)), .seconds(10)))
            #expect(error == "Plain")
        }
    }

    @Test("the text that is stored is bounded, even where it is cut inside a character")
    func longErrors() {
        for shift in 0..<4 {
            let text = String(repeating: "x", count: shift) + String(repeating: "😀", count: 5000)
            let stored = settle([job { _ in throw JobFailure("c", text) }]).retryError ?? ""
            #expect(stored.utf8.count > 1900 && stored.utf8.count <= 2000)
        }
    }

    @Test("a character that no database stores does not keep an end from being recorded")
    func nulCharacters() {
        let bad = "a\u{0}b"
        let outcomes = [
            settle([job { _ in throw JobFailure("c", bad) }]),
            settle([job { _ in throw JobFailure("c", bad, .giveUp) }]),
            settle([job { _ in throw JobFailure("c", "m", .hold(reason: bad, .seconds(1))) }]),
            settle([job { _ in .obsolete(bad) }]), settle([job { _ in .discarded(bad) }]),
        ]
        for outcome in outcomes {
            let texts: [String?] =
                switch outcome {
                case .retry(_, let error): [error]
                case .dead(let reason, let error, _): [reason, error]
                case .cancel(let reason, _): [reason]
                case .hold(let reason, _, _): [reason]
                default: [bad]
                }
            #expect(!texts.contains { $0?.utf8.contains(0) == true })
        }
    }

    struct Typed: Job {
        struct Payload: Codable, Sendable { let count: Int }
        static let kind: JobKind = "typed"
        static let policy = WorkerEngineTests.policy()
        static let schema = JSONSchema.object(["count": .integer()])
        func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
            Issue.record("the handler ran")
            return .done
        }
    }

    @Test(
        "arguments that do not decode end the job at once, and the handler does not run",
        arguments: ["", "{}", "null", #"{"count":"secret"}"#])
    func badArguments(args: String) {
        guard case .dead("gave up", let error?, false) = settle([AnyJob(Typed())], kind: "typed", args: args) else {
            Issue.record("not dead")
            return
        }
        #expect(error.hasPrefix("bad_arguments") && !error.contains("secret"))
    }

    @Test("an unknown kind waits for a worker that knows it; one that cannot be looked up waits too")
    func unknownKind() {
        guard case .snooze = settle([], kind: "newer") else {
            Issue.record("not snoozed")
            return
        }
        let broken = JobRegistry().finding { _ in throw SourceAway() }
        guard case .snooze = executor(broken).run(claimed("x"), tenant: acme).outcome else {
            Issue.record("not snoozed")
            return
        }
    }

    @Test(
        "why an attempt was told to stop decides, whatever the handler throws then",
        arguments: [StopReason.cancelled, .deadline, .leaseLost, .shutdown])
    func stopped(reason: StopReason) {
        for error in [Stopped(reason: reason), SourceAway(), JobFailure("c", "m", .giveUp)] as [any Error] {
            let outcome = settle([
                job { context in
                    context.stop.stop(reason)
                    throw error
                }
            ])
            switch reason {
            case .cancelled: #expect(outcome.isCancel)
            case .deadline: #expect(outcome.retryError?.hasPrefix("time limit of ") == true)
            case .leaseLost, .shutdown: #expect(outcome.isRelease)
            }
        }
    }

    @Test("a handler that finishes its work although it was told to stop has finished it")
    func finishedAnyway() {
        let outcome = settle([
            job { context in
                context.stop.stop(.deadline)
                return .done
            }
        ])
        #expect(outcome.succeeded)
    }

    @Test("a job can be reached while it runs and not after, however it ended")
    func registration() {
        let counts = [
            job { [running] _ in
                #expect(running.count == 1)
                return .done
            },
            job { [running] _ in
                #expect(running.count == 1)
                throw SourceAway()
            },
        ].map { job in
            _ = settle([job])
            return running.count
        }
        #expect(counts == [0, 0])
    }

    @Test(
        "suspects run one at a time; another one waits and costs nothing, and the turn passes on, also after a failure")
    func suspects() {
        let executor = executor(JobRegistry([job("fails") { _ in throw SourceAway() }, job("works") { _ in .done }]))
        #expect(executor.suspects.tryEnter())
        guard case .wait = executor.run(claimed("works", "{}", 1, true), tenant: acme).outcome else {
            Issue.record("two at once")
            return
        }
        #expect(executor.run(claimed("works"), tenant: acme).outcome.succeeded)
        executor.suspects.leave()
        #expect(executor.run(claimed("fails", "{}", 1, true), tenant: acme).outcome.retryError != nil)
        #expect(executor.run(claimed("works", "{}", 1, true), tenant: acme).outcome.succeeded)
    }
}
