/// Escapes texts for HTML and for attributes in double quotes; nothing else writes text into a page. Control characters become
/// U+FFFD, and so do those that have text read against its direction (U+202D, U+202E), which make one name look like another.
enum HTMLText {
    static func append(_ text: some StringProtocol, to out: inout [UInt8]) {
        var text = String(text)
        text.withUTF8 { append(UnsafeRawBufferPointer($0), to: &out) }
    }

    static func append(_ bytes: UnsafeRawBufferPointer, to out: inout [UInt8]) {
        for (position, byte) in bytes.enumerated() {
            switch byte {
            case UInt8(ascii: "&"): out += Array("&amp;".utf8)
            case UInt8(ascii: "<"): out += Array("&lt;".utf8)
            case UInt8(ascii: ">"): out += Array("&gt;".utf8)
            case UInt8(ascii: "\""): out += Array("&quot;".utf8)
            case UInt8(ascii: "'"): out += Array("&#39;".utf8)
            case 9, 10: out.append(byte)
            case 0..<32, 127: out += Array("\u{FFFD}".utf8)
            case 0xAD, 0xAE:
                out.append(byte)
                // E2 80 AD and E2 80 AE.
                if position >= 2, bytes[position - 1] == 0x80, bytes[position - 2] == 0xE2 {
                    out.removeLast(3)
                    out += Array("\u{FFFD}".utf8)
                }
            default: out.append(byte)
            }
        }
    }

    static func escaped(_ text: some StringProtocol) -> String {
        var out: [UInt8] = []
        append(text, to: &out)
        return String(decoding: out, as: UTF8.self)
    }
}
