public import JobKit

/// Metrics as Prometheus reads them (text format 0.0.4): families in the order they are added, each with its help and type once.
public struct MetricsText: Sendable {
    /// What a family's numbers mean.
    public enum Kind: String, Sendable {
        /// Only ever grows, until its process starts anew; its name ends in `_total`.
        case counter
        /// Goes up and down.
        case gauge
        /// Cumulative counts by upper bound.
        case histogram
    }

    /// The type that scrapers expect.
    public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// What was added so far.
    public private(set) var text = ""
    private var family = ""

    /// Nothing yet.
    public init() {}

    /// Whole families that were written elsewhere.
    mutating func append(_ families: String) { text += families }

    /// Begins a family; samples follow.
    public mutating func family(_ name: String, _ kind: Kind, _ help: String) {
        family = name
        text += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
    }

    /// A sample of the family.
    public mutating func sample(_ labels: KeyValuePairs<String, String> = [:], _ value: Double) {
        write(family, labels.map { ($0.key, $0.value) }, value)
    }

    /// A sample of the family, unless the value is unknown.
    public mutating func sample(_ labels: KeyValuePairs<String, String> = [:], known value: Double?) {
        if let value { sample(labels, value) }
    }

    /// A sample whose labels are put together at run time.
    mutating func sample(pairs: [(String, String)], _ value: Double) { write(family, pairs, value) }

    /// The same of a histogram.
    mutating func histogram(pairs: [(String, String)], bounds: [Double], counts: [Int64], sum: Double) {
        var total: Int64 = 0
        for (index, bound) in bounds.enumerated() {
            total += index < counts.count ? counts[index] : 0
            write(family + "_bucket", pairs + [("le", Self.number(bound))], Double(total))
        }
        total += counts.dropFirst(bounds.count).reduce(0, +)
        write(family + "_bucket", pairs + [("le", "+Inf")], Double(total))
        write(family + "_sum", pairs, sum)
        write(family + "_count", pairs, Double(total))
    }

    /// A histogram of the family: `counts` holds how many values were in each range, one more than there are bounds.
    public mutating func histogram(
        _ labels: KeyValuePairs<String, String> = [:], bounds: [Double], counts: [Int64], sum: Double
    ) {
        histogram(pairs: labels.map { ($0.key, $0.value) }, bounds: bounds, counts: counts, sum: sum)
    }

    /// A family of one sample.
    public mutating func gauge(_ name: String, _ help: String, _ value: Double?) {
        guard let value else { return }
        family(name, .gauge, help)
        sample(pairs: [], value)
    }

    /// A counter of one sample.
    public mutating func counter(_ name: String, _ help: String, _ value: Double?) {
        guard let value else { return }
        family(name, .counter, help)
        sample(pairs: [], value)
    }

    private mutating func write(_ name: String, _ labels: [(String, String)], _ value: Double) {
        text += name
        if !labels.isEmpty {
            text += "{"
            for (index, label) in labels.enumerated() {
                text += (index > 0 ? "," : "") + label.0 + "=\""
                for scalar in label.1.unicodeScalars {
                    switch scalar {
                    case "\\": text += "\\\\"
                    case "\"": text += "\\\""
                    case "\n": text += "\\n"
                    default: text.unicodeScalars.append(scalar)
                    }
                }
                text += "\""
            }
            text += "}"
        }
        text += " \(Self.number(value))\n"
    }

    /// Without a fraction where there is none: `5`, `0.25`.
    private static func number(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : "\(value)"
    }
}

extension JSON {
    /// The number when this is one.
    public var number: Double? {
        switch self {
        case .int(let value): Double(value)
        case .double(let value): value
        default: nil
        }
    }
}
