import Crypto
import JobKit
import Postgres

// What a purge does with the roles of a tenant.
extension AdminSession {
    /// Takes the login's policies from shared tables, one table at a time, then what the login's attempts left in the fence, then the
    /// login and its owner.
    func purgeRoles() throws {
        if isolation == .shared, try databaseExists() {
            if store.isAdopted {
                try dropAdopted()
            } else {
                try dropSharedPolicies()
            }
        }
        try dropFenceRows()
        try dropRoles()
    }

    private func dropSharedPolicies() throws {
        try operation("admin.drop_policies", "role \(store.login)") {
            let connection = try database()
            for table in try sharedTables(connection) where try hasPolicy(store.login, table, connection) {
                try patiently(connection, spell: "50ms") {
                    // All tenants wait for this lock, which shall not wait for a disk.
                    try connection.execute("SET LOCAL synchronous_commit = off")
                    try asRole(TenantNames.sharedOwner, connection) {
                        for policy in [store.login, store.login + "_only"] {
                            try connection.execute(
                                "DROP POLICY IF EXISTS \(quoteIdentifier(policy)) ON \(table.quoted)")
                        }
                    }
                }
            }
        }
    }

    /// A new password of the login, kept sealed; then its sessions end.
    func replacePassword(_ keep: ([UInt8]) throws -> Void) throws {
        try operation("admin.lock_login", "role \(store.login)") {
            let connection = try maintenance()
            guard try exists(.role, store.login, connection) else { return }
            let password = generatePassword()
            let verifier = try connection.encryptedPassword(password, for: store.login)
            try connection.execute("ALTER ROLE \(quoteIdentifier(store.login)) PASSWORD \(quoteLiteral(verifier))")
            try keep(registry.directory.seal(password, tenant: tenantID, purpose: SealedPurpose.login))
            try join(store.login, connection)
            try connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1::name", [store.login])
        }
    }
}
