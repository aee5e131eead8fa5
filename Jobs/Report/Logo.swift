import FoundationEssentials

/// An image that stands at the top of a report. Taken for what its bytes are, never for what its name says.
struct Logo: Sendable {
    let mediaType: String
    let bytes: [UInt8]

    /// The largest file.
    static let sizeLimit = 2 << 20
    static let widths = 200...2000
    static let heights = 50...500

    /// Checks an image. Throws a `LogoError` for what is no PNG, JPEG or plain SVG, or has another size than a logo may have.
    init(_ bytes: [UInt8]) throws {
        guard bytes.count <= Self.sizeLimit else { throw LogoError("it is larger than 2 MB") }
        let size: (width: Int, height: Int)
        if bytes.starts(with: [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]) {
            size = try Self.sizeOfPNG(bytes)
            mediaType = "image/png"
        } else if bytes.starts(with: [0xFF, 0xD8, 0xFF]) {
            size = try Self.sizeOfJPEG(bytes)
            mediaType = "image/jpeg"
        } else {
            size = try PlainSVG.size(of: bytes)
            mediaType = "image/svg+xml"
        }
        guard Self.widths.contains(size.width), Self.heights.contains(size.height) else {
            throw LogoError("it has \(size.width)×\(size.height) pixels; a logo has 200×50 to 2000×500")
        }
        self.bytes = bytes
    }

    /// The image as part of a page.
    var dataURL: String { "data:\(mediaType);base64,\(Data(bytes).base64EncodedString())" }

    /// Walks over the chunks to the last one, so that a file that only begins like a PNG is none.
    private static func sizeOfPNG(_ bytes: [UInt8]) throws -> (Int, Int) {
        func number(_ at: Int) -> Int { bytes[at..<(at + 4)].reduce(0) { $0 << 8 | Int($1) } }
        var position = 8
        var size: (Int, Int)?
        while position + 12 <= bytes.count {
            let length = number(position)
            let kind = Array(bytes[(position + 4)..<(position + 8)])
            guard length <= bytes.count - position - 12 else { break }
            if kind == Array("IHDR".utf8) {
                guard position == 8, length == 13 else { break }
                size = (number(position + 8), number(position + 12))
            }
            position += 12 + length
            if kind == Array("IEND".utf8), let size, position == bytes.count { return size }
        }
        throw LogoError("it begins like a PNG and is none")
    }

    /// Walks over the segments to the first scan.
    private static func sizeOfJPEG(_ bytes: [UInt8]) throws -> (Int, Int) {
        var position = 2
        var size: (Int, Int)?
        while position + 4 <= bytes.count, bytes[position] == 0xFF {
            let marker = bytes[position + 1]
            let length = Int(bytes[position + 2]) << 8 | Int(bytes[position + 3])
            guard length >= 2, position + 2 + length <= bytes.count else { break }
            let isFrame = (0xC0...0xCF).contains(marker) && ![0xC4, 0xC8, 0xCC].contains(marker)
            if isFrame, length >= 8 {
                size = (
                    Int(bytes[position + 7]) << 8 | Int(bytes[position + 8]),
                    Int(bytes[position + 5]) << 8 | Int(bytes[position + 6])
                )
            }
            if marker == 0xDA, let size, bytes.suffix(2) == [0xFF, 0xD9] { return size }
            position += 2 + length
        }
        throw LogoError("it begins like a JPEG and is none")
    }
}

/// Why an image is no logo.
struct LogoError: Error, CustomStringConvertible {
    let description: String
    init(_ problem: String) { description = problem }
}
