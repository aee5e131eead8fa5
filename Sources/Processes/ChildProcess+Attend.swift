import Glibc
import JobKit

/// The one loop in which a child is fed, drained and waited for.
extension ChildProcess {
    /// What a turn of `attend` led to.
    struct Ended {
        var exit: ExitStatus?
        var stopped: StopReason?
        var error: (any Error)?
        var bytes: Int64 = 0
    }

    /// Drains the pipes until the supervisor has reported the end and closed them; with `feeding`, only until the child's
    /// standard input took all of that or the child reads no more (then `input` is -1).
    func attend(
        feeding bytes: UnsafeRawBufferPointer? = nil, draining sink: ((UnsafeRawBufferPointer) throws -> Void)? = nil,
        wakeup: Int32 = -1, stop: StopSignal? = nil, deadline: ContinuousClock.Instant? = nil,
        limit: ContinuousClock.Instant? = nil
    ) -> Ended {
        var ended = Ended()
        var rest = bytes ?? UnsafeRawBufferPointer(start: nil, count: 0)
        var killAt: ContinuousClock.Instant?
        var isPausing = false
        while output >= 0 || errors >= 0 || status >= 0 {
            if ended.stopped == nil, ended.error == nil {
                ended.stopped = stop?.reason ?? (deadline.map { $0 <= .now } == true ? .deadline : nil)
            }
            let isEnding = ended.stopped != nil || ended.error != nil
            if bytes != nil, !isEnding, rest.isEmpty || input < 0 { return ended }
            if isEnding, killAt == nil {
                let isUrgent = ended.stopped != .cancelled && ended.stopped != .deadline
                self.stop(grace: isUrgent ? nil : longGrace)
                killAt = .now + (isUrgent ? grace : longGrace ?? grace) + .seconds(2)
            }
            // The supervisor itself hangs: nothing is spared any more.
            if let killAt, killAt <= .now { kill(-pid, SIGKILL) }
            if let limit, limit <= .now { return ended }
            let next = [deadline, limit, killAt].compactMap { $0 }.filter { $0 > .now }.min()
            let wait = next.map { Int32(clamping: Int(($0 - .now) / .milliseconds(1)) + 1) } ?? 1000
            var polled = [isPausing ? -1 : output, errors, status, ended.stopped == nil ? wakeup : -1].map {
                pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
            }
            polled.append(pollfd(fd: rest.isEmpty || isEnding ? -1 : input, events: Int16(POLLOUT), revents: 0))
            // Never negative, which would wait for ever: the moment may have passed since it was chosen.
            guard poll(&polled, 5, max(0, min(wait, isPausing ? 2 : 1000))) >= 0 || errno == EINTR else { break }
            isPausing = false
            if polled[4].revents != 0 { feed(&rest) }
            if polled[0].revents != 0, let piece = take(&output) {
                ended.bytes += Int64(piece.count)
                // Programs write 4 KiB at a time: woken for each of these, this process and the next would do little else.
                isPausing = isBulk && piece.count < 16 << 10
                if let sink, ended.error == nil, ended.stopped == nil {
                    do { try sink(piece) } catch { ended.error = error }
                }
            }
            if polled[1].revents != 0, let piece = take(&errors) {
                errorTail.append(contentsOf: piece)
                if errorTail.count > 8192 { errorTail.removeFirst(errorTail.count - 8192) }
            }
            if polled[2].revents != 0, let piece = take(&status) { statusText.append(contentsOf: piece) }
        }
        self.stop()
        closeInput()
        var code: Int32 = 0
        while !isReaped, waitpid(pid, &code, 0) < 0, errno == EINTR {}
        isReaped = true
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

    /// What a finished run reports; throws what ended it early.
    func report(of ended: Ended) throws -> Output {
        if let error = ended.error { throw error }
        if let reason = ended.stopped { throw Stopped(reason: reason) }
        guard let exit = ended.exit else {
            throw ChildProcessError(code: "child_lost", message: "the end of \(program) was not reported")
        }
        return Output(exit: exit, standardError: standardErrorTail, bytes: ended.bytes)
    }

    /// Ends the child's standard input: it reads end of file after what it was given.
    func closeInput() {
        guard input >= 0 else { return }
        // Not only closed: the supervisor holds it too.
        shutdown(input, Int32(SHUT_WR))
        close(input)
        input = -1
    }

    /// Writes what the child takes without waiting. One that reads no more is no error here: its exit tells why.
    private func feed(_ rest: inout UnsafeRawBufferPointer) {
        let count = send(input, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
        if count >= 0 {
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        } else if errno != EAGAIN, errno != EINTR {
            closeInput()
        }
    }

    /// The next bytes of a pipe that has some, valid until the next call; nil at its end, where it is closed.
    private func take(_ descriptor: inout Int32) -> UnsafeRawBufferPointer? {
        let count = read(descriptor, buffer.baseAddress, buffer.count)
        if count > 0 { return UnsafeRawBufferPointer(rebasing: buffer[..<count]) }
        if count < 0, errno == EINTR || errno == EAGAIN { return nil }
        close(descriptor)
        descriptor = -1
        return nil
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
}
