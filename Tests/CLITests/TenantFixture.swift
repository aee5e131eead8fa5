import Glibc
import JobKit
import Postgres
import ReeveTesting

/// A control database, a sealing key and a server for tenants, as an operator would have them.
struct TenantFixture {
    let control: ControlFixture
    let environment: [String: String]
    private let folder: String

    init() throws {
        control = try ControlFixture()
        guard let made = TemporaryFolder.make("/tmp/reeve-tenant-test.") else {
            throw ReeveRun.Failure(what: "mkdtemp")
        }
        folder = made
        let root = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
        environment = [
            "REEVE_DATABASE_URL": control.conninfo, "REEVE_KEY_FILE": "\(folder)/key", "REEVE_REGION": "eu",
            "REEVE_TEMPLATE": "\(root)/deploy/templates/steel",
        ]
        guard try ReeveRun(["key", "generate", "\(folder)/key"]).code == 0 else {
            throw ReeveRun.Failure(what: "key generate")
        }
    }

    func cleanUp() {
        remove("\(folder)/key")
        rmdir(folder)
    }

    private var database: String { "tenants_of_\(control.settings["dbname"] ?? "")" }

    /// Registers the test server as the one that tenants are made on, with a database for the shared ones.
    func addServer() throws {
        let conninfo = control.settings.with(["dbname": "postgres"]).conninfo
        let run = try ReeveRun(["server", "add", "main", conninfo, "--shared-database", database], environment)
        guard run.code == 0 else { throw ReeveRun.Failure(what: "\(run)") }
        let connection = try Connection(control.settings)
        defer { connection.close() }
        try connection.execute("CREATE DATABASE \(quoteIdentifier(database))")
    }

    /// Writes an invoice as the platform would, without what it refers to.
    func insert(invoice: Int, total: String, schema: String) throws {
        let connection = try Connection(control.settings.with(["dbname": database]))
        defer { connection.close() }
        try connection.executeScript("SET session_replication_role = replica")
        try connection.execute(
            """
            INSERT INTO \(quoteIdentifier(schema)).invoices (id, invoice_number, shipment_id, customer_id, invoiced_on, due_on,
              net_amount, tax_amount, gross_amount)
            VALUES ($1::bigint, 'I-' || $1::bigint, 1, 1, '2026-01-01', '2026-02-01', $2::numeric, 0, $2::numeric)
            """, [invoice, total])
    }
}
