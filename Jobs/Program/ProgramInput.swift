import FoundationEssentials
import JobKit

/// What a program is told: one JSON document on standard input, and facts without secrets in its environment.
struct ProgramInput {
    let kind: ProgramKind
    /// The arguments as JSON text, as the database holds them.
    let args: String
    let context: JobContext
    let connections: ProgramConnections
    let folder: String

    /// Not for programs: the worker's own settings, other logins, and what changes how programs are loaded. The
    /// database refuses these names, too.
    static func isKept(_ name: String) -> Bool {
        ["REEVE_", "PG", "LD_"].contains { name.hasPrefix($0) } || ["PATH", "HOME", "TMPDIR", "LANG"].contains(name)
    }

    /// One line of JSON.
    var document: String {
        let (attempt, tenant) = (context.attempt, context.tenant)
        let text = JSON.object([
            "version": 1, "id": .int(attempt.jobID), "kind": .string(attempt.kind.rawValue),
            "queue": .string(attempt.queue),
            "attempt": .int(Int64(attempt.number)), "lease": .string(lease), "deadline": .string(deadline),
            "traceparent": attempt.traceparent.map(JSON.string) ?? .null,
            "tenant": [
                "id": .string(tenant.id.description), "code": .string(tenant.code), "tier": .string(tenant.tier),
                "status": .string(tenant.status.rawValue), "isolation": .string(tenant.isolation.rawValue),
                "region": .string(tenant.region), "timezone": .string(tenant.timezone),
                "schemas": .array(connections.stores.flatMap(\.schemas).map(JSON.string)),
            ],
            "stores": .array(
                connections.stores.map { store in
                    [
                        "service": .string(store.service), "database": .string(store.database),
                        "schemas": .array(store.schemas.map(JSON.string)),
                    ]
                }),
        ]).text
        // The arguments go in as they are: a number that no Swift type holds must arrive as it was enqueued.
        return "{\"args\":\(args)," + text.dropFirst() + "\n"
    }

    /// All that the program's environment holds; `own` is the worker's environment.
    func environment(own: [String: String]) -> [String: String] {
        var out: [String: String] = [:]
        for name in kind.environment where !Self.isKept(name) { out[name] = own[name] }
        let attempt = context.attempt
        out.merge([
            "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent", "TMPDIR": folder,
            "REEVE_JOB_ID": String(attempt.jobID), "REEVE_KIND": attempt.kind.rawValue, "REEVE_QUEUE": attempt.queue,
            "REEVE_ATTEMPT": String(attempt.number), "REEVE_LEASE": lease, "REEVE_DEADLINE": deadline,
            "REEVE_TENANT": attempt.tenant.code, "REEVE_TENANT_ID": attempt.tenant.id.description,
        ]) { $1 }
        return out.merging(connections.environment) { $1 }
    }

    private var lease: String { context.attempt.leaseID.uuidString.lowercased() }

    private var deadline: String {
        let left = (context.deadline - .now) / .milliseconds(1)
        return (Date.now + left / 1000).formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    }
}
