import Glibc

/// What a child program may use, set as hard limits before it starts (setrlimit(2)): each process that it starts has the same.
public struct ResourceLimits: Sendable, Equatable {
    /// The address space of one process in bytes.
    public let memory: Int64?
    /// The size of one file that it writes, in bytes.
    public let fileSize: Int64?

    /// Limits; nil leaves a limit as the worker's own.
    public init(memory: Int64? = nil, fileSize: Int64? = nil) {
        self.memory = memory
        self.fileSize = fileSize
    }

    static let role = "__limit"
    static let none = "-"

    /// As the supervisor is told.
    var word: String {
        memory == nil && fileSize == nil ? Self.none : "\(memory ?? -1):\(fileSize ?? -1)"
    }

    /// Sets the limits that the arguments name and becomes the program that follows, when they say so.
    static func becomeProgramIfAsked(_ arguments: [String]) {
        guard arguments.count >= 4, arguments[1] == role else { return }
        let numbers = arguments[2].split(separator: ":").map { Int64($0) }
        guard numbers.count == 2, let memory = numbers[0], let fileSize = numbers[1] else { exit(2) }
        let isLimited = set(RLIMIT_FSIZE, fileSize) && set(RLIMIT_AS, memory)
        var pointers: [UnsafeMutablePointer<CChar>?] = arguments[3...].map { strdup($0) } + [nil]
        if isLimited { execv(arguments[3], &pointers) }
        // What a shell says for a command that is there and cannot be run.
        var text = "\(arguments[3]) could not be started: \(errorText(errno))\n"
        text.withUTF8 { _ = write(2, $0.baseAddress, $0.count) }
        exit(126)
    }

    private static func set(_ resource: __rlimit_resource, _ value: Int64) -> Bool {
        guard value >= 0 else { return true }
        var limit = rlimit(rlim_cur: rlim_t(value), rlim_max: rlim_t(value))
        return setrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0
    }
}
