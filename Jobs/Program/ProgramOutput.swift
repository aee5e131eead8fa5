import JobKit

/// Reads a program's standard output: JSON lines, each `{"progress": …}`, `{"result": …}` or `{"log": …}`. Any other
/// line is counted, said in the log without its content (it may hold anybody's data) and ignored.
struct ProgramOutput {
    /// A longer line is ignored like one that is no message; so this bounds a result as well.
    static let lineLimit = 64 << 10
    /// More log lines, or ignored ones, are only counted.
    private static let logLimit = 200
    private static let progressInterval = Duration.milliseconds(250)

    /// The last result.
    private(set) var result: JSON?
    private let limit: Int64
    private let context: JobContext
    private var bytes: Int64 = 0
    private var line: [UInt8] = []
    private var isTooLong = false
    private var number = 0
    private var ignored = 0
    private var logged = 0
    private var pending: Progress?
    private var lastProgress: ContinuousClock.Instant?

    private struct Progress: Decodable {
        let done: Int64
        let total: Int64?
        let unit: String?
        let message: String?
    }

    private struct LogLine: Decodable {
        let level: String?
        let message: String
    }

    /// Reads at most this many bytes.
    init(limit: Int64, context: JobContext) {
        self.limit = limit
        self.context = context
    }

    /// Takes the next bytes. Throws a `JobFailure` when there are too many, and `Stopped` when the lease is gone.
    mutating func take(_ chunk: UnsafeRawBufferPointer) throws {
        bytes += Int64(chunk.count)
        guard bytes <= limit else {
            throw JobFailure(
                "too_much_output",
                "the program wrote more than \(limit) bytes to standard output; raise it with --output")
        }
        var rest = chunk[...]
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            append(rest[..<end])
            try endLine()
            rest = rest[(end + 1)...]
        }
        append(rest)
    }

    /// Takes a last line without an end and records the last progress.
    mutating func finish() throws {
        if !line.isEmpty || isTooLong { try endLine() }
        try flushProgress()
        if ignored > 0 {
            context.log.warning("lines of standard output were ignored", ["lines": .int(Int64(ignored))])
        }
    }

    private mutating func append(_ part: Slice<UnsafeRawBufferPointer>) {
        if isTooLong || line.count + part.count > Self.lineLimit {
            isTooLong = true
            line.removeAll(keepingCapacity: true)
        } else {
            line.append(contentsOf: part)
        }
    }

    private mutating func endLine() throws {
        number += 1
        defer {
            line.removeAll(keepingCapacity: true)
            isTooLong = false
        }
        if isTooLong { return ignore("longer than \(Self.lineLimit) bytes") }
        guard !line.allSatisfy({ $0 == 32 || $0 == 9 || $0 == 13 }) else { return }
        guard line.first == UInt8(ascii: "{"), let text = String(validating: line, as: UTF8.self),
            // What does not parse is not a message.
            let message = try? JSON(parsing: text)
        else { return ignore("not a JSON object") }
        if let progress = message["progress"] {
            // As above.
            guard let progress = try? progress.decode(Progress.self), progress.done >= 0 else {
                return ignore("progress without a whole number 'done'")
            }
            pending = progress
            if lastProgress.map({ $0 + Self.progressInterval <= .now }) ?? true { try flushProgress() }
        } else if let value = message["result"] {
            guard value.object != nil else { return ignore("a result that is not an object") }
            result = value
        } else if let value = message["log"], let entry = try? value.decode(LogLine.self) {  // as above
            write(entry)
        } else {
            ignore("neither progress nor result nor log")
        }
    }

    private mutating func flushProgress() throws {
        guard let progress = pending else { return }
        pending = nil
        lastProgress = .now
        do {
            try context.progress(
                done: progress.done, of: progress.total, unit: String((progress.unit ?? "steps").prefix(40)),
                message: progress.message.map { Log.printable(String($0.prefix(200))) })
        } catch let stopped as Stopped {
            throw stopped
        } catch {
            // Progress is for those who watch; the work goes on without it.
            context.log.debug("progress was not recorded", ["error": .string("\(error)")])
        }
    }

    private mutating func write(_ entry: LogLine) {
        logged += 1
        guard logged <= Self.logLimit else {
            if logged == Self.logLimit + 1 { context.log.warning("the program logs too much; the rest is left out") }
            return
        }
        let text = String(entry.message.prefix(2000))
        switch entry.level {
        case "debug": context.log.debug(text)
        case "warning": context.log.warning(text)
        case "error": context.log.error(text)
        default: context.log.info(text)
        }
    }

    private mutating func ignore(_ why: String) {
        ignored += 1
        guard ignored <= 3 else { return }
        context.log.warning("a line of standard output is ignored", ["line": .int(Int64(number)), "why": .string(why)])
    }
}
