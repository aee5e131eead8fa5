import Crypto
import EmbeddedPostgres
import Foundation
import JobKit
import Postgres
import ReeveTesting
import Synchronization

@testable import Tenancy

/// A control database and a registered server for one test, on a PostgreSQL of the suite's own that logs every
/// statement.
struct Fleet {
    static let server: EmbeddedPostgres = {
        do {
            return try TestServer.make("tenancy", settings: ["log_statement": "all", "max_prepared_transactions": "0"])
        } catch { fatalError("no test server: \(error)") }
    }()

    static let template = TenantTemplate(
        directory: #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined() + "/deploy/templates/steel")

    private static let counter = Mutex(0)

    let controlSettings: ConnectionSettings
    let control: Pool
    /// What the tenants' passwords are sealed with.
    let key: [UInt8]
    let directory: TenantDirectory
    let registry: TenantRegistry
    /// Names of roles are the whole server's, so every test has codes of its own.
    let suffix: String
    let sharedDatabase: String

    init() throws {
        suffix = String(
            Self.counter.withLock { counter in
                counter += 1; return counter
            })
        controlSettings = try TestServer.freshControl(Self.server)
        control = Pool(controlSettings, bound: 8, name: "control")
        key = (0..<32).map { _ in UInt8.random(in: .min ... .max) }
        directory = TenantDirectory(control: control, sealer: Sealer(key: try SecretKey(contents: key)))
        registry = TenantRegistry(directory: directory, actor: "tester")
        sharedDatabase = "shop_\(suffix)"
        try registry.addServer(
            "main", conninfo: Self.server.conninfo(database: "postgres"), region: "eu", sharedDatabase: sharedDatabase)
    }

    var provisioner: TenantProvisioner { TenantProvisioner(registry: registry) }

    func code(_ name: String) -> String { "\(name)-\(suffix)" }

    func request(_ name: String, _ isolation: Isolation) -> TenantRequest {
        TenantRequest(
            details: TenantDetails(code: code(name), name: name, tier: "starter", isolation: isolation, region: "eu"),
            server: "main", template: Self.template)
    }

    /// A connection as the superuser.
    func admin(_ database: String = "postgres") throws -> Connection {
        try Connection(ConnectionSettings(Self.server.conninfo(database: database)))
    }

    /// A tenant that was provisioned, and an attempt of one of its jobs.
    func tenant(_ name: String, _ isolation: Isolation) throws -> ProvisionedTenant {
        let id = try provisioner.create(request(name, isolation))
        let stores = try directory.stores(of: id)
        return ProvisionedTenant(
            id: id, store: stores[0],
            attempt: JobAttempt(
                jobID: 1,
                tenant: Tenant(
                    id: id, code: code(name), tier: "starter", status: .trial, isolation: isolation, region: "eu",
                    timezone: "UTC", features: [], version: 1),
                queue: "\(code(name)).backups", kind: "backup", number: 1, leaseID: UUID(), traceparent: nil))
    }

    /// What of tenants is left on the server: roles, schemas, databases and policies whose names hold this fleet's
    /// suffix.
    func leftovers() throws -> [String] {
        var found: [String] = []
        let admin = try admin()
        for row in try admin.execute(
            """
            SELECT 'role ' || rolname FROM pg_roles WHERE rolname ~ $1::text
            UNION ALL SELECT 'database ' || datname FROM pg_database WHERE datname ~ $1::text
            """, ["^tenant_.*_\(suffix)(_owner)?$"])
        { found.append(try row.text(0)) }
        guard
            try admin.execute("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1::text)", [sharedDatabase])[0]
                .bool(0)
        else { return found }
        for row in try self.admin(sharedDatabase).execute(
            """
            SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname ~ '^tenant_'
            UNION ALL SELECT 'policy ' || policyname FROM pg_policies
            UNION ALL SELECT 'grant ' || datname FROM pg_database WHERE datname = current_database() AND datacl::text ~ 'tenant_'
            """)
        { found.append(try row.text(0)) }
        return found
    }
}

struct ProvisionedTenant {
    let id: TenantID
    let store: TenantStore
    let attempt: JobAttempt
}

/// Adds a customer to the tenant that a session belongs to.
let insertCustomer = """
    INSERT INTO customers (account_code, company, contact_name, email, street, postcode, city, country, payment_days,
      credit_limit, created_on) VALUES ($1::text, 'C', 'N', 'a@b.example', 's', '1', 'c', 'DE', 30, 1, '2026-01-01')
    """

extension TenantSession {
    /// One statement in a transaction of its own.
    func write(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws {
        try transaction { try query(sql, parameters) }
    }
}
