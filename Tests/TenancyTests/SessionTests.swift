import Dispatch
import EmbeddedPostgres
import Foundation
import JobKit
import Postgres
import ReeveTesting
import Synchronization
import Testing

@testable import Tenancy

@Suite("Tenants' sessions")
struct SessionTests {
    @Test("a connection that comes back carries nothing of its last user")
    func cleaned() throws {
        let fleet = try Fleet()
        let tenant = try fleet.tenant("acme", .schema)
        let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        let first = try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { session in
            for sql in [
                "SET search_path TO public", "SET app.current_tenant = ''", "SET statement_timeout = 1234",
                "SELECT pg_advisory_lock(5)", "SET application_name = 'forged'", "PREPARE p AS SELECT 1",
                "LISTEN gossip",
            ] { try session.query(sql) }
            return try session.query("SELECT pg_backend_pid()")[0].int(0)
        }
        #expect(sessions.idle.count == 1)
        try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { session in
            let row = try session.query(
                """
                SELECT pg_backend_pid(), current_setting('search_path'), current_setting('app.current_tenant'),
                       current_setting('statement_timeout'), current_setting('application_name'),
                       (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
                       (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_listening_channels())
                """)[0]
            #expect(try row.int(0) == first)
            #expect(try row.text(1) == tenant.store.searchPath)
            #expect(try row.text(2) == "\(tenant.id)")
            #expect(try row.text(3) == "0")
            #expect(try row.text(4) == "reeve:\(tenant.attempt.leaseID.uuidString.lowercased())")
            for column in 5...7 { #expect(try row.int(column) == 0) }
        }
    }

    @Test(
        "a pooled connection that was tampered with is not handed out, and the refusal is audited",
        arguments: ["SET search_path TO public", "SET app.current_tenant = 'someone else'"])
    func tampered(sql: String) throws {
        let fleet = try Fleet()
        let tenant = try fleet.tenant("acme", .schema)
        let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { _ in }
        // Behind the pool's back: only the proof can notice.
        let key = IdleConnections.Key(
            server: tenant.store.server, database: tenant.store.database, login: tenant.store.login,
            settings: tenant.store.settings(applicationName: "reeve idle"))
        let connection = try #require(sessions.idle.take(key))
        try connection.execute(sql)
        sessions.idle.put(connection, key)
        try expectRefusal(fleet, sessions, tenant)
        // The bad connection is gone, and the next session is a good one.
        try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { session in
            let found = try session.query("SELECT current_setting('search_path')")[0].text(0)
            #expect(found == tenant.store.searchPath)
        }
    }

    @Test("a server that is registered as read-write, for failover, lets sessions in that are read-only at first")
    func withStandby() throws {
        let fleet = try Fleet()
        try fleet.registry.addServer(
            "main", conninfo: Fleet.server.conninfo(database: "postgres") + " target_session_attrs=read-write",
            region: "eu", sharedDatabase: fleet.sharedDatabase)
        let tenant = try fleet.tenant("acme", .schema)
        let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { session in
            let found = try session.query("SELECT current_setting('default_transaction_read_only')")[0].text(0)
            #expect(found == "on")
        }
    }

    @Test("a SET ROLE on a pooled connection is noticed")
    func setRole() throws {
        let fleet = try Fleet()
        let tenant = try fleet.tenant("acme", .schema)
        let other = try fleet.tenant("globex", .schema)
        let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        let admin = try fleet.admin()
        let (mine, theirs) = (quoteIdentifier(tenant.store.login), quoteIdentifier(other.store.login))
        try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { _ in }
        let key = IdleConnections.Key(
            server: tenant.store.server, database: tenant.store.database, login: tenant.store.login,
            settings: tenant.store.settings(applicationName: "reeve idle"))
        let connection = try #require(sessions.idle.take(key))
        try admin.execute("GRANT \(theirs) TO \(mine)")
        try connection.execute("SET ROLE \(theirs)")
        try admin.execute("REVOKE \(theirs) FROM \(mine)")
        sessions.idle.put(connection, key)
        try expectRefusal(fleet, sessions, tenant)
    }

    @Test(
        "a login that became more than the tenant's own is refused",
        arguments: [
            "ALTER ROLE % BYPASSRLS", "ALTER ROLE % SUPERUSER", "ALTER ROLE % CREATEROLE",
            "GRANT pg_read_all_data TO %",
        ])
    func grown(sql: String) throws {
        let fleet = try Fleet()
        let tenant = try fleet.tenant("acme", .schema)
        let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        try fleet.admin().execute(sql.replacingOccurrences(of: "%", with: quoteIdentifier(tenant.store.login)))
        try expectRefusal(fleet, sessions, tenant)
    }

    private func expectRefusal(_ fleet: Fleet, _ sessions: TenantSessions, _ tenant: ProvisionedTenant) throws {
        let failure = #expect(throws: JobFailure.self) {
            try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { _ in }
        }
        #expect(failure?.code == "session_proof")
        #expect(failure?.disposition == .giveUp)
        let entries = try fleet.control.withConnection {
            try $0.execute(
                "SELECT count(*) FROM reeve.audit_entry WHERE tenant_id = $1::uuid AND action = 'session.refused'",
                [tenant.id])
        }
        #expect(try entries[0].int(0) == 1)
    }

