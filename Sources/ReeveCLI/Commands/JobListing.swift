import Glibc
import JobKit
import Postgres

/// The jobs that a command line's filters name.
struct JobListing {
    static let columns = [
        Column("ID", "id", .number), Column("QUEUE", "queue"), Column("KIND", "kind"), Column("STATE", "state", .state),
        Column("HELD", "hold_reason"), Column("ATTEMPT", "attempt", .number), Column("CREATED", "created_at", .time),
        Column("AGE", "created_at", .age), Column("ERROR", "error"),
    ]

    private let invocation: Invocation
    private let connection: Connection

    init(_ invocation: Invocation) throws {
        self.invocation = invocation
        connection = try invocation.connect()
        if let tenant = invocation.string("tenant") {
            let isKnown = try connection.execute(
                "SELECT EXISTS (SELECT FROM reeve.tenant WHERE code = $1::text)", [tenant])[0].bool(0)
            if !isKnown { throw Command.unknownTenant(tenant) }
        }
        if let kind = invocation.string("kind") {
            let isKnown = try connection.execute(
                "SELECT EXISTS (SELECT FROM reeve.kind WHERE name = $1::text)", [kind])[0]
            if try !isKnown.bool(0) {
                throw PostgresError(sqlState: "RV004", message: "kind \"\(kind)\" is not registered", operation: "kind")
            }
        }
    }

    /// The newest jobs first.
    func fetch() throws -> [JSON] {
        let states = invocation.strings("state")
        return try connection.execute(
            """
            SELECT to_jsonb(j) FROM reeve.job_list j
            WHERE ($1::text IS NULL OR j.tenant_code = $1::text)
              AND ($2::text IS NULL OR j.queue LIKE replace(replace($2::text, '_', '\\_'), '*', '%'))
              AND ($3::text IS NULL OR j.kind = $3::text)
              AND ($4::text[] IS NULL OR j.state = ANY ($4::text[]))
            ORDER BY j.id DESC LIMIT $5::bigint
            """,
            [
                invocation.string("tenant"), invocation.string("queue"), invocation.string("kind"),
                states.isEmpty ? nil : states, invocation.int("limit") ?? 50,
            ]
        ).map { try $0.json(0) }
    }

    /// Follows the list until the timeout; without one, until the process is ended.
    func watch() throws -> ExitCode {
        let started = ContinuousClock.now
        var last: [JSON: JSON] = [:]
        while true {
            let asked = ContinuousClock.now
            let jobs = try fetch()
            // Watching must not become a load: at most a tenth of the time is spent asking.
            let pause = max(.seconds(1), (.now - asked) * 10)
            if invocation.output.isTerminal && !invocation.output.isJSON {
                let table = Table(JobListing.columns, jobs).text(color: invocation.output.usesColor)
                invocation.output.raw("\u{1B}[H\u{1B}[2J" + table)
            } else {
                report(jobs.reversed(), &last)
            }
            if let timeout = invocation.duration("timeout"), .now - started >= timeout { return .done }
            usleep(UInt32(clamping: Int64(pause / .microseconds(1))))
        }
    }

    private func report(_ jobs: [JSON], _ last: inout [JSON: JSON]) {
        for job in jobs {
            let id = job["id"] ?? .null
            let seen: JSON = .array([job["state"] ?? .null, job["attempt"] ?? .null, job["hold_reason"] ?? .null])
            guard last.updateValue(seen, forKey: id) != seen else { continue }
            invocation.output.result(
                job,
                [id.text, job["queue"]?.string ?? "", job["kind"]?.string ?? "", job["state"]?.string ?? ""]
                    .joined(separator: " "))
        }
    }
}
