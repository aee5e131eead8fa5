import Dumps
import JobKit
import Processes

/// Reads an archive of pg_dump along while it is written, and counts the rows in it: pg_restore gets the same bytes as
/// storage, so neither a second reading nor the key is needed. Used by one thread.
final class ArchiveCount {
    private final class Count {
        var counter = CopyRowCounter()
    }

    private let stream: ChildStream
    private let count = Count()

    /// Starts pg_restore; of an archive without data it only reads the definitions.
    init(
        _ tools: PostgresTools, hasData: Bool, stop: StopSignal, deadline: ContinuousClock.Instant
    ) throws {
        let count = count
        stream = try ChildStream(
            program: tools.restore, arguments: [hasData ? "--data-only" : "--schema-only", "--file=-"],
            environment: tools.environment, supervisor: tools.supervisor, stop: stop, deadline: deadline
        ) { count.counter.take($0) }
    }

    /// How many tables were read to their end.
    var tables: Int { count.counter.rows.count }

    /// Takes the archive's next bytes. A pg_restore that ended is found by `finish`.
    func write(_ bytes: UnsafeRawBufferPointer) throws { try stream.write(bytes) }

    /// The rows by table. Throws unless pg_restore read a whole archive.
    func finish() throws -> [String: Int64] {
        try judge(try stream.finish(), of: "pg_restore")
        guard !count.counter.isInsideTable else {
            throw JobFailure("backup_truncated", "the dump ends inside a table")
        }
        return count.counter.rows
    }
}
