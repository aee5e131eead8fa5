import Synchronization

/// The last lines that were written to a log, for the record of an attempt that failed: at most 50, and 6 KiB.
public final class LogTail: Sendable {
    private static let mostLines = 50
    private static let mostBytes = 6 << 10
    private let lines = Mutex<[String]>([])

    /// No lines.
    public init() {}

    /// The lines, oldest first; empty when there is none.
    public var text: String { lines.withLock { $0.joined(separator: "\n") } }

    /// Adds a line and forgets what is too much.
    func append(_ line: String) {
        let line = line.utf8.count > 1000 ? String(decoding: line.utf8.prefix(997), as: UTF8.self) + "…" : line
        lines.withLock { lines in
            lines.append(line.replacing("\0", with: "\u{fffd}"))
            var bytes = lines.reduce(0) { $0 + $1.utf8.count + 1 }
            while lines.count > LogTail.mostLines || bytes > LogTail.mostBytes {
                bytes -= lines.removeFirst().utf8.count + 1
            }
        }
    }
}
