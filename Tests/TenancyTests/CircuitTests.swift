import Foundation
import JobKit
import Postgres
import ReeveTesting
import Synchronization
import Testing

@testable import Tenancy

@Suite("Circuits of tenants' databases")
struct CircuitTests {
    private static let down = PostgresError(
        sqlState: nil, message: "connection refused", operation: "connect", isConnectionLost: true)

    @Test(
        "three failures in a row open the circuit, one caller tries after the wait, and each failed try doubles it up to five minutes"
    )
    func breaker() {
        var breaker = CircuitBreaker()
        var now = ContinuousClock.now
        let opening = (0..<3).map { _ in breaker.failed(now: now) }
        #expect(opening == [nil, nil, .seconds(5)])
        for wait in [5, 10, 20, 40, 80, 160, 300, 300] {
            let early = breaker.waitBeforeTrying(now: now)
            now += .seconds(wait)
            let callers = [breaker.waitBeforeTrying(now: now), breaker.waitBeforeTrying(now: now)]
            #expect(early == .seconds(wait) && callers == [nil, .seconds(1)], "one tries for all")
            let next = breaker.failed(now: now)
            #expect(next == min(.seconds(wait * 2), .seconds(300)))
        }
        now += .seconds(300)
        _ = breaker.waitBeforeTrying(now: now)
        let wasOpen = breaker.succeeded()
        #expect(wasOpen && breaker == CircuitBreaker())
        let first = breaker.failed(now: now)
        #expect(first == nil, "the count starts again")
    }

    @Test(
        "whatever order of answers, an open circuit lets at most one caller through at a time and closes on an answer",
        arguments: 0..<200)
    func breakerUnderAnyOrder(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var breaker = CircuitBreaker()
        var now = ContinuousClock.now
        var trying = 0
        for _ in 0..<300 {
            switch Int.random(in: 0..<4, using: &generator) {
            case 0: now += .milliseconds(Int.random(in: 0..<20000, using: &generator))
            case 1:
                let wasOpen = breaker.isOpen
                if breaker.waitBeforeTrying(now: now) == nil, wasOpen { trying += 1 }
            case 2 where !breaker.isOpen || trying > 0:
                let wasOpen = breaker.isOpen
                let wait = breaker.failed(now: now)
                #expect((wait != nil) == breaker.isOpen && wait ?? .zero <= CircuitBreaker.longestWait)
                if wasOpen { trying -= 1 }
            case 3 where !breaker.isOpen || trying > 0:
                let wasOpen = breaker.succeeded()
                #expect(wasOpen == (trying > 0) && !breaker.isOpen)
                trying = 0
            default: break
            }
            #expect(trying <= 1)
        }
    }

    @Test("a database that is down holds its tenants' jobs, says so to operators, and lets them go once it answers")
    func holds() throws {
        let fleet = try Fleet()
        let tenant = try fleet.tenant("acme", .schema)
        let clock = Mutex(ContinuousClock.now)
        let circuits = TenantCircuits(control: fleet.control) { clock.withLock { $0 } }
        for _ in 0..<2 {
            #expect(throws: PostgresError.self) { try circuits.guarding(tenant.store) { throw Self.down } }
        }
        func refusal(_ body: () throws -> Void) -> Disposition? {
            do { try circuits.guarding(tenant.store, body) } catch { return (error as? JobFailure)?.disposition }
            return nil
        }
        #expect(refusal { throw Self.down } == .hold(reason: "circuit_open", .seconds(5)))
        #expect(refusal { Issue.record("an open circuit asks nobody") } == .hold(reason: "circuit_open", .seconds(5)))
        func listed() throws -> Int64 {
            try fleet.control.withConnection {
                try $0.execute("SELECT count(*) FROM reeve.circuit_list WHERE error = 'connection refused'")[0].int(0)
            }
        }
        #expect(try listed() == 1)
        clock.withLock { $0 += .seconds(5) }
        #expect(try circuits.guarding(tenant.store) { 7 } == 7)
        #expect(try listed() == 0)
    }

    @Test("a session's failures to connect open the circuit; a login that is refused does not")
    func sessions() throws {
        let fleet = try Fleet()
        let tenant = try fleet.tenant("acme", .schema)
        let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        func attempt() throws -> (any Error)? {
            let stores = try fleet.directory.stores(of: tenant.id)
            do { try sessions.withSession(stores[0], of: tenant.attempt, stop: StopSignal()) { _ in } } catch {
                return error
            }
            return nil
        }
        #expect(try attempt() == nil)
        sessions.idle.closeAll()
        try fleet.admin().execute("ALTER ROLE \(quoteIdentifier(tenant.store.login)) NOLOGIN")
        for _ in 0..<5 { #expect(try attempt() is PostgresError) }
        try fleet.admin().execute("ALTER ROLE \(quoteIdentifier(tenant.store.login)) LOGIN")
        #expect(try attempt() == nil)
        sessions.idle.closeAll()
        try fleet.control.withConnection {
            _ = try $0.execute("UPDATE reeve.tenant_server SET conninfo = 'host=127.0.0.1 port=1' WHERE name = 'main'")
        }
        for _ in 0..<2 { #expect(try attempt() is PostgresError) }
        for _ in 0..<2 {
            guard case .hold("circuit_open", _)? = (try attempt() as? JobFailure)?.disposition else {
                Issue.record("the job is not held")
                return
            }
        }
    }
}
