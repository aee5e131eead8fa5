import Glibc
import Testing

/// A size from /proc/self/status, in bytes.
func statusField(_ name: String) throws -> Int {
    let file = try #require(fopen("/proc/self/status", "r"))
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    while fgets(&line, 256, file) != nil {
        let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        guard text.hasPrefix(name) else { continue }
        return try #require(Int(text.dropFirst(name.count).filter(\.isNumber))) * 1024
    }
    throw PosixFailure()
}

private struct PosixFailure: Error {}
