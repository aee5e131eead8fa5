import Crypto
import EmbeddedPostgres
import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Storage
import Tenancy
import Testing

@testable import Backup

@Suite("A backup through the registry")
struct TenancyAccessTests {
    @Test("tenants of every isolation are backed up through their proven sessions, each with its own rows")
    func everyIsolation() throws {
        let fixture = try BackupFixture()
        try fixture.addShared()
        let tenants = [
            (try fixture.addSharedTenant("one", marker: "ONE"), "ONE"),
            (try fixture.addSharedTenant("two", marker: "TWO"), "TWO"),
            (try fixture.addTenant("six", schema: "tenant_six", marker: "SIX"), "SIX"),
            (try fixture.addTenant("ten", schema: "app", marker: "TEN", isolation: .database), "TEN"),
        ]
        let control = Pool(try TestServer.freshControl(), bound: 2, name: "control")
        defer { control.close() }
        let sealer = Sealer(key: try SecretKey(contents: [UInt8](repeating: 9, count: 32)))
        try control.withConnection { connection in
            try connection.execute(
                "INSERT INTO reeve.tenant_server (name, conninfo, region, shared_database) "
                    + "VALUES ('main', $1::text, 'eu', $2::text)",
                [TestServer.shared.conninfo(database: "postgres"), fixture.databaseName])
            for (tenant, _) in tenants {
                let store = try fixture.storesOf(tenant)[0]
                try connection.execute(
                    "INSERT INTO reeve.tenant (id, code, name, tier, isolation, region) "
                        + "VALUES ($1::uuid, $2::text, 'x', 'starter', $3::reeve.isolation, 'eu')",
                    [tenant.id, tenant.code, tenant.isolation.rawValue])
                try connection.execute(
                    """
                    INSERT INTO reeve.tenant_store
                      (tenant_id, server, database, schemas, reference_schemas, login, secret, ready)
                    VALUES ($1::uuid, 'main', $2::text, $3::text[], '{reference}', $4::text, $5::bytea, true)
                    """,
                    [
                        tenant.id, store.database, store.schemas, store.login,
                        try sealer.seal(BackupFixture.password, tenant: tenant.id, purpose: "login"),
                    ])
            }
        }
        let directory = TenantDirectory(control: control, sealer: sealer)
        let provisioner = TenantProvisioner(registry: TenantRegistry(directory: directory))
        for (tenant, _) in tenants { try provisioner.repair(tenant.code) }
        let sessions = TenantSessions(directory: directory, leases: CurrentLeases())
        defer { sessions.close() }
        var resources = JobResources()
        resources.add(sessions)
        let job = BackupJob(
            stores: SingleStore(fixture.storage), recipients: fixture.keys,
            policy: BackupPolicy { _ in .seconds(86400) },
            tools: BackupTools(supervisor: BuiltProducts.supervisor))
        for (tenant, marker) in tenants {
            let outcome = try JobHarness.run(
                job, .init(), tenant: tenant, resources: resources, leaseID: startJob(of: tenant, in: control))
            guard case .finished(let result) = outcome, let artifact = result.artifacts.first else {
                Issue.record("\(outcome)")
                continue
            }
            let text = try fixture.dumpText(artifact)
            for (_, other) in tenants {
                #expect(text.contains("\(other)-00001") == (other == marker), "\(marker) \(other)")
            }
        }
        #expect(fixture.folder.files().count == 12)
        let left = try control.withConnection { try $0.execute("SELECT count(*) FROM reeve.dump_slot")[0].int(0) }
        #expect(left == 0)
        // An attempt that has lost its job takes no dump and stores nothing.
        #expect(throws: Stopped.self) { try JobHarness.run(job, .init(), tenant: tenants[0].0, resources: resources) }
        #expect(fixture.folder.files().count == 12)
    }
}
