import Glibc
import JobKit
import Postgres

extension Command {
    static let queueDrain = Command(
        "drain", "stop claiming from queues until they are resumed, and tell when nothing runs any more",
        details: """
            New jobs are accepted and wait, or are refused with --refuse. Nothing is deleted. The drain lasts through
            restarts until `reeve queue resume` or until it expires. Exit codes with --wait: 0 nothing runs any more, 5 the
            drain was ended by someone else, 6 the timeout is over (the drain goes on).
            """,
        arguments: [CommandArgument("PATTERN", "acme.reports, 'acme.*', '*.backups' or '*.*'")],
        options: [
            CommandOption("reason", "TEXT", "why, for those who find it standing"),
            .flag("refuse", "refuse new jobs instead of keeping them"),
            CommandOption("expires", "TIME", "end the drain by itself after this long", .duration),
            .flag("wait", "wait until nothing runs any more"),
            CommandOption("timeout", "TIME", "how long to wait (1h)", .duration),
        ],
        examples: [
            "reeve queue drain 'acme.*' --reason 'moving acme' --wait",
            "reeve queue drain '*.backups' --reason 'storage maintenance' --expires 2h --refuse",
        ]
    ) { invocation in
        let pattern = invocation.argument("PATTERN")
        let id = try invocation.change { connection in
            try refuseUnknownTenant(of: pattern, connection)
            return try connection.execute(
                "SELECT reeve.drain($1::text, $2::text, $3::boolean, $4::bigint * interval '1 s')",
                [
                    pattern, invocation.string("reason"), invocation.flag("refuse"),
                    invocation.duration("expires").map { $0.components.seconds },
                ])[0].int(0)
        }
        return try DrainWait(invocation, id, pattern).run()
    }

    /// Refuses a pattern whose tenant does not exist: it would block nothing, silently.
    static func refuseUnknownTenant(of pattern: String, _ connection: Connection) throws {
        let code = pattern.prefix { $0 != "." }
        let isKnown = try connection.execute(
            "SELECT $1::text = '*' OR EXISTS (SELECT FROM reeve.tenant WHERE code = $1::text)", [String(code)])[0]
        if try !isKnown.bool(0) && pattern.contains(".") { throw unknownTenant(String(code)) }
    }
}

/// Tells how far a drain is, once or until nothing runs any more.
private struct DrainWait {
    private let invocation: Invocation
    private let id: Int64
    private let pattern: String

    init(_ invocation: Invocation, _ id: Int64, _ pattern: String) {
        self.invocation = invocation
        self.id = id
        self.pattern = pattern
    }

    func run() throws -> ExitCode {
        let connection = try invocation.connect()
        let started = ContinuousClock.now
        let timeout = invocation.duration("timeout") ?? .seconds(3600)
        var progress = ProgressLine(invocation.output)
        var pause: UInt32 = 50_000
        while true {
            let status = try connection.execute("SELECT reeve.drain_status($1::bigint)", [id])[0].json(0)
            let running = status["running"]?.int ?? 0
            switch status["state"]?.string {
            case "drained":
                progress.clear()
                invocation.output.result(status, "\(pattern) is drained: nothing runs, \(waiting(status)); \(resume)")
                return .done
            case "ended":
                progress.clear()
                throw CommandError(.conflict, "the drain of \(pattern) was ended before everything had stopped")
            default: break
            }
            guard invocation.flag("wait") else {
                invocation.output.result(
                    status, "\(pattern) is draining: \(running) still running, \(waiting(status)); \(resume)")
                return .done
            }
            if .now - started >= timeout {
                progress.clear()
                throw CommandError(
                    .timedOut, "\(running) jobs of \(pattern) still run",
                    hint: "the drain goes on; see: reeve jobs list --queue '\(pattern)' --state running")
            }
            let oldest = status["oldest_started_at"]?.string.map { ", the oldest for \(Times.age($0))" } ?? ""
            progress.show("\(pattern): \(running) still running\(oldest)")
            usleep(pause)
            pause = min(pause * 2, 1_000_000)
        }
    }

    private var resume: String { "resume with: reeve queue resume '\(pattern)'" }

    private func waiting(_ status: JSON) -> String {
        let count = status["waiting"]?.int ?? 0
        return "\(count)\(status["waiting_is_exact"] == false ? " or more" : "") wait"
    }
}
