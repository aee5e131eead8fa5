import JobKit
import Synchronization

/// A kind that does nothing for as long as it is told, and holds its slot meanwhile.
struct BenchNoise: Job {
    struct Payload: Codable, Sendable {
        let ms: Int
    }

    static let kind: JobKind = "bench-noise"
    static let policy = JobPolicy(queue: "noise", timeLimit: .seconds(3600))
    static let schema = JSONSchema.object(["ms": .integer(minimum: 0)], required: ["ms"])

    let busy: BusyCount

    func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
        busy.change(by: 1)
        defer { busy.change(by: -1) }
        context.stop.wait(.milliseconds(payload.ms))
        try context.throwIfStopped()
        return .done
    }
}

/// How many handlers are at it now, and how often one ended.
final class BusyCount: Sendable {
    private let state = Mutex((now: 0, ended: 0))

    func change(by difference: Int) {
        state.withLock { state in
            state.now += difference
            if difference < 0 { state.ended += 1 }
        }
    }

    var now: Int { state.withLock { $0.now } }
    var ended: Int { state.withLock { $0.ended } }
}
