import Crypto
import EmbeddedPostgres
import Encryption
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import PostgresQueue
import Tenancy

/// A fleet on this machine for `reeve dev`: an embedded server, a control database, demo tenants of all three isolations.
struct DevFleet {
    /// A demo tenant.
    struct Demo {
        let code: String
        let name: String
        let tier: String
        let isolation: Isolation
        let marker: String
    }

    static let tenants = [
        Demo(code: "acme", name: "Acme Stahl GmbH", tier: "starter", isolation: .schema, marker: "ACME"),
        Demo(code: "globex", name: "Globex Steel B.V.", tier: "professional", isolation: .shared, marker: "GLOBEX"),
        Demo(
            code: "initech", name: "Initech Metals S.r.l.", tier: "enterprise", isolation: .database, marker: "INITECH"),
    ]

    /// A demo tenant that a platform made before Reeve.
    struct Adopted {
        let code: String
        let name: String
        let schemas: [String]
        let value: String?
    }

    /// The three ways of naming schemas in `platform.sql`.
    static let adopted = [
        Adopted(
            code: "hooli", name: "Hooli Werke AG", schemas: ["tenant_hooli_product", "tenant_hooli_pricing"], value: nil
        ),
        Adopted(code: "umbrella", name: "Umbrella Tubes Ltd", schemas: ["org_umbrella"], value: nil),
        Adopted(
            code: "wayne", name: "Wayne Alloys Inc", schemas: ["tenant_7d0f4a52-93c1-4f0e-9a55-1c6b9e0d4f10"],
            value: "7d0f4a52-93c1-4f0e-9a55-1c6b9e0d4f10"),
    ]
    private static let platform = "platform"

    let directory: String
    let server: EmbeddedPostgres
    let settings: ConnectionSettings
    let sealer: Sealer
    /// The template's report definitions.
    let reports: String

    /// Starts the server and brings the control database up to date. Blocks until it is ready.
    init(directory: String, template: String, registry: JobRegistry, actor: String) throws {
        self.directory = directory
        reports =
            (template.hasPrefix("/") ? template : "\(FileManager.default.currentDirectoryPath)/\(template)")
            + "/reports"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        server = try EmbeddedPostgres.start(.init(directory: "\(directory)/postgres"))
        let keyFile = "\(directory)/key"
        let key = access(keyFile, F_OK) == 0 ? try SecretKey(file: keyFile) : try SecretKey.generate(toFile: keyFile)
        sealer = Sealer(key: key)
        try DevFleet.createDatabase("reeve", server)
        settings = try ConnectionSettings(server.conninfo(database: "reeve"))
        let connection = try Connection(settings)
        defer { connection.close() }
        _ = try Migrator(connection).up()
        let source = PostgresJobSource(settings, registry: registry, version: reeveVersion)
        defer { source.close() }
        try source.registerKinds()
        try makeServiceLogin(connection)
    }

    /// The commands' environment.
    var environment: [(String, String)] {
        [
            ("REEVE_DATABASE_URL", server.conninfo(database: "reeve")), ("REEVE_KEY_FILE", "\(directory)/key"),
            ("REEVE_STORAGE", storage), ("REEVE_REGION", "local"), ("REEVE_REPORTS", reports),
            ("REEVE_IDENTITIES", identities),
            // How another service of the platform connects: it may enqueue and nothing else.
            (
                "REEVE_SERVICE_URL",
                server.conninfo(database: "reeve", user: DevFleet.service)
                    .replacing("passfile=\(server.passwordFile)", with: "passfile=\(directory)/service.pgpass")
            ),
        ]
    }

    /// Where artifacts go.
    var storage: String { "\(directory)/storage" }

    /// Where the demo tenants' identities are.
    var identities: String { "\(directory)/identities" }

    private static let service = "demo_service"

    private static func createDatabase(_ name: String, _ server: EmbeddedPostgres) throws {
        let admin = try Connection(ConnectionSettings(server.conninfo(database: "postgres")))
        defer { admin.close() }
        if try admin.execute("SELECT NOT EXISTS (SELECT FROM pg_database WHERE datname = $1::text)", [name])[0].bool(0)
        {
            _ = try admin.execute("CREATE DATABASE \(quoteIdentifier(name))")
        }
    }

