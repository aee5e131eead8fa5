import FoundationEssentials

/// The two file operations that test support needs.
enum FileManagerBox {
    static func contents(_ path: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: path)
    }
    // Left over from a dead process: what cannot be removed now is removed next time.
    static func remove(_ path: String) { try? FileManager.default.removeItem(atPath: path) }
}
