import JobKit

/// Adds a column up as it streams by: exactly for whole numbers and decimals of up to 38 digits, in floating point for floats.
struct ColumnTotal {
    private let total: ReportColumn.Total
    private let isFloat: Bool
    private var count: Int64 = 0
    private var sum: Decimal128? = Decimal128()
    /// What is not in `sum` yet: numbers of one scale, as long as 64 bits hold them.
    private var recent = (sum: Int64(0), scale: 0)
    private var floatSum = 0.0
    private var extreme: Decimal128?
    private var floatExtreme: Double?
    private var special: String?

    init(_ total: ReportColumn.Total, _ type: ColumnType) {
        self.total = total
        if case .float = type { isFloat = true } else { isFloat = false }
    }

    mutating func add(_ bytes: UnsafeRawBufferPointer?) {
        guard let bytes else { return }
        count += 1
        if total == .count { return }
        if isFloat { return addFloat(Double(String(decoding: bytes, as: UTF8.self)) ?? .nan) }
        if total == .sum || total == .average, addShort(bytes) { return }
        guard let value = Decimal128(bytes) else {
            // NaN, an infinity, or more digits than are kept.
            let text = String(decoding: bytes, as: UTF8.self)
            special = special.map { $0 == text ? text : "NaN" } ?? (text.last?.isNumber == true ? "" : text)
            return
        }
        switch total {
        case .sum, .average: sum = sum?.adding(value)
        case .minimum: extreme = extreme.map { value < $0 ? value : $0 } ?? value
        case .maximum: extreme = extreme.map { $0 < value ? value : $0 } ?? value
        case .count: break
        }
    }

    /// Adds what most columns hold without wider arithmetic; false for anything else.
    @inline(__always)
    private mutating func addShort(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let (value, scale) = Decimal128.short(bytes) else { return false }
        let (next, isOver) = recent.sum.addingReportingOverflow(value)
        if scale == recent.scale && !isOver {
            recent.sum = next
        } else {
            sum = sum?.adding(Decimal128(recent.sum, scale: recent.scale))
            recent = (value, scale)
        }
        return true
    }

    private mutating func addFloat(_ value: Double) {
        floatSum += value
        guard let known = floatExtreme else { return floatExtreme = value }
        floatExtreme = value.isNaN || known.isNaN ? .nan : total == .minimum ? min(known, value) : max(known, value)
    }

    /// The total as PostgreSQL would write it; nil when there is none, or it has more digits than are kept.
    var text: String? {
        if total == .count { return "\(count)" }
        guard count > 0 else { return total == .sum ? "0" : nil }
        if isFloat {
            let value = total == .sum ? floatSum : total == .average ? floatSum / Double(count) : floatExtreme ?? .nan
            return value.isNaN ? "NaN" : value.isInfinite ? (value < 0 ? "-Infinity" : "Infinity") : "\(value)"
        }
        if let special { return special.isEmpty ? nil : special }
        let sum = sum?.adding(Decimal128(recent.sum, scale: recent.scale))
        switch total {
        case .sum: return sum?.text
        case .average: return sum?.divided(by: count)?.text
        default: return extreme?.text
        }
    }
}

/// A decimal number of at most 38 digits, exact under addition.
struct Decimal128: Comparable {
    private var mantissa: Int128 = 0
    private var scale = 0

    init() {}

    init(_ value: Int64, scale: Int) {
        mantissa = Int128(value)
        self.scale = scale
    }

    /// From PostgreSQL's text; nil for NaN, the infinities, exponents and more than 38 digits.
    init?(_ bytes: UnsafeRawBufferPointer) {
        if let (value, scale) = Self.short(bytes) {
            self = Decimal128(value, scale: scale)
            return
        }
        var isNegative = false
        var hasDigits = false
        var isFraction = false
        for (position, byte) in bytes.enumerated() {
            switch byte {
            case UInt8(ascii: "-") where position == 0: isNegative = true
            case UInt8(ascii: ".") where !isFraction: isFraction = true
            case 0x30...0x39:
                hasDigits = true
                let (shifted, tooLong) = mantissa.multipliedReportingOverflow(by: 10)
                let (next, tooLarge) = shifted.addingReportingOverflow(Int128(byte - 0x30))
                if tooLong || tooLarge { return nil }
                mantissa = next
                if isFraction { scale += 1 }
            default: return nil
            }
        }
        guard hasDigits else { return nil }
        if isNegative { mantissa = -mantissa }
    }

