import FoundationEssentials
public import JobKit
public import Processes
public import Storage

/// Something of a tenant behind HTTP, such as the index or alias of a search engine: removed by DELETE, and looked for by GET afterwards.
public struct HTTPHook: PurgeHook {
    /// What operators call it.
    public let name: String
    /// When it is run.
    public let occasions: Set<HookOccasion>
    private let delete: HookPattern
    private let verify: HookPattern
    private let countField: String?
    private let headers: [String]
    private let supervisor: Supervisor

    /// Sends DELETE to `delete` and GET to `verify`. Status 404 or 410 of GET means that nothing is there; any 2xx that something is: as
    /// many as the answer's member `countField` says, or one. `headers` are sent with both and never shown. Throws a `JobFailure` for
    /// what cannot be meant.
    public init(
        name: String, occasions: Set<HookOccasion>, delete: String, verify: String, countField: String? = nil,
        headers: [String] = [], supervisor: Supervisor = .current()
    ) throws {
        for url in [delete, verify] {
            let rest = url.hasPrefix("https://") ? url.dropFirst(8) : url.hasPrefix("http://") ? url.dropFirst(7) : ""
            let host = rest.prefix { $0 != "/" }
            guard !host.isEmpty, !host.contains("{"), !host.contains("@"), url.utf8.allSatisfy({ $0 > 32 && $0 < 127 })
            else {
                throw JobFailure(
                    "hook_config",
                    "hook \(name): an HTTP hook needs delete and verify, each http(s)://host/… without a password, the tenant in the path",
                    .giveUp)
            }
        }
        guard headers.allSatisfy({ $0.contains(":") && $0.utf8.allSatisfy { $0 >= 32 && $0 != 127 } }) else {
            throw JobFailure("hook_config", "hook \(name): a header is a line `Name: value`", .giveUp)
        }
        self.name = name
        self.occasions = occasions
        self.delete = try HookPattern(delete, name)
        self.verify = try HookPattern(verify, name)
        self.countField = countField
        self.headers = headers
        self.supervisor = supervisor
    }

    /// How much is there.
    public func count(_ tenant: Tenant, _ limits: TransferLimits) throws -> Int64 {
        let answer = try send("GET", verify, tenant, limits)
        switch answer.status {
        case 404, 410: return 0
        case 200..<300:
            guard let countField else { return 1 }
            guard let count = (try? JSON(parsing: answer.body))?[countField]?.int else {
                throw JobFailure("hook_failed", "hook \(name): the answer has no number \(countField)")
            }
            return count
        default: throw JobFailure("hook_failed", "hook \(name): GET was answered with \(answer.status)")
        }
    }

    /// Removes it; what is not there is fine.
    public func clear(_ tenant: Tenant, _ limits: TransferLimits) throws {
        let status = try send("DELETE", delete, tenant, limits).status
        guard (200..<300).contains(status) || status == 404 || status == 410 else {
            throw JobFailure("hook_failed", "hook \(name): DELETE was answered with \(status)")
        }
    }

    private func send(_ method: String, _ pattern: HookPattern, _ tenant: Tenant, _ limits: TransferLimits) throws -> (
        status: Int, body: String
    ) {
        func quoted(_ text: String) -> String {
            "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
        }
        let settings =
            ["url = \(quoted(pattern.text(for: tenant, escape: Self.escaped)))", "request = \(method)"]
            + headers.map { "header = \(quoted($0))" } + [
                "silent", "no-progress-meter", "globoff", "proto = \"=http,https\"", "connect-timeout = 10",
                "max-time = 120",
                "max-filesize = 1048576", "write-out = \"\\n%{http_code}\"",
            ]
        var bytes: [UInt8] = []
        let ended = try ChildProcess.run(
            program: "curl", arguments: ["-q", "--config", ChildProcess.documentPath(0)],
            environment: ["PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"], supervisor: supervisor,
            stop: limits.stop, deadline: [limits.deadline, .now + .seconds(130)].compactMap { $0 }.min(),
            documents: [settings.joined(separator: "\n") + "\n"]
        ) { if bytes.count < 2 << 20 { bytes += $0 } }
        let text = String(decoding: bytes, as: UTF8.self)
        let status = text.split(separator: "\n").last.flatMap { Int($0) } ?? 0
        guard ended.exit == .exited(0), status > 0 else {
            throw JobFailure("hook_failed", "hook \(name): the server cannot be reached (curl \(ended.exit))")
        }
        return (status, String(text.dropLast(String(status).count + 1)))
    }

    /// The text as a part of a URL's path.
    static func escaped(_ text: String) -> String {
        text.utf8.map { byte in
            let isPlain =
                byte >= 48 && byte <= 57 || byte >= 65 && byte <= 90 || byte >= 97 && byte <= 122
                || [45, 46, 95, 126].contains(byte)
            let hex = String(byte, radix: 16, uppercase: true)
            return isPlain ? String(decoding: [byte], as: UTF8.self) : "%" + (hex.count < 2 ? "0" : "") + hex
        }.joined()
    }
}
