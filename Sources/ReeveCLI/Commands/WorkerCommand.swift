import JobKit
import Postgres

extension Command {
    static let worker = Command(
        "worker", "see the workers", examples: ["reeve worker list"],
        subcommands: [
            Command(
                "list", "list the workers", options: [.flag("all", "those that ended, too")], examples: ["reeve worker list"]
            ) { invocation in
                let workers = try invocation.objects(
                    """
                    SELECT to_jsonb(w) FROM reeve.worker_list w
                    WHERE $1::bool OR w.state IN ('alive', 'stopping') ORDER BY w.started_at
                    """, [invocation.flag("all")])
                let columns = [
                    Column("WORKER", "id"), Column("NODE", "node"), Column("PID", "pid", .number),
                    Column("STATE", "state", .state), Column("RUNNING", "running", .number), Column("POOLS", "pools"),
                    Column("QUEUES", "queues"), Column("REGION", "region"), Column("UP", "started_at", .age),
                    Column("LEASE UNTIL", "lease_until", .time), Column("VERSION", "version"),
                ]
                invocation.output.list(workers, columns, empty: "no worker is running; start one with: reeve worker")
                return .done
            }
        ])
}
