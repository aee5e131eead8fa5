import JobKit
import Postgres

extension Command {
    static let drainOptions = [
        CommandOption("reason", "TEXT", "why, for those who find it standing"),
        CommandOption("expires", "TIME", "end the drain by itself after this long", .duration),
        .flag("wait", "wait until nothing runs any more"),
        CommandOption("timeout", "TIME", "how long to wait (1h)", .duration),
    ]

    static let queueDrain = Command(
        "drain", "stop claiming from queues until they are resumed, and tell when nothing runs any more",
        details: """
            \(targets)
            New jobs are accepted and wait, or are refused with --refuse. Nothing is deleted. The drain lasts through
            restarts until `reeve queue resume` or until it expires. When it will be done is estimated from what the running
            jobs report and from how long such jobs took before; "unknown" when of one of them nothing is known. Exit codes
            with --wait: 0 nothing runs any more, 5 the drain was ended by someone else, 6 the timeout is over (the drain
            goes on).
            """,
        arguments: [queueTarget],
        options: drainOptions + [.flag("refuse", "refuse new jobs instead of keeping them")],
        examples: [
            "reeve queue drain 'acme.*' --reason 'moving acme' --wait",
            "reeve queue drain '*.backups' --reason 'storage maintenance' --expires 2h --refuse",
            "reeve queue drain node:web-1 --reason 'kernel update' --wait --timeout 30m",
        ]
    ) { invocation in
        let target = invocation.argument("TARGET")
        return try startDrain(invocation, target, resume: "reeve queue resume '\(target)'")
    }

    /// Starts a drain and says how far it is; with --wait once nothing runs any more.
    static func startDrain(_ invocation: Invocation, _ target: String, resume: String) throws -> ExitCode {
        let id = try invocation.change { connection in
            try refuseUnknownTenant(of: target, connection)
            return try connection.execute(
                "SELECT reeve.drain($1::text, $2::text, $3::boolean, $4::bigint * interval '1 s')",
                [
                    target, invocation.string("reason"), invocation.flag("refuse"),
                    invocation.duration("expires").map { $0.components.seconds },
                ])[0].int(0)
        }
        return try DrainWait(invocation, id, target, resume: resume).run()
    }
}
