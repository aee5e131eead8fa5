import Crypto
import EmbeddedPostgres
import Foundation
import JobKit
import Postgres
import ReeveTesting
import Synchronization

@testable import Tenancy

/// Two tenants of each isolation, provisioned on the suite's server; acme attacks, globex has the secrets.
final class TenantField: Sendable {
    static let shared: TenantField = {
        do { return try TenantField() } catch { fatalError("no tenants to attack: \(error)") }
    }()

    static let template = TenantTemplate(
        directory: #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined() + "/deploy/templates/steel")

    struct Member: Sendable {
        let id: TenantID
        let store: TenantStore
        let attempt: JobAttempt
        let password: String
    }

    let directory: TenantDirectory
    let members: [String: Member]

    private init() throws {
        let settings = try TestServer.freshControl(Attacker.server)
        directory = TenantDirectory(
            control: Pool(settings, bound: 4, name: "control"), sealer: Sealer(key: SecretKey.random()))
        let registry = TenantRegistry(directory: directory, actor: "tester")
        try registry.addServer(
            "main", conninfo: Attacker.server.conninfo(database: "postgres"), region: "eu",
            sharedDatabase: "attack_shop")
        var members: [String: Member] = [:]
        for isolation in Isolation.allCases {
            for name in ["acme", "globex"] {
                let code = "\(name)-\(isolation.rawValue)"
                let id = try TenantProvisioner(registry: registry).create(
                    TenantRequest(
                        details: TenantDetails(
                            code: code, name: name, tier: "starter", isolation: isolation, region: "eu"),
                        server: "main",
                        template: Self.template))
                let store = try directory.stores(of: id)[0]
                let tenant = Tenant(
                    id: id, code: code, tier: "starter", status: .trial, isolation: isolation, region: "eu",
                    timezone: "UTC", features: [], version: 1)
                members[code] = Member(
                    id: id, store: store,
                    attempt: JobAttempt(
                        jobID: 1, tenant: tenant, queue: "\(code).backups", kind: "backup", number: 1, leaseID: UUID(),
                        traceparent: nil),
                    password: try directory.password(of: store, tenant: id))
            }
        }
        self.members = members
        for isolation in Isolation.allCases {
            let session = try login("globex", isolation)
            defer { session.close() }
            try session.execute(Self.insertCustomer, ["SECRET"])
        }
    }

    static let insertCustomer = """
        INSERT INTO customers (account_code, company, contact_name, email, street, postcode, city, country, payment_days, credit_limit, created_on)
        VALUES ($1::text, 'CANARY', 'N', 'a@b.example', 's', '1', 'c', 'DE', 30, 1, '2026-01-01')
        """

    func member(_ name: String, _ isolation: Isolation) -> Member {
        guard let member = members["\(name)-\(isolation.rawValue)"] else { fatalError("no tenant \(name)") }
        return member
    }

    /// A session of a tenant's own login, as a handler with an injected statement has it.
    func login(_ name: String, _ isolation: Isolation, database: String? = nil) throws -> Connection {
        let member = member(name, isolation)
        var settings = member.store.settings(applicationName: "attack").with([
            "password": member.password, "passfile": "/dev/null",
        ])
        if let database { settings = settings.with(["dbname": database]) }
        let connection = try Connection(settings)
        // Sessions start read-only; a statement that is injected turns that off first.
        try connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE")
        return connection
    }

    /// The superuser in a tenant's database.
    func admin(_ name: String, _ isolation: Isolation) throws -> Connection {
        try Connection(ConnectionSettings(Attacker.server.conninfo(database: member(name, isolation).store.database)))
    }
}
