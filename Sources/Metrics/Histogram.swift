/// How many values fell into each range between fixed bounds, and their sum.
struct Histogram: Sendable {
    /// Seconds of what a claim or a settlement takes.
    static let quick: [Double] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5]
    /// Seconds of what a job takes.
    static let long: [Double] = [0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400]
    /// Jobs of one claim.
    static let batch: [Double] = [0, 1, 2, 5, 10, 25, 50, 100, 200]

    let bounds: [Double]
    private(set) var counts: [Int64]
    private(set) var sum = 0.0

    init(_ bounds: [Double]) {
        self.bounds = bounds
        counts = Array(repeating: 0, count: bounds.count + 1)
    }

    mutating func add(_ value: Double) {
        counts[bounds.firstIndex { value <= $0 } ?? bounds.count] += 1
        sum += value
    }
}
