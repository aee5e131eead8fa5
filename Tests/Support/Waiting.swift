import Glibc
import JobKit
import Postgres

/// Waits until it holds; throws when it does not within 30 seconds.
public func waitUntil(_ what: String, _ holds: () throws -> Bool) throws {
    let limit = ContinuousClock.now + .seconds(30)
    while try !holds() {
        guard limit > .now else { throw JobFailure("never", what) }
        usleep(20_000)
    }
}

/// Repeats what fails for a server that is away, no longer than `limit`.
public func throughRestarts(until limit: ContinuousClock.Instant, _ body: () throws -> Void) throws {
    while .now < limit {
        do { return try body() } catch is PostgresError { usleep(5000) }
    }
}
