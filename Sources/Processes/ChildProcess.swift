import FoundationEssentials
import Glibc
public import JobKit

/// How a program ended.
public enum ExitStatus: Sendable, Equatable, CustomStringConvertible {
    /// By itself, with this status.
    case exited(Int32)
    /// By this signal.
    case signalled(Int32)

    /// In words.
    public var description: String {
        switch self {
        case .exited(let code): "exit status \(code)"
        case .signalled(let signal): "signal \(signal)"
        }
    }
}

/// A child program under a supervisor of its own, which ends it and all its descendants when this process dies, even by
/// kill -9, or when the handle is stopped (design section 5). Its environment is exactly what is given and no descriptor of
/// this process reaches it. Used by one thread at a time.
public final class ChildProcess {
    /// What a finished run reports.
    public struct Output: Sendable {
        /// How the program ended.
        public let exit: ExitStatus
        /// The last 8 KiB of its standard error, without control characters.
        public let standardError: String
        /// How many bytes it wrote to standard output.
        public let bytes: Int64
    }

    /// The supervisor's process id.
    let pid: pid_t
    var lifeline: Int32
    /// Standard input when it is streamed, and -1 otherwise.
    var input: Int32 = -1
    var output: Int32
    var errors: Int32
    var status: Int32
    var statusText: [UInt8] = []
    var errorTail: [UInt8] = []
    var isReaped = false
    let program: String
    let grace: Duration
    var longGrace: Duration?
    /// Whether much output is expected: then it is taken in large pieces, at most two milliseconds late.
    var isBulk = false
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)

    /// Where a child's standard input comes from.
    enum Input {
        case none
        case document(String)
        case stream
    }

    /// Starts a program. `program` is a path or is looked up with `find`; `input` is what it reads from standard input, which
    /// is empty otherwise. `documents` are texts for it alone, on descriptors of their own: it opens them by the paths that
    /// `documentPath` gives, and they are on no disk. Throws `ChildProcessError` when the program is missing.
    public convenience init(
        program: String, arguments: [String], environment: [String: String], supervisor: Supervisor = .current(),
        firstSignal: Int32 = 15 /* SIGTERM */, grace: Duration = .seconds(2), directory: String = "/",
        input: String? = nil, documents: [String] = [], limits: ResourceLimits = ResourceLimits()
    ) throws {
        try self.init(
            program: program, arguments: arguments, environment: environment, supervisor: supervisor,
            firstSignal: firstSignal, grace: grace, directory: directory,
            source: input.map { .document($0) } ?? .none, documents: documents, limits: limits)
    }

    init(
        program: String, arguments: [String], environment: [String: String], supervisor: Supervisor,
        firstSignal: Int32 = 15, grace: Duration, directory: String, source: Input, documents: [String],
        limits: ResourceLimits
    ) throws {
        guard let path = ChildProcess.find(program) else { throw ChildProcessError.missing(program) }
        self.program = path
        self.grace = grace
        let texts = try documents.map { try InputDocument($0) }
        let document: InputDocument? = if case .document(let text) = source { try InputDocument(text) } else { nil }
        let isStreamed = if case .stream = source { true } else { false }
        let pipes = try (0..<(isStreamed ? 5 : 4)).map { _ in try DescriptorPair() }
        defer { for pipe in pipes { close(pipe.theirs) } }
        let milliseconds = Int(grace / .milliseconds(1))
        let command =
            supervisor.command
            + [
                "\(milliseconds)", "\(firstSignal)", limits.word,
                "\(texts.count)\(isStreamed ? Supervisor.holding : "")",
            ]
            + [directory, path] + arguments
        var descriptors: [(Int32, Int32)] = document.map { [(Int32(0), $0.descriptor)] } ?? []
        for (number, pipe) in pipes.prefix(4).enumerated() { descriptors.append((Int32(number + 1), pipe.theirs)) }
        if isStreamed { descriptors.append((0, pipes[4].theirs)) }
        for (number, text) in texts.enumerated() {
            descriptors.append((Supervisor.firstDocument + Int32(number), text.descriptor))
        }
        // Held by the supervisor as well: a program must not take the death of this process for the end of its input.
        let held = isStreamed ? fcntl(pipes[4].ours, F_DUPFD_CLOEXEC, 16) : -1
        defer { if held >= 0 { close(held) } }
        if isStreamed { descriptors.append((Supervisor.firstDocument + Int32(texts.count), held)) }
        do {
            // The descriptors are numbers: what owns them must live until the child has its own.
            pid = try withExtendedLifetime((texts, document)) {
                try spawn(command, environment: environment, descriptors: descriptors)
            }
        } catch {
            for pipe in pipes { close(pipe.ours) }
            throw error
        }
        output = pipes[0].ours
        errors = pipes[1].ours
        lifeline = pipes[2].ours
        status = pipes[3].ours
        if isStreamed { input = pipes[4].ours }
    }

    deinit {
        stop()
        // Its input stays open until it is gone: one that was cut off must not take what it read for the whole.
        _ = attend(limit: .now + grace + .seconds(3))
        for descriptor in [input, output, errors, status] where descriptor >= 0 { close(descriptor) }
        buffer.deallocate()
    }

    /// The path by which a program opens the document of this number, counted from 0.
    public static func documentPath(_ number: Int) -> String { "/dev/fd/\(Int(Supervisor.firstDocument) + number)" }

    /// Asks the supervisor to end the program and its descendants: first signal, grace, SIGKILL. Does not wait. `grace` is
    /// another one than the program was started with.
    public func stop(grace: Duration? = nil) {
        if lifeline >= 0 {
            if let grace {
                var text = "\(Int(grace / .milliseconds(1)))"
                // A supervisor that is gone reads nothing, and needs to read nothing.
                _ = text.withUTF8 { send(lifeline, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            }
            close(lifeline)
            lifeline = -1
        }
    }

    /// Waits for the end, at most until `limit`; nil when it has not ended by then.
    public func wait(until limit: ContinuousClock.Instant) -> ExitStatus? {
        attend(limit: limit).exit
    }

    /// The last 8 KiB of standard error so far.
    public var standardErrorTail: String { Log.printable(String(decoding: errorTail, as: UTF8.self)) }

    /// Runs a program to its end and hands out its standard output as it comes, in constant memory, on this thread.
    ///
    /// When `stop` is raised or `deadline` passes, the program and its descendants are ended and `Stopped` is thrown; when
    /// `standardOutput` throws, they are ended and its error is rethrown. A bad exit status is not an error here.
    /// `grace` is the time between the first signal and SIGKILL; `longGrace` replaces it where nobody else can be given the
    /// work meanwhile: when the job was cancelled or ran out of time. Output that `isBulk` comes in larger pieces, a little
    /// later.
    public static func run(
        program: String, arguments: [String], environment: [String: String], supervisor: Supervisor = .current(),
        stop: StopSignal? = nil, deadline: ContinuousClock.Instant? = nil, grace: Duration = .seconds(2),
        longGrace: Duration? = nil, directory: String = "/", input: String? = nil, documents: [String] = [],
        limits: ResourceLimits = ResourceLimits(), isBulk: Bool = false,
        standardOutput: (UnsafeRawBufferPointer) throws -> Void = { _ in }
    ) throws -> Output {
        let child = try ChildProcess(
            program: program, arguments: arguments, environment: environment, supervisor: supervisor, grace: grace,
            directory: directory, input: input, documents: documents, limits: limits)
        child.longGrace = longGrace
        child.isBulk = isBulk
        let wakeup = StopWire(try DescriptorPair())
        defer { withExtendedLifetime(wakeup) {} }
        return try withoutActuallyEscaping(standardOutput) { sink in
            let run = { () throws -> Output in
                let ended = child.attend(
                    draining: sink, wakeup: wakeup.pair.ours, stop: stop, deadline: deadline)
                return try child.report(of: ended)
            }
            guard let stop else { return try run() }
            return try stop.whileStopping({ _ in wakeup.signal() }, run)
        }
    }
}
