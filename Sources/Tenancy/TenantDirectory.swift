public import JobKit
public import Postgres

/// Reads the registry of tenants' databases and opens their passwords. Every call asks the control database and blocks.
public final class TenantDirectory: Sendable {
    let control: Pool
    private let sealer: Sealer?

    /// Reads with connections of `control`; without a sealer no password can be opened.
    public init(control: Pool, sealer: Sealer?) {
        self.control = control
        self.sealer = sealer
    }

    /// The tenant's databases that are ready for use, by server and name; empty when none is.
    public func stores(of tenant: TenantID) throws -> [TenantStore] { try stores(of: tenant, includingUnready: false) }

    func stores(of tenant: TenantID, includingUnready: Bool) throws -> [TenantStore] {
        let rows = try control.withConnection { connection in
            try connection.execute(
                """
                SELECT o.server, o.database, to_json(o.schemas), to_json(o.reference_schemas), o.login, s.dump_limit, s.region,
                       s.conninfo, o.adopted, o.setting_name, coalesce(o.setting_value, o.tenant_id::text), o.tenant_column,
                       s.replica_conninfo, s.replica_lag_limit
                FROM reeve.tenant_store o JOIN reeve.tenant_server s ON s.name = o.server
                WHERE o.tenant_id = $1::uuid AND (o.ready OR $2::boolean) ORDER BY o.server, o.database
                """, [tenant, includingUnready])
        }
        return try rows.map { row in
            TenantStore(
                tenantID: tenant, server: try row.text(0), database: try row.text(1),
                schemas: try row.json(2).decode([String].self), referenceSchemas: try row.json(3).decode([String].self),
                login: try row.text(4), dumpLimit: Int(try row.int(5)), region: try row.text(6),
                isAdopted: try row.bool(8), settingName: try row.text(9), settingValue: try row.text(10),
                tenantColumn: try row.text(11), replicaLagLimit: .seconds(try row.int(13)),
                serverSettings: try ConnectionSettings(row.text(7)),
                replica: try row.optionalText(12).map { try ConnectionSettings($0) })
        }
    }

    /// The password of the tenant's login. Fails unless the registry says that the store is this tenant's.
    func password(of store: TenantStore, tenant: TenantID) throws -> String {
        let rows = try control.withConnection { connection in
            try connection.execute(
                """
                SELECT secret FROM reeve.tenant_store
                WHERE tenant_id = $1::uuid AND server = $2::text AND database = $3::text AND login = $4::text
                """, [tenant, store.server, store.database, store.login])
        }
        guard let row = rows.first else {
            throw TenancyError(
                .refused,
                "the registry knows no login \(store.login) on \(store.server)/\(store.database) of tenant \(tenant)")
        }
        return try open(row.bytes(0), tenant: tenant, purpose: SealedPurpose.login)
    }

    /// The administrator's connection to a server, with its password when the registry holds one.
    public func serverSettings(_ name: String) throws -> ConnectionSettings {
        let rows = try control.withConnection { connection in
            try connection.execute(
                "SELECT conninfo, admin_secret FROM reeve.tenant_server WHERE name = $1::text", [name])
        }
        guard let row = rows.first else {
            throw TenancyError(.notFound, "no database server \(name.debugDescription) is registered")
        }
        var settings = try ConnectionSettings(row.text(0))
        if let secret = try row.optionalBytes(1) {
            settings["password"] = try open(secret, tenant: nil, purpose: SealedPurpose.admin(name))
        }
        return settings
    }

    func seal(_ text: String, tenant: TenantID?, purpose: String) throws -> [UInt8] {
        try requireSealer().seal(text, tenant: tenant, purpose: purpose)
    }

    private func open(_ bytes: [UInt8], tenant: TenantID?, purpose: String) throws -> String {
        try requireSealer().open(bytes, tenant: tenant, purpose: purpose)
    }

    private func requireSealer() throws -> Sealer {
        guard let sealer else {
            throw JobFailure(
                "not_configured", "no key to open the tenants' passwords; set REEVE_KEY_FILE", .giveUp)
        }
        return sealer
    }
}
