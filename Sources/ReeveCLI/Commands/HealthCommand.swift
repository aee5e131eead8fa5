import HTTP
import JobKit

extension Command {
    static let health = Command(
        "health", "whether a process of this machine is well, for exec probes",
        details: """
            Asks what listens at --listen for /readyz (or /healthz with --live) and ends with 0 when it says yes, 1 when it says no, 69 when
            nobody answers. Without an address it asks the control database whether a worker of this machine has a current lease.
            """,
        options: [
            .setting(.listen), .flag("live", "only whether the process answers"),
            CommandOption("timeout", "TIME", "how long to wait (3s)", .duration),
        ],
        examples: [
            "reeve health --listen 127.0.0.1:9464", "reeve health --listen 127.0.0.1:9464 --live", "reeve health",
        ]
    ) { invocation in
        let limit = invocation.duration("timeout") ?? .seconds(3)
        guard let address = try invocation.configuration.listenAddress(.listen) else {
            let isWell =
                try invocation.objects(
                    """
                    SELECT to_jsonb(EXISTS (SELECT FROM reeve.worker_list w WHERE w.node = $1::text AND w.state = 'alive'
                      AND w.lease_until > reeve.clock()))
                    """, [invocation.actor.split(separator: "@").last.map(String.init)])[0] == .bool(true)
            return say(
                invocation, isWell,
                isWell
                    ? "a worker of this machine has a current lease" : "no worker of this machine has a current lease")
        }
        guard let answer = HTTPProbe.get(address, invocation.flag("live") ? "/healthz" : "/readyz", within: limit)
        else {
            throw CommandError(
                .unavailable, "nobody answers at \(address)", hint: "is it running with --listen \(address)?")
        }
        return say(invocation, answer.status == 200, String(answer.body.prefix(200).prefix { !$0.isNewline }))
    }

    private static func say(_ invocation: Invocation, _ isWell: Bool, _ text: String) -> ExitCode {
        invocation.output.result(["well": .bool(isWell), "finding": .string(text)], text)
        return isWell ? .done : .failed
    }
}
