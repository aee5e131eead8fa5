import Glibc

/// A colour, and how well it can be told from another (WCAG 2.2, 1.4.3 and 1.4.11).
struct RGBColor: Sendable, Hashable, CustomStringConvertible {
    let red: UInt8
    let green: UInt8
    let blue: UInt8

    static let white = RGBColor(red: 255, green: 255, blue: 255)
    static let ink = RGBColor(red: 0x1B, green: 0x24, blue: 0x30)

    init(red: UInt8, green: UInt8, blue: UInt8) {
        (self.red, self.green, self.blue) = (red, green, blue)
    }

    /// `#1f4e79`; nil for anything else.
    init?(_ text: String) {
        let bytes = Array(text.utf8)
        guard bytes.count == 7, bytes[0] == UInt8(ascii: "#"),
            bytes[1...].allSatisfy({ (48...57).contains($0) || (97...102).contains($0 | 32) }),
            let value = UInt32(text.dropFirst(), radix: 16)
        else { return nil }
        self.init(red: UInt8(value >> 16), green: UInt8(value >> 8 & 255), blue: UInt8(value & 255))
    }

    var description: String {
        let digits = Array("0123456789abcdef")
        return "#" + [red, green, blue].map { "\(digits[Int($0 >> 4)])\(digits[Int($0 & 15)])" }.joined()
    }

    /// From 1 (the same) to 21 (black on white).
    func contrast(with other: RGBColor) -> Double {
        let (a, b) = (luminance, other.luminance)
        return (max(a, b) + 0.05) / (min(a, b) + 0.05)
    }

    /// The colour itself, or the lightest darker one with that much contrast to white.
    func darkened(toContrast contrast: Double) -> RGBColor {
        var color = self
        while color.contrast(with: .white) < contrast {
            color = RGBColor(
                red: UInt8(Double(color.red) * 0.96), green: UInt8(Double(color.green) * 0.96),
                blue: UInt8(Double(color.blue) * 0.96))
        }
        return color
    }

    /// White or ink, whichever reads better on this colour.
    var textOnTop: RGBColor {
        contrast(with: .white) >= contrast(with: .ink) ? .white : .ink
    }

    /// Mixed with white; 0 is white.
    func tint(_ share: Double) -> RGBColor {
        func mix(_ value: UInt8) -> UInt8 { UInt8(255 - (255 - Double(value)) * share) }
        return RGBColor(red: mix(red), green: mix(green), blue: mix(blue))
    }

    private var luminance: Double {
        func linear(_ value: UInt8) -> Double {
            let share = Double(value) / 255
            return share <= 0.04045 ? share / 12.92 : pow((share + 0.055) / 1.055, 2.4)
        }
        return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    }
}
