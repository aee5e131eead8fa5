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
    private var lifeline: Int32
    private var output: Int32
    private var errors: Int32
    private var status: Int32
    private var statusText: [UInt8] = []
    private var errorTail: [UInt8] = []
    private let program: String
    private let grace: Duration
    private var longGrace: Duration?

    /// Starts a program. `program` is a path or is looked up with `find`; `input` is what it reads from standard input, which
    /// is empty otherwise. Throws `ChildProcessError` when the program is missing.
    public init(
        program: String, arguments: [String], environment: [String: String], supervisor: Supervisor = .current(),
        firstSignal: Int32 = 15 /* SIGTERM */, grace: Duration = .seconds(2), directory: String = "/",
        input: String? = nil, limits: ResourceLimits = ResourceLimits()
    ) throws {
        guard let path = ChildProcess.find(program) else { throw ChildProcessError.missing(program) }
        self.program = path
        self.grace = grace
        let document = try input.map { try InputDocument($0) }
        let pipes = [try DescriptorPair(), try DescriptorPair(), try DescriptorPair(), try DescriptorPair()]
        defer { for pipe in pipes { close(pipe.theirs) } }
        let milliseconds = Int(grace / .milliseconds(1))
        let command =
            supervisor.command + ["\(milliseconds)", "\(firstSignal)", limits.word, directory, path] + arguments
        var descriptors: [(Int32, Int32)] = document.map { [(Int32(0), $0.descriptor)] } ?? []
        for (number, pipe) in pipes.enumerated() { descriptors.append((Int32(number + 1), pipe.theirs)) }
        do {
            pid = try spawn(command, environment: environment, descriptors: descriptors)
        } catch {
            for pipe in pipes { close(pipe.ours) }
            throw error
        }
        output = pipes[0].ours
        errors = pipes[1].ours
        lifeline = pipes[2].ours
        status = pipes[3].ours
    }

    deinit {
        stop()
        _ = waitForEnd(draining: nil, wakeup: -1, stop: nil, deadline: nil, limit: .now + grace + .seconds(3))
        for descriptor in [output, errors, status] where descriptor >= 0 { close(descriptor) }
    }

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
        waitForEnd(draining: nil, wakeup: -1, stop: nil, deadline: nil, limit: limit).exit
    }

    /// The last 8 KiB of standard error so far.
    public var standardErrorTail: String { Log.printable(String(decoding: errorTail, as: UTF8.self)) }

    /// Runs a program to its end and hands out its standard output as it comes, in constant memory, on this thread.
    ///
    /// When `stop` is raised or `deadline` passes, the program and its descendants are ended and `Stopped` is thrown; when
    /// `standardOutput` throws, they are ended and its error is rethrown. A bad exit status is not an error here.
    /// `grace` is the time between the first signal and SIGKILL; `longGrace` replaces it where nobody else can be given the
    /// work meanwhile: when the job was cancelled or ran out of time.
    public static func run(
        program: String, arguments: [String], environment: [String: String], supervisor: Supervisor = .current(),
        stop: StopSignal? = nil, deadline: ContinuousClock.Instant? = nil, grace: Duration = .seconds(2),
        longGrace: Duration? = nil, directory: String = "/", input: String? = nil,
        limits: ResourceLimits = ResourceLimits(),
        standardOutput: (UnsafeRawBufferPointer) throws -> Void = { _ in }
    ) throws -> Output {
        let child = try ChildProcess(
            program: program, arguments: arguments, environment: environment, supervisor: supervisor, grace: grace,
            directory: directory, input: input, limits: limits)
        child.longGrace = longGrace
        let wakeup = StopWire(try DescriptorPair())
        return try withoutActuallyEscaping(standardOutput) { sink in
            let run = { () throws -> Output in
                let ended = child.waitForEnd(
                    draining: sink, wakeup: wakeup.pair.ours, stop: stop, deadline: deadline, limit: nil)
                if let error = ended.error { throw error }
                if let reason = ended.stopped { throw Stopped(reason: reason) }
                guard let exit = ended.exit else {
                    throw ChildProcessError(code: "child_lost", message: "the end of \(program) was not reported")
                }
                return Output(exit: exit, standardError: child.standardErrorTail, bytes: ended.bytes)
            }
            guard let stop else { return try run() }
            return try stop.whileStopping({ _ in wakeup.signal() }, run)
        }
    }

    private struct Ended {
        var exit: ExitStatus?
        var stopped: StopReason?
        var error: (any Error)?
        var bytes: Int64 = 0
    }

    /// Drains the pipes until the supervisor has reported the end and closed them.
    private func waitForEnd(
        draining sink: ((UnsafeRawBufferPointer) throws -> Void)?, wakeup: Int32, stop: StopSignal?,
        deadline: ContinuousClock.Instant?, limit: ContinuousClock.Instant?
    ) -> Ended {
        var ended = Ended()
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        var killAt: ContinuousClock.Instant?
        while output >= 0 || errors >= 0 || status >= 0 {
            if ended.stopped == nil, ended.error == nil {
                ended.stopped = stop?.reason ?? (deadline.map { $0 <= .now } == true ? .deadline : nil)
            }
            if ended.stopped != nil || ended.error != nil, killAt == nil {
                let isUrgent = ended.stopped != .cancelled && ended.stopped != .deadline
                self.stop(grace: isUrgent ? nil : longGrace)
                killAt = .now + (isUrgent ? grace : longGrace ?? grace) + .seconds(2)
            }
            // The supervisor itself hangs: nothing is spared any more.
            if let killAt, killAt <= .now { kill(-pid, SIGKILL) }
            if let limit, limit <= .now { return ended }
            let next = [deadline, limit, killAt].compactMap { $0 }.filter { $0 > .now }.min()
            let wait = next.map { Int32(clamping: Int(($0 - .now) / .milliseconds(1)) + 1) } ?? 1000
            var polled = [output, errors, status, ended.stopped == nil ? wakeup : -1].map {
                pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
            }
            // Never negative, which would wait for ever: the moment may have passed since it was chosen.
            guard poll(&polled, 4, max(0, min(wait, 1000))) >= 0 || errno == EINTR else { break }
            if polled[0].revents != 0 {
                let count = read(output, &buffer, buffer.count)
                if count > 0 {
                    ended.bytes += Int64(count)
                    if let sink, ended.error == nil, ended.stopped == nil {
                        do {
                            try buffer.withUnsafeBytes { try sink(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
                        } catch {
                            ended.error = error
                        }
                    }
                } else {
                    closeAtEnd(&output, count)
                }
            }
            if polled[1].revents != 0 {
                let count = read(errors, &buffer, buffer.count)
                if count > 0 {
                    errorTail.append(contentsOf: buffer[..<count])
                    if errorTail.count > 8192 { errorTail.removeFirst(errorTail.count - 8192) }
                } else {
                    closeAtEnd(&errors, count)
                }
            }
            if polled[2].revents != 0 {
                let count = read(status, &buffer, buffer.count)
                if count > 0 { statusText.append(contentsOf: buffer[..<count]) } else { closeAtEnd(&status, count) }
            }
        }
        self.stop()
        var code: Int32 = 0
        while waitpid(pid, &code, 0) < 0, errno == EINTR {}
        ended.exit = exitStatus
        if case .some(.failedToStart(let number)) = report {
            ended.error =
                number == ENOENT
                ? ChildProcessError.missing(program)
                : ChildProcessError(
                    code: "program_failed", message: "\(program) could not be started: \(errorText(number))")
        }
        return ended
    }

    private enum Report {
        case ended(ExitStatus)
        case failedToStart(Int32)
    }

    private var report: Report? {
        let text = String(decoding: statusText, as: UTF8.self)
        guard let kind = text.first, let number = Int32(text.dropFirst()) else { return nil }
        switch kind {
        case "E": return .ended(.exited(number))
        case "S": return .ended(.signalled(number))
        default: return .failedToStart(number)
        }
    }

    private var exitStatus: ExitStatus? {
        switch report {
        case .ended(let status): status
        // The supervisor was killed itself.
        case nil: .signalled(SIGKILL)
        case .failedToStart: nil
        }
    }

    private func closeAtEnd(_ descriptor: inout Int32, _ count: Int) {
        if count < 0, errno == EINTR || errno == EAGAIN { return }
        close(descriptor)
        descriptor = -1
    }
}

/// Ends the wait for a child from the thread that raises its stop signal. That thread may come late, so it owns the
/// descriptors too: a number that was closed may by then be another file's.
private final class StopWire: Sendable {
    let pair: DescriptorPair

    init(_ pair: DescriptorPair) { self.pair = pair }

    deinit {
        close(pair.ours)
        close(pair.theirs)
    }

    func signal() { _ = Glibc.write(pair.theirs, "!", 1) }
}
