import FoundationEssentials
import JobKit
import ReeveTesting
import Testing

@Suite("JobContext: what a handler may rely on")
struct JobContextTests {
    private let store = MemoryAttemptStore()
    private let stop = StopSignal()

    @Test("a step runs once, and a later attempt gets its result without running it")
    func once() throws {
        struct Sent: Codable, Equatable {
            var ids: [Int]
            var note: String?
        }
        var runs = 0
        for attempt in 1...3 {
            let result = try context(attempt: attempt).step("send") {
                runs += 1
                return Sent(ids: [1, runs], note: "a\u{1b}\"\n")
            }
            #expect(result == Sent(ids: [1, 1], note: "a\u{1b}\"\n"))
        }
        #expect(runs == 1)
    }

    @Test("a step that returns nothing runs once too")
    func void() throws {
        var runs = 0
        for _ in 1...2 { try context().step("drop") { runs += 1 } }
        #expect(runs == 1)
    }

    @Test("a result of any shape comes back: text, number, nil, list")
    func shapes() throws {
        for _ in 1...2 {
            #expect(try context().step("text") { "x" } == "x")
            #expect(try context().step("number") { 0.1 } == 0.1)
            #expect(try context().step("whole") { 3.0 } == 3.0)
            #expect(try context().step("nil") { Int?.none } == nil)
            #expect(try context().step("list") { [UUID]() } == [])
        }
    }

    @Test("steps of different names are different steps")
    func names() throws {
        #expect(try context().step("a") { 1 } == 1)
        #expect(try context().step("b") { 2 } == 2)
    }

    @Test("a step that throws is not recorded and runs again")
    func failed() throws {
        #expect(throws: JobFailure.self) { try context().step("a") { () -> Int in throw JobFailure("x", "x") } }
        #expect(try context().step("a") { 5 } == 5)
    }

    @Test("a recorded result that no longer fits the step's type is an error, and the step does not run again")
    func changedType() throws {
        _ = try context().step("a") { "text" }
        var ran = false
        #expect(throws: DecodingError.self) {
            try context().step("a") { () -> Int in
                ran = true
                return 1
            }
        }
        #expect(!ran)
    }

    @Test("a lost lease surfaces from a step and from progress")
    func leaseLost() {
        let context = context(store: LostLease())
        var ran = false
        #expect(stopReason { try context.step("a") { ran = true } } == .leaseLost)
        #expect(ran)
        #expect(stopReason { try context.progress(done: 1, unit: "rows") } == .leaseLost)
    }

    @Test("progress is recorded in order, with only what is known")
    func progress() throws {
        try context().progress(done: 1, unit: "rows")
        try context().progress(done: 2, of: 3, unit: "files", message: "nearly")
        #expect(
            store.progress == [
                ["done": 1, "unit": "rows"], ["done": 2, "total": 3, "unit": "files", "message": "nearly"],
            ])
    }

    @Test("before the deadline nothing stops the attempt, after it the attempt is stopped for that reason")
    func deadline() throws {
        try context(deadline: .now + .seconds(3600)).throwIfStopped()
        #expect(stop.reason == nil)
        #expect(stopReason { try context(deadline: .now - .seconds(1)).throwIfStopped() } == .deadline)
        #expect(stop.reason == .deadline)
    }

    @Test("an attempt that was cancelled stays cancelled when its deadline passes as well")
    func cancelledFirst() {
        stop.stop(.cancelled)
        #expect(stopReason { try context(deadline: .now - .seconds(1)).throwIfStopped() } == .cancelled)
    }

    @Test("a stopped attempt starts no step and records no progress")
    func stopped() {
        stop.stop(.shutdown)
        var ran = false
        #expect(stopReason { try context().step("a") { ran = true } } == .shutdown)
        #expect(stopReason { try context().progress(done: 1, unit: "rows") } == .shutdown)
        #expect(!ran)
        #expect(store.progress == [])
    }

    @Test("a step that ends after the stop is recorded all the same, since its effect is there")
    func stoppedMeanwhile() throws {
        let first = try context().step("a") { () -> Int in
            stop.stop(.shutdown)
            return 1
        }
        #expect(first == 1)
        let later = StopSignal()
        #expect(try context(stop: later).step("a") { 2 } == 1)
    }

    /// Why `body` was stopped; nil when it ended in another way.
    private func stopReason(_ body: () throws -> Void) -> StopReason? {
        do { try body() } catch { return (error as? Stopped)?.reason }
        return nil
    }

    private func context(
        attempt: Int = 1, deadline: ContinuousClock.Instant = .now + .seconds(3600), stop: StopSignal? = nil,
        store: (any AttemptStore)? = nil
    ) -> JobContext {
        let attempt = JobAttempt(
            jobID: 1, tenant: JobHarness.tenant(), queue: "acme.tests", kind: "test", number: attempt, leaseID: UUID(),
            traceparent: nil)
        return JobContext(
            attempt: attempt, deadline: deadline, stop: stop ?? self.stop, log: .quiet, resources: JobResources(),
            store: store ?? self.store)
    }
}

/// A store whose lease is another attempt's by now.
private struct LostLease: AttemptStore {
    func recordProgress(_ progress: JSON, of attempt: JobAttempt) throws { throw Stopped(reason: .leaseLost) }
    func stepResult(_ name: String, of attempt: JobAttempt) throws -> JSON? { nil }
    func recordStep(_ name: String, result: JSON, of attempt: JobAttempt) throws { throw Stopped(reason: .leaseLost) }
}
