public import JobKit
public import Postgres

/// Where data of a tenant lives: one database, the tenant's schemas in it, and the login that reaches them. Comes from
/// the registry only, through `TenantDirectory`; it cannot be made up.
public struct TenantStore: Sendable, Hashable {
    /// The tenant it belongs to.
    public let tenantID: TenantID
    /// The name of the database server in the registry.
    public let server: String
    /// The database.
    public let database: String
    /// The tenant's schemas, in the order of its `search_path`.
    public let schemas: [String]
    /// Schemas of shared reference data, read only, after the tenant's own in `search_path` (ISO-D-004).
    public let referenceSchemas: [String]
    /// The tenant's own login.
    public let login: String
    /// How many dumps may run at once on the server.
    public let dumpLimit: Int
    /// The region of the server.
    public let region: String
    /// Whether a platform made the schemas before Reeve knew the tenant; then their objects belong to the platform.
    public let isAdopted: Bool
    /// The setting that the platform's own policies read: `app.current_tenant`.
    public let settingName: String
    /// Its value for this tenant, which is also what `tenantColumn` holds in the tenant's rows: the tenant's id, unless
    /// a platform has ids of its own.
    public let settingValue: String
    /// The column of shared tables that says whose a row is.
    public let tenantColumn: String
    /// The role that owns the tenant's objects and cannot log in; the tenant's login is no member of it.
    public var owner: String { TenantNames.owner(of: login) }

    /// Whether the registry names a replica of the server, which reports may read.
    public var hasReplica: Bool { replica != nil }
    /// How far the replica may be behind.
    public let replicaLagLimit: Duration

    let serverSettings: ConnectionSettings
    let replica: ConnectionSettings?

    /// The login's connection without its password; `search_path` and the platform's setting are set as the session
    /// starts. Unless `readOnly` is false, transactions that do not say otherwise are read-only.
    public func settings(applicationName: String, readOnly: Bool = true) -> ConnectionSettings {
        settings(on: serverSettings, applicationName: applicationName, readOnly: readOnly)
    }

    /// The same on the replica; nil without one.
    func replicaSettings(applicationName: String) -> ConnectionSettings? {
        replica.map { settings(on: $0, applicationName: applicationName, readOnly: true) }
    }

    private func settings(
        on server: ConnectionSettings, applicationName: String, readOnly: Bool
    ) -> ConnectionSettings {
        var settings = server
        // What the administrator's connection uses to prove itself is nothing for a tenant.
        for keyword in ["password", "passfile", "user", "sslcert", "sslkey", "sslpassword"] { settings[keyword] = nil }
        // libpq takes a server whose sessions start read-only for none that can be written to; standbys are what is meant.
        if readOnly, settings["target_session_attrs"] == "read-write" { settings["target_session_attrs"] = "primary" }
        let given = settings["options"].map { $0 + " " } ?? ""
        return settings.with([
            "dbname": database, "user": login, "application_name": applicationName,
            "options": given + "-c search_path=\(Self.escape(searchPath))"
                + " -c \(settingName)=\(Self.escape(settingValue))"
                + (readOnly ? " -c default_transaction_read_only=on" : ""),
        ])
    }

    /// The `search_path` as it is set and as the server must report it.
    var searchPath: String { (schemas + referenceSchemas).map { quoteIdentifier($0) }.joined(separator: ",") }

    /// Escapes a value of libpq's `options`, where spaces separate and a backslash escapes.
    private static func escape(_ value: String) -> String {
        var out = ""
        for character in value {
            if character == " " || character == "\\" { out += "\\" }
            out.append(character)
        }
        return out
    }
}
