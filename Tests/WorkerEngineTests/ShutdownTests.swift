import FoundationEssentials
import JobKit
import Testing

@testable import WorkerEngine

@Suite("Shutdown")
struct ShutdownTests {
    private let acme = tenant("acme")

    @Test("running jobs may finish within the grace period, and nothing is claimed meanwhile")
    func grace() {
        let source = MemoryJobSource(tenants: [acme])
        let ids = source.enqueue(acme, times: 2, kind: "work")
        let (started, release) = (Counter(), Latch())
        let work = job { context in
            started.add()
            release.wait()
            try context.throwIfStopped()
            return .done
        }
        let worker = RunningWorker(source, [work], .one(4, grace: .seconds(600)))
        #expect(eventually { started.value == 2 })
        worker.stop.stop(.shutdown)
        #expect(eventually { source.with { $0.isStopping } })
        release.open()
        #expect(worker.hasEnded())
        #expect(ids.allSatisfy { source.ends($0).first?.succeeded == true })
        let late = source.enqueue(acme, kind: "work")[0]
        #expect(source.ends(late).isEmpty && started.value == 2)
        #expect(source.with { $0.retired.count } == 1)
    }

    @Test("when the grace period is over the jobs are told to stop and go back to their queues at no cost")
    func graceOver() {
        let source = MemoryJobSource(tenants: [acme])
        let ids = source.enqueue(acme, times: 3, kind: "work")
        let started = Counter()
        let work = job { context in
            started.add()
            return try untilStopped(context)
        }
        let worker = RunningWorker(source, [work], .one(4, grace: .milliseconds(10)))
        #expect(eventually { started.value == 3 })
        worker.stop.stop(.shutdown)
        #expect(worker.hasEnded())
        #expect(ids.allSatisfy { source.ends($0).count == 1 && source.ends($0)[0].isRelease })
        #expect(source.with { $0.rows.allSatisfy { $0.isWaiting && $0.attempt == 0 } })
    }

    @Test("a second signal ends the grace period, also while the source is away")
    func hurried() {
        let source = MemoryJobSource(tenants: [acme])
        source.enqueue(acme, times: 2, kind: "work")
        let started = Counter()
        let work = job { context in
            started.add()
            return try untilStopped(context)
        }
        source.always(.signals) { .fails(SourceAway()) }
        let worker = RunningWorker(source, [work], .one(4, grace: .seconds(600)))
        #expect(eventually { started.value == 2 && source.with { $0.calls[.signals, default: 0] } > 0 })
        worker.stop.stop(.shutdown)
        #expect(eventually { source.with { $0.isStopping } })
        worker.worker.hurryUp()
        #expect(worker.hasEnded())
        #expect(source.with { $0.rows.allSatisfy { $0.ends.first?.isRelease == true } })
    }

    @Test("what was claimed and has not started goes back")
    func notStarted() {
        let (started, release) = (Counter(), Latch())
        let slots = SlotPool(tier: "starter", size: 2) { _ in
            started.add()
            release.wait()
        }
        let permits = slots.takePermits(within: generous)
        #expect(permits.general == 1 && permits.reserved == 1)
        let works = (1...2).map { id in
            SlotPool.Work(
                job: ClaimedJob(
                    id: Int64(id), tenantID: acme.id, tenantVersion: 1, queue: "acme.work", kind: "work", attempt: 1,
                    isFirst: id == 1, leaseID: UUID(), args: "{}", traceparent: nil), tenant: acme, worker: UUID())
        }
        slots.start(works)
        let withdrawn = slots.withdrawAll()
        #expect(eventually { started.value + withdrawn.count == 2 })
        release.open()
        #expect(eventually { slots.leases.isEmpty })
        // Every permit is back.
        var taken = 0
        while taken < 2 {
            let more = slots.takePermits(within: generous)
            taken += more.general + more.reserved
        }
        #expect(taken == 2)
    }

    @Test("a job that was claimed and is still being looked up is waited for, and its end is recorded")
    func startingWhileStopping() {
        let source = MemoryJobSource(tenants: [acme])
        let id = source.enqueue(acme, kind: "late")[0]
        let (asked, answer) = (Latch(), Latch())
        let registry = JobRegistry().finding { kind in
            asked.open()
            answer.wait()
            return job(kind) { _ in .done }
        }
        let worker = RunningWorker(source, registry, .one(2))
        #expect(asked.wait())
        worker.stop.stop(.shutdown)
        #expect(eventually { source.with { $0.isStopping } })
        // A worker that does not wait for it has gone by now, or goes in this time.
        #expect(!worker.hasEnded(within: .milliseconds(300)))
        answer.open()
        #expect(worker.hasEnded())
        #expect(source.ends(id).first?.succeeded == true)
    }

    @Test("ends that come in while the worker stops are all recorded")
    func busyStop() {
        for _ in 0..<5 {
            let source = MemoryJobSource(tenants: [acme])
            source.enqueue(acme, times: 300, kind: "work")
            let ran = Counter()
            let work = job { _ in
                ran.add()
                return .done
            }
            let worker = RunningWorker(source, [work], .one(8))
            #expect(eventually { ran.value > 20 })
            worker.stop.stop(.shutdown)
            #expect(worker.hasEnded())
            let recorded = source.with { $0.rows.count { $0.ends.last?.succeeded == true } }
            #expect(recorded == ran.value, "each job that ran was recorded as done; none was run for nothing")
        }
    }

    @Test("a stuck handler does not hang the stop: five seconds after it was told to, the rest goes on")
    func plan() {
        let now = ContinuousClock.now
        var plan = ShutdownPlan(now: now, grace: .seconds(30))
        #expect(plan.next(running: 1, isHurried: false, now: now + .seconds(29)) == .wait)
        #expect(plan.next(running: 1, isHurried: false, now: now + .seconds(30)) == .stopJobs)
        #expect(plan.next(running: 1, isHurried: false, now: now + .seconds(34)) == .wait)
        #expect(plan.next(running: 1, isHurried: false, now: now + .seconds(35)) == .finish)
    }

    @Test("a hurry stops the jobs once; with nothing running there is nothing to wait for")
    func hurriedPlan() {
        let now = ContinuousClock.now
        var plan = ShutdownPlan(now: now, grace: .seconds(30))
        #expect(plan.next(running: 2, isHurried: true, now: now) == .stopJobs)
        #expect(plan.next(running: 2, isHurried: true, now: now) == .wait)
        #expect(plan.next(running: 0, isHurried: true, now: now) == .finish)
    }
}
