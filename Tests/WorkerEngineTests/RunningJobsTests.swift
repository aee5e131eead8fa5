import FoundationEssentials
import JobKit
import Testing

@testable import WorkerEngine

@Suite("RunningJobs")
struct RunningJobsTests {
    private let tenant = TenantID(rawValue: UUID())

    private let far = ContinuousClock.now + .seconds(3600)

    @Test("only the named jobs are stopped")
    func named() {
        let running = RunningJobs()
        let signals = (0..<3).map { _ in StopSignal() }
        for (index, stop) in signals.enumerated() {
            running.insert(HeldJob(id: Int64(index), lease: UUID()), tenant: tenant, stop: stop, deadline: far)
        }
        running.stop([1, 7], .cancelled)
        #expect(signals.map(\.reason) == [nil, .cancelled, nil])
        running.stopAll(.shutdown)
        #expect(signals.map(\.reason) == [.shutdown, .cancelled, .shutdown])
    }

    @Test("only attempts past their deadline are stopped for it")
    func overdue() {
        let running = RunningJobs()
        let (early, late) = (StopSignal(), StopSignal())
        let now = ContinuousClock.now
        running.insert(HeldJob(id: 1, lease: UUID()), tenant: tenant, stop: early, deadline: now - .milliseconds(1))
        running.insert(HeldJob(id: 2, lease: UUID()), tenant: tenant, stop: late, deadline: now + .milliseconds(1))
        running.stopOverdue(now: now)
        #expect(early.reason == .deadline && late.reason == nil)
    }

    @Test(
        "two attempts of one job, the older of which does not end, are both reached, and the older one's end leaves the newer"
    )
    func twoAttempts() {
        let running = RunningJobs()
        let (old, new) = (StopSignal(), StopSignal())
        let (oldJob, newJob) = (HeldJob(id: 1, lease: UUID()), HeldJob(id: 1, lease: UUID()))
        running.insert(oldJob, tenant: tenant, stop: old, deadline: far)
        running.insert(newJob, tenant: tenant, stop: new, deadline: far)
        #expect(running.count == 2)
        running.remove(oldJob)
        #expect(running.count == 1)
        running.stop([1], .cancelled)
        #expect(new.reason == .cancelled && old.reason == nil)
    }

    @Test("an attempt that takes no notice of being told to stop is reported, once; others are not")
    func stuck() {
        let running = RunningJobs()
        let now = ContinuousClock.now
        let late = RunningJobs.patience + .seconds(1)
        let stuck = HeldJob(id: 1, lease: UUID())
        let obedient = HeldJob(id: 2, lease: UUID())
        running.insert(stuck, tenant: tenant, stop: StopSignal(), deadline: now)
        running.insert(obedient, tenant: tenant, stop: StopSignal(), deadline: now)
        running.insert(
            HeldJob(id: 3, lease: UUID()), tenant: tenant, stop: StopSignal(), deadline: now + .seconds(3600))
        running.stopOverdue(now: now + .seconds(1))
        #expect(running.newlyStuck(now: now + .seconds(1)).isEmpty)
        running.remove(obedient)
        #expect(running.newlyStuck(now: now + .seconds(1) + late).map(\.job) == [stuck])
        #expect(running.newlyStuck(now: now + .seconds(2) + late).isEmpty)
    }
}
