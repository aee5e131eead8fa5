import FoundationEssentials
public import JobKit
import Postgres

/// Drops the scratch databases of attempts that have ended on one database server: those that a killed worker left. Only what
/// this registry's attempts made is touched; several fleets may share a server.
struct ScratchSweep {
    let registry: TenantRegistry
    let server: String

    private struct Left {
        let name: String
        let tenant: TenantID
    }

    /// Runs on an administrator's connection; `willDrop` is told each name before. Returns the names of what it dropped.
    func run(on connection: Connection, willDrop: (String) -> Void = { _ in }) throws -> [String] {
        var dropped: [String] = []
        for left in try ended(connection) {
            willDrop(left.name)
            try connection.execute("DROP DATABASE IF EXISTS \(quoteIdentifier(left.name)) WITH (FORCE)")
            try registry.change {
                try registry.audit(
                    $0, left.tenant, "admin.drop_scratch", "\(server): database \(left.name)", "its attempt ended",
                    ["outcome": "done"])
            }
            dropped.append(left.name)
        }
        return dropped
    }

    private func ended(_ connection: Connection) throws -> [Left] {
        var marked: [String: String] = [:]
        var leases: [String: String] = [:]
        for row in try connection.execute(
            """
            SELECT d.datname, substring(shobj_description(d.oid, 'pg_database') FROM '^reeve scratch of tenant ([0-9a-f-]{36})$'),
              substring(d.datname FROM '^\(AdminSession.scratchPrefix)([0-9a-f]{32})_')::uuid
            FROM pg_database d WHERE d.datname ~ '^\(AdminSession.scratchPrefix)[0-9a-f]{32}_[0-9]+$'
              AND (shobj_description(d.oid, 'pg_database') IS NULL OR shobj_description(d.oid, 'pg_database') LIKE 'reeve scratch %')
            """)
        {
            let name = try row.text(0)
            marked[name] = try row.optionalText(1)
            leases[name] = try row.uuid(2).uuidString.lowercased()
        }
        if leases.isEmpty { return [] }
        let live = try registry.liveLeases(Array(leases.values))
        let names = leases.filter { !live.contains($0.value) }.keys.sorted()
        // Its maker died between making it and marking it: the audit of the intent says whose it is.
        let unmarked = names.filter { marked[$0] == nil }
        let owners = try registry.scratchOwners(server, marked: Set(marked.values), unmarked: unmarked)
        return try names.compactMap { name in
            guard let owner = marked[name] ?? owners.made[name], owners.tenants.contains(owner) else { return nil }
            return Left(name: name, tenant: try requireTenant(owner))
        }
    }

    private func requireTenant(_ text: String) throws -> TenantID {
        guard let id = TenantID(text) else { throw TenancyError(.invalid, "\(text) is no tenant's id") }
        return id
    }
}

extension TenantRegistry {
    /// Drops scratch databases whose attempt has ended on every server of a region, of any tenant in this registry; of all
    /// regions for nil. A server that cannot be reached is told of, and the others go on. Blocks.
    public func sweepScratches(region: String?, log: Log) throws -> Int {
        let servers = try directory.control.withConnection {
            try $0.execute(
                "SELECT name FROM reeve.tenant_server WHERE $1::text IS NULL OR region = $1::text ORDER BY name",
                [region]
            ).map { try $0.text(0) }
        }
        var count = 0
        for server in servers {
            do {
                let settings = try directory.serverSettings(server).with(["application_name": "reeve sweep"])
                let connection = try Connection(settings, timeout: .seconds(10))
                defer { connection.close() }
                let dropped = try ScratchSweep(registry: self, server: server).run(on: connection)
                if !dropped.isEmpty {
                    log.info(
                        "scratch databases of ended attempts dropped",
                        ["server": .string(server), "databases": .array(dropped.map(JSON.string))])
                }
                count += dropped.count
            } catch {
                log.warning(
                    "scratch databases could not be looked for",
                    ["server": .string(server), "error": .string("\(error)")])
            }
        }
        return count
    }

    /// Which of these leases some running job of this registry has.
    func liveLeases(_ leases: [String]) throws -> Set<String> {
        try directory.control.withConnection {
            Set(
                try $0.execute("SELECT to_json(reeve.live_leases($1::uuid[]))", [leases])[0].json(0).decode(
                    [String].self))
        }
    }

    /// Whose scratch databases these are: by tenant those that are marked, by name those that are not; both only as far as this
    /// registry knows the tenant.
    func scratchOwners(_ server: String, marked: Set<String>, unmarked: [String]) throws -> (
        tenants: Set<String>, made: [String: String]
    ) {
        try directory.control.withConnection { control in
            var made: [String: String] = [:]
            if !unmarked.isEmpty {
                for row in try control.execute(
                    "SELECT name, tenant_id::text FROM reeve.scratch_makers($1::text, $2::text[])", [server, unmarked])
                {
                    made[try row.text(0)] = try row.text(1)
                }
            }
            let ids = Array(marked.union(made.values)).sorted()
            let tenants = try control.execute(
                "SELECT to_json(ARRAY(SELECT t.id FROM reeve.tenant t WHERE t.id = ANY ($1::uuid[])))", [ids])[0]
            return (Set(try tenants.json(0).decode([String].self)), made)
        }
    }
}
