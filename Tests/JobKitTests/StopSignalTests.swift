import Dispatch
import JobKit
import Synchronization
import Testing

@Suite("StopSignal: the first reason wins")
struct StopSignalTests {
    @Test("a signal that nobody raised stops nothing")
    func quiet() throws {
        let stop = StopSignal()
        #expect(stop.reason == nil)
        try stop.throwIfStopped()
        let calls = Reasons()
        #expect(stop.whileStopping(calls.add) { 7 } == 7)
        #expect(calls.all == [])
    }

    @Test("a second reason changes nothing and calls nobody again")
    func first() {
        let stop = StopSignal()
        let calls = Reasons()
        stop.whileStopping(calls.add) {
            stop.stop(.cancelled)
            stop.stop(.shutdown)
        }
        #expect(stop.reason == .cancelled)
        #expect(calls.all == [.cancelled])
        #expect { try stop.throwIfStopped() } throws: { ($0 as? Stopped)?.reason == .cancelled }
    }

    @Test("of many threads that raise at once one wins, and every handler hears its reason once")
    func race() {
        let reasons: [StopReason] = [.cancelled, .deadline, .leaseLost, .shutdown]
        for _ in 0..<50 {
            let stop = StopSignal()
            let calls = Reasons()
            stop.whileStopping(calls.add) {
                DispatchQueue.concurrentPerform(iterations: reasons.count) { stop.stop(reasons[$0]) }
            }
            #expect(calls.all == [stop.reason])
        }
    }

    @Test("a raise on another thread wakes a body that waits")
    func wakes() {
        let stop = StopSignal()
        let wakeup = DispatchSemaphore(value: 0)
        let waiting = DispatchSemaphore(value: 0)
        DispatchQueue(label: "raise").async {
            waiting.wait()
            stop.stop(.shutdown)
        }
        let result = stop.whileStopping({ _ in wakeup.signal() }) {
            waiting.signal()
            return wakeup.wait(timeout: .now() + .seconds(60))
        }
        #expect(result == .success)
        #expect(stop.reason == .shutdown)
    }

    @Test("a signal raised before the body calls the handler at once, and the body still runs")
    func before() {
        let stop = StopSignal()
        stop.stop(.deadline)
        let calls = Reasons()
        #expect(stop.whileStopping(calls.add) { calls.all } == [.deadline])
        #expect(calls.all == [.deadline])
    }

    @Test("a handler is not called once its body has ended, by returning or by throwing")
    func removed() {
        let stop = StopSignal()
        let calls = Reasons()
        stop.whileStopping(calls.add) {}
        #expect(throws: JobFailure.self) { try stop.whileStopping(calls.add) { throw JobFailure("x", "x") } }
        stop.stop(.cancelled)
        #expect(calls.all == [])
    }

    @Test("the handlers of nested bodies are all called, and only those whose body still runs")
    func nested() {
        let stop = StopSignal()
        let outer = Reasons()
        let ended = Reasons()
        let inner = Reasons()
        stop.whileStopping(outer.add) {
            stop.whileStopping(ended.add) {}
            stop.whileStopping(inner.add) { stop.stop(.leaseLost) }
        }
        #expect(outer.all == [.leaseLost])
        #expect(inner.all == [.leaseLost])
        #expect(ended.all == [])
    }

    @Test("a handler may use the signal that calls it")
    func reentrant() {
        let stop = StopSignal()
        let calls = Reasons()
        stop.whileStopping({ _ in
            stop.stop(.shutdown)
            stop.whileStopping(calls.add) {}
        }) { stop.stop(.cancelled) }
        #expect(calls.all == [.cancelled])
    }

    @Test("what a reason means for the job: a deadline costs an attempt, a lost lease and a shutdown none")
    func dispositions() {
        #expect(Stopped(reason: .deadline).disposition == .retry)
        #expect(Stopped(reason: .cancelled).disposition == .giveUp)
        #expect(Stopped(reason: .leaseLost).disposition == .interrupted)
        #expect(Stopped(reason: .shutdown).disposition == .interrupted)
    }
}

/// The reasons that handlers were called with.
private final class Reasons: Sendable {
    private let list = Mutex<[StopReason?]>([])
    var all: [StopReason?] { list.withLock { $0 } }
    func add(_ reason: StopReason) { list.withLock { $0.append(reason) } }
}
