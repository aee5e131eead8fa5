import Glibc

/// A part of a purge's work on a database, as it is told to whoever watches.
public struct PurgeBatch: Sendable {
    /// The table or schema.
    public let object: String
    /// How many rows, or tables, went.
    public let rows: Int64
    /// How long its transaction took, in seconds: no lock was held longer.
    public let seconds: Double

    /// Leaves the server to others: for one and a half times as long as the batch took, a quarter of a second at most. Blocks.
    func rest() { usleep(useconds_t(min(250_000, max(2000, seconds * 1_500_000)))) }
}

/// How much one transaction takes on: as much as goes in about a fiftieth of a second, so that others' queries hardly notice.
struct BatchSize {
    private(set) var value: Int64
    let most: Int64

    init(first: Int64, most: Int64) {
        value = first
        self.most = most
    }

    mutating func adapt(to seconds: Double) {
        let wanted = Double(value) * min(2, max(0.25, 0.02 / max(seconds, 0.001)))
        value = min(most, max(2, Int64(wanted)))
    }
}
