import FoundationEssentials
import Glibc

/// How serious a log line is.
public enum LogLevel: Int, Sendable, Comparable {
    case debug, info, warning, error
    /// By seriousness.
    public static func < (a: LogLevel, b: LogLevel) -> Bool { a.rawValue < b.rawValue }
    /// As it is written.
    public var name: String {
        switch self {
        case .debug: "debug"
        case .info: "info"
        case .warning: "warning"
        case .error: "error"
        }
    }
}

/// A structured log: one line per event on standard error, JSON or readable text (OPS-4). Values must hold no secrets
/// and no job arguments. Blocks only for the write itself.
public struct Log: Sendable {
    /// How lines are written.
    public enum Format: String, Sendable {
        /// One JSON object per line.
        case json
        /// For a terminal.
        case text
    }

    private let format: Format
    private let minimum: LogLevel
    private let fields: [(String, JSON)]
    private let descriptor: Int32
    private let tail: LogTail?

    /// A log that writes to a file descriptor, standard error by default.
    public init(format: Format, minimum: LogLevel = .info, descriptor: Int32 = 2) {
        self.init(format: format, minimum: minimum, fields: [], descriptor: descriptor, tail: nil)
    }

    private init(
        format: Format, minimum: LogLevel, fields: [(String, JSON)], descriptor: Int32, tail: LogTail?
    ) {
        self.format = format
        self.minimum = minimum
        self.fields = fields
        self.descriptor = descriptor
        self.tail = tail
    }

    /// A log that writes nothing below errors; for tests.
    public static let quiet = Log(format: .text, minimum: .error)

    /// A log whose lines carry these fields as well; of equal names the last value is written.
    public func with(_ more: KeyValuePairs<String, JSON>) -> Log {
        Log(format: format, minimum: minimum, fields: merged(more), descriptor: descriptor, tail: tail)
    }

    /// A log whose lines are also kept in `tail`, without the fields that all of them carry by then.
    public func keeping(_ tail: LogTail) -> Log {
        Log(format: format, minimum: minimum, fields: fields, descriptor: descriptor, tail: tail)
    }

    /// A detail that helps to find a fault.
    public func debug(_ message: String, _ more: KeyValuePairs<String, JSON> = [:]) { write(.debug, message, more) }
    /// Something an operator wants to see.
    public func info(_ message: String, _ more: KeyValuePairs<String, JSON> = [:]) { write(.info, message, more) }
    /// Something that may need a look.
    public func warning(_ message: String, _ more: KeyValuePairs<String, JSON> = [:]) { write(.warning, message, more) }
    /// Something that went wrong.
    public func error(_ message: String, _ more: KeyValuePairs<String, JSON> = [:]) { write(.error, message, more) }

    private func write(_ level: LogLevel, _ message: String, _ more: KeyValuePairs<String, JSON>) {
        guard level >= minimum else { return }
        tail?.append(
            "\(Log.timestamp()) \(level.name) \(Log.printable(message))"
                + more.map { " \($0.key)=\($0.value.string.map(Log.printable) ?? $0.value.text)" }.joined())
        let all = merged(more)
        var line = ""
        switch format {
        case .json:
            line = "{\"time\":\"\(Log.timestamp())\",\"level\":\"\(level.name)\",\"message\":"
            JSON.quote(message, to: &line)
            for (name, value) in all {
                line += ","
                JSON.quote(name, to: &line)
                line += ":" + value.text
            }
            line += "}\n"
        case .text:
            line = "\(Log.timestamp().dropFirst(11).prefix(12)) \(level.name.uppercased()) \(Log.printable(message))"
            for (name, value) in all {
                line += " \(Log.printable(name))=\(value.string.map(Log.printable) ?? value.text)"
            }
            line += "\n"
        }
        // One write per line keeps lines of several threads apart (POSIX write(2), pipes up to PIPE_BUF).
        line.withUTF8 { bytes in _ = Glibc.write(descriptor, bytes.baseAddress, bytes.count) }
    }

    /// The fields and these, each name once: readers of JSON disagree about which of two equal names counts, so a
    /// second one could hide the first.
    private func merged(_ more: KeyValuePairs<String, JSON>) -> [(String, JSON)] {
        var all = fields
        for (key, value) in more {
            let name = ["time", "level", "message"].contains(key) ? key + "_" : key
            if let index = all.firstIndex(where: { $0.0 == name }) {
                all[index].1 = value
            } else {
                all.append((name, value))
            }
        }
        return all
    }

    /// The text with control characters replaced, so that no value can forge a line or drive a terminal.
    public static func printable(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: \.isControl) else { return text }
        return String(String.UnicodeScalarView(text.unicodeScalars.map { $0.isControl ? " " : $0 }))
    }

    private static func timestamp() -> String {
        Date.now.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    }
}

extension Unicode.Scalar {
    /// Whether a terminal or a reader of lines may act on it: C0, DEL, C1 (U+009B starts a command as ESC [ does) and
    /// Unicode's line and paragraph separators.
    var isControl: Bool { value < 0x20 || (0x7f...0x9f).contains(value) || value == 0x2028 || value == 0x2029 }
}
