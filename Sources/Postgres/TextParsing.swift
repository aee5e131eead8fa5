import FoundationEssentials

/// A decimal Int64 that fills the buffer, or nil; overflow is nil too.
func parseInt(_ text: UnsafeBufferPointer<UInt8>) -> Int64? {
    var position = 0
    let isNegative = text.first == UInt8(ascii: "-")
    if isNegative { position = 1 }
    guard position < text.count else { return nil }
    var value: Int64 = 0
    while position < text.count {
        let digit = text[position] &- UInt8(ascii: "0")
        guard digit <= 9 else { return nil }
        let (product, overflow) = value.multipliedReportingOverflow(by: 10)
        // Counted downwards, because the smallest Int64 has no positive twin.
        let (difference, overflow2) = product.subtractingReportingOverflow(Int64(digit))
        if overflow || overflow2 { return nil }
        value = difference
        position += 1
    }
    if isNegative { return value }
    return value == .min ? nil : -value
}

/// A uuid as PostgreSQL writes it, or nil.
func parseUUID(_ text: UnsafeBufferPointer<UInt8>) -> UUID? {
    guard text.count == 36 else { return nil }
    var uuid: uuid_t = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    let isValid = withUnsafeMutableBytes(of: &uuid) { out in
        var position = 0
        for index in 0..<16 {
            if index == 4 || index == 6 || index == 8 || index == 10 {
                guard text[position] == UInt8(ascii: "-") else { return false }
                position += 1
            }
            let high = hexValue(text[position])
            let low = hexValue(text[position + 1])
            guard high < 16, low < 16 else { return false }
            out[index] = high << 4 | low
            position += 2
        }
        return true
    }
    return isValid ? UUID(uuid: uuid) : nil
}

/// A `bytea` in hex output form, or nil.
func parseHex(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
    guard text.count >= 2, text.count % 2 == 0, text[0] == UInt8(ascii: "\\"), text[1] == UInt8(ascii: "x") else {
        return nil
    }
    var out: [UInt8] = []
    out.reserveCapacity(text.count / 2 - 1)
    var position = 2
    while position < text.count {
        let high = hexValue(text[position])
        let low = hexValue(text[position + 1])
        guard high < 16, low < 16 else { return nil }
        out.append(high << 4 | low)
        position += 2
    }
    return out
}

/// The value of a hex digit; 255 for any other byte.
@inline(__always)
private func hexValue(_ byte: UInt8) -> UInt8 {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte &- UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte &- UInt8(ascii: "a") &+ 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte &- UInt8(ascii: "A") &+ 10
    default: 255
    }
}