    /// The digits of a number of at most 18 characters, which fit 64 bits, and how many of them are behind the point; nil for all else.
    @inline(__always)
    static func short(_ bytes: UnsafeRawBufferPointer) -> (value: Int64, scale: Int)? {
        guard bytes.count <= 18 else { return nil }
        var (value, digits, point) = (Int64(0), 0, -1)
        var position = bytes.first == UInt8(ascii: "-") ? 1 : 0
        while position < bytes.count {
            let byte = bytes[position]
            if byte &- 0x30 <= 9 {
                value = value &* 10 &+ Int64(byte &- 0x30)
                digits &+= 1
            } else if byte == UInt8(ascii: "."), point < 0 {
                point = digits
            } else {
                return nil
            }
            position &+= 1
        }
        guard digits > 0 else { return nil }
        return (bytes.first == UInt8(ascii: "-") ? -value : value, point < 0 ? 0 : digits - point)
    }

    func adding(_ other: Decimal128) -> Decimal128? {
        if scale == other.scale {
            let (sum, overflow) = mantissa.addingReportingOverflow(other.mantissa)
            var result = self
            result.mantissa = sum
            return overflow ? nil : result
        }
        guard let (left, right) = aligned(self, other) else { return nil }
        let (sum, overflow) = left.mantissa.addingReportingOverflow(right.mantissa)
        guard !overflow else { return nil }
        var result = left
        result.mantissa = sum
        return result
    }

    /// Rounded half away from zero, to six digits more than this number has.
    func divided(by count: Int64) -> Decimal128? {
        guard let widened = scaled(to: scale + 6) else { return nil }
        var result = widened
        let divisor = Int128(count)
        let (quotient, remainder) = widened.mantissa.quotientAndRemainder(dividingBy: divisor)
        let isUp = remainder.magnitude * 2 >= divisor.magnitude
        result.mantissa = quotient + (isUp ? (widened.mantissa < 0 ? -1 : 1) : 0)
        return result
    }

    var text: String {
        var digits = "\(mantissa.magnitude)"
        if scale > 0 {
            while digits.utf8.count <= scale { digits = "0" + digits }
            digits.insert(".", at: digits.index(digits.endIndex, offsetBy: -scale))
        }
        return mantissa < 0 ? "-" + digits : digits
    }

    static func < (left: Decimal128, right: Decimal128) -> Bool {
        guard let (left, right) = aligned(left, right) else {
            // Too far apart in digits to be aligned: their whole parts decide.
            return (Double(left.text) ?? 0) < (Double(right.text) ?? 0)
        }
        return left.mantissa < right.mantissa
    }

    static func == (left: Decimal128, right: Decimal128) -> Bool { !(left < right) && !(right < left) }

    private func scaled(to target: Int) -> Decimal128? {
        var result = self
        while result.scale < target {
            let (next, overflow) = result.mantissa.multipliedReportingOverflow(by: 10)
            if overflow { return nil }
            result.mantissa = next
            result.scale += 1
        }
        return result
    }

    private static func aligned(_ left: Decimal128, _ right: Decimal128) -> (Decimal128, Decimal128)? {
        let scale = max(left.scale, right.scale)
        guard let left = left.scaled(to: scale), let right = right.scaled(to: scale) else { return nil }
        return (left, right)
    }

    private func aligned(_ left: Decimal128, _ right: Decimal128) -> (Decimal128, Decimal128)? {
        Self.aligned(left, right)
    }
}
