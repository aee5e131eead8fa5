import FoundationEssentials
public import JobKit
import Postgres

/// Answers whether an attempt still has its job. The default asks the control database; tests of a kind without a queue
/// bring their own.
public protocol LeaseCheck: Sendable {
    /// Whether the job is running under the attempt's lease at this moment. Blocks.
    func isCurrent(_ attempt: JobAttempt) throws -> Bool
}

/// Asks the control database.
struct ControlLeaseCheck: LeaseCheck {
    let control: Pool

    func isCurrent(_ attempt: JobAttempt) throws -> Bool {
        try control.withConnection {
            try $0.execute(
                "SELECT reeve.lease_is_current($1::bigint, $2::uuid)", [attempt.jobID, attempt.leaseID])[0].bool(0)
        }
    }
}

/// The fence of one attempt in one tenant's database: of all attempts of a job only the one that entered last, and whose
/// lease was current after that, writes there (design section 5).
///
/// An attempt enters before it works in a database, in a transaction of its own, which takes the right to write from the
/// one before; then it asks whether its lease is current, and only then confirms. So one that comes late takes a right away
/// but gets none, and the rightful attempt enters once more when its next transaction finds that out.
struct TenantFence {
    let attempt: JobAttempt
    let store: TenantStore
    let leases: any LeaseCheck
    let stop: StopSignal?

    /// Makes the attempt the one that may write. Waits 2 s for an older attempt's open transaction and then ends its
    /// sessions. Throws `Stopped(.leaseLost)` when the lease is no longer current.
    func enter(_ connection: Connection) throws {
        try naming {
            if try !isEntered(connection) { try overwrite(connection) }
        }
    }

    /// Locks the attempt's place until the end of the transaction that `connection` is in; false when another attempt
    /// has entered.
    func hold(_ connection: Connection) throws -> Bool {
        try naming {
            do {
                return try connection.execute(
                    "SELECT reeve_fence.hold($1::bigint, $2::uuid)", parameters, stop: stop)[0].bool(0)
            } catch let error as PostgresError where error.sqlState == "40001" {
                // The row changed after the snapshot of a repeatable read transaction.
                return false
            }
        }
    }

    /// Enters whatever the row says.
    func overwrite(_ connection: Connection) throws {
        for _ in 0..<3 {
            try stop?.throwIfStopped()
            do {
                try write("reeve_fence.enter", connection)
                try requireCurrentLease()
                try write("reeve_fence.confirm", connection)
            } catch let error as PostgresError where error.sqlState == "55P03" {
                // Never by an attempt that came late itself.
                try requireCurrentLease()
                try endHolder(connection)
            }
            if try isEntered(connection) { return }
        }
        throw JobFailure(
            "fence_busy",
            "an earlier attempt's transaction in \(store.database) on \(store.server) does not end; "
                + "see pg_stat_activity for user \(store.login)")
    }

    /// One message for the whole transaction, so that a process stopped at any moment holds no lock on the row.
    private func write(_ function: String, _ connection: Connection) throws {
        do {
            try connection.executeScript(
                """
                BEGIN READ WRITE;
                SELECT \(function)(\(attempt.jobID), \(quoteLiteral(attempt.leaseID.uuidString))::uuid);
                COMMIT
                """)
        } catch {
            if connection.inTransaction { try connection.execute("ROLLBACK") }
            throw error
        }
    }

    private func isEntered(_ connection: Connection) throws -> Bool {
        try connection.execute("SELECT reeve_fence.entered($1::bigint, $2::uuid)", parameters, stop: stop)[0].bool(0)
    }

    /// Ends the sessions of the attempt that holds the row: a role may end its own.
    private func endHolder(_ connection: Connection) throws {
        try connection.execute(
            """
            SELECT pg_terminate_backend(a.pid, 5000) FROM pg_stat_activity a
            WHERE a.usename = session_user AND a.datname = current_database() AND a.pid <> pg_backend_pid()
              AND a.application_name = 'reeve:' || reeve_fence.holder($1::bigint)
            """, [attempt.jobID], stop: stop)
    }

    /// Whether the attempt still has its job.
    func isCurrent() throws -> Bool { try leases.isCurrent(attempt) }

    private func requireCurrentLease() throws {
        guard try isCurrent() else { throw Stopped(reason: .leaseLost) }
    }

    private var parameters: [(any PostgresEncodable)?] { [attempt.jobID, attempt.leaseID] }

    /// Gives the remedy with the error of a database in which there is no fence for the login.
    private func naming<T>(_ body: () throws -> T) throws -> T {
        do { return try body() } catch let error as PostgresError {
            guard ["3F000", "42883", "42P01", "42501"].contains(error.sqlState) else { throw error }
            throw JobFailure(
                "fence_missing",
                "database \(store.database) on \(store.server) has no schema reeve_fence that login \(store.login) may "
                    + "use; make it with: reeve tenant repair \(attempt.tenant.code)",
                .hold(reason: "fence_missing", .seconds(60)))
        }
    }
}
