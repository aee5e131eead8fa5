import EmbeddedPostgres
import JobKit
import Postgres
import ReeveTesting
import Storage
import Synchronization
import Testing

@testable import Backup

/// Every way in which pg_dump is known to write other tenants' rows, or none, and to exit with 0.
@Suite("A backup that would leak")
struct LeakTests {
    let fixture: BackupFixture
    let one: Tenant
    let two: Tenant

    init() throws {
        fixture = try BackupFixture()
        try fixture.addShared()
        one = try fixture.addSharedTenant("one", marker: "ONE")
        two = try fixture.addSharedTenant("two", marker: "TWO")
    }

    /// Expects this refusal, and nothing in storage.
    func expectRefusal(_ code: String, of tenant: Tenant, naming name: String = "") {
        let error = #expect(throws: JobFailure.self) { try fixture.backUp(tenant) }
        #expect(error?.code == code, "\(String(describing: error))")
        #expect(name.isEmpty || error?.message.contains(name) == true, "\(String(describing: error))")
        #expect(fixture.folder.files().isEmpty)
    }

    @Test("a superuser's session is refused")
    func superuser() {
        fixture.lie.withLock { $0.sessionUser = EmbeddedPostgres.superuser }
        expectRefusal("backup_session_superuser", of: one)
    }

    @Test("a session of a role with BYPASSRLS is refused")
    func bypass() throws {
        try fixture.adminScript("ALTER ROLE \(fixture.login("one")) BYPASSRLS")
        expectRefusal("backup_session_bypasses_rls", of: one)
    }

    @Test("another tenant's session is refused")
    func otherLogin() {
        fixture.lie.withLock { $0.sessionUser = fixture.login("two") }
        expectRefusal("backup_session_mismatch", of: one)
    }

    @Test("a session without the tenant's id, or with another's, is refused")
    func unset() {
        for options in ["-c app.current_tenant=", "-c geqo=on", "-c app.current_tenant=\(two.id)"] {
            fixture.lie.withLock { $0.options = options }
            expectRefusal("backup_tenant_unset", of: one)
        }
    }

    @Test("a pg_dump that runs without the tenant's id under policies that read it is found by the count")
    func childUnset() throws {
        try fixture.adminScript(
            "CREATE POLICY setting ON shared.customers AS RESTRICTIVE "
                + "USING (tenant_id = nullif(current_setting('app.current_tenant', true), '')::uuid)")
        for options in ["-c geqo=on", "-c app.current_tenant=\(two.id)"] {
            fixture.lie.withLock { $0.childOptions = options }
            expectRefusal("backup_count_mismatch", of: one, naming: "shared.customers: 12 rows")
        }
        fixture.lie.withLock { $0.childOptions = nil }
        _ = try fixture.backUp(one)
    }

    @Test("a pg_dump that connects as a superuser is found by the count")
    func childSuperuser() throws {
        try fixture.adminScript(
            "CREATE ROLE \(fixture.prefix)root SUPERUSER LOGIN PASSWORD '\(BackupFixture.password)'")
        fixture.lie.withLock { $0.childUser = "\(fixture.prefix)root" }
        expectRefusal("backup_count_mismatch", of: one, naming: "24 rows in the dump")
    }

    @Test("a shared table without row-level security, or without FORCE, is refused by name")
    func tableWithoutSecurity() throws {
        try fixture.adminScript("ALTER TABLE shared.orders NO FORCE ROW LEVEL SECURITY")
        expectRefusal("backup_table_without_rls", of: one, naming: "shared.orders")
        try fixture.adminScript(
            "ALTER TABLE shared.orders FORCE ROW LEVEL SECURITY; CREATE TABLE shared.\"Notes\" (tenant_id uuid);"
                + "GRANT SELECT ON shared.\"Notes\" TO \(fixture.login("one"))")
        expectRefusal("backup_table_without_rls", of: one, naming: "shared.\"Notes\"")
    }

    @Test("a shared table without the tenant's own policy is refused by name")
    func policyMissing() throws {
        try fixture.adminScript("DROP POLICY \(fixture.login("one"))_restrictive ON shared.orders")
        expectRefusal("backup_policy_missing", of: one, naming: "shared.orders")
    }

    @Test("a policy that names the tenant but lets others' rows through is refused")
    func policyOpen() throws {
        try fixture.adminScript(
            "ALTER POLICY \(fixture.login("one"))_restrictive ON shared.orders USING (tenant_id = '\(one.id)' OR true);"
                + "ALTER POLICY \(fixture.login("one"))_permissive ON shared.orders USING (true)")
        expectRefusal("backup_foreign_rows", of: one, naming: "shared.orders")
    }

    @Test("a table whose owner the session is, with row-level security that is not forced, is refused by name")
    func ownerWithoutForce() throws {
        let tenant = try fixture.addTenant("owner", schema: "tenant_owner", marker: "OWN")
        let login = fixture.login("owner")
        try fixture.adminScript(
            "ALTER TABLE tenant_owner.orders OWNER TO \(login); ALTER TABLE tenant_owner.orders ENABLE ROW LEVEL SECURITY"
        )
        expectRefusal("backup_owner_without_force", of: tenant, naming: "tenant_owner.orders")
        try fixture.adminScript("ALTER TABLE tenant_owner.orders FORCE ROW LEVEL SECURITY")
        #expect(try fixture.backUp(tenant).manifest["rows"]?["tenant_owner.orders"] == 0)
    }

    @Test("large objects, which belong to no schema, are refused: the tenant's own, and in a database of its own all")
    func largeObjects() throws {
        let tenant = try fixture.addTenant("blob", schema: "app", marker: "BLOB", isolation: .database)
        let stores = try fixture.storesOf(tenant)
        try fixture.admin(fixture.database.with(["dbname": stores[0].database])) {
            try $0.executeScript("SELECT lo_from_bytea(0, 'TWO-secret')")
        }
        expectRefusal("backup_large_objects", of: tenant, naming: "1 large objects")
        // Somebody else's in a database that tenants share are nobody's business.
        try fixture.adminScript("SELECT lo_from_bytea(77, 'TWO-secret')")
        #expect(try fixture.dumpText(fixture.backUp(one)).contains("lo_") == false)
        try fixture.adminScript("ALTER LARGE OBJECT 77 OWNER TO \(fixture.login("two"))")
        _ = try fixture.backUp(one)
        let error = #expect(throws: JobFailure.self) { try fixture.backUp(two) }
        #expect(error?.code == "backup_large_objects")
    }
}
