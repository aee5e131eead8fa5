import JobKit
import Postgres

extension Command {
    static let worker = Command(
        "worker", "run jobs until SIGTERM, or see the workers",
        details: """
            Without options it serves every tier in the table, new ones without a restart. The first SIGTERM lets running jobs
            finish within the grace period and returns the rest to their queues, the second ends the grace period.
            """,
        options: WorkerRun.options,
        examples: [
            "reeve worker", "reeve worker --pools starter=4,professional=8", "reeve worker --queues '*.backups'",
            "reeve worker list",
        ],
        subcommands: [
            Command(
                "list", "list the workers", options: [.flag("all", "those that ended, too")],
                examples: ["reeve worker list"]
            ) { invocation in
                let workers = try invocation.objects(
                    """
                    SELECT to_jsonb(w) FROM reeve.worker_list w
                    WHERE $1::bool OR w.state IN ('alive', 'stopping') ORDER BY w.started_at
                    """, [invocation.flag("all")])
                let columns = [
                    Column("WORKER", "id"), Column("NODE", "node"), Column("PID", "pid", .number),
                    Column("STATE", "state", .state), Column("QUIET", "quiet"), Column("RUNNING", "running", .number),
                    Column("POOLS", "pools"),
                    Column("QUEUES", "queues"), Column("REGION", "region"), Column("UP", "started_at", .age),
                    Column("LEASE UNTIL", "lease_until", .time), Column("VERSION", "version"),
                ]
                invocation.output.list(workers, columns, empty: "no worker is running; start one with: reeve worker")
                return .done
            },
            workerQuiet,
            workerResume,
        ], run: { try WorkerRun.run($0) })
}
