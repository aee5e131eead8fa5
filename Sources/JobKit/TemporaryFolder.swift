import Glibc

/// New folders for what is not kept.
public enum TemporaryFolder {
    /// A new folder of this user's alone (mode 0700), whose path is `prefix` with six characters after it that nobody else's
    /// has (mkdtemp(3)). The caller removes it. Nil when none can be made; `errno` says why.
    public static func make(_ prefix: String) -> String? {
        var template = Array("\(prefix)XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { return nil }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