    /// Creates the demo tenants that are not there yet, each resumed where it stopped; `progress` is told the steps.
    func makeTenants(template: String, actor: String, progress: (String, ProvisioningStep) -> Void) throws -> [String] {
        let control = Pool(settings, bound: 2, waitTimeout: .seconds(10), name: "tenancy")
        defer { control.close() }
        let registry = TenantRegistry(directory: TenantDirectory(control: control, sealer: sealer), actor: actor)
        try registry.addServer(
            "local", conninfo: server.conninfo(database: "postgres"), region: "local", sharedDatabase: "shared")
        let provisioner = TenantProvisioner(registry: registry)
        let ready = Set(try registry.list().filter(\.isReady).map(\.code))
        var made: [String] = []
        for demo in DevFleet.tenants {
            made.append(demo.code)
            if ready.contains(demo.code) {
                try provisioner.repair(demo.code)
                continue
            }
            let details = TenantDetails(
                code: demo.code, name: demo.name, tier: demo.tier, isolation: demo.isolation, region: "local")
            let request = TenantRequest(
                details: details, server: "local", template: TenantTemplate(directory: template))
            try provisioner.create(request) { progress(demo.code, $0) }
        }
        let all = try made + adoptTenants(provisioner, template: template, except: ready, progress)
        let keys = KeyLifecycle(registry: registry, store: IdentityFolder(identities))
        for code in all { try keys.ensure(code) }
        return all
    }

    /// Runs the template's `platform.sql` in a database of its own, as a platform made it long before, and adopts its tenants.
    private func adoptTenants(
        _ provisioner: TenantProvisioner, template: String, except ready: Set<String>,
        _ progress: (String, ProvisioningStep) -> Void
    ) throws -> [String] {
        guard let script = FileManager.default.contents(atPath: "\(template)/platform.sql") else { return [] }
        try DevFleet.createDatabase(DevFleet.platform, server)
        let connection = try Connection(ConnectionSettings(server.conninfo(database: DevFleet.platform)))
        defer { connection.close() }
        if try connection.execute("SELECT to_regnamespace('org_umbrella') IS NULL")[0].bool(0) {
            try connection.transaction { try connection.executeScript(String(decoding: script, as: UTF8.self)) }
        }
        for demo in DevFleet.adopted where !ready.contains(demo.code) {
            var request = AdoptRequest(
                details: TenantDetails(
                    code: demo.code, name: demo.name, tier: "professional", isolation: .schema, region: "local"),
                server: "local", schemas: demo.schemas)
            request.database = DevFleet.platform
            request.value = demo.value
            try provisioner.adopt(request) { progress(demo.code, $0) }
        }
        return DevFleet.adopted.map(\.code)
    }

    /// Enqueues the jobs that fill the demo tenants, once each.
    func seed(customers: Int) throws {
        let connection = try Connection(settings)
        defer { connection.close() }
        for (index, demo) in DevFleet.tenants.enumerated() {
            let args: JSON = [
                "seed": .int(Int64(index + 1)), "marker": .string(demo.marker), "customers": .int(Int64(customers)),
            ]
            _ = try connection.execute(
                "SELECT reeve.enqueue($1::text, 'demo-seed', $2::jsonb, idempotency_key => 'demo-seed')",
                ["\(demo.code).demo", args])
        }
    }

    /// Writes the environment for other terminals: `. .reeve/env`.
    func writeEnvironment() throws {
        let lines = environment.map { "export \($0.0)='\($0.1)'" }.joined(separator: "\n") + "\n"
        try lines.write(toFile: "\(directory)/env", atomically: true, encoding: .utf8)
    }

    private func makeServiceLogin(_ connection: Connection) throws {
        let file = "\(directory)/service.pgpass"
        let exists = try connection.execute(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1::text)", [DevFleet.service])[0].bool(0)
        if exists, access(file, F_OK) == 0 { return }
        let password = generatePassword()
        let verb = exists ? "ALTER" : "CREATE"
        let verifier = try connection.encryptedPassword(password, for: DevFleet.service)
        try connection.executeScript(
            "\(verb) ROLE \(quoteIdentifier(DevFleet.service)) LOGIN PASSWORD \(quoteLiteral(verifier)); "
                + "GRANT reeve_enqueuer TO \(quoteIdentifier(DevFleet.service))")
        try "*:*:*:\(DevFleet.service):\(password)\n".write(toFile: file, atomically: true, encoding: .utf8)
        chmod(file, 0o600)
    }
}
