import FoundationEssentials

/// The few file operations that test support needs.
enum FileManagerBox {
    static func contents(_ path: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: path)
    }
    static func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }
    static func makeFolder(_ path: String) throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }
    // Whoever waits for the file says so when it is missing.
    static func write(_ text: String, to path: String) { try? Data(text.utf8).write(to: URL(fileURLWithPath: path)) }
    // Left over from a dead process: what cannot be removed now is removed next time.
    static func remove(_ path: String) { try? FileManager.default.removeItem(atPath: path) }
}
