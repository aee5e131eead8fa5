import Glibc

/// Points in time as the database writes them in JSON, and as people read them.
enum Times {
    /// Seconds since 1970 of `2026-03-01T10:15:30.123+01:00`; nil for anything else, `infinity` included.
    static func seconds(_ text: String) -> Int? {
        let bytes = Array(text.utf8)
        guard bytes.count >= 19, bytes[4] == 45, bytes[10] == 84 || bytes[10] == 32 else { return nil }
        func number(_ range: Range<Int>) -> Int32? { Int32(String(decoding: bytes[range], as: UTF8.self)) }
        guard let year = number(0..<4), let month = number(5..<7), let day = number(8..<10),
            let hour = number(11..<13), let minute = number(14..<16), let second = number(17..<19)
        else { return nil }
        var parts = tm()
        parts.tm_year = year - 1900
        parts.tm_mon = month - 1
        parts.tm_mday = day
        parts.tm_hour = hour
        parts.tm_min = minute
        parts.tm_sec = second
        var offset = 0
        let zone = bytes[19...].drop { $0 == 46 || ($0 >= 48 && $0 <= 57) }
        if let sign = zone.first, sign == 43 || sign == 45 {
            let fields = String(decoding: zone.dropFirst(), as: UTF8.self).split(separator: ":").compactMap { Int($0) }
            offset = ((fields.first ?? 0) * 3600 + (fields.count > 1 ? fields[1] : 0) * 60) * (sign == 45 ? -1 : 1)
        }
        return timegm(&parts) - offset
    }

    /// The same moment in this machine's time zone: `2026-03-01T10:15:30+01:00`; other text stays as it is.
    static func local(_ text: String) -> String {
        guard var seconds = seconds(text) else { return text }
        var parts = tm()
        localtime_r(&seconds, &parts)
        let offset = abs(parts.tm_gmtoff) / 60
        let date = "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
        let clock = "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))"
        return "\(date)T\(clock)\(parts.tm_gmtoff < 0 ? "-" : "+")\(two(offset / 60)):\(two(offset % 60))"
    }

    /// How long ago, or ahead: `3m`, `in 2h`.
    static func age(_ text: String) -> String {
        guard let then = seconds(text) else { return text }
        let passed = time(nil) - then
        return passed < 0 ? "in \(Durations.humane(-passed))" : Durations.humane(passed)
    }

    private static func two(_ number: some BinaryInteger) -> String { number < 10 ? "0\(number)" : "\(number)" }
}

/// Lengths of time on command lines and in tables.
enum Durations {
    /// `90`, `90s`, `15m`, `2h` or `7d`; nil for anything else.
    static func parse(_ text: String) -> Duration? {
        let units: [Character: Int] = ["s": 1, "m": 60, "h": 3600, "d": 86400]
        let unit = text.last.flatMap { units[$0] }
        guard let number = Int(unit == nil ? text : String(text.dropLast())), number >= 0,
            number <= 36500 * 86400 / (unit ?? 1)
        else { return nil }
        return .seconds(number * (unit ?? 1))
    }

    /// `8s`, `3m 20s`, `2h 5m`, `4d 1h`.
    static func humane(_ seconds: Int) -> String {
        let units = [(86400, "d"), (3600, "h"), (60, "m"), (1, "s")]
        let first = units.firstIndex { seconds >= $0.0 } ?? 3
        var out = "\(seconds / units[first].0)\(units[first].1)"
        if first < 3 {
            let rest = seconds % units[first].0 / units[first + 1].0
            if rest > 0 { out += " \(rest)\(units[first + 1].1)" }
        }
        return out
    }

    /// The bytes of `4096`, `64K`, `16M` or `2G`; nil for anything else.
    static func parseBytes(_ text: String) -> Int64? {
        let units: [Character: Int64] = ["K": 1 << 10, "M": 1 << 20, "G": 1 << 30]
        let unit = text.last.flatMap { units[$0] }
        guard let number = Int64(unit == nil ? text : String(text.dropLast())), number > 0,
            number <= 1 << 50 / (unit ?? 1)
        else { return nil }
        return number * (unit ?? 1)
    }

    /// `12 B`, `3.4 MiB`.
    static func bytes(_ count: Int64) -> String {
        var value = Double(count)
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if value < 1024 { return unit == "B" ? "\(count) B" : "\((value * 10).rounded() / 10) \(unit)" }
            value /= 1024
        }
        return "\((value * 10).rounded() / 10) TiB"
    }
}
