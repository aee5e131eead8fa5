import FoundationEssentials
import Glibc

/// Keeps files from a child program that its user could open (Landlock, landlock(7)): the secrets and working files of
/// the worker and of other children. A confined program also has no capabilities and gains none by running another
/// (setuid), cannot look into processes outside (their environment, their memory) and, from Linux 6.12 on, cannot send
/// them signals.
public struct Confinement: Sendable, Codable, Equatable {
    /// Paths that the program may not open, with all that is below; a `*` at the end stands for any ending.
    public let hidden: [String]
    /// Paths within those that it may.
    public let kept: [String]

    /// Hides paths; those that are not absolute or not there are left out.
    public init(hidden: [String], kept: [String]) {
        self.hidden = hidden.compactMap { $0.hasSuffix("*") ? $0 : Self.resolve($0) }
        self.kept = kept.compactMap(Self.resolve)
    }

    /// Whether this kernel has Landlock; without it nothing is hidden.
    public static var isSupported: Bool { version > 0 }

    /// Confines this process and all that it becomes and starts. Returns false when the kernel refuses (errno is set).
    func apply() -> Bool {
        guard Self.isSupported, !hidden.isEmpty else { return true }
        var rights = ~(~0 << 13) as UInt64
        if Self.version >= 2 { rights |= Right.refer }
        if Self.version >= 3 { rights |= Right.truncate }
        // handled_access_fs, handled_access_net, scoped (LANDLOCK_SCOPE_SIGNAL): <linux/landlock.h>.
        let attributes: [UInt64] = Self.version >= 6 ? [rights, 0, 1 << 1] : [rights]
        let rules = attributes.withUnsafeBytes { Self.call(444, Int(bitPattern: $0.baseAddress), $0.count, 0, 0) }
        guard rules >= 0 else { return false }
        defer { close(Int32(rules)) }
        guard allow("/", rights, rules) else { return false }
        for path in kept where !add(path, rights, rules) { return false }
        // PR_CAPBSET_DROP: of a worker that runs as root the program keeps the user, not the rights; CAP_PERFMON alone
        // would let it read the memory of others past Landlock. Refused to any other user, who has none of them to
        // lose.
        for capability in 0..<64 as Range<UInt> { _ = Self.prctl(24, capability) }
        return Self.prctl(38 /* PR_SET_NO_NEW_PRIVS */, 1) == 0 && Self.call(446, rules, 0, 0, 0) == 0
    }

    private enum Right {
        static let refer: UInt64 = 1 << 13
        static let truncate: UInt64 = 1 << 14
        /// What a rule for a file may hold: execute, write, read, truncate.
        static let ofFiles: UInt64 = 0b111 | truncate
    }

    /// A rule covers all that is below its path, so folders that hold something hidden are allowed entry by entry.
    private func allow(_ path: String, _ rights: UInt64, _ rules: Int) -> Bool {
        if isHidden(path) { return true }
        let inside = path == "/" ? "/" : path + "/"
        guard hidden.contains(where: { $0.hasPrefix(inside) }) else { return add(path, rights, rules) }
        // A folder that this user cannot read is one that it cannot be hidden in.
        let entries = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        return entries.allSatisfy { allow(inside + $0, rights, rules) }
    }

    private func isHidden(_ path: String) -> Bool {
        hidden.contains { $0.hasSuffix("*") ? path.hasPrefix($0.dropLast()) : path == $0 }
    }

    private func add(_ path: String, _ rights: UInt64, _ rules: Int) -> Bool {
        // O_PATH, which Swift does not see. Links are not followed: what they lead to has a rule of its own, or none.
        let file = open(path, 0o10000000 | O_NOFOLLOW | O_CLOEXEC)
        // Entries vanish while they are listed, and need no rule then.
        guard file >= 0 else { return errno == ENOENT || errno == EACCES }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else { return false }
        let type = status.st_mode & S_IFMT
        if type == S_IFLNK { return true }
        let allowed = type == S_IFDIR ? rights : rights & Right.ofFiles
        // struct landlock_path_beneath_attr, which is packed: the rights, then the descriptor.
        var rule = [UInt8](repeating: 0, count: 12)
        return rule.withUnsafeMutableBytes { bytes in
            bytes.storeBytes(of: allowed, toByteOffset: 0, as: UInt64.self)
            bytes.storeBytes(of: file, toByteOffset: 8, as: Int32.self)
            return Self.call(445, rules, 1, Int(bitPattern: bytes.baseAddress), 0) == 0
        }
    }

    private static let version = call(444, 0, 0, 1 /* LANDLOCK_CREATE_RULESET_VERSION */, 0)

    /// A system call that glibc has no function for; `syscall` is variadic, which Swift cannot call by name.
    private static func call(_ number: Int, _ a: Int, _ b: Int, _ c: Int, _ d: Int) -> Int {
        guard let symbol = dlsym(nil, "syscall") else { return -1 }
        typealias Call = @convention(c) (Int, Int, Int, Int, Int) -> Int
        return unsafeBitCast(symbol, to: Call.self)(number, a, b, c, d)
    }

    private static func prctl(_ option: Int32, _ value: UInt) -> Int32 {
        guard let symbol = dlsym(nil, "prctl") else { return -1 }
        typealias Prctl = @convention(c) (Int32, UInt, UInt, UInt, UInt) -> Int32
        return unsafeBitCast(symbol, to: Prctl.self)(option, value, 0, 0, 0)
    }

    private static func resolve(_ path: String) -> String? {
        guard path.hasPrefix("/"), let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }
}
