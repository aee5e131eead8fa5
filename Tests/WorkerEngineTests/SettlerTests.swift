import FoundationEssentials
import JobKit
import Testing

@testable import WorkerEngine

@Suite("Settler")
struct SettlerTests {
    private let acme = tenant("acme")

    /// A source in which this many jobs run, and their ends.
    private func running(_ count: Int) -> (MemoryJobSource, [Settlement]) {
        let source = MemoryJobSource(tenants: [acme])
        source.enqueue(acme, times: count, kind: "work")
        let lease = UUID()
        source.with { state in
            for index in state.rows.indices {
                state.rows[index].isWaiting = false
                state.rows[index].lease = lease
            }
        }
        let ends = (1...count).map { Settlement(jobID: Int64($0), leaseID: lease, outcome: .succeeded(JobResult())) }
        return (source, ends)
    }

    /// Runs a settler for the length of `body`, which must leave nothing to record.
    private func settling(_ source: MemoryJobSource, _ body: (Settler) -> Void) {
        let settler = Settler(source: source, log: silent)
        let thread = EngineThread("test-settler") { settler.run() }
        body(settler)
        #expect(settler.drain(within: generous))
        #expect(settler.leases.isEmpty)
        settler.stop()
        #expect(thread.join(within: generous))
    }

    private func isEverythingRecorded(_ source: MemoryJobSource) -> Bool {
        source.with { state in state.rows.allSatisfy { $0.ends.count == 1 && $0.lease == nil } }
    }

    @Test("many ends go out in few batches")
    func batches() {
        let (source, ends) = running(1000)
        settling(source) { $0.add(ends) }
        #expect(isEverythingRecorded(source))
        #expect(source.with { $0.batches.count } <= 4)
    }

    @Test(
        "a flush that fails is tried again until it is recorded, and in the mean time the lease is known to be pending")
    func retried() {
        let (source, ends) = running(3)
        source.always(.settle) { .fails(SourceAway()) }
        settling(source) { settler in
            settler.add(ends)
            #expect(eventually { source.with { $0.calls[.settle, default: 0] } >= 6 })
            #expect(settler.leases == [ends[0].leaseID])
            #expect(!settler.drain(within: .milliseconds(1)))
            source.always(.settle, nil)
        }
        #expect(isEverythingRecorded(source))
    }

    @Test("an end whose acknowledgement was lost is sent again, and counts once")
    func lostAcknowledgement() {
        let (source, ends) = running(3)
        source.script(.settle, .answerLost)
        settling(source) { $0.add(ends) }
        #expect(isEverythingRecorded(source))
        #expect(source.with { $0.calls[.settle, default: 0] } > 1)
    }

    @Test("an end that finds its row busy is sent again")
    func busy() {
        let (source, ends) = running(2)
        source.with { $0.refusals[2] = .busy }
        settling(source) { $0.add(ends) }
        #expect(isEverythingRecorded(source))
    }

    @Test("an end under a lease that is no longer current is dropped, and nothing changes")
    func fenced() {
        let (source, ends) = running(2)
        source.with { $0.rows[0].lease = UUID() }
        settling(source) { $0.add(ends) }
        #expect(source.ends(1).isEmpty && source.ends(2).count == 1)
    }

    @Test("a result that is refused for good fails its attempt, and does not keep the others from being recorded")
    func poison() {
        let (source, ends) = running(5)
        source.with { $0.refusesEnds = { $0.jobID == 3 && $0.outcome.succeeded } }
        settling(source) { $0.add(ends) }
        #expect(isEverythingRecorded(source))
        #expect(source.ends(3).first?.retryError != nil)
        #expect([1, 2, 4, 5].allSatisfy { source.ends($0).first?.succeeded == true })
    }

    @Test("also when the source was away before: the refused one is found among the others")
    func poisonAfterAnOutage() {
        let (source, ends) = running(5)
        source.with { $0.refusesEnds = { $0.jobID == 3 && $0.outcome.succeeded } }
        source.always(.settle) { .fails(SourceAway()) }
        settling(source) { settler in
            settler.add(ends)
            #expect(eventually { source.with { $0.calls[.settle, default: 0] } >= 8 })
            source.always(.settle, nil)
        }
        #expect(isEverythingRecorded(source))
        #expect(source.ends(3).first?.retryError != nil)
    }

    @Test("an end of any kind that is refused for good fails its attempt: the job does not stay running")
    func poisonOfAnyKind() {
        let (source, ends) = running(1)
        source.with { $0.refusesEnds = { $0.outcome.deadReason != nil } }
        settling(source) {
            $0.add([
                Settlement(jobID: 1, leaseID: ends[0].leaseID, outcome: .dead(reason: "x", error: nil, refused: false))
            ])
        }
        #expect(source.ends(1).first?.retryError != nil)
    }

    @Test("an end that is refused in every form is given up, and the others go on")
    func hopeless() {
        let (source, ends) = running(3)
        source.with { $0.refusesEnds = { $0.jobID == 2 } }
        settling(source) { $0.add(ends) }
        #expect(source.ends(1).count == 1 && source.ends(2).isEmpty && source.ends(3).count == 1)
    }

    @Test("claims pause while results pile up, and go on after")
    func farBehind() {
        let (source, ends) = running(2500)
        let settler = Settler(source: source, log: silent)
        settler.add(ends)
        #expect(settler.isFarBehind)
        let thread = EngineThread("test-settler") { settler.run() }
        #expect(settler.drain(within: generous))
        #expect(!settler.isFarBehind)
        settler.stop()
        #expect(thread.join(within: generous))
        #expect(isEverythingRecorded(source))
    }
}
