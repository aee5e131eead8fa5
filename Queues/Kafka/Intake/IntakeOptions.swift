import Synchronization

/// How an intake works.
public struct IntakeOptions: Sendable {
    /// What is before the tenant's code in every topic's name.
    public var names: TopicNames
    /// The most messages that are taken in one transaction.
    public var batchLimit = 1000
    /// The most bytes of messages that are taken in one transaction.
    public var batchBytes = 8 << 20
    /// How often partitions that are held or stopped are looked at again.
    public var lookAgain: Duration = .seconds(1)
    /// How often the group is told how far reading has come, for lag tools.
    public var commitEvery: Duration = .seconds(1)
    /// How often the control database is told how this process is.
    public var reportEvery: Duration = .seconds(5)
    /// For how long an event's source and id are remembered: longer than topics keep messages.
    public var remember: Duration = .seconds(8 * 86_400)

    /// The standard, with these names.
    public init(names: TopicNames) { self.names = names }
}

/// What an intake has done since it began.
public struct IntakeCounts: Sendable, Equatable {
    /// Messages that were taken.
    public var messages = 0
    /// Jobs that came of them.
    public var jobs = 0
    /// Messages that repeated one that had been taken.
    public var duplicates = 0
    /// Messages that were kept as rejected.
    public var rejected = 0
    /// Transactions.
    public var batches = 0
}

/// Counts what an intake does, for other threads to see.
public final class IntakeMeter: Sendable {
    private let state = Mutex(IntakeCounts())

    /// Nothing done yet.
    public init() {}

    /// What was done so far.
    public var counts: IntakeCounts { state.withLock { $0 } }

    func add(_ change: (inout IntakeCounts) -> Void) { state.withLock { change(&$0) } }
}
