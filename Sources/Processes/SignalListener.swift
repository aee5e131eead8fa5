import Glibc

/// Takes signals of this process on a thread of its own, from the moment it is made.
///
/// A Dispatch source is registered by another thread some time after it was resumed: a signal that came between that and
/// `SIG_IGN` was lost, and the process did not stop (1 of 150 processes that got SIGTERM in their first 60 ms). Here the
/// signals are blocked first and waited for then, so that one that comes early stays pending (signal(7), sigwait(3)).
public enum SignalListener {
    /// Calls `body` with the number of each of these signals that comes, one call at a time, for the rest of the process. To be
    /// called on the main thread before others are started, which inherit that the signals are not theirs; children do not.
    public static func listen(to numbers: [Int32], _ body: @escaping @Sendable (Int32) -> Void) {
        var signals = sigset_t()
        sigemptyset(&signals)
        for number in numbers { sigaddset(&signals, number) }
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        // A disposition to ignore, which a parent may have left, would drop what is pending.
        for number in numbers { signal(number, SIG_DFL) }
        let box = Unmanaged.passRetained(Listening(signals: signals, body: body))
        var thread = pthread_t()
        let code = pthread_create(&thread, nil, waitForSignals, box.toOpaque())
        precondition(code == 0, "pthread_create failed with \(code): the process is out of threads or memory")
        pthread_detach(thread)
    }
}

private final class Listening: Sendable {
    let signals: sigset_t
    let body: @Sendable (Int32) -> Void

    init(signals: sigset_t, body: @escaping @Sendable (Int32) -> Void) {
        self.signals = signals
        self.body = body
    }
}

private func waitForSignals(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let argument else { return nil }
    let listening = Unmanaged<Listening>.fromOpaque(argument).takeRetainedValue()
    var signals = listening.signals
    while true {
        var number: Int32 = 0
        if sigwait(&signals, &number) == 0 { listening.body(number) }
    }
}
