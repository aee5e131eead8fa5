import Crypto
import HTTP
import Synchronization

/// What somebody may do with the dashboard.
public enum DashboardRole: String, Sendable, Comparable, CaseIterable {
    /// Look, but not at jobs' arguments and results.
    case viewer
    /// Act on jobs and queues, and see arguments.
    case `operator`
    /// Isolate tenants, too.
    case admin

    /// By what they may.
    public static func < (a: DashboardRole, b: DashboardRole) -> Bool {
        (allCases.firstIndex(of: a) ?? 0) < (allCases.firstIndex(of: b) ?? 0)
    }
}

/// Who sent a request.
public struct DashboardUser: Sendable, Hashable {
    /// As the audit names them.
    public let name: String
    /// What they may do.
    public let role: DashboardRole
}

/// Who may come in: by tokens, or as a trusted proxy says. Tokens are compared by their digests, in constant time; the browser's session
/// is a cookie that scripts can't read and other sites can't send.
public final class DashboardAccess: Sendable {
    /// A token and whose it is.
    public struct Token: Sendable {
        let user: DashboardUser
        let digest: [UInt8]

        /// A token for this user; only its digest is kept.
        public init(name: String, role: DashboardRole, token: String) {
            user = DashboardUser(name: name, role: role)
            digest = Self.digest(token)
        }

        static func digest(_ token: String) -> [UInt8] {
            let hasher = SHA256Hasher()
            hasher.update(Array(token.utf8))
            return hasher.finish()
        }
    }

    /// A proxy that has checked who somebody is (OIDC or the like) and says so in `X-Forwarded-User` and `X-Forwarded-Groups`.
    public struct Proxy: Sendable {
        let addresses: Set<String>
        let groups: [(group: String, role: DashboardRole)]

        /// Trusts what comes from these addresses; `*` as a group is everybody. Of several roles the highest counts.
        public init(addresses: Set<String>, groups: [(group: String, role: DashboardRole)]) {
            self.addresses = addresses
            self.groups = groups
        }
    }

    private struct Session {
        let user: DashboardUser
        let until: ContinuousClock.Instant
    }

    private static let cookieName = "reeve_session"
    private static let life = Duration.seconds(12 * 3600)
    private let tokens: [Token]
    private let proxy: Proxy?
    private let sessions = Mutex<[[UInt8]: Session]>([:])
    private let failures = Mutex<(count: Int, since: ContinuousClock.Instant)>((0, .now))

    /// Lets in who has one of the tokens, or whom the proxy names.
    public init(tokens: [Token], proxy: Proxy?) {
        self.tokens = tokens
        self.proxy = proxy
    }

    /// Who sent this request, and whether a browser could have been made to send it by another site.
    func user(of request: HTTPRequest) -> (user: DashboardUser, isAmbient: Bool)? {
        if let header = request.header("authorization") {
            guard header.hasPrefix("Bearer "), let user = user(token: String(header.dropFirst(7))) else { return nil }
            return (user, false)
        }
        if let proxy, proxy.addresses.contains(request.peer), let user = proxyUser(request, proxy) {
            return (user, true)
        }
        guard let cookie = request.cookie(Self.cookieName) else { return nil }
        return sessions.withLock { sessions in
            guard let session = sessions[Token.digest(cookie)], session.until > .now else { return nil }
            return (session.user, true)
        }
    }

    private func proxyUser(_ request: HTTPRequest, _ proxy: Proxy) -> DashboardUser? {
        guard let name = request.header("x-forwarded-user"), !name.isEmpty, name.utf8.count <= 100 else { return nil }
        let groups = (request.header("x-forwarded-groups") ?? "").split(separator: ",").map {
            String($0.drop { $0 == " " })
        }
        let roles = proxy.groups.filter { $0.group == "*" || groups.contains($0.group) }.map(\.role)
        return roles.max().map { DashboardUser(name: name, role: $0) }
    }

    /// Whose token this is.
    func user(token: String) -> DashboardUser? {
        let digest = Token.digest(token)
        var found: DashboardUser?
        for token in tokens where constantTimeEqual(token.digest, digest) { found = token.user }
        return found
    }

    /// Starts a browser's session: the cookie's field. nil for a token that is none; too many of those in a minute make everybody wait.
    func logIn(token: String, isSecure: Bool) -> String? {
        let isOpen = failures.withLock { failures in
            if .now - failures.since > .seconds(60) { failures = (0, .now) }
            return failures.count < 30
        }
        guard isOpen else { return nil }
        guard let user = user(token: token) else {
            failures.withLock { $0.count += 1 }
            return nil
        }
        let id = hex(randomBytes(32))
        sessions.withLock { sessions in
            sessions = sessions.filter { $0.value.until > .now }
            if sessions.count >= 1000, let oldest = sessions.min(by: { $0.value.until < $1.value.until })?.key {
                sessions[oldest] = nil
            }
            sessions[Token.digest(id)] = Session(user: user, until: .now + Self.life)
        }
        return Self.cookie(id, age: 12 * 3600, isSecure: isSecure)
    }

    /// Ends the request's session: the cookie's field.
    func logOut(_ request: HTTPRequest, isSecure: Bool) -> String {
        if let cookie = request.cookie(Self.cookieName) {
            sessions.withLock { $0[Token.digest(cookie)] = nil }
        }
        return Self.cookie("", age: 0, isSecure: isSecure)
    }

    private static func cookie(_ value: String, age: Int, isSecure: Bool) -> String {
        "\(cookieName)=\(value); Path=/; HttpOnly; SameSite=Strict; Max-Age=\(age)" + (isSecure ? "; Secure" : "")
    }
}

/// Which site a request was meant for and came from.
struct Origins: Sendable {
    /// The names under which the dashboard is reached, besides this machine's own when it listens only there.
    let hosts: Set<String>
    let address: ListenAddress

    /// Whether the request names this dashboard: one that was led here by another site's DNS does not (RFC 9110, 7.2).
    func isOurs(_ request: HTTPRequest) -> Bool {
        guard let host = request.header("host")?.lowercased() else { return false }
        var name = host
        if let colon = host.lastIndex(of: ":"), host[host.index(after: colon)...].allSatisfy(\.isNumber),
            !host.hasSuffix("]")
        {
            name = String(host[..<colon])
        }
        if hosts.contains(host) || hosts.contains(name) { return true }
        if name == address.host || name == "[\(address.host)]" { return true }
        return address.isLoopback && ["localhost", "127.0.0.1", "[::1]"].contains(name)
    }

    /// Whether a page of this dashboard sent it: a browser says where a POST comes from, and that must be the host it goes to.
    func isSameSite(_ request: HTTPRequest) -> Bool {
        if let site = request.header("sec-fetch-site"), site != "same-origin" { return false }
        guard let origin = request.header("origin")?.lowercased(), let host = request.header("host")?.lowercased()
        else { return false }
        return origin == "http://\(host)" || origin == "https://\(host)"
    }

    /// Whether the browser's connection is encrypted: a cookie for it is sent over no other.
    func isSecure(_ request: HTTPRequest) -> Bool {
        guard let host = request.header("host")?.lowercased() else { return true }
        return !["localhost", "127.0.0.1", "[::1]"].contains { host == $0 || host.hasPrefix("\($0):") }
    }
}
