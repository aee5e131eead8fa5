import Glibc

/// Ends the wait for a child from the thread that raises its stop signal. That thread may come late, so it owns the
/// descriptors too: a number that was closed may by then be another file's.
final class StopWire: Sendable {
    let pair: DescriptorPair

    init(_ pair: DescriptorPair) { self.pair = pair }

    deinit {
        close(pair.ours)
        close(pair.theirs)
    }

    func signal() { _ = Glibc.write(pair.theirs, "!", 1) }
}
