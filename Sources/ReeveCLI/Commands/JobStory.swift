import JobKit
import Postgres

extension Command {
    static let showArguments = CommandOption.flag("arguments", "show its arguments, which operators may see")
}

/// Shows all that is known of one job.
struct JobStory {
    private let invocation: Invocation

    init(_ invocation: Invocation) { self.invocation = invocation }

    /// Prints it, after the access is recorded.
    func show() throws -> ExitCode {
        let id = try invocation.jobID("ID")
        let connection = try invocation.connect()
        let started = try invocation.accessStart(connection)
        guard let job = try read(id, connection) else {
            throw CommandError(.notFound, "there is no job \(id)", hint: "see: reeve jobs list")
        }
        let explained = try connection.execute("SELECT reeve.explain_job($1::bigint)", [id])[0].json(0)
        let sentence = try connection.execute("SELECT reeve.explain($1::bigint)", [id])[0].text(0)
        if started != nil {
            let tenant = try connection.execute(
                "SELECT id::text FROM reeve.tenant WHERE code = $1::text", [job["tenant"]?.string]
            ).first?.text(0)
            try invocation.recordAccess(
                to: tenant, "access.job", "job \(id)", since: started,
                detail: invocation.flag("arguments") ? ["arguments": true] : [:])
        }
        var document = job.object ?? [:]
        if !invocation.flag("arguments") { document["args"] = nil }
        if invocation.output.isJSON {
            document["explanation"] = .string(sentence)
            document["likely_at"] = explained["likely_at"]
            invocation.output.line(JSON.object(document).text)
            return .done
        }
        invocation.output.raw(invocation.output.paint(Command.explanation(explained), .bold))
        for name in ["artifacts", "attempts", "args"] { document[name] = nil }
        if var progress = job["progress"]?.object {
            // From where the estimate counts says nothing to people.
            progress["began"] = nil
            document["progress"] = .object(progress)
        }
        invocation.output.raw(Details(document).text)
        if invocation.flag("arguments") {
            invocation.output.line("\narguments  \(Log.printable(job["args"]?.text ?? "not shown to this login"))")
        }
        attempts(job["attempts"]?.array ?? [])
        files(job["artifacts"]?.array ?? [])
        return .done
    }

    /// The story where this login may read it, else what everybody may know of the job.
    private func read(_ id: Int64, _ connection: Connection) throws -> JSON? {
        let may = try connection.execute("SELECT has_function_privilege('reeve.job_story(bigint)', 'EXECUTE')")[0]
        return try connection.execute(
            "SELECT \(may.bool(0) ? "reeve.job_story" : "reeve.job")($1::bigint)", [id])[0].optionalJSON(0)
    }

    private func attempts(_ attempts: [JSON]) {
        if attempts.isEmpty { return }
        invocation.output.raw("\nFailed attempts:\n")
        for attempt in attempts {
            let took = attempt["started_at"]?.string.flatMap(Times.seconds).flatMap { from in
                attempt["ended_at"]?.string.flatMap(Times.seconds).map { Durations.humane(max($0 - from, 0)) }
            }
            let place = attempt["node"]?.string ?? attempt["worker_id"]?.string ?? "a worker that is gone"
            let end = Times.local(attempt["ended_at"]?.string ?? "")
            let outcome = (attempt["outcome"]?.string ?? "running") + (took.map { " after \($0)" } ?? "")
            invocation.output.line(
                "  \(attempt["attempt"]?.text ?? "?")  \(end)  \(outcome) on \(Log.printable(place)), "
                    + "lease \(attempt["lease_id"]?.string ?? "")")
            if let error = attempt["error"]?.string { invocation.output.line("     " + Log.printable(error)) }
            for line in (attempt["log"]?.string ?? "").split(separator: "\n") {
                invocation.output.line("     | " + Log.printable(String(line)))
            }
        }
    }

    private func files(_ files: [JSON]) {
        if files.isEmpty { return }
        let columns = [
            Column("ARTIFACT", "id"), Column("ENTITY", "entity"), Column("BYTES", "bytes", .bytes),
            Column("CREATED", "created_at", .time), Column("KEY", "key"),
        ]
        invocation.output.raw("\n" + Table(columns, files).text(color: invocation.output.usesColor))
    }
}
