import Glibc
import JobKit
import Postgres

/// The control database's side of one attempt.
struct ReminderLedger {
    let control: Pool
    let context: JobContext
    let reminder: Int64

    /// What is to be done; with an address the reminder is claimed, if that is still where it goes. Throws `Stopped` when the lease is lost.
    func begin(claimingFor address: String? = nil) throws -> JSON {
        try fenced(
            "SELECT reeve.begin_reminder($1::bigint, $2::uuid, $3::bigint, $4::text)",
            [context.attempt.jobID, context.attempt.leaseID, reminder, address])
    }

    /// Records why it cannot be sent; nothing was claimed.
    func fail(_ reason: String) throws {
        _ = try fenced(
            "SELECT to_jsonb(reeve.fail_reminder($1::bigint, $2::uuid, $3::bigint, $4::text))",
            [context.attempt.jobID, context.attempt.leaseID, reminder, reason])
    }

    /// Records how it ended. Tried for half a minute: what is not recorded shows as unknown.
    func end(_ state: String, _ reason: String?) throws {
        let limit = ContinuousClock.now + .seconds(30)
        while true {
            do {
                _ = try control.withConnection {
                    try $0.execute(
                        "SELECT reeve.end_reminder($1::bigint, $2::uuid, $3::text, $4::text)",
                        [reminder, context.attempt.leaseID, state, reason])
                }
                return
            } catch let error as PostgresError {
                guard error.isRetriable, ContinuousClock.now < limit else { throw error }
                context.log.warning("the end of a reminder cannot be recorded now", ["error": .string("\(error)")])
                usleep(250_000)
            }
        }
    }

    private func fenced(_ sql: String, _ parameters: [(any PostgresEncodable)?]) throws -> JSON {
        do {
            return try control.withConnection { try $0.execute(sql, parameters)[0].json(0) }
        } catch let error as PostgresError where error.sqlState == "RV014" {
            throw Stopped(reason: .leaseLost)
        }
    }
}
