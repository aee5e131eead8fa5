import Crypto
import Dispatch
import EmbeddedPostgres
import Foundation
import Glibc
import JobKit
import Postgres
import Testing

@testable import Tenancy

/// How a worker in a process of its own ended.
private enum WorkerExit {
    static let committed: Int32 = 10
    static let leaseLost: Int32 = 11
    static let failed: Int32 = 12
}

@Suite("A worker stopped in the middle of a tenant's transaction")
struct StoppedWorkerTests {
    @Test("past its lease it changes nothing when it goes on", arguments: Isolation.allCases)
    func fenced(isolation: Isolation) async throws {
        let fence = try FenceFixture(isolation)
        let order = try WorkerOrder(fence, isFenced: true)
        async let written = successor(fence, order)
        await #expect(processExitsWith: .exitCode(WorkerExit.leaseLost)) { [order = order as WorkerOrder] in
            exit(order.work())
        }
        #expect(try await written == ["NEW"])
        #expect(try fence.customers() == ["NEW"])
    }

    @Test("without the fence it would, and this test sees it")
    func unfenced() async throws {
        let fence = try FenceFixture(.schema)
        let order = try WorkerOrder(fence, isFenced: false)
        async let written = successor(fence, order)
        await #expect(processExitsWith: .exitCode(WorkerExit.committed)) { [order = order as WorkerOrder] in
            exit(order.work())
        }
        #expect(try await written == ["NEW"])
        #expect(try fence.customers() == ["NEW", "OLD"])
    }

    /// Claims the job again once the worker is stopped, does its work, and lets the worker go on.
    private func successor(_ fence: FenceFixture, _ order: WorkerOrder) async throws -> [String] {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue(label: "successor").async {
                continuation.resume(with: Result { try fence.succeed(order) })
            }
        }
    }
}

extension FenceFixture {
    fileprivate func succeed(_ order: WorkerOrder) throws -> [String] {
        let limit = ContinuousClock.now + .seconds(120)
        var pid: pid_t?
        while pid == nil {
            guard .now < limit else { throw JobFailure("no_worker", "the worker did not stop itself") }
            if let text = try? String(contentsOfFile: order.pidFile, encoding: .utf8), let number = pid_t(text),
                let status = try? String(contentsOfFile: "/proc/\(number)/stat", encoding: .utf8),
                status.contains(") T ")
            {
                pid = number
            } else {
                usleep(10_000)
            }
        }
        defer { if let pid { kill(pid, SIGCONT) } }
        try withSession(claim()) { try $0.write(insertCustomer, ["NEW"]) }
        return try customers()
    }
}

/// What a worker's process is told.
private struct WorkerOrder: Codable, Sendable {
    let control: String
    let key: [UInt8]
    let tenant: UUID
    let code: String
    let isolation: String
    let lease: UUID
    let pidFile: String
    let isFenced: Bool

    init(_ fence: FenceFixture, isFenced: Bool) throws {
        control = Fleet.server.conninfo(database: try #require(fence.fleet.controlSettings["dbname"]))
        key = fence.fleet.key
        tenant = fence.tenant.id.rawValue
        code = fence.tenant.attempt.tenant.code
        isolation = fence.tenant.attempt.tenant.isolation.rawValue
        lease = try fence.claim().leaseID
        pidFile = "\(Fleet.server.directory)/worker-\(lease)"
        self.isFenced = isFenced
    }

    /// Runs the attempt in this process, which stops itself between its write and its COMMIT.
    func work() -> Int32 {
        do {
            let pool = Pool(try ConnectionSettings(control), bound: 2, name: "control")
            let directory = TenantDirectory(control: pool, sealer: Sealer(key: try SecretKey(contents: key)))
            let id = TenantID(rawValue: tenant)
            let sessions = TenantSessions(directory: directory)
            let attempt = JobAttempt(
                jobID: FenceFixture.job,
                tenant: Tenant(
                    id: id, code: code, tier: "starter", status: .trial,
                    isolation: Isolation(rawValue: isolation) ?? .schema, region: "eu", timezone: "UTC", features: [],
                    version: 1),
                queue: "\(code).backups", kind: "backup", number: 1, leaseID: lease, traceparent: nil)
            let store = try directory.stores(of: id)[0]
            try sessions.withSession(store, of: attempt, stop: StopSignal()) { session in
                if isFenced {
                    try session.transaction { try writeAndStop(session) }
                } else {
                    try session.query("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE")
                    try session.query("BEGIN")
                    try writeAndStop(session)
                    try session.query("COMMIT")
                }
            }
            return WorkerExit.committed
        } catch let stopped as Stopped where stopped.reason == .leaseLost {
            return WorkerExit.leaseLost
        } catch {
            return WorkerExit.failed
        }
    }

    private func writeAndStop(_ session: TenantSession) throws {
        try session.query(insertCustomer, ["OLD"])
        try "\(getpid())".write(toFile: pidFile, atomically: true, encoding: .utf8)
        raise(SIGSTOP)
    }
}
