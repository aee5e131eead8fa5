import JobKit
import Postgres
import ReeveTesting
import Testing

@testable import Tenancy

@Suite("Odd names in the registry")
struct OddNamesTests {
    /// What cannot be made as a tenant: whoever writes to the registry by hand could still put them there.
    static let names = [
        "a\"b", "a|b", "A", "..", String(repeating: "a", count: 63), "аcme", "ａcme", "a; DROP SCHEMA kept",
    ]

    @Test(
        "undo drops the schema of exactly that name when it carries the tenant's mark, and no other", arguments: names)
    func marked(name: String) throws {
        let fleet = try Fleet()
        let tenant = try fleet.tenant("odd", .schema)
        let admin = try fleet.admin(tenant.store.database)
        defer { admin.close() }
        let near = ["a", "b", "acme", "aa", "kept", "a_b"]
        for schema in near { try admin.executeScript("CREATE SCHEMA IF NOT EXISTS \(quoteIdentifier(schema))") }
        try admin.executeScript("CREATE SCHEMA \(quoteIdentifier(name))")
        let mark = TenantNames.comment(tenant.id)
        try admin.executeScript("COMMENT ON SCHEMA \(quoteIdentifier(name)) IS \(quoteLiteral(mark))")
        try rename(tenant, to: name, fleet)
        try fleet.provisioner.undo(fleet.code("odd"), force: true)
        #expect(try schemas(admin, [name]) == [])
        #expect(try schemas(admin, near) == near.sorted())
    }

    @Test("undo leaves a schema alone that is not marked as the tenant's, whatever the registry says", arguments: names)
    func unmarked(name: String) throws {
        let fleet = try Fleet()
        let tenant = try fleet.tenant("odd", .schema)
        let admin = try fleet.admin(tenant.store.database)
        defer { admin.close() }
        try admin.executeScript("CREATE SCHEMA \(quoteIdentifier(name))")
        try rename(tenant, to: name, fleet)
        let error = #expect(throws: TenancyError.self) { try fleet.provisioner.undo(fleet.code("odd"), force: true) }
        #expect(error?.kind == .conflict && error?.description.contains("left alone") == true)
        #expect(try schemas(admin, [name]) == [name])
    }

    private func rename(_ tenant: ProvisionedTenant, to name: String, _ fleet: Fleet) throws {
        try fleet.control.withConnection {
            _ = try $0.execute(
                "UPDATE reeve.tenant_store SET schemas = $2::text[] WHERE tenant_id = $1::uuid", [tenant.id, [name]])
        }
    }

    private func schemas(_ connection: Connection, _ names: [String]) throws -> [String] {
        try connection.execute(
            "SELECT nspname::text FROM pg_namespace WHERE nspname = ANY ($1::text[]) ORDER BY nspname COLLATE \"C\"",
            [names]
        ).map { try $0.text(0) }
    }
}
