import Glibc

/// The vertical axis: round numbers that hold all values, and zero unless it may be left out and all values are far from it.
struct ChartScale {
    let low: Double
    let high: Double
    let ticks: [Double]
    private let step: Double

    init(_ values: [Double], needsZero: Bool, about count: Int = 5) {
        let (smallest, largest) = (values.min() ?? 0, values.max() ?? 0)
        let isFar = !needsZero && smallest > largest * 0.5 && smallest < largest
        let least = isFar ? smallest : min(smallest, 0)
        let most = max(largest, 0)
        let span = most - least
        let rough = (span > 0 ? span : 1) / Double(count)
        let magnitude = pow(10, floor(log10(rough)))
        let step = ([1, 2, 2.5, 5, 10].first { $0 * magnitude >= rough * 0.999 } ?? 10) * magnitude
        let (first, last) = (Int(floor(least / step + 1e-9)), Int(ceil(most / step - 1e-9)))
        self.step = step
        low = Double(first) * step
        high = Double(max(last, first + 1)) * step
        ticks = (first...max(last, first + 1)).map { Double($0) * step }
    }

    /// From 0 at the bottom to 1 at the top.
    func share(_ value: Double) -> Double { (value - low) / (high - low) }

    /// A tick in few characters: `1.5 M`.
    func label(_ tick: Double, _ text: ValueText, suffix: String) -> String {
        let most = max(abs(low), abs(high))
        let (unit, name) =
            most >= 1e9 ? (1e9, "\u{A0}bn") : most >= 1e6 ? (1e6, "\u{A0}M") : most >= 1e4 ? (1e3, "\u{A0}k") : (1, "")
        let scaled = step / unit
        let digits = scaled >= 1 && scaled == scaled.rounded() ? 0 : scaled >= 0.1 ? 1 : scaled >= 0.01 ? 2 : 3
        let value = text.number(plain(tick / unit, digits), digits: digits)
        return tick == 0 ? "0" + suffix : value + name + suffix
    }

    private func plain(_ value: Double, _ digits: Int) -> String {
        let factor = pow(10, Double(digits + 1))
        let rounded = (value * factor).rounded() / factor
        return rounded == rounded.rounded() && abs(rounded) < 1e15 ? "\(Int64(rounded))" : "\(rounded)"
    }
}
