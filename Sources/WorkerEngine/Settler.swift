import Dispatch
import FoundationEssentials
import JobKit
import Synchronization

/// Records how attempts ended, in batches: flushed every couple of milliseconds or couple of hundred (design section 4).
///
/// A batch that fails is retried one by one; one that cannot be recorded is tried again until it can be or the lease is over:
/// it is worse to lose a job than to run it twice. A lost acknowledgement is simply sent again: the database knows the lease.
final class Settler: Sendable {
    private static let batch = 400
    private static let worthAFlush = 200
    private static let gathering = Duration.milliseconds(2)
    /// More than this waiting: claims pause.
    private static let farBehind = 2000
    private static let notRecorded = "the result could not be recorded"

    private struct State {
        var waiting: [Settlement] = []
        var inFlight: [Settlement] = []
        var isStopping = false
    }

    private let source: any JobSource
    private let log: Log
    private let state = Mutex(State())
    private let bell = Gate()
    private let full = Gate()
    private let idle = Gate()

    init(source: any JobSource, log: Log) {
        self.source = source
        self.log = log
    }

    /// Whether results pile up faster than they can be recorded.
    var isFarBehind: Bool { state.withLock { $0.waiting.count > Settler.farBehind } }

    /// The leases of ends that are not recorded yet.
    var leases: Set<UUID> { state.withLock { Set(($0.waiting + $0.inFlight).map(\.leaseID)) } }

    /// Adds ends to record. Does not block.
    func add(_ settlements: [Settlement]) {
        let count = state.withLock { state -> Int in
            state.waiting.append(contentsOf: settlements)
            return state.waiting.count
        }
        if count == settlements.count { bell.open() }
        if count >= Settler.worthAFlush { full.open() }
    }

    /// Waits until everything is recorded, at most this long; true when it is.
    func drain(within limit: Duration) -> Bool {
        let until = ContinuousClock.now + limit
        while !state.withLock({ $0.waiting.isEmpty && $0.inFlight.isEmpty }) {
            if ContinuousClock.now >= until { return false }
            bell.open()
            idle.wait(.milliseconds(20))
        }
        return true
    }

    /// Ends the loop; what still waits is left to the rescue.
    func stop() {
        state.withLock { $0.isStopping = true }
        bell.open()
        full.open()
    }

    /// The loop; returns once stopped.
    func run() {
        var failures = 0
        while !state.withLock({ $0.isStopping }) {
            let waiting = state.withLock { $0.waiting.count }
            if waiting == 0 {
                bell.wait(.seconds(1))
                continue
            }
            if waiting < Settler.worthAFlush { full.wait(Settler.gathering) }
            let batch = state.withLock { state -> [Settlement] in
                let batch = Array(state.waiting.prefix(Settler.batch))
                state.waiting.removeFirst(batch.count)
                state.inFlight = batch
                return batch
            }
            let again = flush(batch, &failures)
            state.withLock { state in
                state.waiting.insert(contentsOf: again, at: 0)
                state.inFlight = []
            }
            idle.open()
            if failures > 0 { bell.wait(.milliseconds(Int64.random(in: 10...min(2000, 20 << min(failures, 7))))) }
        }
    }

    /// Records a batch; returns what has to be sent again.
    private func flush(_ batch: [Settlement], _ failures: inout Int) -> [Settlement] {
        do {
            let refused = try source.settle(batch)
            failures = 0
            return batch.filter { keep($0, refused[$0.jobID]) }
        } catch {
            failures += 1
            log.warning(
                "results could not be recorded; trying again",
                ["jobs": .int(Int64(batch.count)), "error": .string("\(error)")])
            // A batch that is refused for what it says is taken apart however often it failed before for other reasons.
            guard batch.count > 1, failures == 1 || isPermanent(error) else {
                return recoverable(batch, error, failures)
            }
            return batch.flatMap { settlement -> [Settlement] in
                do {
                    return keep(settlement, try source.settle([settlement])[settlement.jobID]) ? [settlement] : []
                } catch {
                    return recoverable([settlement], error, 2)
                }
            }
        }
    }

    private func keep(_ settlement: Settlement, _ refusal: Refusal?) -> Bool {
        switch refusal {
        case nil: return false
        case .busy: return true
        case .leaseLost:
            named(settlement).warning("lease lost; the result is dropped")
            return false
        }
    }

    /// A single end that the database refuses for what it says, not for being away, becomes a failed attempt, whatever it was:
    /// given back at no cost the job would run, and be refused, again and again.
    private func recoverable(_ batch: [Settlement], _ error: any Error, _ failures: Int) -> [Settlement] {
        guard batch.count == 1, let settlement = batch.first, failures >= 2,
            isPermanent(error)
        else { return batch }
        named(settlement).error("an end could not be recorded", ["error": .string("\(error)")])
        switch settlement.outcome {
        case .release: return []
        case .retry(_, let text) where text.hasPrefix(Settler.notRecorded):
            // A worker that lives is never rescued from: without this the job would run for nobody.
            return [Settlement(jobID: settlement.jobID, leaseID: settlement.leaseID, outcome: .release)]
        default:
            return [
                Settlement(
                    jobID: settlement.jobID, leaseID: settlement.leaseID,
                    outcome: .retry(after: .seconds(60), error: "\(Settler.notRecorded): \(error)"))
            ]
        }
    }

    /// The log, naming the job and its tenant (OPS-4).
    private func named(_ settlement: Settlement) -> Log {
        let log = log.with(["job": .int(settlement.jobID)])
        return settlement.tenantID.map { log.with(["tenant_id": .string($0.description)]) } ?? log
    }

    private func isPermanent(_ error: any Error) -> Bool { (error as? any PermanentSourceError)?.isPermanent ?? false }
}

/// An error of a source that will not go away by itself.
public protocol PermanentSourceError: Error {
    /// Whether sending the same again can only fail again.
    var isPermanent: Bool { get }
}
