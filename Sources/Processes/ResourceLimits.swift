import FoundationEssentials
import Glibc

/// What a child program may use, set before it starts; each process that it starts has the same. Numbers are hard limits
/// (setrlimit(2)).
public struct ResourceLimits: Sendable, Equatable, Codable {
    /// The address space of one process in bytes.
    public let memory: Int64?
    /// The size of one file that it writes, in bytes.
    public let fileSize: Int64?
    /// The files that it may not open.
    public let confinement: Confinement?

    /// Limits; nil leaves a limit as the worker's own.
    public init(memory: Int64? = nil, fileSize: Int64? = nil, confinement: Confinement? = nil) {
        self.memory = memory
        self.fileSize = fileSize
        self.confinement = confinement
    }

    static let role = "__limit"
    static let none = "-"

    /// As the supervisor is told.
    var word: String {
        // Numbers and strings always encode.
        guard self != ResourceLimits(), let data = try? JSONEncoder().encode(self) else { return Self.none }
        return String(decoding: data, as: UTF8.self)
    }

    /// Sets the limits that the arguments name and becomes the program that follows, when they say so.
    static func becomeProgramIfAsked(_ arguments: [String]) {
        guard arguments.count >= 4, arguments[1] == role else { return }
        // Only a supervisor writes this.
        guard let limits = try? JSONDecoder().decode(Self.self, from: Data(arguments[2].utf8)) else { exit(2) }
        let isLimited =
            set(RLIMIT_FSIZE, limits.fileSize) && (limits.confinement?.apply() ?? true) && set(RLIMIT_AS, limits.memory)
        var pointers: [UnsafeMutablePointer<CChar>?] = arguments[3...].map { strdup($0) } + [nil]
        if isLimited { execv(arguments[3], &pointers) }
        // What a shell says for a command that is there and cannot be run.
        var text = "\(arguments[3]) could not be started: \(errorText(errno))\n"
        text.withUTF8 { _ = write(2, $0.baseAddress, $0.count) }
        exit(126)
    }

    private static func set(_ resource: __rlimit_resource, _ value: Int64?) -> Bool {
        guard let value else { return true }
        var limit = rlimit(rlim_cur: rlim_t(value), rlim_max: rlim_t(value))
        return setrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0
    }
}
