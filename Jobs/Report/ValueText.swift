/// Tells values as PostgreSQL writes them in the words of a locale. What it cannot read it leaves as it is.
struct ValueText: Sendable {
    let locale: LocaleRules
    let currency: String

    /// A value of a column.
    func text(_ value: String, _ column: RenderedColumn) -> String {
        switch column.format {
        case .integer: return number(value, digits: column.column.digits ?? 0)
        case .decimal:
            return number(value, digits: column.column.digits ?? (column.type.isNumber ? nil : 2))
        case .currency: return number(value, digits: column.column.digits ?? Self.minorDigits(code(of: column)))
        case .percent:
            return number(value, digits: column.column.digits ?? 1, shift: 2) + locale.percentSpace + "%"
        case .date: return date(value)
        case .month: return month(value)
        case .datetime: return dateTime(value)
        case .boolean:
            return value == "t" || value == "true"
                ? locale.words.yes : value == "f" || value == "false" ? locale.words.no : value
        case .text: return value
        }
    }

    /// What stands beside a column's title: its currency or unit.
    func unit(of column: RenderedColumn) -> String? {
        column.format == .currency ? Self.symbol(code(of: column)) : column.column.unit
    }

    private func code(of column: RenderedColumn) -> String { column.column.currency ?? currency }

    /// `€` for the currencies that everybody knows by their sign, or else the code.
    static func symbol(_ code: String) -> String {
        ["EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥"][code] ?? code
    }

    /// The digits after the separator, as ISO 4217 has them.
    static func minorDigits(_ code: String) -> Int {
        switch code {
        case "JPY", "KRW", "VND", "CLP", "ISK", "PYG", "UGX", "XAF", "XOF", "XPF": 0
        case "BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND": 3
        default: 2
        }
    }

    /// A number, rounded half away from zero to `digits` (as many as there are with nil), after its point was moved right by `shift`.
    func number(_ value: String, digits: Int?, shift: Int = 0) -> String {
        switch value {
        case "NaN": return "NaN"
        case "Infinity": return "∞"
        case "-Infinity": return "−∞"
        default: break
        }
        guard var parts = Parts(Self.plain(value)) else { return value }
        parts.shift(shift)
        if let digits { parts.round(to: digits) }
        let whole = String(decoding: parts.whole, as: UTF8.self)
        var out = parts.isNegative && !parts.isZero ? "−" : ""
        if whole.utf8.count < locale.groupFrom {
            out += whole
        } else {
            for (position, digit) in whole.enumerated() {
                if position > 0 && (whole.count - position) % 3 == 0 { out += locale.group }
                out.append(digit)
            }
        }
        if !parts.fraction.isEmpty { out += locale.decimal + String(decoding: parts.fraction, as: UTF8.self) }
        return out
    }

    /// Without an exponent, as far as a Double tells.
    private static func plain(_ value: String) -> String {
        guard value.contains("e") || value.contains("E"), let number = Double(value), number.magnitude < 1e17 else {
            return value
        }
        let scaled = Int64((number.magnitude.truncatingRemainder(dividingBy: 1) * 1e9).rounded())
        let padded = String(repeating: "0", count: 9 - min("\(scaled)".count, 9)) + "\(scaled)"
        var text = "\(Int64(number.magnitude)).\(padded)"
        while text.hasSuffix("0") { text.removeLast() }
        if text.hasSuffix(".") { text.removeLast() }
        return (number < 0 ? "-" : "") + text
    }

    /// The digits of a decimal number.
    private struct Parts {
        var isNegative = false
        var whole: [UInt8] = []
        var fraction: [UInt8] = []
        var isZero: Bool { (whole + fraction).allSatisfy { $0 == 48 } }

        init?(_ text: String) {
            var isFraction = false
            for (position, byte) in text.utf8.enumerated() {
                switch byte {
                case 45 where position == 0: isNegative = true
                case 46 where !isFraction: isFraction = true
                case 48...57: if isFraction { fraction.append(byte) } else { whole.append(byte) }
                default: return nil
                }
            }
            if whole.isEmpty { return nil }
        }

        mutating func shift(_ places: Int) {
            for _ in 0..<places { whole.append(fraction.isEmpty ? 48 : fraction.removeFirst()) }
            while whole.count > 1 && whole[0] == 48 { whole.removeFirst() }
        }

        mutating func round(to digits: Int) {
            if fraction.count <= digits {
                fraction += [UInt8](repeating: 48, count: digits - fraction.count)
                return
            }
            let isUp = fraction[digits] >= 53
            fraction.removeLast(fraction.count - digits)
            guard isUp else { return }
            var all = whole + fraction
            var position = all.count - 1
            while position >= 0 && all[position] == 57 {
                all[position] = 48
                position -= 1
            }
            if position < 0 { all.insert(49, at: 0) } else { all[position] += 1 }
            whole = Array(all[..<(all.count - digits)])
            fraction = Array(all[(all.count - digits)...])
        }
    }

    /// A date, or the date of a time.
    func date(_ value: String) -> String {
        if value == "infinity" { return "∞" }
        if value == "-infinity" { return "−∞" }
        guard let day = Day(value) else { return value }
        let text: String
        switch locale.date {
        case .monthDayYear: text = "\(name(day.month)) \(day.day), \(day.year)"
        case .dayMonthYear: text = "\(day.day) \(name(day.month)) \(day.year)"
        case .dots: text = "\(two(day.day)).\(two(day.month)).\(day.year)"
        case .slashes: text = "\(two(day.day))/\(two(day.month))/\(day.year)"
        case .dashes: text = "\(two(day.day))-\(two(day.month))-\(day.year)"
        case .cjk: text = "\(day.year)/\(two(day.month))/\(two(day.day))"
        case .iso: text = "\(day.year)-\(two(day.month))-\(two(day.day))"
        }
        return day.isBC ? text + " BC" : text
    }

    /// The month of a date.
    func month(_ value: String) -> String {
        guard let day = Day(value) else { return date(value) }
        let text = locale.months.isEmpty ? "\(day.year)-\(two(day.month))" : "\(name(day.month)) \(day.year)"
        return day.isBC ? text + " BC" : text
    }

    /// A time, which the server has put into the reader's time zone.
    func dateTime(_ value: String) -> String {
        guard let day = Day(value), let time = day.time else { return date(value) }
        return "\(date(value)) \(time)"
    }

    private func name(_ month: Int) -> String {
        locale.months.indices.contains(month - 1) ? locale.months[month - 1] : two(month)
    }

    private func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }

    /// `2026-03-31`, `2026-03-31 08:15:00+02`, `0044-03-15 BC`.
    private struct Day {
        let year: String
        let month: Int
        let day: Int
        let isBC: Bool
        let time: Substring?

        init?(_ text: String) {
            let words = text.split(separator: " ")
            guard let first = words.first else { return nil }
            let parts = first.split(separator: "-", omittingEmptySubsequences: false)
            guard parts.count == 3, parts[0].count >= 4, parts.allSatisfy({ $0.allSatisfy(\.isASCIIDigit) }),
                let month = Int(parts[1]), let day = Int(parts[2]), (1...12).contains(month)
            else { return nil }
            isBC = words.last == "BC"
            let digits = parts[0].drop { $0 == "0" }
            year = String(digits.count >= 4 || isBC ? digits : parts[0])
            self.month = month
            self.day = day
            time = words.count > 1 && words[1].contains(":") ? words[1].prefix(5) : nil
        }
    }
}

extension Character {
    fileprivate var isASCIIDigit: Bool { isASCII && isNumber }
}
