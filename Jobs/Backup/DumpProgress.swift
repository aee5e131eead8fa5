import JobKit
import Synchronization

/// How far all dumps of one database are, told to the queue a few times a second. Safe to use from any thread.
final class DumpProgress: Sendable {
    private struct State {
        var bytes: Int64 = 0
        var tables = 0
        var toldAt = ContinuousClock.now
    }

    private let context: JobContext
    private let database: String
    private let tables: Int
    private let estimate: Int64?
    private let state = Mutex(State())

    /// Of `tables` tables; `estimate` is how many bytes the last backup had.
    init(_ context: JobContext, database: String, tables: Int, estimate: Int64?) {
        self.context = context
        self.database = database
        self.tables = tables
        self.estimate = estimate
    }

    /// Adds what a dump has written and the tables in it that are complete. Throws `Stopped` when the attempt has to end.
    func add(bytes: Int64, tables more: Int) throws {
        let told = state.withLock { state -> State? in
            state.bytes += bytes
            state.tables += more
            guard state.toldAt + .milliseconds(500) < .now else { return nil }
            state.toldAt = .now
            return state
        }
        guard let told else { return }
        try context.progress(
            // A database that has grown has more bytes than its last backup: no total is better than a wrong one.
            done: told.bytes, of: estimate.flatMap { $0 >= told.bytes ? $0 : nil }, unit: "bytes",
            message: "dumping \(database): \(told.tables) of \(tables) tables")
    }
}
