public import JobKit
import Postgres

/// The tenants' records in the control database. Every change is audited in its own transaction. Calls block.
public final class TenantRegistry: Sendable {
    let directory: TenantDirectory
    let actor: String?

    /// Works on the directory's control database; `actor` is who changes are audited as, the login when nil.
    public init(directory: TenantDirectory, actor: String? = nil) {
        self.directory = directory
        self.actor = actor
    }

    // MARK: Reading

    /// All tenants by code.
    public func list() throws -> [TenantRecord] { try records("true", []) }

    /// The tenant with this code or external code; throws `notFound`.
    public func show(_ code: String) throws -> TenantRecord {
        // A code wins over another tenant's external code.
        let found = try records("t.code = $1::text OR t.external_code = $1::text", [code])
        guard let record = found.first(where: { $0.code == code }) ?? found.first else {
            throw TenancyError(
                .notFound, "no tenant \(String(code.prefix(80)).debugDescription); see: reeve tenant list")
        }
        return record
    }

    private func records(_ condition: String, _ parameters: [(any PostgresEncodable)?]) throws -> [TenantRecord] {
        let rows = try directory.control.withConnection { connection in
            try connection.execute(
                """
                SELECT t.id, t.code, t.name, t.tier, t.status::text, t.isolation::text,
                       coalesce((SELECT bool_and(o.ready) FROM reeve.tenant_store o WHERE o.tenant_id = t.id), false),
                       to_jsonb(t) || jsonb_build_object(
                         'stores', coalesce((SELECT jsonb_agg(to_jsonb(o) - 'secret' - 'tenant_id' ORDER BY o.server, o.database)
                                             FROM reeve.tenant_store o WHERE o.tenant_id = t.id), '[]'),
                         'status_changes', (SELECT coalesce(jsonb_agg(jsonb_build_object('at', c.at, 'was', c.was,
                                               'became', c.became, 'actor', c.actor, 'reason', c.reason) ORDER BY c.id), '[]')
                                            FROM reeve.tenant_status_change c WHERE c.tenant_id = t.id),
                         'checkpoints', (SELECT coalesce(jsonb_agg(p.name ORDER BY p.at), '[]')
                                         FROM reeve.tenant_checkpoint p WHERE p.tenant_id = t.id))
                FROM reeve.tenant t WHERE \(condition) ORDER BY t.code
                """, parameters)
        }
        return try rows.map { row in
            guard let status = TenantStatus(rawValue: try row.text(4)),
                let isolation = Isolation(rawValue: try row.text(5))
            else {
                throw TenancyError(
                    .invalid, "the database is newer than this program: a status or isolation is unknown")
            }
            return TenantRecord(
                id: TenantID(rawValue: try row.uuid(0)), code: try row.text(1), name: try row.text(2),
                tier: try row.text(3),
                status: status, isolation: isolation, isReady: try row.bool(6), document: try row.json(7))
        }
    }

    // MARK: Changing

    /// Records a tenant as `trial`, which ends the tier's trial days from now (LIFE-1); makes no database objects.
    public func create(_ details: TenantDetails) throws -> TenantID {
        try change { try self.insert(details, $0) }
    }

    func insert(_ details: TenantDetails, _ connection: Connection) throws -> TenantID {
        try TenantCode.check(details.code)
        let rows: Rows
        do throws(PostgresError) {
            rows = try connection.execute(
                """
                INSERT INTO reeve.tenant (code, name, tier, isolation, region, timezone, trial_ends_at)
                SELECT $1::text, $2::text, r.name, $4::reeve.isolation, $5::text, $6::text,
                       reeve.clock() + make_interval(days => r.trial_days)
                FROM reeve.tier r WHERE r.name = $3::text RETURNING id
                """,
                [
                    details.code, details.name, details.tier, details.isolation.rawValue, details.region,
                    details.timezone,
                ])
        } catch {
            guard error.sqlState == "23505" else { throw error }
            throw TenancyError(.conflict, "a tenant \(details.code) already exists")
        }
        guard let row = rows.first else {
            throw TenancyError(.notFound, "tier \(details.tier.debugDescription) is unknown")
        }
        let id = TenantID(rawValue: try row.uuid(0))
        if !details.changes.names.isEmpty { try apply(details.changes, to: id, connection) }
        try audit(
            connection, id, "tenant.create", "tenant \(details.code)", nil,
            [
                "tier": .string(details.tier), "isolation": .string(details.isolation.rawValue),
                "region": .string(details.region),
            ])
        return id
    }

    /// Changes the parts that are named.
    public func update(_ code: String, _ changes: TenantChanges) throws {
        let record = try show(code)
        try change { connection in
            try self.apply(changes, to: record.id, connection)
            try self.audit(
                connection, record.id, "tenant.update", "tenant \(record.code)", nil,
                [
                    "changed": .array(changes.names.map(JSON.string))
                ])
        }
    }

