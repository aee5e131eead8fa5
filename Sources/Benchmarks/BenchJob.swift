import JobKit
import Synchronization

/// The kind that benchmarks run: a real job whose work is to say that it ran.
struct BenchJob: Job {
    struct Payload: Codable, Sendable {
        let n: Int
    }

    static let kind: JobKind = "bench"
    static let policy = JobPolicy(queue: "bench", timeLimit: .seconds(60))
    static let schema = JSONSchema.object(["n": .integer(minimum: 0)], required: ["n"])

    let ledger: BenchLedger

    func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
        ledger.record(payload.n)
        return .done
    }
}

/// Which jobs ran, how often, and when each started.
final class BenchLedger: Sendable {
    struct State {
        var runs: [UInt8]
        var starts: [ContinuousClock.Instant?]
        var ran = 0
        var first: ContinuousClock.Instant?
        var last = ContinuousClock.now
    }

    private let state: Mutex<State>
    private let keepsStarts: Bool

    init(jobs: Int, keepsStarts: Bool = false) {
        self.keepsStarts = keepsStarts
        state = Mutex(
            State(
                runs: [UInt8](repeating: 0, count: jobs), starts: keepsStarts ? Array(repeating: nil, count: jobs) : [])
        )
    }

    func record(_ n: Int) {
        let now = ContinuousClock.now
        state.withLock { state in
            if state.first == nil { state.first = now }
            state.last = now
            state.ran += 1
            if n < state.runs.count { state.runs[n] &+= 1 }
            if keepsStarts, n < state.starts.count { state.starts[n] = now }
        }
    }

    var ran: Int { state.withLock { $0.ran } }
    var first: ContinuousClock.Instant? { state.withLock { $0.first } }
    func start(of n: Int) -> ContinuousClock.Instant? { state.withLock { $0.starts[n] } }
    /// Jobs that did not run exactly once.
    var faults: (missing: Int, doubled: Int) {
        state.withLock { state in (state.runs.count { $0 == 0 }, state.runs.count { $0 > 1 }) }
    }
}
