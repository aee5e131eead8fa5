import JobKit
import Testing

@testable import WorkerEngine

@Suite("Worker")
struct WorkerTests {
    private func options(_ pools: [String: Int], otherSlots: Int?) -> WorkerOptions {
        var options = WorkerOptions(pools: pools, otherSlots: otherSlots)
        options.tierCheck = .milliseconds(20)
        return options
    }

    @Test("a tier that appears later is served without a restart, listed or not")
    func newTiers() {
        let (gold, silver) = (tenant("acme", tier: "gold"), tenant("globex", tier: "silver"))
        let source = MemoryJobSource(tiers: ["starter"], tenants: [gold, silver])
        let ids = source.enqueue(gold, kind: "work") + source.enqueue(silver, kind: "work")
        let worker = RunningWorker(source, [job { _ in .done }], options(["starter": 1, "silver": 2], otherSlots: 1))
        defer { worker.end() }
        #expect(eventually { source.with { $0.calls[.claim, default: 0] } > 0 })
        #expect(ids.allSatisfy { source.ends($0).isEmpty })
        source.with { $0.tiers = ["starter", "gold", "silver"] }
        #expect(eventually { ids.allSatisfy { source.ends($0).first?.succeeded == true } })
    }

    @Test("a worker of certain tiers does not serve others, also not later")
    func listedOnly() {
        let (gold, starter) = (tenant("acme", tier: "gold"), tenant("globex"))
        let source = MemoryJobSource(tiers: ["starter", "gold"], tenants: [gold, starter])
        let id = source.enqueue(gold, kind: "work")[0]
        let worker = RunningWorker(source, [job { _ in .done }], options(["starter": 1], otherSlots: nil))
        defer { worker.end() }
        let looks = source.with { $0.calls[.tiers, default: 0] }
        #expect(eventually { source.with { $0.calls[.tiers, default: 0] } > looks + 3 })
        let other = source.enqueue(starter, kind: "work")[0]
        #expect(eventually { source.ends(other).first?.succeeded == true })
        #expect(source.ends(id).isEmpty)
    }

    @Test(
        "a plain worker never looks into the restore pool, even if a tier is called so; a restore worker into no other")
    func roles() {
        let (needed, other) = (tenant("acme", tier: "restore"), tenant("globex"))
        let source = MemoryJobSource(tiers: ["starter", "restore"], tenants: [needed, other])
        let restores = source.enqueue(needed, kind: "work")
        let plain = RunningWorker(source, [job { _ in .done }], options(["starter": 1, "restore": 1], otherSlots: 1))
        let first = source.enqueue(other, kind: "work")
        #expect(eventually { source.ends(first[0]).first?.succeeded == true })
        let looks = source.with { $0.calls[.tiers, default: 0] }
        #expect(eventually { source.with { $0.calls[.tiers, default: 0] } > looks + 3 })
        plain.end()
        #expect(source.ends(restores[0]).isEmpty)
        let left = source.enqueue(other, kind: "work")
        var restoring = options(["restore": 1], otherSlots: 1)
        restoring.role = .restore
        let worker = RunningWorker(source, [job { _ in .done }], restoring)
        defer { worker.end() }
        #expect(eventually { source.ends(restores[0]).first?.succeeded == true })
        #expect(source.ends(left[0]).isEmpty)
    }

    @Test("a failing look at the tiers is made again")
    func failingTiers() {
        let gold = tenant("acme", tier: "gold")
        let source = MemoryJobSource(tiers: ["starter"], tenants: [gold])
        let worker = RunningWorker(source, [job { _ in .done }], options([:], otherSlots: 1))
        defer { worker.end() }
        #expect(eventually { source.with { $0.calls[.claim, default: 0] } > 0 })
        source.script(.tiers, .fails(SourceAway()), .fails(SourceAway()))
        source.with { $0.tiers = ["starter", "gold"] }
        let id = source.enqueue(gold, kind: "work")[0]
        #expect(eventually { source.ends(id).first?.succeeded == true })
    }

    @Test("claims that fail are made again, and what fails them costs no job")
    func failingClaims() {
        let acme = tenant("acme")
        let source = MemoryJobSource(tenants: [acme])
        source.script(.claim, .fails(SourceAway()), .fails(SourceAway()), .answerLost, .fails(SourceAway()))
        let ids = source.enqueue(acme, times: 10, kind: "work")
        let worker = RunningWorker(source, [job { _ in .done }], .one(4))
        defer { worker.end() }
        #expect(eventually { ids.allSatisfy { source.ends($0).last?.succeeded == true } })
    }

    @Test("while tenants cannot be read jobs go back instead of running unchecked")
    func tenantsAway() {
        let acme = tenant("acme")
        let source = MemoryJobSource(tenants: [acme])
        source.script(.tenants, .fails(SourceAway()), .fails(SourceAway()))
        let id = source.enqueue(acme, kind: "work")[0]
        let worker = RunningWorker(source, [job { _ in .done }], .one(1))
        defer { worker.end() }
        #expect(eventually { source.ends(id).count == 3 })
        #expect(source.ends(id).map(\.isRelease) == [true, true, false])
        #expect(source.ends(id)[2].succeeded)
    }

    @Test("one tier's blocked jobs do not keep another tier's from running")
    func bulkhead() {
        let (starter, gold) = (tenant("acme"), tenant("globex", tier: "gold"))
        let source = MemoryJobSource(tiers: ["starter", "gold"], tenants: [starter, gold])
        source.enqueue(starter, times: 10, kind: "blocks")
        let release = Latch()
        let jobs = [
            job("blocks") { _ in
                release.wait()
                return .done
            }, job { _ in .done },
        ]
        let worker = RunningWorker(source, jobs, options(["starter": 1, "gold": 1], otherSlots: nil))
        defer { worker.end() }
        #expect(eventually { worker.worker.runningCount == 1 })
        let id = source.enqueue(gold, kind: "work")[0]
        #expect(eventually { source.ends(id).first?.succeeded == true })
        release.open()
    }
}
