import FoundationEssentials
import JobKit
import ReeveTesting
import Synchronization
import Testing

@testable import WorkerEngine

@Suite("SlotPool")
struct SlotPoolTests {
    @Test(
        "a pool never runs more than its slots, and of those no more than the general ones for tenants' further jobs",
        arguments: [1, 2, 4, 9])
    func bounds(size: Int) {
        let tenants = (0..<3).map { tenant("tenant\($0)") }
        let source = MemoryJobSource(tenants: tenants)
        let seen = Mutex((all: 0, others: 0, peak: 0, peakOfOthers: 0))
        let ran = Counter()
        for _ in 0..<40 { for tenant in tenants { source.enqueue(tenant, kind: "work") } }
        let work = job { context in
            let other = source.with { $0.rows[Int(context.attempt.jobID) - 1].isFirst } ? 0 : 1
            seen.withLock { seen in
                seen.all += 1
                seen.others += other
                seen.peak = max(seen.peak, seen.all)
                seen.peakOfOthers = max(seen.peakOfOthers, seen.others)
            }
            breathe()
            seen.withLock { seen in
                seen.all -= 1
                seen.others -= other
            }
            ran.add()
            return .done
        }
        let worker = RunningWorker(source, [work], .one(size))
        defer { worker.end() }
        #expect(eventually { source.with { state in state.rows.allSatisfy { $0.ends.count == 1 } } })
        #expect(ran.value == 120)
        #expect(seen.withLock { $0.peak } <= size)
        #expect(seen.withLock { $0.peakOfOthers } <= size - Admission(size: size).reserved)
    }

    @Test("a tenant that fills the pool leaves the reserved slots to others' first jobs")
    func reserved() {
        let (big, small) = (tenant("big"), tenant("small"))
        let source = MemoryJobSource(tenants: [big, small])
        source.enqueue(big, times: 20, kind: "long")
        let (release, started) = (Latch(), Counter())
        let jobs = [
            job("long") { _ in
                started.add()
                release.wait()
                return .done
            }, job("short") { _ in .done },
        ]
        let worker = RunningWorker(source, jobs, .one(8))
        defer { worker.end() }
        // Eight slots, two of them reserved.
        #expect(eventually { started.value == 6 })
        let short = source.enqueue(small, kind: "short")[0]
        #expect(eventually { source.ends(short).first?.succeeded == true })
        #expect(started.value == 6)
        release.open()
        #expect(eventually { source.with { state in state.rows.allSatisfy { $0.ends.count == 1 } } })
    }

    @Test("200 handlers that block all start in a pool of 200")
    func blocking() {
        let tenants = (0..<200).map { tenant("tenant\($0)") }
        let source = MemoryJobSource(tenants: tenants)
        for tenant in tenants { source.enqueue(tenant, kind: "work") }
        let (release, started) = (Latch(), Counter())
        let work = job { _ in
            started.add()
            release.wait()
            return .done
        }
        let worker = RunningWorker(source, [work], .one(200))
        defer { worker.end() }
        #expect(eventually { started.value == 200 })
        release.open()
        #expect(eventually { source.with { state in state.rows.allSatisfy { $0.ends.count == 1 } } })
    }

    @Test(
        "permits come back however a job ends: done, thrown, snoozed, refused, discarded, tenants unreadable, lease lost"
    )
    func permitsReturn() {
        let (acme, suspended) = (tenant("acme"), tenant("gone", status: .suspended))
        let source = MemoryJobSource(tenants: [acme, suspended])
        let kinds: [JobKind] = ["done", "throws", "snoozes", "discards", "loses"]
        for _ in 0..<4 {
            for kind in kinds { source.enqueue(acme, kind: kind) }
            source.enqueue(acme, kind: "unknown")
            source.enqueue(suspended, kind: "done")
            source.enqueue(acme, kind: "done", queue: "gone.work")
        }
        source.script(.tenants, .fails(SourceAway()))
        let (release, started) = (Latch(), Counter())
        let jobs = [
            job("blocks") { _ in
                started.add()
                release.wait()
                return .done
            }, job("done") { _ in .done }, job("throws") { _ in throw SourceAway() },
            job("snoozes") { _ in .snoozed(.seconds(9)) }, job("discards") { _ in .discarded("no") },
            job("loses") { context in
                source.with { $0.rows[Int(context.attempt.jobID) - 1].lease = nil }
                try context.progress(done: 1, unit: "x")
                return .done
            },
        ]
        let worker = RunningWorker(source, jobs, .one(3))
        defer { worker.end() }
        #expect(eventually { source.with { state in state.rows.allSatisfy { !$0.isWaiting && $0.lease == nil } } })
        // All three slots can be filled at once again, the reserved one by another tenant.
        let second = tenant("second")
        source.with { $0.tenants[second.id] = second }
        source.enqueue(acme, times: 2, kind: "blocks")
        source.enqueue(second, kind: "blocks")
        #expect(eventually { started.value == 3 })
        release.open()
    }

    @Test("the last free permits are the reserved ones, whatever came and went before")
    func admission() {
        var generator = SeededGenerator(seed: 5)
        for _ in 0..<300 {
            let size = Int.random(in: 1...20, using: &generator)
            let admission = Admission(size: size)
            var (firsts, others) = (0, 0)
            for _ in 0..<200 {
                let free = size - firsts - others
                let split = admission.split(free)
                #expect(split.general >= 0 && split.reserved >= 0 && split.general + split.reserved == free)
                // The worst that a source may do: all general permits to further jobs.
                others += split.general
                firsts += Int.random(in: 0...split.reserved, using: &generator)
                #expect(others <= size - admission.reserved && firsts + others <= size)
                firsts -= Int.random(in: 0...firsts, using: &generator)
                others -= Int.random(in: 0...others, using: &generator)
            }
        }
    }

    @Test("a quarter is reserved, at least one of two, and none where there is but one slot")
    func reservedSizes() {
        #expect([1, 2, 3, 4, 8, 16, 200].map { Admission(size: $0).reserved } == [0, 1, 1, 1, 2, 4, 50])
    }
}