    private func apply(_ changes: TenantChanges, to id: TenantID, _ connection: Connection) throws {
        var parent: TenantID?
        if let code = changes.parent {
            let rows = try connection.execute("SELECT id FROM reeve.tenant WHERE code = $1::text", [code])
            guard let row = rows.first else {
                throw TenancyError(.notFound, "no tenant \(code.debugDescription) to be the parent")
            }
            parent = TenantID(rawValue: try row.uuid(0))
        }
        try connection.execute(
            """
            UPDATE reeve.tenant SET name = coalesce($2::text, name), external_code = coalesce($3::text, external_code),
              timezone = coalesce($4::text, timezone), locale = coalesce($5::text, locale), currency = coalesce($6::text, currency),
              fiscal_year_start = coalesce($7::smallint, fiscal_year_start), first_weekday = coalesce($8::smallint, first_weekday),
              parent_id = coalesce($9::uuid, parent_id), contacts = coalesce($10::jsonb, contacts),
              flags = coalesce($11::jsonb, flags), overrides = coalesce($12::jsonb, overrides)
            WHERE id = $1::uuid
            """,
            [
                id, changes.name, changes.externalCode, changes.timezone, changes.locale, changes.currency,
                changes.fiscalYearStart, changes.firstWeekday, parent, changes.contacts, changes.flags,
                changes.overrides,
            ])
    }

    /// Stops the tenant's access for now; its jobs are held.
    public func suspend(_ code: String, reason: String? = nil) throws { try setStatus(code, .suspended, reason) }

    /// Makes the tenant active: converted from its trial, or back.
    public func activate(_ code: String, reason: String? = nil) throws { try setStatus(code, .active, reason) }

    /// Ends the tenant; its data is kept for the grace period (LIFE-2).
    public func churn(_ code: String, reason: String? = nil) throws { try setStatus(code, .churned, reason) }

    private func setStatus(_ code: String, _ status: TenantStatus, _ reason: String?) throws {
        let record = try show(code)
        _ = try change {
            try $0.execute(
                "SELECT reeve.set_tenant_status($1::text, $2::reeve.tenant_status, $3::text)",
                [record.code, status.rawValue, reason])
        }
    }

    /// Moves the tenant to another tier, its waiting jobs with it; returns how many moved now.
    @discardableResult
    public func setTier(_ code: String, _ tier: String, reason: String? = nil) throws -> Int {
        let record = try show(code)
        return try change {
            Int(
                try $0.execute(
                    "SELECT reeve.set_tenant_tier($1::text, $2::text, $3::text)", [record.code, tier, reason])[0].int(0)
            )
        }
    }

    // MARK: Servers

    /// Registers a database server, or changes it. `conninfo` names the administrator's login and no password; that is
    /// sealed. Without one libpq finds it where the conninfo says (`passfile=`).
    public func addServer(
        _ name: String, conninfo: String, region: String, sharedDatabase: String, dumpLimit: Int = 2,
        scratchLimit: Int64? = nil, adminPassword: String? = nil
    ) throws {
        let settings = try ConnectionSettings(conninfo)
        guard settings["password"] == nil, settings["sslpassword"] == nil else {
            throw TenancyError(
                .refused, "the connection string of a server must not hold a password; give it apart, it is sealed")
        }
        guard settings["service"] == nil else {
            throw TenancyError(
                .invalid, "write host and port of a server out: child programs get a service file of their own")
        }
        let secret = try adminPassword.map {
            PostgresValue.bytes(try directory.seal($0, tenant: nil, purpose: SealedPurpose.admin(name)))
        }
        try change { connection in
            try connection.execute(
                """
                INSERT INTO reeve.tenant_server (name, conninfo, region, shared_database, dump_limit, admin_secret, scratch_limit)
                VALUES ($1::text, $2::text, $3::text, $4::text, $5::int, $6::bytea, $7::bigint)
                ON CONFLICT (name) DO UPDATE SET conninfo = excluded.conninfo, region = excluded.region,
                  shared_database = excluded.shared_database, dump_limit = excluded.dump_limit,
                  scratch_limit = excluded.scratch_limit, admin_secret = coalesce(excluded.admin_secret, tenant_server.admin_secret)
                """, [name, conninfo, region, sharedDatabase, dumpLimit, secret, scratchLimit])
            try self.audit(connection, nil, "server.add", "server \(name)", nil, ["region": .string(region)])
        }
    }

    // MARK: Support

    /// Runs `body` in a transaction of the control database that is audited as the actor's.
    func change<T>(_ body: (Connection) throws -> T) throws -> T {
        try directory.control.withConnection { connection in
            try connection.transaction {
                if let actor { try connection.execute("SELECT set_config('reeve.actor', $1::text, true)", [actor]) }
                return try body(connection)
            }
        }
    }

    func audit(
        _ connection: Connection, _ tenant: TenantID?, _ action: String, _ object: String, _ reason: String?,
        _ detail: JSON
    ) throws {
        try connection.execute(
            "SELECT reeve.audit($1::uuid, $2::text, $3::text, $4::text, $5::jsonb)",
            [tenant, action, object, reason, detail])
    }
}
