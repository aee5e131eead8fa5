import Crypto
import EmbeddedPostgres
import JobKit
import Postgres
import ReeveTesting
import Storage
import Tenancy
import Testing

@testable import Backup

/// Tenants that a platform made, adopted and then dumped as their own logins.
@Suite("A backup of an adopted tenant")
struct AdoptedBackupTests {
    static let uuid = "7d0f4a52-93c1-4f0e-9a55-1c6b9e0d4f10"

    let fixture: BackupFixture
    let sessions: TenantSessions
    let provisioner: TenantProvisioner
    let directory: TenantDirectory
    let control: Pool

    init() throws {
        fixture = try BackupFixture()
        try fixture.adminScript(BackupFixture.template("platform"))
        try fixture.adminScript(
            """
            CREATE SCHEMA crm AUTHORIZATION platform_owner;
            SET ROLE platform_owner;
            CREATE TABLE crm.accounts (org int NOT NULL, id bigserial PRIMARY KEY, name text NOT NULL);
            CREATE TABLE crm.contacts (org int NOT NULL, id bigserial PRIMARY KEY, name text NOT NULL);
            CREATE TABLE crm.countries (code text PRIMARY KEY);
            INSERT INTO crm.accounts (org, name) SELECT n % 3, 'ORG' || n % 3 || '-' || n FROM generate_series(1, 30) n;
            INSERT INTO crm.contacts (org, name) SELECT n % 3, 'ORG' || n % 3 || '-' || n FROM generate_series(1, 60) n;
            INSERT INTO crm.countries VALUES ('NOBODYS');
            ALTER TABLE crm.accounts ENABLE ROW LEVEL SECURITY;
            CREATE POLICY org ON crm.accounts USING (org = current_setting('crm.org')::int);
            CREATE VIEW crm.all_accounts AS SELECT * FROM crm.accounts;
            CREATE SEQUENCE crm.numbers;
            """)
        control = Pool(try TestServer.freshControl(), bound: 4, name: "control")
        let sealer = Sealer(key: try SecretKey(contents: [UInt8](repeating: 9, count: 32)))
        directory = TenantDirectory(control: control, sealer: sealer)
        let registry = TenantRegistry(directory: directory)
        try registry.addServer(
            "main", conninfo: TestServer.shared.conninfo(database: "postgres"), region: "eu",
            sharedDatabase: fixture.databaseName)
        provisioner = TenantProvisioner(registry: registry)
        sessions = TenantSessions(directory: directory, leases: CurrentLeases())
    }

    func adopt(
        _ code: String, _ isolation: Isolation, _ schemas: [String], value: String? = nil,
        setting: String = "app.current_tenant", column: String = "tenant_id"
    ) throws -> Tenant {
        // Roles are the whole server's.
        let code = fixture.login(code).map { $0 == "_" ? "-" : "\($0)" }.joined()
        var request = AdoptRequest(
            details: TenantDetails(code: code, name: code, tier: "starter", isolation: isolation, region: "eu"),
            server: "main", schemas: schemas)
        request.value = value
        request.setting = setting
        request.column = column
        let id = try provisioner.adopt(request, confirmation: provisioner.plan(request).confirmation)
        return JobHarness.tenant(code, id: id, isolation: isolation)
    }

    func org(_ number: Int) throws -> Tenant {
        try adopt("org\(number)", .shared, ["crm"], value: "\(number)", setting: "crm.org", column: "org")
    }

    func backUp(_ tenant: Tenant) throws -> (text: String, rows: [String: JSON]) {
        var resources = JobResources()
        resources.add(sessions)
        let job = BackupJob(
            stores: SingleStore(fixture.storage), recipients: fixture.keys,
            policy: BackupPolicy { _ in .seconds(86400) },
            tools: BackupTools(supervisor: BuiltProducts.supervisor))
        guard
            case .finished(let result) = try JobHarness.run(
                job, .init(), tenant: tenant, resources: resources, leaseID: startJob(of: tenant, in: control)),
            let artifact = result.artifacts.first
        else { throw JobFailure("not_finished", "the backup did not finish") }
        return (try fixture.dumpText(artifact), artifact.manifest["rows"]?.object ?? [:])
    }

    @Test("of shared tables it holds the tenant's rows alone, and nothing that is nobody's")
    func shared() throws {
        let (one, two) = (try org(1), try org(2))
        for (tenant, own, others) in [(one, "ORG1-", ["ORG0-", "ORG2-"]), (two, "ORG2-", ["ORG0-", "ORG1-"])] {
            let backup = try backUp(tenant)
            #expect(backup.rows == ["crm.accounts": 10, "crm.contacts": 20])
            #expect(backup.text.contains(own))
            for other in others + ["NOBODYS", "countries", "all_accounts", "numbers"] {
                #expect(!backup.text.contains(other), "\(tenant.code) \(other)")
            }
            #expect(!backup.text.contains(tenant.code == one.code ? "\(two.code)" : "\(one.code)"))
        }
    }

    @Test(
        "of shared tables it is refused when a policy of the tenant or row-level security is gone",
        arguments: [
            ("DROP POLICY % ON crm.accounts", "backup_policy_missing"),
            ("ALTER TABLE crm.contacts DISABLE ROW LEVEL SECURITY", "backup_table_without_rls"),
            ("ALTER TABLE crm.accounts OWNER TO #", "backup_owner_without_force"),
        ])
    func tampered(sql: String, code: String) throws {
        let one = try org(1)
        let login = try directory.stores(of: one.id)[0].login
        try fixture.adminScript(
            sql.replacing("%", with: "\"\(login)_only\"").replacing("#", with: "\"\(login)\""))
        let failure = #expect(throws: JobFailure.self) { try backUp(one) }
        #expect(failure?.code == code)
        #expect(fixture.folder.files().isEmpty)
    }

    @Test("of a schema with row-level security inside it holds what the tenant's own login sees")
    func securedInside() throws {
        let wayne = try adopt("wayne", .schema, ["tenant_\(Self.uuid)"], value: Self.uuid)
        try fixture.adminScript(
            """
            INSERT INTO "tenant_\(Self.uuid)".orders (tenant_id, reference)
            VALUES ('00000000-0000-4000-8000-000000000000', 'STRAY-1')
            """)
        let backup = try backUp(wayne)
        #expect(backup.rows.values.map { $0 } == [250])
        #expect(backup.text.contains("WAYNE-00250"))
        for other in ["STRAY-1", "HOOLI-", "UMBRELLA-", "ORG1-", "reeve_fence"] {
            #expect(!backup.text.contains(other))
        }
        // Without the platform's policy it would hold nothing.
        try fixture.adminScript("DROP POLICY tenant ON \"tenant_\(Self.uuid)\".orders")
        let failure = #expect(throws: JobFailure.self) { try backUp(wayne) }
        #expect(failure?.code == "backup_policy_closed")
    }

    @Test("of several schemas it holds all of them")
    func severalSchemas() throws {
        let hooli = try adopt("hooli", .schema, ["tenant_hooli_product", "tenant_hooli_pricing"])
        let backup = try backUp(hooli)
        #expect(backup.rows == ["tenant_hooli_pricing.prices": 300, "tenant_hooli_product.products": 300])
        #expect(backup.text.contains("HOOLI-00300") && !backup.text.contains("UMBRELLA-"))
    }
}
