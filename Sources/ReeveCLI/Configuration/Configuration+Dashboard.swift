import Dashboard
import HTTP

extension Configuration {
    /// An address to listen on; nil when the setting is not there.
    func listenAddress(_ setting: Setting) throws -> ListenAddress? {
        guard let text = self[setting] else { return nil }
        guard let address = ListenAddress(parsing: text) else {
            throw CommandError(
                .usage, "\(entry(setting)?.source ?? ""): '\(text)' is not an address and a port",
                hint: "for example 127.0.0.1:9464 or [::1]:9464")
        }
        return address
    }

    /// Those who may come in by a token.
    func dashboardTokens() throws -> [DashboardAccess.Token] {
        try words(.dashboardTokens).map { entry in
            let parts = entry.split(separator: ":", maxSplits: 2).map(String.init)
            guard parts.count == 3, let role = DashboardRole(rawValue: parts[1]), parts[2].utf8.count >= 24 else {
                throw CommandError(
                    .usage,
                    "REEVE_DASHBOARD_TOKENS: an entry is not name:role:token with a token of 24 characters or more",
                    hint: "roles: viewer, operator, admin; a token: openssl rand -hex 24")
            }
            return DashboardAccess.Token(name: parts[0], role: role, token: parts[2])
        }
    }

    /// The proxies that say who somebody is.
    func dashboardProxy() throws -> DashboardAccess.Proxy? {
        let addresses = words(.dashboardProxies)
        guard !addresses.isEmpty else { return nil }
        let groups = try words(.dashboardGroups).map { entry in
            let parts = entry.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2, let role = DashboardRole(rawValue: parts[0]) else {
                throw CommandError(
                    .usage, "REEVE_DASHBOARD_GROUPS: '\(entry)' is not role=group",
                    hint: "for example viewer=*,operator=sre,admin=platform-leads")
            }
            return (group: parts[1], role: role)
        }
        guard !groups.isEmpty else {
            throw CommandError(
                .usage, "REEVE_DASHBOARD_GROUPS is not set: no group that the proxy names has a role",
                hint: "for example viewer=*,operator=sre")
        }
        return DashboardAccess.Proxy(addresses: Set(addresses), groups: groups)
    }

    /// The names under which the dashboard is reached.
    func dashboardHosts() -> Set<String> { Set(words(.dashboardHosts).map { $0.lowercased() }) }

    private func words(_ setting: Setting) -> [String] {
        (self[setting] ?? "").split(separator: ",").map { String($0.drop(while: \.isWhitespace)) }
    }
}
