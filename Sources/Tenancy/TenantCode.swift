/// The rules of a tenant's code (design section 2): 3 to 40 of a-z, 0-9 and `-`, starting and ending alphanumeric.
public enum TenantCode {
    /// Throws a `TenancyError` that names the first character which does not belong, and its position.
    public static func check(_ code: String) throws {
        for (index, scalar) in code.unicodeScalars.enumerated() where !isAllowed(scalar) {
            let shown =
                scalar.isASCII && scalar.value > 0x20 && scalar.value < 0x7f
                ? "\"\(scalar)\"" : "U+\(hexDigits(scalar.value))"
            throw invalid("character \(index + 1) is \(shown)\(hint(scalar))", code)
        }
        let count = code.utf8.count
        if count < 3 || count > 40 { throw invalid("it has \(count) characters", code) }
        if code.hasPrefix("-") || code.hasSuffix("-") { throw invalid("it starts or ends with -", code) }
    }

    private static func invalid(_ reason: String, _ code: String) -> TenancyError {
        TenancyError(
            .invalid,
            "\(String(code.prefix(80)).debugDescription) is no tenant code: \(reason); use 3 to 40 of a-z, 0-9 and -, "
                + "starting and ending with a letter or digit")
    }

    private static func isAllowed(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "a"..."z", "0"..."9", "-": true
        default: false
        }
    }

    private static func hint(_ scalar: Unicode.Scalar) -> String {
        if !scalar.isASCII { return ", which may look like a letter of ASCII but is another" }
        return scalar.properties.isUppercase ? ", which must be lower case" : ""
    }

    private static func hexDigits(_ value: UInt32) -> String {
        let digits = String(value, radix: 16, uppercase: true)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }
}
