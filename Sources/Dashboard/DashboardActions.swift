import JobKit
import Metrics
import Postgres

/// What the dashboard does: functions of schema `reeve`, one transaction each, in the user's name and with a reason that the audit keeps.
struct DashboardActions: Sendable {
    struct Action: Sendable {
        let role: DashboardRole
        let run: @Sendable (Connection, JSON) throws -> JSON
    }

    static let all: [String: Action] = [
        "pause": Action(role: .operator) { connection, body in
            try connection.execute(
                "SELECT reeve.pause($1::text, $2::text)", [try text(body, "pattern"), try text(body, "reason")])
            return [:]
        },
        "drain": Action(role: .operator) { connection, body in
            let id = try connection.execute(
                "SELECT reeve.drain($1::text, $2::text, $3::boolean, $4::text::interval)",
                [
                    try text(body, "pattern"), try text(body, "reason"), body["refuse"] == .bool(true),
                    body["expires"]?.string,
                ])[0].int(0)
            return ["drain": .int(id)]
        },
        "resume": Action(role: .operator) { connection, body in
            let pattern = try text(body, "pattern")
            try connection.execute("SELECT reeve.resume($1::text)", [pattern])
            try note(connection, "dashboard.resume", "queue \(pattern)", body)
            return [:]
        },
        "cancel": Action(role: .operator) { connection, body in
            let id = try job(body)
            try connection.execute("SELECT reeve.cancel($1::bigint)", [id])
            try note(connection, "dashboard.cancel", "job \(id)", body)
            return ["job": .int(id)]
        },
        "retry": Action(role: .operator) { connection, body in
            let id = try job(body)
            let new = try connection.execute("SELECT reeve.retry($1::bigint)", [id])[0].int(0)
            try note(connection, "dashboard.retry", "job \(id)", body)
            return ["job": .int(new)]
        },
        "redrive": Action(role: .operator) { connection, body in
            let new = try connection.execute(
                "SELECT reeve.redrive($1::bigint, $2::text)", [try job(body), try text(body, "reason")])[0].int(0)
            return ["job": .int(new)]
        },
        "redrive-many": Action(role: .operator) { connection, body in
            guard let filter = body["filter"], filter.object?.isEmpty == false else {
                throw BadRequest("'filter' is missing")
            }
            guard let rate = body["rate"]?.number, rate > 0 else { throw BadRequest("'rate' is missing") }
            return try connection.execute(
                "SELECT reeve.redrive_many($1::jsonb, $2::text, $3::float8, 1000)",
                [filter, try text(body, "reason"), rate])[0].json(0)
        },
        "isolate": Action(role: .admin) { connection, body in
            try connection.execute(
                "SELECT reeve.isolate_tenant($1::text, $2::text)", [try text(body, "tenant"), try text(body, "reason")])[
                    0
                ]
                .json(0)
        },
        "release": Action(role: .admin) { connection, body in
            try connection.execute(
                "SELECT reeve.release_isolation($1::text, $2::text)",
                [try text(body, "tenant"), try text(body, "reason")]
            )[0].json(0)
        },
        "pause-schedule": Action(role: .operator) { connection, body in
            try connection.execute(
                "SELECT reeve.pause_schedule($1::text, $2::text)", [try text(body, "name"), try text(body, "reason")])
            return [:]
        },
        "resume-schedule": Action(role: .operator) { connection, body in
            let name = try text(body, "name")
            try connection.execute("SELECT reeve.resume_schedule($1::text)", [name])
            try note(connection, "dashboard.resume", "schedule \(name)", body)
            return [:]
        },
    ]

    /// Keeps the reason where the function that acts takes none.
    private static func note(_ connection: Connection, _ action: String, _ object: String, _ body: JSON) throws {
        try connection.execute(
            "SELECT reeve.audit(NULL, $1::text, $2::text, $3::text)", [action, object, try text(body, "reason")])
    }

    private static func text(_ body: JSON, _ name: String) throws -> String {
        guard let text = body[name]?.string, !text.allSatisfy(\.isWhitespace), text.utf8.count <= 2000 else {
            throw BadRequest("'\(name)' is missing")
        }
        return text
    }

    private static func job(_ body: JSON) throws -> Int64 {
        guard let id = body["job"]?.int, id > 0 else { throw BadRequest("'job' is missing") }
        return id
    }
}

/// The request does not say what it must.
struct BadRequest: Error {
    let message: String
    init(_ message: String) { self.message = message }
}
