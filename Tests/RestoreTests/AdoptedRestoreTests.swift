import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Tenancy
import Testing

@testable import Restore

/// Tenants that a platform made: their objects are the platform's, and stay so.
@Suite("Restoring an adopted tenant")
struct AdoptedRestoreTests {
    static let uuid = "7d0f4a52-93c1-4f0e-9a55-1c6b9e0d4f10"

    private let fixture: RestoreFixture

    init() throws {
        fixture = try RestoreFixture()
        let database = fixture.sharedDatabase
        try fixture.admin("postgres") { _ = try $0.execute("CREATE DATABASE \(quoteIdentifier(database))") }
        guard
            let data = FileManager.default.contents(
                atPath: RestoreFixture.root + "/deploy/templates/steel/platform.sql")
        else { throw JobFailure("no_template", "platform.sql is missing") }
        try fixture.admin(database) { connection in
            try connection.executeScript(String(decoding: data, as: UTF8.self))
            try connection.executeScript(
                """
                CREATE SCHEMA crm AUTHORIZATION platform_owner;
                SET ROLE platform_owner;
                CREATE TABLE crm.accounts (org int NOT NULL, id bigserial PRIMARY KEY, name text NOT NULL);
                CREATE TABLE crm.contacts (org int NOT NULL, id bigserial PRIMARY KEY, account bigint REFERENCES crm.accounts (id), name text NOT NULL);
                INSERT INTO crm.accounts (org, name) SELECT n % 3, 'ORG' || n FROM generate_series(1, 30) n;
                INSERT INTO crm.contacts (org, account, name) SELECT n % 3, 1 + (n - 1) % 30, 'ORG' || n FROM generate_series(1, 60) n;
                ALTER TABLE crm.accounts ENABLE ROW LEVEL SECURITY;
                CREATE POLICY org ON crm.accounts USING (org = current_setting('crm.org')::int);
                GRANT USAGE ON SCHEMA tenant_hooli_product TO platform_app;
                GRANT SELECT, UPDATE (name) ON tenant_hooli_product.products TO platform_app;
                """)
        }
    }

    private func adopt(
        _ name: String, _ isolation: Isolation, _ schemas: [String], value: String? = nil,
        setting: String = "app.current_tenant", column: String = "tenant_id"
    ) throws -> Tenant {
        // Roles are the whole server's.
        let code = "\(name)-r\(fixture.suffix)"
        var request = AdoptRequest(
            details: TenantDetails(code: code, name: name, tier: "starter", isolation: isolation, region: "eu"),
            server: "main", schemas: schemas)
        request.value = value
        request.setting = setting
        request.column = column
        let provisioner = TenantProvisioner(registry: fixture.registry)
        let id = try provisioner.adopt(request, confirmation: provisioner.plan(request).confirmation)
        return JobHarness.tenant(code, id: id, isolation: isolation)
    }

    private func check(_ tenant: Tenant, damage: String) throws {
        let backup = try fixture.backUp(tenant)
        try fixture.run("backup-drill", tenant, backup: backup)
        let (before, rights) = (try fixture.contents(tenant), try fixture.rights(tenant))
        try fixture.write(tenant, damage)
        #expect(try fixture.contents(tenant) != before)
        try fixture.runToEnd(fixture.request(tenant, backup, "in-place"), tenant)
        #expect(try fixture.contents(tenant) == before)
        #expect(try fixture.rights(tenant) == rights)
        #expect(try fixture.scratches() == 0)
    }

    @Test("in several schemas that refer to each other")
    func severalSchemas() throws {
        let hooli = try adopt("hooli", .schema, ["tenant_hooli_product", "tenant_hooli_pricing"])
        try check(hooli, damage: "DELETE FROM tenant_hooli_pricing.prices; DELETE FROM tenant_hooli_product.products")
    }

    @Test("in a schema with row-level security inside")
    func securedInside() throws {
        let wayne = try adopt("wayne", .schema, ["tenant_\(Self.uuid)"], value: Self.uuid)
        try check(wayne, damage: "DELETE FROM orders WHERE id % 2 = 0")
    }

    @Test("in shared tables, by the platform's own setting and column")
    func shared() throws {
        let one = try adopt("org1", .shared, ["crm"], value: "1", setting: "crm.org", column: "org")
        let two = try adopt("org2", .shared, ["crm"], value: "2", setting: "crm.org", column: "org")
        let theirs = try fixture.contents(two)
        try check(one, damage: "DELETE FROM contacts; UPDATE accounts SET name = 'SCRIBBLED'")
        #expect(try fixture.contents(two) == theirs)
    }

    @Test("is refused in place while another schema points into it, which would go on pointing at the old tables")
    func pointers() throws {
        let hooli = try adopt("hooli", .schema, ["tenant_hooli_product", "tenant_hooli_pricing"])
        let backup = try fixture.backUp(hooli)
        try fixture.admin(fixture.sharedDatabase) {
            try $0.executeScript("CREATE VIEW public.all_products AS SELECT * FROM tenant_hooli_product.products")
        }
        let failure = #expect(throws: JobFailure.self) {
            try fixture.runToEnd(fixture.request(hooli, backup, "in-place"), hooli)
        }
        #expect(failure?.code == "restore_pointers" && failure?.message.contains("all_products") == true)
        #expect(try fixture.value("SELECT count(*) FROM reeve.queue_block") == "0")
    }
}
