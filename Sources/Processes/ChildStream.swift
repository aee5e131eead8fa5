import Glibc
public import JobKit

/// A child program that is fed through its standard input, piece by piece, while its standard output is handed out: a
/// stage of a pipeline in constant memory.
///
/// 1. `write` gives it bytes and returns when it took them; what it prints meanwhile goes to the sink, on this thread.
/// 2. `finish` says that this was all and waits for its end.
/// 3. `abandon`, or dropping the stream, ends it by signal while its input is still open, so that it cannot take what it
///    read for the whole.
///
/// Used by one thread at a time. A stop, a deadline or a failing sink end the program, and the call throws that.
public final class ChildStream {
    private let child: ChildProcess
    private let stop: StopSignal?
    private let deadline: ContinuousClock.Instant?
    private let wakeup: StopWire
    private let sink: (UnsafeRawBufferPointer) throws -> Void
    private var bytes: Int64 = 0
    private var failure: (any Error)?

    /// Starts a program, found as `ChildProcess` finds it. `documents` are texts for it alone (`ChildProcess.documentPath`).
    /// `output` gets what it writes to standard output. Throws `ChildProcessError` when it is missing.
    public init(
        program: String, arguments: [String], environment: [String: String], supervisor: Supervisor = .current(),
        stop: StopSignal? = nil, deadline: ContinuousClock.Instant? = nil, grace: Duration = .seconds(2),
        directory: String = "/", documents: [String] = [], limits: ResourceLimits = ResourceLimits(),
        output: @escaping (UnsafeRawBufferPointer) throws -> Void = { _ in }
    ) throws {
        child = try ChildProcess(
            program: program, arguments: arguments, environment: environment, supervisor: supervisor, grace: grace,
            directory: directory, source: .stream, documents: documents, limits: limits)
        wakeup = StopWire(try DescriptorPair())
        self.stop = stop
        self.deadline = deadline
        child.isBulk = true
        sink = output
    }

    /// Gives the program bytes and waits until it took them. Returns false when it reads no more: it has ended or will,
    /// and `finish` tells how.
    @discardableResult
    public func write(_ bytes: UnsafeRawBufferPointer) throws -> Bool {
        if let failure { throw failure }
        guard child.input >= 0 else { return false }
        if bytes.isEmpty { return true }
        try attend(feeding: bytes)
        return child.input >= 0
    }

    /// Gives the program bytes and waits until it took them; false when it reads no more.
    @discardableResult
    public func write(_ bytes: [UInt8]) throws -> Bool { try bytes.withUnsafeBytes { try write($0) } }

    /// Ends the program's input, hands out the rest of its output and waits for its end. A bad exit status is not an
    /// error here, and neither is a program that did not read all: both are in the answer or seen by `write`.
    public func finish() throws -> ChildProcess.Output {
        if let failure { throw failure }
        child.closeInput()
        let exit = try child.report(of: attend(feeding: nil)).exit
        return ChildProcess.Output(exit: exit, standardError: child.standardErrorTail, bytes: bytes)
    }

    /// Ends the program and its descendants by signal and waits for it; does nothing once it has ended.
    public func abandon() {
        failure = failure ?? ChildProcessError(code: "child_ended", message: "\(child.program) was ended")
        child.stop()
        _ = child.attend(limit: .now + child.grace + .seconds(3))
    }

    @discardableResult
    private func attend(feeding bytes: UnsafeRawBufferPointer?) throws -> ChildProcess.Ended {
        func run() throws -> ChildProcess.Ended {
            let ended = child.attend(
                feeding: bytes, draining: sink, wakeup: wakeup.pair.ours, stop: stop, deadline: deadline)
            self.bytes += ended.bytes
            if let error = ended.error { throw error }
            if let reason = ended.stopped { throw Stopped(reason: reason) }
            return ended
        }
        do {
            guard let stop else { return try run() }
            let wakeup = wakeup
            return try stop.whileStopping({ _ in wakeup.signal() }, run)
        } catch {
            failure = error
            throw error
        }
    }
}
