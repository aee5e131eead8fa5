import Synchronization

/// Lets one suspect at a time run in this process: a job whose worker crashed while it ran (design section 4). When the
/// process crashes again, the job that was in here did it.
final class SuspectGate: Sendable {
    private let isTaken = Mutex(false)

    /// Enters, unless another suspect runs.
    func tryEnter() -> Bool {
        isTaken.withLock { isTaken in
            defer { isTaken = true }
            return !isTaken
        }
    }

    /// The suspect ended.
    func leave() { isTaken.withLock { $0 = false } }
}
