import Dispatch
import Foundation
import Glibc
import JobKit
import Postgres
import ReeveTesting
import Synchronization
import Testing

@testable import Tenancy

@Suite("The fence in tenants' databases")
struct FenceTests {
    @Test("a session writes in a transaction only", arguments: Isolation.allCases)
    func writesInTransactionsOnly(isolation: Isolation) throws {
        let fence = try FenceFixture(isolation)
        let first = try fence.claim()
        try fence.withSession(first) { session in
            let failure = #expect(throws: JobFailure.self) { try session.query(insertCustomer, ["A1"]) }
            #expect(failure?.code == "write_outside_transaction")
            try session.write(insertCustomer, ["A2"])
        }
        #expect(try fence.customers() == ["A2"])
    }

    @Test("an attempt whose job was claimed again writes nothing any more", arguments: Isolation.allCases)
    func overtaken(isolation: Isolation) throws {
        let fence = try FenceFixture(isolation)
        let first = try fence.claim()
        try fence.withSession(first) { old in
            try old.write(insertCustomer, ["OLD-1"])
            let second = try fence.claim()
            try fence.withSession(second) { try $0.write(insertCustomer, ["NEW-1"]) }
            for level in ["read committed", "repeatable read", "serializable"] {
                let stopped = #expect(throws: Stopped.self) {
                    try old.transaction(isolation: level) { try old.query(insertCustomer, ["OLD-2"]) }
                }
                #expect(stopped?.reason == .leaseLost)
            }
            // It still reads.
            #expect(try old.query("SELECT 1")[0].int(0) == 1)
            try fence.withSession(second) { try $0.write(insertCustomer, ["NEW-2"]) }
        }
        #expect(try fence.customers() == ["NEW-1", "NEW-2", "OLD-1"])
    }

    @Test(
        "an attempt that enters late stops before it writes, and the rightful one goes on",
        arguments: Isolation.allCases)
    func late(isolation: Isolation) throws {
        let fence = try FenceFixture(isolation)
        let first = try fence.claim()
        let second = try fence.claim()
        try fence.withSession(second) { new in
            try new.write(insertCustomer, ["NEW-1"])
            let stopped = #expect(throws: Stopped.self) {
                try fence.withSession(first) { try $0.write(insertCustomer, ["OLD"]) }
            }
            #expect(stopped?.reason == .leaseLost)
            // The late one took the row: that is what must not matter.
            #expect(try fence.holder() == first.leaseID)
            for level in ["read committed", "repeatable read", "serializable"] {
                try new.transaction(isolation: level) { try new.query(insertCustomer, ["NEW \(level)"]) }
                #expect(try fence.holder() == second.leaseID)
                #expect(throws: Stopped.self) { try fence.withSession(first) { _ in } }
            }
        }
        #expect(try fence.customers() == ["NEW read committed", "NEW repeatable read", "NEW serializable", "NEW-1"])
    }

    @Test("a late attempt does not end the rightful one's open transaction")
    func lateIsHarmless() throws {
        let fence = try FenceFixture(.shared)
        let first = try fence.claim()
        let second = try fence.claim()
        try fence.withSession(second) { new in
            try new.transaction {
                try new.query(insertCustomer, ["NEW"])
                #expect(throws: Stopped.self) { try fence.withSession(first) { _ in } }
            }
        }
        #expect(try fence.customers() == ["NEW"])
    }

    @Test("a lease that ends in the control database between entering and writing is found out at the next overwrite")
    func lostInBetween() throws {
        let fence = try FenceFixture(.schema)
        let first = try fence.claim()
        try fence.withSession(first) { old in
            let second = try fence.claim()
            // Not entered yet: what the old attempt writes now comes before the new one's start.
            try old.write(insertCustomer, ["OLD-1"])
            try fence.withSession(second) { _ in }
            #expect(throws: Stopped.self) { try old.write(insertCustomer, ["OLD-2"]) }
        }
        #expect(try fence.customers() == ["OLD-1"])
    }

    @Test("a tenant neither sees nor touches another's rows of the fence", arguments: [Isolation.schema, .shared])
    func foreign(isolation: Isolation) throws {
        let fence = try FenceFixture(isolation)
        let mine = try fence.claim()
        let globex = try fence.fleet.tenant("globex", isolation)
        let sessions = TenantSessions(directory: fence.fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        try fence.withSession(mine) { _ in }
        let job = mine.jobID
        try sessions.withSession(globex.store, of: globex.attempt, stop: StopSignal()) { session in
            #expect(
                try session.transaction {
                    try session.query("SELECT reeve_fence.hold($1::bigint, $2::uuid)", [job, mine.leaseID])[0].bool(0)
                } == false)
            // It has a row of its own for a job of that number.
            #expect(
                try session.query("SELECT reeve_fence.holder($1::bigint)", [job])[0].uuid(0) == globex.attempt.leaseID)
            try session.write("SELECT reeve_fence.enter($1::bigint, $2::uuid)", [job, UUID()])
            for sql in [
                "SELECT * FROM reeve_fence.lease", "DELETE FROM reeve_fence.lease",
                "INSERT INTO reeve_fence.lease VALUES (session_user, 2, gen_random_uuid(), true)",
                "UPDATE reeve_fence.lease SET lease_id = gen_random_uuid()", "DROP SCHEMA reeve_fence CASCADE",
                "CREATE FUNCTION reeve_fence.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                "SET ROLE reeve_fence_owner", "LOCK TABLE reeve_fence.lease",
            ] {
                let failure = #expect(throws: PostgresError.self, "\(sql)") { try session.write(sql) }
                #expect(failure?.sqlState == "42501", "\(sql)")
            }
        }
        #expect(try fence.holder() == mine.leaseID)
        try fence.withSession(mine) { try $0.write(insertCustomer, ["MINE"]) }
        #expect(try fence.customers() == ["MINE"])
    }

    @Test("a database without the fence names the remedy, which makes it", arguments: Isolation.allCases)
    func repaired(isolation: Isolation) throws {
        let fence = try FenceFixture(isolation)
        let attempt = try fence.claim()
        try fence.admin.execute("DROP SCHEMA reeve_fence CASCADE")
        let failure = #expect(throws: JobFailure.self) { try fence.withSession(attempt) { _ in } }
        #expect(failure?.code == "fence_missing")
        #expect(failure?.message.contains("reeve tenant repair \(fence.tenant.attempt.tenant.code)") == true)
        for _ in 1...2 { try fence.fleet.provisioner.repair(fence.tenant.attempt.tenant.code) }
        try fence.withSession(attempt) { try $0.write(insertCustomer, ["A1"]) }
    }

    @Test("rows of jobs that ended more than a week ago go, a few at each entry")
    func forgotten() throws {
        let fence = try FenceFixture(.shared)
        let login = fence.tenant.store.login
        try fence.admin.execute(
            """
            INSERT INTO reeve_fence.lease SELECT l, j, gen_random_uuid(), true, now() - a FROM
              unnest(ARRAY[$1::name, 'another']) l, generate_series(100, 129) j, unnest(ARRAY[interval '8 days']) a
            UNION ALL SELECT $1::name, 200, gen_random_uuid(), true, now() - interval '6 days'
            """, [login])
        try fence.withSession(fence.claim()) { _ in }
        let left = try fence.admin.execute(
            "SELECT login = $1::name, count(*) FROM reeve_fence.lease GROUP BY 1 ORDER BY 1", [login])
        #expect(try left.map { try $0.int(1) } == [30, 2])
    }

    @Test("undo removes the tenant's rows of the fence and leaves the others'")
    func undone() throws {
        let fence = try FenceFixture(.shared)
        let globex = try fence.fleet.tenant("globex", .shared)
        let sessions = TenantSessions(directory: fence.fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        for tenant in [globex, fence.tenant] {
            try sessions.withSession(tenant.store, of: tenant.attempt, stop: StopSignal()) { _ in }
        }
        try fence.fleet.provisioner.undo(fence.fleet.code("globex"), force: true)
        let left = try fence.admin.execute("SELECT login FROM reeve_fence.lease")
        #expect(try left.map { try $0.text(0) } == [fence.tenant.store.login])
    }
}

