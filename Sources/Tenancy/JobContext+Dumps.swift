public import JobKit
import Postgres

extension JobContext {
    /// Takes up to `wanted` of the dumps that may run on a database server at once, counted over the whole fleet; an attempt
    /// that has fewer gets more. Returns how many it now has, 0 when none is free. They are its own until `returnDumps`, or
    /// until it has lost its job; then this throws `Stopped`.
    public func takeDumps(_ wanted: Int, on server: String) throws -> Int {
        let row = try control { connection in
            try connection.execute(
                "SELECT reeve.take_dumps($1::bigint, $2::uuid, $3::text, $4::int)",
                [attempt.jobID, attempt.leaseID, server, wanted])[0]
        }
        guard let count = try row.optionalInt(0) else { throw Stopped(reason: .leaseLost) }
        return Int(count)
    }

    /// Gives back all that this attempt took on a server.
    public func returnDumps(on server: String) throws {
        _ = try control { connection in
            try connection.execute(
                "SELECT reeve.return_dumps($1::bigint, $2::uuid, $3::text)", [attempt.jobID, attempt.leaseID, server])
        }
    }

    /// What the tenant's last backup of a database was like: `{bytes, plain_bytes, seconds}`; nil when there is none.
    public func lastBackup(of store: TenantStore) throws -> JSON? {
        try control { connection in
            try connection.execute(
                "SELECT reeve.last_backup($1::uuid, $2::text, $3::text)", [tenant.id, store.server, store.database])[0]
        }.optionalJSON(0)
    }

    private func control<T>(_ body: (Connection) throws -> T) throws -> T {
        try resources.get(TenantSessions.self).directory.control.withConnection(body)
    }
}
