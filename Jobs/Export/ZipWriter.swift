import FoundationEssentials
import JobKit

/// Frames members as a zip archive (PKWARE APPNOTE 6.3) that is written once from front to end: sizes and check sums follow
/// what could not be known before, archives and members may be over 4 GiB, names are UTF-8. It compresses nothing itself.
final class ZipWriter {
    private struct Entry {
        let name: [UInt8]
        let offset: Int64
        let isDeflated: Bool
        var crc: UInt32 = 0
        var compressed: Int64 = 0
        var plain: Int64 = 0
    }

    private let sink: (UnsafeRawBufferPointer) throws -> Void
    private let time: UInt16
    private let date: UInt16
    private var entries: [Entry] = []
    private var offset: Int64 = 0
    private static let large: UInt32 = 0xFFFF_FFFF

    /// `made` is the time that all members carry, in UTC.
    init(made: Date, sink: @escaping (UnsafeRawBufferPointer) throws -> Void) {
        self.sink = sink
        let seconds = Int(made.timeIntervalSince1970)
        let ofDay = ((seconds % 86_400) + 86_400) % 86_400
        let (year, month, day) = Self.civil(days: (seconds - ofDay) / 86_400)
        time = UInt16(ofDay / 3600) << 11 | UInt16(ofDay / 60 % 60) << 5 | UInt16(ofDay % 60 / 2)
        date = UInt16(max(0, min(year - 1980, 127))) << 9 | UInt16(month) << 5 | UInt16(day)
    }

    /// Writes a member that is here whole.
    func add(_ name: String, stored bytes: [UInt8], crc: UInt32) throws {
        var entry = Entry(name: Array(name.utf8), offset: offset, isDeflated: false)
        entry.crc = crc
        entry.compressed = Int64(bytes.count)
        entry.plain = Int64(bytes.count)
        var header = Bytes(0x0403_4b50)
        header.add16(20)
        describe(entry, &header, flags: 0x0800)
        header.add32(UInt32(bytes.count))
        header.add32(UInt32(bytes.count))
        header.add16(UInt16(entry.name.count))
        header.add16(0)
        try emit(header.bytes + entry.name)
        try emit(bytes)
        entries.append(entry)
    }

    /// Begins a member whose deflated data follows in pieces.
    func begin(_ name: String) throws {
        let entry = Entry(name: Array(name.utf8), offset: offset, isDeflated: true)
        var header = Bytes(0x0403_4b50)
        header.add16(45)
        describe(entry, &header, flags: 0x0808)
        header.add32(Self.large)
        header.add32(Self.large)
        header.add16(UInt16(entry.name.count))
        header.add16(20)
        // The field says that the sizes after the data have eight bytes each.
        var extra = Bytes()
        extra.add16(1)
        extra.add16(16)
        extra.add64(0)
        extra.add64(0)
        try emit(header.bytes + entry.name + extra.bytes)
        entries.append(entry)
    }

    /// The next piece of the member that was begun.
    func write(_ deflated: [UInt8]) throws { try emit(deflated) }

    /// Ends the member that was begun.
    func end(_ member: EncodedMember) throws {
        let last = entries.count - 1
        entries[last].crc = member.crc
        entries[last].compressed = member.compressedBytes
        entries[last].plain = member.plainBytes
        var descriptor = Bytes(0x0807_4b50)
        descriptor.add32(member.crc)
        descriptor.add64(UInt64(member.compressedBytes))
        descriptor.add64(UInt64(member.plainBytes))
        try emit(descriptor.bytes)
    }

    /// Ends the archive with its directory.
    func finish() throws {
        let start = offset
        for entry in entries { try emit(directory(entry)) }
        let size = offset - start
        if entries.count >= 0xFFFF || start >= Int64(Self.large) || size >= Int64(Self.large) {
            var end = Bytes(0x0606_4b50)
            end.add64(44)
            end.add16(0x032D)
            end.add16(45)
            end.add32(0)
            end.add32(0)
            end.add64(UInt64(entries.count))
            end.add64(UInt64(entries.count))
            end.add64(UInt64(size))
            end.add64(UInt64(start))
            end.add32(0x0706_4b50)
            end.add32(0)
            end.add64(UInt64(start + size))
            end.add32(1)
            try emit(end.bytes)
        }
        var end = Bytes(0x0605_4b50)
        end.add32(0)
        for _ in 0..<2 { end.add16(UInt16(min(entries.count, 0xFFFF))) }
        end.add32(UInt32(min(size, Int64(Self.large))))
        end.add32(UInt32(min(start, Int64(Self.large))))
        end.add16(0)
        try emit(end.bytes)
    }

    private func directory(_ entry: Entry) -> [UInt8] {
        var extra = Bytes()
        func field(_ value: Int64) -> UInt32 {
            if value < Int64(Self.large) { return UInt32(value) }
            extra.add64(UInt64(value))
            return Self.large
        }
        // The order of the extra field's numbers is that of the specification: plain, compressed, offset.
        let (plain, compressed, offset) = (field(entry.plain), field(entry.compressed), field(entry.offset))
        var out = Bytes(0x0201_4b50)
        // Made on Unix, whose permissions follow: a file that its owner may write.
        out.add16(0x032D)
        out.add16(entry.isDeflated ? 45 : 20)
        describe(entry, &out, flags: entry.isDeflated ? 0x0808 : 0x0800)
        out.add32(compressed)
        out.add32(plain)
        out.add16(UInt16(entry.name.count))
        out.add16(extra.bytes.isEmpty ? 0 : UInt16(extra.bytes.count + 4))
        for _ in 0..<3 { out.add16(0) }
        out.add32(0o100644 << 16)
        out.add32(offset)
        out.bytes += entry.name
        if !extra.bytes.isEmpty {
            out.add16(1)
            out.add16(UInt16(extra.bytes.count))
            out.bytes += extra.bytes
        }
        return out.bytes
    }

    private func describe(_ entry: Entry, _ out: inout Bytes, flags: UInt16) {
        out.add16(flags)
        out.add16(entry.isDeflated ? 8 : 0)
        out.add16(time)
        out.add16(date)
        out.add32(entry.crc)
    }

    private func emit(_ bytes: [UInt8]) throws {
        offset += Int64(bytes.count)
        try bytes.withUnsafeBytes { if !$0.isEmpty { try sink($0) } }
    }

    /// The date of a day since 1970 (the algorithm of Howard Hinnant's `civil_from_days`).
    private static func civil(days: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let part = (5 * dayOfYear + 2) / 153
        let month = part < 10 ? part + 3 : part - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * part + 2) / 5 + 1)
    }
}

/// Little-endian numbers.
private struct Bytes {
    var bytes: [UInt8] = []

    init() {}
    init(_ signature: UInt32) { add32(signature) }

    mutating func add16(_ value: UInt16) { withUnsafeBytes(of: value.littleEndian) { bytes += $0 } }
    mutating func add32(_ value: UInt32) { withUnsafeBytes(of: value.littleEndian) { bytes += $0 } }
    mutating func add64(_ value: UInt64) { withUnsafeBytes(of: value.littleEndian) { bytes += $0 } }
}
