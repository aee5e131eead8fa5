import Crypto
import EmbeddedPostgres
import Foundation
import JobKit
import Postgres
import ReeveTesting
import Testing

@testable import Tenancy

/// What of the roles of design section 9 suffices: nothing of tenancy needs a superuser.
@Suite("Rights that tenancy needs")
struct PrivilegeTests {
    @Test(
        "an administrator without superuser rights provisions, and undoes, every isolation",
        arguments: Isolation.allCases)
    func plainAdministrator(isolation: Isolation) throws {
        let fleet = try Fleet()
        let role = "plain_admin_\(fleet.suffix)"
        try fleet.admin().execute("CREATE ROLE \(role) LOGIN CREATEDB CREATEROLE PASSWORD 'plain'")
        try fleet.registry.addServer(
            "main", conninfo: "host=\(Fleet.server.socketDirectory) user=\(role) dbname=postgres", region: "eu",
            sharedDatabase: fleet.sharedDatabase, adminPassword: "plain")
        let kept = try fleet.tenant("kept", isolation)
        let tenant = try fleet.tenant("acme", isolation)
        let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        for tenant in [tenant, kept] {
            try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { session in
                try session.write(insertCustomer, ["A1"])
            }
        }
        try fleet.provisioner.undo(fleet.code("acme"), force: true)
        let left = try fleet.leftovers()
        #expect(!left.contains { $0.contains("acme") })
        try sessions.withSession(kept.store, of: kept.attempt, stop: StopSignal()) { session in
            let count = try session.query("SELECT count(*) FROM customers")[0].int(0)
            #expect(count == 1)
        }
    }

    @Test("the operator's role provisions and the worker's role takes sessions; neither owns the control database")
    func fleetRoles() throws {
        let fleet = try Fleet()
        let admin = try fleet.admin()
        var pools: [Pool] = []
        for role in ["operator", "worker"] {
            let login = "\(role)_\(fleet.suffix)"
            try admin.execute("CREATE ROLE \(login) LOGIN PASSWORD 'fleet' IN ROLE reeve_\(role)")
            var settings = fleet.controlSettings.with(["user": login, "password": "fleet"])
            settings["passfile"] = nil
            // One connection: nothing may need a second while it holds the first.
            pools.append(Pool(settings, bound: 1, waitTimeout: .seconds(2), name: role))
        }
        let sealer = Sealer(key: SecretKey.random())
        let registry = TenantRegistry(directory: TenantDirectory(control: pools[0], sealer: sealer))
        let provisioner = TenantProvisioner(registry: registry)
        var request = fleet.request("acme", .schema)
        let parent = try registry.create(fleet.request("holding", .schema).details)
        request.details.changes.parent = fleet.code("holding")
        let id = try provisioner.create(request)
        let record = try registry.show(fleet.code("acme"))
        #expect(record.document["parent_id"]?.string == "\(parent)")
        let directory = TenantDirectory(control: pools[1], sealer: sealer)
        let store = try #require(try directory.stores(of: id).first)
        let attempt = JobAttempt(
            jobID: 1,
            tenant: Tenant(
                id: id, code: fleet.code("acme"), tier: "starter", status: .trial, isolation: .schema, region: "eu",
                timezone: "UTC", features: [], version: 1),
            queue: "\(fleet.code("acme")).backups", kind: "backup", number: 1, leaseID: UUID(), traceparent: nil)
        let sessions = TenantSessions(directory: directory, leases: CurrentLeases())
        defer { sessions.close() }
        var resources = JobResources()
        resources.add(sessions)
        let context = JobContext(
            attempt: attempt, deadline: .now + .seconds(60), stop: StopSignal(), log: Log(format: .text),
            resources: resources,
            store: NoStore())
        #expect(try context.stores() == [store])
        let login = try context.withSession { try $0.query("SELECT session_user")[0].text(0) }
        #expect(login == store.login)
        // The worker's role may ask for its lease, and this job was never claimed.
        #expect(try !ControlLeaseCheck(control: pools[1]).isCurrent(attempt))
        // A refusal is audited with the worker's rights too.
        try admin.execute("ALTER ROLE \(quoteIdentifier(store.login)) BYPASSRLS")
        let failure = #expect(throws: JobFailure.self) { try context.withChildConnection(store) { _ in } }
        #expect(failure?.code == "session_proof")
        context.stop.stop(.shutdown)
        #expect(throws: Stopped.self) { try context.withSession { _ in } }
        // An operator may not delete the record: undo keeps it, and the next create takes it up again.
        try admin.execute("ALTER ROLE \(quoteIdentifier(store.login)) NOBYPASSRLS")
        try provisioner.undo(fleet.code("acme"), force: true)
        #expect(try fleet.leftovers() == [])
        #expect(try provisioner.create(request) == id)
    }

    @Test("killed between making a database and marking it, create goes on and undo removes it")
    func unmarkedDatabase() throws {
        let fleet = try Fleet()
        for undoes in [false, true] {
            let name = undoes ? "undone" : "done"
            var provisioner = fleet.provisioner
            provisioner.beforeCheckpoint = { if $0 == .roles { throw CancellationError() } }
            #expect(throws: CancellationError.self) { try provisioner.create(fleet.request(name, .database)) }
            let login = "tenant_\(name)_\(fleet.suffix)"
            try fleet.admin().execute("CREATE DATABASE \(login) OWNER \(login)_owner TEMPLATE template0")
            if undoes {
                try fleet.provisioner.undo(fleet.code(name))
                let left = try fleet.leftovers()
                #expect(!left.contains { $0.contains(name) })
            } else {
                _ = try fleet.provisioner.create(fleet.request(name, .database))
            }
        }
    }
}

/// Records nothing.
private struct NoStore: AttemptStore {
    func recordProgress(_ progress: JSON, of attempt: JobAttempt) throws {}
    func stepResult(_ name: String, of attempt: JobAttempt) throws -> JSON? { nil }
    func recordStep(_ name: String, result: JSON, of attempt: JobAttempt) throws {}
}
