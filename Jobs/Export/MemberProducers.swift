import Dispatch
import JobKit
import Postgres
import Synchronization

/// One table in one format on its way into the archive.
struct ExportTask: Sendable {
    /// The member's name.
    let name: String
    let copy: TableCopy
    let pipe = MemberPipe()
}

/// Copies tables of one database on several connections that see the same snapshot, each on a thread of its own, a few
/// members ahead of the one that is being written. The archive takes them in order, so the largest table is never faster than
/// one connection; the others are made meanwhile.
final class MemberProducers: Sendable {
    private struct State {
        var next = 0
        var written = 0
        var rows: Int64 = 0
        var error: (any Error)?
    }

    /// How many members may be made ahead: each may hold a pipe's room of data.
    private static let ahead = 8
    /// How often a lost connection is opened again for one table.
    private static let reconnections = 3

    private let tasks: [ExportTask]
    private let access: any ExportAccess
    private let context: JobContext
    private let store: ExportStore
    private let snapshot: String
    private let tools: ExportTools
    private let state = Mutex(State())
    private let moved = DispatchSemaphore(value: 0)
    private let inner = StopSignal()

    init(
        _ tasks: [ExportTask], of store: ExportStore, snapshot: String, access: any ExportAccess, tools: ExportTools,
        context: JobContext
    ) {
        self.tasks = tasks
        self.store = store
        self.snapshot = snapshot
        self.access = access
        self.tools = tools
        self.context = context
    }

    /// How many rows were copied so far.
    var rows: Int64 { state.withLock { $0.rows } }

    /// Hands the members to `body`, one after the other, on this thread; `body` empties each one's pipe. The first error ends
    /// all and is thrown once no thread is left.
    func run(width: Int, _ body: (ExportTask, StopSignal) throws -> Void) throws {
        let group = DispatchGroup()
        defer { group.wait() }
        let inner = inner
        try context.stop.whileStopping({ inner.stop($0) }) {
            // The reason is of no matter: the error that is thrown says what happened.
            defer { inner.stop(.shutdown) }
            for number in 0..<min(width, tasks.count) {
                DispatchQueue(label: "reeve.export.\(number)").async(group: group) { self.produce() }
            }
            for (index, task) in tasks.enumerated() {
                do {
                    try body(task, inner)
                } catch let error as Stopped {
                    try context.throwIfStopped()
                    throw state.withLock(\.error) ?? error
                }
                state.withLock { $0.written = index + 1 }
                for _ in 0..<width { moved.signal() }
            }
        }
    }

    /// One connection's work: opened again when it is lost, as long as the snapshot's holder lives.
    private func produce() {
        var current: (task: ExportTask, member: MemberEncoder)?
        var losses = 0
        do {
            while true {
                do {
                    try access.withSession(store, context, stop: inner) { session in
                        try session.inSnapshot {
                            try enter(session)
                            while let (task, member) = try current ?? nextTask() {
                                current = (task, member)
                                try copy(task, into: member, session)
                                current = nil
                                losses = 0
                            }
                        }
                    }
                    return
                } catch let error as PostgresError {
                    guard error.isConnectionLost, losses < Self.reconnections else { throw error }
                    losses += 1
                    context.log.warning(
                        "a connection of an export was lost and is opened again",
                        ["database": .string(store.database), "table": .string(current?.task.copy.table.name ?? "")])
                }
            }
        } catch {
            state.withLock { $0.error = $0.error ?? error }
            inner.stop(.shutdown)
        }
    }

    private func copy(_ task: ExportTask, into member: MemberEncoder, _ session: any ExportSession) throws {
        // Going back to the savepoint gives up the table's lock, which the snapshot's holder has too.
        _ = try session.query("SAVEPOINT reeve_copy")
        let rows = try task.copy.run(in: session, into: member) { count in state.withLock { $0.rows += count } }
        _ = try session.query("ROLLBACK TO SAVEPOINT reeve_copy")
        _ = try session.query("RELEASE SAVEPOINT reeve_copy")
        task.pipe.end(try member.finish(), rows: rows)
    }

    /// Imports the snapshot and makes the values' forms those that the dictionary says.
    private func enter(_ session: any ExportSession) throws {
        do {
            _ = try session.query("SET TRANSACTION SNAPSHOT \(quoteLiteral(snapshot))")
        } catch let error as PostgresError where ["22023", "55000"].contains(error.sqlState) {
            throw JobFailure(
                "export_snapshot_lost", "the session that held the export's snapshot has ended; it starts afresh")
        }
        try TableCopy.settle(session)
    }

    private func nextTask() throws -> (ExportTask, MemberEncoder)? {
        while true {
            try inner.throwIfStopped()
            let index: Int? = state.withLock { state in
                guard state.next < tasks.count, state.next < state.written + Self.ahead else { return nil }
                state.next += 1
                return state.next - 1
            }
            if let index {
                let (task, inner) = (tasks[index], inner)
                let member = MemberEncoder(tools: tools, stop: inner, deadline: context.deadline) {
                    try task.pipe.append($0, stop: inner)
                }
                return (task, member)
            }
            if state.withLock({ $0.next }) >= tasks.count { return nil }
            _ = moved.wait(timeout: .now() + .milliseconds(200))
        }
    }
}
