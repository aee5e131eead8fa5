import Glibc

/// This machine's name, for operators.
public enum HostName {
    /// The name (gethostname(2)), asked for once; `unknown` when there is none.
    public static let current: String = {
        var buffer = [CChar](repeating: 0, count: 256)
        guard gethostname(&buffer, 255) == 0 else { return "unknown" }
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }()
}
