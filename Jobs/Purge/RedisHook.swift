import FoundationEssentials
public import JobKit
public import Processes
public import Storage

/// Keys of a tenant in Redis, by patterns such as `tenant:{tenant_id}:*` (ISO-CACHE-001): found by SCAN and removed by UNLINK, a batch in
/// each call of redis-cli. Of one server: a cluster's nodes are hooks of their own.
public struct RedisHook: PurgeHook {
    /// What operators call it.
    public let name: String
    /// When it is run.
    public let occasions: Set<HookOccasion>
    private let url: String
    private let patterns: [HookPattern]
    private let password: String?
    private let supervisor: Supervisor

    /// Finds keys at `url` (`redis://host:port/database`, `rediss://…`, without a password). Throws a `JobFailure` for what cannot be meant.
    public init(
        name: String, occasions: Set<HookOccasion>, url: String, patterns: [String], password: String? = nil,
        supervisor: Supervisor = .current()
    ) throws {
        guard url.hasPrefix("redis://") || url.hasPrefix("rediss://"), !url.contains("@"), !patterns.isEmpty else {
            throw JobFailure(
                "hook_config",
                "hook \(name): a Redis hook needs a url redis://host:port/database without a password, and patterns",
                .giveUp)
        }
        self.name = name
        self.occasions = occasions
        self.url = url
        self.patterns = try patterns.map { try HookPattern($0, name) }
        self.password = password
        self.supervisor = supervisor
    }

    /// How many keys match.
    public func count(_ tenant: Tenant, _ limits: TransferLimits) throws -> Int64 {
        try scan(Self.counting, tenant, limits)
    }

    /// Removes the keys that match.
    public func clear(_ tenant: Tenant, _ limits: TransferLimits) throws {
        _ = try scan(Self.unlinking, tenant, limits)
    }

    // Keys are any bytes, which redis-cli prints so that they cannot be told apart: the server hands them on itself.
    private static let counting =
        "local r = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', 5000) return {r[1], #r[2]}"
    private static let unlinking = """
        local r = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', 1000) \
        if #r[2] > 0 then redis.call('UNLINK', unpack(r[2])) end return {r[1], #r[2]}
        """

    private func scan(_ script: String, _ tenant: Tenant, _ limits: TransferLimits) throws -> Int64 {
        var total: Int64 = 0
        for pattern in patterns {
            let match = pattern.text(for: tenant, escape: Self.literal)
            var cursor = "0"
            repeat {
                let answer = try call(["EVAL", script, "0", cursor, match], limits)
                guard answer.count == 2, UInt64(answer[0]) != nil, let found = Int64(answer[1]) else {
                    throw JobFailure("hook_failed", "hook \(name): Redis did not say what it found")
                }
                cursor = answer[0]
                total += found
            } while cursor != "0"
        }
        return total
    }

    /// The text with what means something in a pattern of Redis escaped.
    static func literal(_ text: String) -> String {
        String(text.flatMap { "*?[]\\^-".contains($0) ? ["\\", $0] : [$0] })
    }

    private func call(_ words: [String], _ limits: TransferLimits) throws -> [String] {
        guard let program = ChildProcess.find("redis-cli") else {
            throw JobFailure(
                "program_missing", "redis-cli is not installed; run: apt-get install redis-tools",
                .retryAfter(.seconds(300)))
        }
        var environment = ["PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"]
        environment["REDISCLI_AUTH"] = password
        var bytes: [UInt8] = []
        let ended = try ChildProcess.run(
            program: program, arguments: ["-u", url, "--no-auth-warning", "-e", "--raw"] + words,
            environment: environment,
            supervisor: supervisor, stop: limits.stop,
            deadline: [limits.deadline, .now + .seconds(30)].compactMap { $0 }.min()
        ) { if bytes.count < 65_536 { bytes += $0 } }
        guard ended.exit == .exited(0) else {
            let said =
                ended.standardError.isEmpty ? String(decoding: bytes.prefix(300), as: UTF8.self) : ended.standardError
            throw JobFailure("hook_failed", "hook \(name): redis-cli ended with \(ended.exit): \(Log.printable(said))")
        }
        return String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline).map(String.init)
    }
}
