import Postgres

/// The part of an isolation that reaches the tenant's databases: its logins are locked and their sessions ended, and let in
/// again. What the control database does is `reeve.isolate_tenant`. Blocks; audited in both tenses.
public struct TenantIsolation {
    /// What became of one login.
    public struct Login: Sendable {
        /// The server, as registered.
        public let server: String
        /// The role.
        public let login: String
        /// Why it could not be done; nil when it was.
        public let problem: String?

        /// Creates the record.
        public init(server: String, login: String, problem: String?) {
            self.server = server
            self.login = login
            self.problem = problem
        }
    }

    private let registry: TenantRegistry

    /// Works on the tenants of this registry.
    public init(registry: TenantRegistry) { self.registry = registry }

    /// Keeps the tenant's logins out and ends their sessions, on every server that answers. Again: the same.
    public func revokeLogins(of code: String) throws -> [Login] {
        try each(code) { try $0.endSessions() }
    }

    /// Lets the tenant's logins in again.
    public func restoreLogins(of code: String) throws -> [Login] {
        try each(code) { try $0.restoreLogin() }
    }

    /// One server that is down must not spare the tenant's logins of the others.
    private func each(_ code: String, _ body: (AdminSession) throws -> Void) throws -> [Login] {
        let tenant = try registry.show(code)
        return try registry.directory.stores(of: tenant.id, includingUnready: true).map { store in
            do {
                let session = try AdminSession(registry, tenant: tenant, store: store)
                defer { session.close() }
                try body(session)
                return Login(server: store.server, login: store.login, problem: nil)
            } catch {
                return Login(server: store.server, login: store.login, problem: "\(error)")
            }
        }
    }
}

extension AdminSession {
    /// Lets the login in again.
    func restoreLogin() throws {
        try operation("admin.restore_login", "role \(store.login)") {
            let connection = try maintenance()
            guard try exists(.role, store.login, connection) else { return }
            try connection.execute("ALTER ROLE \(quoteIdentifier(store.login)) LOGIN")
        }
    }
}
