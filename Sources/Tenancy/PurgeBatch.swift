import Glibc

/// A part of a purge's work on a database, as it is told to whoever watches.
public struct PurgeBatch: Sendable {
    /// The table or schema.
    public let object: String
    /// How many rows, or tables, went.
    public let rows: Int64
    /// How long its transaction took, in seconds: no lock was held longer.
    public let seconds: Double

    /// Leaves the server to others: for two and a half times as long as the batch took, a quarter of a second at most. Blocks.
    func rest() { usleep(useconds_t(min(250_000, max(2000, seconds * 2_500_000)))) }
}

/// How much one transaction takes on: as much as goes in about two milliseconds, which others' queries hardly notice (`reeve bench purge`
/// on two cores: with 20 ms their 99th percentile is five times as long, with 2 ms it is 1.2 times).
struct BatchSize {
    private(set) var value: Int64
    private let least: Int64
    private let most: Int64

    init(first: Int64, least: Int64, most: Int64) {
        value = first
        self.least = least
        self.most = most
    }

    mutating func adapt(to seconds: Double) {
        let wanted = Double(value) * min(2, max(0.25, 0.002 / max(seconds, 0.0001)))
        value = min(most, max(least, Int64(wanted)))
    }
}