/// A tenant with one job, which is claimed again and again; the control database says whose it is.
/// `@unchecked Sendable`: a test hands it from one thread to another and waits.
struct FenceFixture: @unchecked Sendable {
    let fleet: Fleet
    let tenant: ProvisionedTenant
    let sessions: TenantSessions
    let admin: Connection
    static let job: Int64 = 1

    init(_ isolation: Isolation) throws {
        fleet = try Fleet()
        tenant = try fleet.tenant("acme", isolation)
        sessions = TenantSessions(directory: fleet.directory)
        admin = try fleet.admin(tenant.store.database)
    }

    /// A new lease of the job, which ends the one before.
    func claim() throws -> JobAttempt {
        let lease = UUID()
        try fleet.control.withConnection {
            _ = try $0.execute(
                """
                INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, max_attempts, run_at, worker_id, lease_id, created_by, args)
                VALUES ($1::bigint, $2::uuid, 'starter', $3::text, 'backup', 'running', 5, now(), gen_random_uuid(), $4::uuid, 'test', '{}')
                ON CONFLICT (id) DO UPDATE SET lease_id = excluded.lease_id, worker_id = excluded.worker_id
                """, [Self.job, tenant.id, tenant.attempt.queue, lease])
        }
        return Self.attempt(of: tenant.attempt, lease)
    }

    static func attempt(of attempt: JobAttempt, _ lease: UUID) -> JobAttempt {
        JobAttempt(
            jobID: job, tenant: attempt.tenant, queue: attempt.queue, kind: "backup", number: 1, leaseID: lease,
            traceparent: nil)
    }

    func withSession(_ attempt: JobAttempt, _ body: (TenantSession) throws -> Void) throws {
        try sessions.withSession(tenant.store, of: attempt, stop: StopSignal(), body)
    }

    /// What the tenant's attempts wrote, read by a superuser.
    func customers() throws -> [String] {
        try admin.execute(
            "SELECT account_code FROM \(quoteIdentifier(tenant.store.schemas[0])).customers ORDER BY 1"
        ).map { try $0.text(0) }
    }

    func holder() throws -> UUID? {
        try admin.execute(
            "SELECT lease_id FROM reeve_fence.lease WHERE login = $1::name AND job_id = $2::bigint",
            [tenant.store.login, Self.job]
        ).first?.uuid(0)
    }
}
