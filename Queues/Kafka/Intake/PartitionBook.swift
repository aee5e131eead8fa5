import Kafka

/// What is known of each partition that the group gave to this member. Pure: told what happens, it says what to do.
///
/// 1. An assigned partition waits until its offset was read from PostgreSQL.
/// 2. It is opened one message early: that message has to be the one that was taken last. Then it is read.
/// 3. One that is not what was read before stops, until a person says how it goes on.
/// 4. One whose tenant's backlog is full, or whose queue refuses, is held: not read, and looked at again. A rebalance keeps that, since
///    whoever gets it reads it from PostgreSQL as well.
struct PartitionBook {
    enum Phase: Equatable {
        /// Its offset has to be read, once `retryAt` has come.
        case waiting
        /// Open one message before `next`; the message there must have this digest.
        case checking(next: Int64, digest: [UInt8])
        /// Open; `next` is the first offset that is not taken yet.
        case reading(next: Int64)
        /// Not read for now: `backlog`, `draining`, `purging`.
        case held(String)
        /// Not read any more: `recreated`, `expired`, `missing`, `other_cluster`.
        case stopped(String)
    }

    /// What the database says of a partition.
    struct Record: Equatable {
        let next: Int64
        let digest: [UInt8]?
        let clusterID: String?
        let problem: String?
        let hold: String?
    }

    /// What to do with a message.
    enum Verdict: Equatable {
        /// It is to be taken.
        case take
        /// It was taken before, or is nobody's business here.
        case skip
        /// The partition is another one than was read before.
        case stop(String, String)
    }

    /// What to do with a partition that does not hold the offset that was asked for.
    enum Repair: Equatable {
        /// Read on from there: the messages before were taken and have expired.
        case open(Int64)
        /// Read its offset again.
        case reopen
        case stop(String, String)
    }

    private(set) var phases: [TopicPartition: Phase] = [:]
    /// When partitions that wait may be tried again.
    private var retryAt: [TopicPartition: ContinuousClock.Instant] = [:]
    /// Partitions that could not be read for a while, with the fault.
    private(set) var faults: [TopicPartition: KafkaError] = [:]

    subscript(_ place: TopicPartition) -> Phase? { phases[place] }

    /// The group gave these.
    mutating func assign(_ places: [TopicPartition]) {
        for place in places where phases[place] == nil { phases[place] = .waiting }
    }

    /// They are another member's.
    mutating func revoke(_ places: [TopicPartition]) {
        for place in places {
            phases[place] = nil
            retryAt[place] = nil
            faults[place] = nil
        }
    }

    /// Those whose offset has to be read now.
    func due(_ now: ContinuousClock.Instant) -> [TopicPartition] {
        phases.compactMap { place, phase in
            phase == .waiting && retryAt[place].map { $0 <= now } ?? true ? place : nil
        }.sorted()
    }

    /// Those that may go on when the database says so.
    var idle: [TopicPartition] {
        phases.compactMap { place, phase in
            switch phase {
            case .held, .stopped: place
            default: nil
            }
        }.sorted()
    }

    /// Those that are open.
    var open: [TopicPartition] {
        phases.compactMap { place, phase in
            switch phase {
            case .checking, .reading: place
            default: nil
            }
        }
    }

    /// The database answered; returns from where to read, or nil when it is not to be read.
    mutating func record(_ record: Record, of place: TopicPartition) -> KafkaConsumer.Position? {
        guard phases[place] != nil else { return nil }
        retryAt[place] = nil
        if let problem = record.problem {
            phases[place] = .stopped(problem)
            return nil
        }
        if let hold = record.hold {
            phases[place] = .held(hold)
            return nil
        }
        guard record.next > 0 else {
            phases[place] = .reading(next: 0)
            return .beginning
        }
        guard let digest = record.digest else {
            phases[place] = .reading(next: record.next)
            return .offset(record.next)
        }
        phases[place] = .checking(next: record.next, digest: digest)
        return .offset(record.next - 1)
    }

    /// A message came. `digest` is asked for only when it matters.
    mutating func receive(_ place: TopicPartition, offset: Int64, digest: () -> [UInt8]) -> Verdict {
        switch phases[place] {
        case .checking(let next, let known):
            if offset < next - 1 { return .skip }
            guard offset == next - 1 else {
                return .stop(
                    "missing", "the message at \(next - 1), which was taken, is not there: the next one is \(offset)")
            }
            guard digest() == known else {
                return .stop(
                    "recreated",
                    "the message at \(next - 1) is another one than was taken: the topic was made anew or restored")
            }
            phases[place] = .reading(next: next)
            faults[place] = nil
            return .skip
        case .reading(let next):
            faults[place] = nil
            return offset < next ? .skip : .take
        default: return .skip
        }
    }

    /// The offset that PostgreSQL must have for what is taken to count.
    func next(_ place: TopicPartition) -> Int64? {
        if case .reading(let next) = phases[place] { next } else { nil }
    }

    /// Whether this open partition is somewhere else than `next`.
    func isElsewhere(_ place: TopicPartition, than next: Int64) -> Bool {
        switch phases[place] {
        case .reading(let known), .checking(let known, _): known != next
        default: false
        }
    }

    /// Messages up to `next` were taken.
    mutating func advance(_ place: TopicPartition, to next: Int64) {
        if case .reading = phases[place] { phases[place] = .reading(next: next) }
    }

    /// Its offset has to be read again, after a while if there is a fault.
    mutating func wait(_ place: TopicPartition, fault: KafkaError? = nil, until: ContinuousClock.Instant? = nil) {
        guard phases[place] != nil else { return }
        phases[place] = .waiting
        retryAt[place] = until
        if let fault { faults[place] = fault }
    }

    mutating func hold(_ place: TopicPartition, _ why: String) {
        if phases[place] != nil { phases[place] = .held(why) }
    }

    mutating func stop(_ place: TopicPartition, _ problem: String) {
        if phases[place] != nil { phases[place] = .stopped(problem) }
    }

    /// The partition does not hold the offset that was asked for; `low` and `high` are what it has.
    func repair(_ place: TopicPartition, low: Int64, high: Int64, isSameCluster: Bool) -> Repair {
        let next: Int64
        let isChecking: Bool
        switch phases[place] {
        case .checking(let known, _): (next, isChecking) = (known, true)
        case .reading(let known): (next, isChecking) = (known, false)
        default: return .reopen
        }
        if next == 0 { return .reopen }
        if high < next {
            return .stop(
                "recreated", "its log ends at \(high), but \(next) was reached: the topic was made anew or restored")
        }
        if low > next {
            return .stop("expired", "messages \(next) to \(low - 1) expired before they were taken")
        }
        guard isChecking, low == next else { return .reopen }
        // Everything before was taken and has expired; nothing is left to compare.
        guard isSameCluster else {
            return .stop("other_cluster", "the cluster is another one, and no message is left that was taken")
        }
        return .open(next)
    }

    /// How many partitions are in which phase.
    var counts: [String: Int] {
        var counts: [String: Int] = [:]
        for phase in phases.values {
            let word =
                switch phase {
                case .waiting: "waiting"
                case .checking, .reading: "reading"
                case .held: "held"
                case .stopped: "stopped"
                }
            counts[word, default: 0] += 1
        }
        return counts
    }
}
