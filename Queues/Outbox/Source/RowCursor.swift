/// Which rows of an outbox were read, by their numbers. Numbers come from a sequence and rows from transactions that end in any
/// order, so a number that is not seen may still come: it is looked for until every transaction that could bring it has ended.
/// What was read is never looked at again, so that reading costs what is new, also while a snapshot keeps all dead rows.
struct RowCursor: Sendable, Equatable {
    /// Numbers that were not seen.
    struct Gap: Sendable, Equatable {
        var low: Int64
        var high: Int64
        /// A transaction id that is higher than those of all who could have drawn them; nil until it is known.
        var bound: Int64?
    }

    /// Every number from here on is unread.
    private(set) var next: Int64
    /// What is below and was not seen, lowest first; the gaps do not touch.
    private(set) var gaps: [Gap] = []

    /// Starts at this number.
    init(from next: Int64) { self.next = next }

    /// Every number below is read, or will never come.
    var floor: Int64 { gaps.first?.low ?? next }

    /// Whether a gap has no bound yet: a transaction id is to be drawn after the read that found it.
    var needsBound: Bool { gaps.contains { $0.bound == nil } }

    /// Notes a read of the rows from `next` on and of the gaps: the numbers that it saw, in order, and the oldest transaction that
    /// was running then.
    mutating func note(_ rows: [Int64], oldest: Int64) {
        for row in rows {
            if row >= next {
                if row > next { gaps.append(Gap(low: next, high: row - 1, bound: nil)) }
                next = row + 1
            } else {
                fill(row)
            }
        }
        gaps.removeAll { gap in gap.bound.map { $0 <= oldest } ?? false }
    }

    /// Gives the gaps without a bound this one.
    mutating func bound(by transaction: Int64) {
        for index in gaps.indices where gaps[index].bound == nil { gaps[index].bound = transaction }
    }

    private mutating func fill(_ row: Int64) {
        guard let index = gaps.firstIndex(where: { $0.low <= row && row <= $0.high }) else { return }
        let gap = gaps.remove(at: index)
        let parts = [
            Gap(low: gap.low, high: row - 1, bound: gap.bound), Gap(low: row + 1, high: gap.high, bound: gap.bound),
        ]
        gaps.insert(contentsOf: parts.filter { $0.low <= $0.high }, at: index)
    }
}
