import FoundationEssentials
import JobKit
import Synchronization
import Testing

@testable import WorkerEngine

@Suite("LeaseKeeper")
struct LeaseKeeperTests {
    private let acme = tenant("acme")

    /// A job that waits to be stopped and tells why it was.
    private func obedient(_ reasons: Reasons) -> AnyJob {
        job { context in
            if context.attempt.number > 1 { return .done }
            reasons.started.add()
            do { return try untilStopped(context) } catch let error as Stopped {
                reasons.all.withLock { $0.append(error.reason) }
                throw error
            }
        }
    }

    private final class Reasons: Sendable {
        let started = Counter()
        let all = Mutex<[StopReason]>([])
        var list: [StopReason] { all.withLock { $0 } }
    }

    @Test(
        "a lease that cannot be renewed in time interrupts the jobs before it ends, and the worker goes on once it can be"
    )
    func notRenewed() {
        let source = MemoryJobSource(tenants: [acme])
        let reasons = Reasons()
        source.enqueue(acme, times: 3, kind: "work")
        let worker = RunningWorker(source, [obedient(reasons)], .one(4, lease: .seconds(1)))
        defer { worker.end() }
        #expect(eventually { reasons.started.value == 3 })
        source.always(.renew) { .fails(SourceAway()) }
        #expect(eventually { reasons.list == [.leaseLost, .leaseLost, .leaseLost] })
        #expect(eventually { source.with { $0.rows.allSatisfy { $0.ends.first?.isRelease == true } } })
        let calls = source.with { $0.calls[.claim, default: 0] }
        #expect(eventually { source.with { $0.calls[.renew, default: 0] } > 5 })
        #expect(source.with { $0.calls[.claim, default: 0] } <= calls + 1, "no lease, no claims")
        source.always(.renew, nil)
        #expect(eventually { source.with { $0.rows.allSatisfy { $0.ends.count > 1 } } || reasons.started.value > 3 })
        #expect(source.with { $0.workers.count } == 1)
    }

    @Test("a renewal that hangs for ever stops the jobs all the same")
    func hangingRenewal() {
        let source = MemoryJobSource(tenants: [acme])
        let (reasons, network) = (Reasons(), Latch())
        source.enqueue(acme, kind: "work")
        let worker = RunningWorker(source, [obedient(reasons)], .one(2, lease: .seconds(1)))
        defer { worker.end() }
        #expect(eventually { reasons.started.value == 1 })
        source.always(.renew) { .hangs(network) }
        #expect(eventually { reasons.list == [.leaseLost] })
        source.always(.renew, nil)
        network.open()
    }

    @Test("renewals whose answers are lost count as none: the worker cannot know")
    func lostAnswers() {
        let source = MemoryJobSource(tenants: [acme])
        let reasons = Reasons()
        source.enqueue(acme, kind: "work")
        let worker = RunningWorker(source, [obedient(reasons)], .one(2, lease: .seconds(1)))
        defer { worker.end() }
        #expect(eventually { reasons.started.value == 1 })
        source.always(.renew) { .answerLost }
        #expect(eventually { reasons.list == [.leaseLost] })
        source.always(.renew, nil)
    }

    @Test(
        "a worker that was declared dead stops its jobs, records nothing under the old leases and goes on under a new id"
    )
    func declaredDead() {
        let source = MemoryJobSource(tenants: [acme])
        let (stubborn, release) = (Counter(), Latch())
        let ids = source.enqueue(acme, times: 2, kind: "work") + source.enqueue(acme, times: 1, kind: "stubborn")
        let reasons = Reasons()
        let leases = Mutex<[UUID]>([])
        let jobs = [
            job { context in
                if source.with({ $0.workers.count }) > 1 { return .done }
                reasons.started.add()
                do { return try untilStopped(context) } catch let error as Stopped {
                    reasons.all.withLock { $0.append(error.reason) }
                    throw error
                }
            },
            job("stubborn") { context in
                leases.withLock { $0.append(context.attempt.leaseID) }
                stubborn.add()
                if stubborn.value == 1 { release.wait() }
                return .finished(JobResult(summary: .int(Int64(stubborn.value))))
            },
        ]
        let worker = RunningWorker(source, jobs, .one(6, lease: .seconds(2)))
        defer { worker.end() }
        #expect(eventually { reasons.started.value == 2 && stubborn.value == 1 })
        let first = source.with { $0.workers[0] }
        source.declareDead(first)
        #expect(eventually { reasons.list == [.leaseLost, .leaseLost] })
        #expect(eventually { ids.allSatisfy { source.ends($0).count == 1 } })
        #expect(ids.allSatisfy { source.ends($0)[0].succeeded }, "all ran to their end under the new id")
        #expect(source.with { $0.workers.count } == 2)
        // The old attempt ends only now, under its old lease: dropped.
        release.open()
        let old = leases.withLock { $0[0] }
        #expect(eventually { source.with { $0.batches.joined().contains { $0.leaseID == old && $0.jobID == ids[2] } } })
        #expect(source.ends(ids[2]).count == 1)
    }

