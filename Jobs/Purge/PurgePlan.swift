import FoundationEssentials
public import JobKit
public import Postgres
public import Storage
public import Tenancy

/// What a purge of a tenant would delete, counted now, and what would block it. Changes nothing. Blocks.
public struct PurgePlan: Sendable {
    private let registry: TenantRegistry
    private let control: Pool
    private let stores: any StoreCatalog
    private let hooks: [any PurgeHook]

    /// Looks with what a purge works with.
    public init(registry: TenantRegistry, control: Pool, stores: any StoreCatalog, hooks: [any PurgeHook]) {
        self.registry = registry
        self.control = control
        self.stores = stores
        self.hooks = hooks
    }

    /// `databases`, `objects`, `records`, `hooks` with counts; `blockers` in words; and `irreversible_from`, the first step that cannot be
    /// taken back.
    public func make(_ code: String) throws -> JSON {
        let tenant = try tenant(registry.show(code))
        var blockers: [String] = []
        var databases: [JSON] = []
        try registry.eachStore(of: tenant.id, code: tenant.code) { session in
            let found = try session.blockers()
            blockers += found
            var members: [String: JSON] = [
                "server": .string(session.store.server), "database": .string(session.store.database),
                "schemas": .array(session.store.schemas.map(JSON.string)),
            ]
            if found.isEmpty {
                let rows = try session.counts()
                members["tables"] = .int(Int64(rows.count))
                members["rows"] = .int(rows.values.reduce(0, +))
                members["rows_by_table"] = .object(rows.mapValues { .int($0) })
            }
            databases.append(.object(members))
        }
        var objects: [String: JSON] = [:]
        let expected = try expectedObjects(of: tenant)
        for name in try destinations(of: tenant) {
            do {
                let contents = try stores.store(named: name, for: tenant)
                    .shown(of: tenant.id, isNew: expected[name] == nil)
                objects[name] = [
                    "objects": .int(Int64(contents.objects)), "bytes": .int(contents.bytes),
                    "unfinished": .int(Int64(contents.unfinished)),
                ]
                if let artifacts = expected[name], contents.objects == 0 {
                    blockers.append(
                        "destination \(name) shows no object, and should hold those of \(artifacts) artifacts")
                }
            } catch { blockers.append("destination \(name) cannot be looked at: \(error)") }
        }
        var hooked: [String: JSON] = [:]
        for hook in hooks where hook.occasions.contains(.purge) {
            do { hooked[hook.name] = .int(try hook.count(tenant, TransferLimits())) } catch {
                blockers.append("hook \(hook.name) cannot be looked at: \(error)")
            }
        }
        let state = try state(of: tenant)
        return [
            "tenant": .string(tenant.code), "isolation": .string(tenant.isolation.rawValue),
            "databases": .array(databases), "objects": .object(objects), "hooks": .object(hooked),
            "records": state["records"] ?? [:], "keys": state["keys"] ?? 0, "running": state["running"] ?? 0,
            "blockers": .array((blockers + state.words).map(JSON.string)),
            "irreversible_from": .string(PurgeStep.logins.rawValue),
        ]
    }

    private struct State {
        let json: JSON
        let words: [String]
        subscript(name: String) -> JSON? { json[name] }
    }

    private func state(of tenant: Tenant) throws -> State {
        let json = try control.withConnection {
            try $0.execute(
                """
                SELECT jsonb_build_object('records', reeve.tenant_records($1::uuid), 'held', reeve.tenant_is_held($1::uuid), 'status', t.status,
                  'keys', (SELECT count(*) FROM reeve.key_list k WHERE k.tenant_code = t.code AND k.state <> 'destroyed'),
                  'running', (SELECT count(*) FROM reeve.job_list j WHERE j.tenant_code = t.code AND j.state = 'running'),
                  'allowed_at', t.status_changed_at + (SELECT p.grace FROM reeve.purge_policy p),
                  'allowed', t.status = 'churned' AND t.status_changed_at + (SELECT p.grace FROM reeve.purge_policy p) <= reeve.clock())
                FROM reeve.tenant t WHERE t.id = $1::uuid
                """, [tenant.id])[0].json(0)
        }
        var words: [String] = []
        if json["held"] == .bool(true) { words.append("the tenant is under a legal hold") }
        if json["status"]?.string != "churned" {
            words.append(
                "the tenant is \(json["status"]?.string ?? "unknown"): only its owner's explicit request churns and purges it"
            )
        } else if json["allowed"] != .bool(true) {
            words.append(
                "the grace period after churn ends at \(json["allowed_at"]?.string ?? "?"): before, only its owner's explicit request"
            )
        }
        return State(json: json, words: words)
    }

    private func tenant(_ record: TenantRecord) throws -> Tenant {
        let row = try control.withConnection {
            try $0.execute("SELECT to_jsonb(f) FROM reeve.tenant_facts(ARRAY[$1::uuid]) f", [record.id])[0].json(0)
        }
        return Tenant(
            id: record.id, code: record.code, tier: record.tier, status: record.status, isolation: record.isolation,
            region: row["region"]?.string ?? "", timezone: row["timezone"]?.string ?? "UTC", features: [],
            version: row["version"]?.int ?? 0)
    }

    /// How many artifacts each destination has to show an object of.
    private func expectedObjects(of tenant: Tenant) throws -> [String: Int64] {
        try control.withConnection { connection in
            Dictionary(
                uniqueKeysWithValues: try connection.execute(
                    "SELECT destination, artifacts FROM reeve.objects_of($1::uuid)", [tenant.id]
                ).map { (try $0.text(0), try $0.int(1)) })
        }
    }

    private func destinations(of tenant: Tenant) throws -> [String] {
        let placement = try stores.placement(of: tenant)
        let named = try control.withConnection {
            try $0.execute(
                """
                SELECT DISTINCT d FROM (
                  SELECT coalesce(a.manifest ->> 'destination', 'default') AS d FROM reeve.artifact a WHERE a.tenant_id = $1::uuid
                  UNION ALL SELECT jsonb_array_elements_text(CASE jsonb_typeof(a.manifest -> 'copies') WHEN 'array' THEN a.manifest -> 'copies' ELSE '[]' END)
                  FROM reeve.artifact a WHERE a.tenant_id = $1::uuid
                  UNION ALL SELECT n.name FROM reeve.destinations_in($2::text) n) x
                """, [tenant.id, tenant.region]
            ).map { try $0.text(0) }
        }
        return Set(named + ([placement.primary] + placement.copies).map(\.name)).sorted()
    }
}