    @Test("a handler cannot take another tenant's store")
    func foreignStore() throws {
        let fleet = try Fleet()
        let acme = try fleet.tenant("acme", .schema)
        let globex = try fleet.tenant("globex", .schema)
        let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        #expect(throws: TenancyError.self) {
            try sessions.withSession(globex.store, of: acme.attempt, stop: StopSignal()) { _ in }
        }
        #expect(throws: TenancyError.self) { try sessions.withChildConnection(globex.store, of: acme.attempt) { _ in } }
    }

    @Test("a session that outlives its closure reaches nothing")
    func over() throws {
        let fleet = try Fleet()
        let tenant = try fleet.tenant("acme", .schema)
        let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        let kept = try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { $0 }
        #expect(throws: JobFailure.self) { try kept.query("SELECT 1") }
    }

    @Test("the stop signal interrupts a query")
    func stops() throws {
        let fleet = try Fleet()
        let tenant = try fleet.tenant("acme", .schema)
        let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        let stop = StopSignal()
        let start = ContinuousClock.now
        try sessions.withSession(tenant.store, of: tenant.attempt, stop: stop) { session in
            DispatchQueue(label: "stopper").asyncAfter(deadline: .now() + .milliseconds(200)) { stop.stop(.cancelled) }
            #expect(throws: Stopped.self) { try session.query("SELECT pg_sleep(60)") }
        }
        #expect(ContinuousClock.now - start < .seconds(20))
    }

    @Test("idle connections are bounded in total, for each store, and in time")
    func bounded() throws {
        let fleet = try Fleet()
        let tenants = try ["one", "two", "three"].map { try fleet.tenant($0, .schema) }
        let few = TenantSessions(directory: fleet.directory, idleLimit: 2, leases: CurrentLeases())
        defer { few.close() }
        for tenant in tenants { try few.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { _ in } }
        #expect(few.idle.count == 2)
        let single = TenantSessions(directory: fleet.directory, idlePerStore: 1, leases: CurrentLeases())
        defer { single.close() }
        try single.withSession(tenants[0].store, of: tenants[0].attempt, stop: StopSignal()) { _ in
            try single.withSession(tenants[0].store, of: tenants[0].attempt, stop: StopSignal()) { _ in }
        }
        #expect(single.idle.count == 1)
        let brief = TenantSessions(directory: fleet.directory, idleTime: .zero, leases: CurrentLeases())
        defer { brief.close() }
        var backends: Set<Int64> = []
        for _ in 0..<2 {
            try brief.withSession(tenants[0].store, of: tenants[0].attempt, stop: StopSignal()) { session in
                backends.insert(try session.query("SELECT pg_backend_pid()")[0].int(0))
            }
        }
        #expect(backends.count == 2)
    }

    @Test("a pooled connection that the server closed is replaced")
    func lost() throws {
        let fleet = try Fleet()
        let tenant = try fleet.tenant("acme", .schema)
        let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { _ in }
        try fleet.admin().execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1::name",
            [tenant.store.login])
        try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { session in
            let found = try session.query("SELECT 1")[0].int(0)
            #expect(found == 1)
        }
    }

    @Test(
        "a child program gets the tenant's login from files that only this user may read and that are gone afterwards")
    func child() throws {
        let fleet = try Fleet()
        let tenant = try fleet.tenant("acme", .schema)
        let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        let password = try fleet.directory.password(of: tenant.store, tenant: tenant.id)
        let folder = try sessions.withChildConnection(tenant.store, of: tenant.attempt) { child -> String in
            #expect(!child.environment.values.contains { $0.contains(password) })
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments = [
                "psql", "-XAtqc",
                "SELECT session_user, current_setting('search_path'), current_setting('app.current_tenant'), current_setting('application_name')",
            ]
            process.environment = child.environment.merging(["PATH": "/usr/bin:/bin"]) { $1 }
            let pipe = Pipe()
            process.standardOutput = pipe
            try process.run()
            let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            process.waitUntilExit()
            #expect(
                text == "\(tenant.store.login)|\(tenant.store.searchPath)|\(tenant.id)|"
                    + "reeve:\(tenant.attempt.leaseID.uuidString.lowercased())\n")
            let file = try #require(child.environment["PGPASSFILE"])
            let folder = URL(fileURLWithPath: file).deletingLastPathComponent().path
            let mode = try FileManager.default.attributesOfItem(atPath: folder)[.posixPermissions] as? Int
            #expect(mode == 0o700)
            return folder
        }
        #expect(!FileManager.default.fileExists(atPath: folder))
    }
}