    @Test("a registration that fails after a death is tried again")
    func registeredAgain() {
        let source = MemoryJobSource(tenants: [acme])
        let worker = RunningWorker(source, [job { _ in .done }], .one(2, lease: .seconds(1)))
        defer { worker.end() }
        #expect(eventually { source.with { $0.workers.count } == 1 })
        source.script(.register, .fails(SourceAway()), .fails(SourceAway()))
        source.declareDead(source.with { $0.workers[0] })
        #expect(eventually { source.with { $0.workers.count } == 2 })
        let id = source.enqueue(acme, kind: "work")[0]
        #expect(eventually { source.ends(id).first?.succeeded == true })
    }

    @Test("a worker that cannot register does not start, and says so")
    func cannotRegister() {
        let source = MemoryJobSource(tenants: [acme])
        source.script(.register, .fails(SourceAway()))
        let worker = Worker(
            source: source, registry: JobRegistry(), options: .one(1), resources: JobResources(), log: silent)
        #expect(throws: SourceAway.self) { try worker.run(until: StopSignal()) }
        #expect(source.with { $0.calls[.claim] } == nil)
    }

    @Test(
        "a job that someone cancels is stopped and recorded as cancelled, by signal or with a renewal",
        arguments: [true, false])
    func cancelled(isSignalled: Bool) {
        let source = MemoryJobSource(tenants: [acme])
        let reasons = Reasons()
        let ids = source.enqueue(acme, times: 2, kind: "work")
        let worker = RunningWorker(
            source, [obedient(reasons)], .one(4, lease: isSignalled ? .seconds(600) : .seconds(2)))
        defer { worker.end() }
        #expect(eventually { reasons.started.value == 2 })
        source.with { state in
            state.cancelled = [ids[1]]
            if isSignalled { state.signals = [.cancellation] }
        }
        #expect(eventually { source.ends(ids[1]).first?.isCancel == true })
        #expect(reasons.list == [.cancelled] && source.ends(ids[0]).isEmpty)
    }

    @Test(
        "an attempt past its time limit is told so and retried, also when it only asks with throwIfStopped",
        arguments: [true, false])
    func deadline(isAsking: Bool) {
        let source = MemoryJobSource(tenants: [acme])
        let id = source.enqueue(acme, kind: "work")[0]
        let work = job("work", policy(timeLimit: .milliseconds(50))) { context in
            guard isAsking else { return try untilStopped(context) }
            while true {
                try context.throwIfStopped()
                breathe()
            }
        }
        let worker = RunningWorker(source, [work], .one(1, lease: .seconds(2)))
        defer { worker.end() }
        #expect(
            eventually { source.ends(id).first?.retryError?.hasPrefix("time limit of 0.05 seconds reached") == true })
    }

    @Test("a handler that ignores its time limit is settled when it ends at last; its slot is taken until then")
    func ignoredDeadline() {
        let source = MemoryJobSource(tenants: [acme])
        let id = source.enqueue(acme, kind: "work")[0]
        let (release, told) = (Latch(), Latch())
        let work = job("work", policy(timeLimit: .milliseconds(20))) { context in
            context.stop.whileStopping({ _ in told.open() }) { _ = release.wait() }
            return .done
        }
        let worker = RunningWorker(source, [work], .one(1, lease: .seconds(2)))
        defer { worker.end() }
        #expect(told.wait())
        #expect(worker.worker.runningCount == 1 && source.ends(id).isEmpty)
        release.open()
        #expect(eventually { source.ends(id).first?.succeeded == true })
    }

    @Test("a claim whose answer was lost is given back, and the job runs once more under a new lease")
    func lostClaim() {
        let source = MemoryJobSource(tenants: [acme])
        source.script(.claim, .answerLost)
        let id = source.enqueue(acme, kind: "work")[0]
        let worker = RunningWorker(source, [job { _ in .done }], .one(2))
        defer { worker.end() }
        #expect(eventually { source.ends(id).first?.succeeded == true })
        #expect(source.with { $0.lostClaimsReturned } == 1)
    }
}
