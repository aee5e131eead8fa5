import Crypto
public import JobKit
import Postgres

/// Makes a tenant's record, login and schema or database in steps that are recorded, so that after a kill anywhere the
/// same call finishes the work; and takes it all away again. Blocks; only one call works on a tenant at a time.
public struct TenantProvisioner: Sendable {
    let registry: TenantRegistry
    var directory: TenantDirectory { registry.directory }
    /// Called after a step's effect and before its checkpoint; a test throws here, where a kill is worst.
    var beforeCheckpoint: (@Sendable (ProvisioningStep) throws -> Void)?

    /// Works on the registry's control database and servers; the registry's directory needs a sealer.
    public init(registry: TenantRegistry) { self.registry = registry }

    // MARK: Create

    /// Makes the tenant, or goes on where an earlier call stopped. Throws `conflict` when it is complete already.
    @discardableResult
    public func create(_ request: TenantRequest, progress: (ProvisioningStep) -> Void = { _ in }) throws -> TenantID {
        let code = request.details.code
        try TenantCode.check(code)
        if code.hasSuffix("-owner") {
            throw TenancyError(
                .invalid, "a code that ends in -owner would name the role that owns another tenant's objects")
        }
        return try alone(code) {
            let tenant = try register(request)
            progress(.registered)
            guard let store = try directory.stores(of: tenant.id, includingUnready: true).first else {
                throw TenancyError(.conflict, "the store of tenant \(code) was removed meanwhile")
            }
            let session = try AdminSession(registry, tenant: tenant, store: store)
            defer { session.close() }
            let finished = try checkpoints(tenant.id)
            for step in ProvisioningStep.allCases where step != .registered && !finished.contains(step.rawValue) {
                try perform(step, request, session)
                try beforeCheckpoint?(step)
                try record(step, tenant, store)
                progress(step)
            }
            return tenant.id
        }
    }

    private func perform(_ step: ProvisioningStep, _ request: TenantRequest, _ session: AdminSession) throws {
        switch step {
        case .registered: break
        case .roles:
            try session.makeRoles(
                password: directory.password(of: session.store, tenant: session.tenantID),
                connectionLimit: connectionLimit(session.tenantID))
        case .database: try session.makeDatabase()
        case .reference: try session.applyReference(request.template)
        case .template: try session.applyTemplate(request.template, domains: request.domains)
        case .grants: try session.grant()
        case .policies: try session.makePolicies()
        case .fence: try session.makeFence()
        case .login: try session.configureLogin()
        case .ready: try proveLogin(session)
        }
    }

    /// Logs in as the tenant, so that one is never called ready that cannot work.
    func proveLogin(_ session: AdminSession, _ more: (Connection) throws -> Void = { _ in }) throws {
        let password = try directory.password(of: session.store, tenant: session.tenantID)
        let settings = session.store.settings(applicationName: "reeve provisioning").with(["password": password])
        let connection = try Connection(settings)
        defer { connection.close() }
        let wrong = try SessionProof.differences(connection, session.store)
        if !wrong.isEmpty {
            throw TenancyError(
                .conflict, "login \(session.store.login) is not as it was made: \(wrong.joined(separator: ", "))")
        }
        try more(connection)
    }

    /// The tenant's record and its store, made here or by an earlier call that did not finish.
    private func register(_ request: TenantRequest) throws -> TenantRecord {
        let details = request.details
        let server = try server(request.server)
        guard server.region == details.region else {
            throw TenancyError(
                .refused,
                "server \(request.server) is in region \(server.region), the tenant's data must stay in \(details.region)"
            )
        }
        return try registry.change { connection in
            let rows = try connection.execute(
                """
                SELECT t.id, t.isolation::text, o.server, coalesce(o.ready, false), t.status::text, coalesce(o.adopted, false)
                FROM reeve.tenant t
                LEFT JOIN reeve.tenant_store o ON o.tenant_id = t.id WHERE t.code = $1::text
                """, [details.code])
            let id: TenantID
            if let row = rows.first {
                id = TenantID(rawValue: try row.uuid(0))
                if try row.bool(3) {
                    throw TenancyError(.conflict, "tenant \(details.code) already exists and is ready")
                }
                if try row.bool(5) {
                    throw TenancyError(
                        .conflict, "tenant \(details.code) was begun by adopt; finish it with that, or undo it first")
                }
                if ["churned", "archived"].contains(try row.text(4)) {
                    throw TenancyError(
                        .refused, "tenant \(details.code) is \(try row.text(4)); its code is not used again")
                }
                guard try row.text(1) == details.isolation.rawValue,
                    try row.optionalText(2) ?? request.server == request.server
                else {
                    throw TenancyError(
                        .conflict,
                        "tenant \(details.code) was begun with another isolation or server; undo it first, or repeat those"
                    )
                }
                if try !row.isNull(2) { return try record(of: details, id) }
            } else {
                id = try registry.insert(details, connection)
            }
            try insertStore(request, id, server, connection)
            return try record(of: details, id)
        }
    }

    func record(of details: TenantDetails, _ id: TenantID) throws -> TenantRecord {
        TenantRecord(
            id: id, code: details.code, name: details.name, tier: details.tier, status: .trial,
            isolation: details.isolation,
            isReady: false, document: [:])
    }

    private func insertStore(
        _ request: TenantRequest, _ id: TenantID, _ server: (region: String, sharedDatabase: String),
        _ connection: Connection
    ) throws {
        let details = request.details
        let login = TenantNames.login(details.code)
        let schemas =
            details.isolation == .shared
            ? [TenantNames.sharedSchema]
            : try request.pattern.names(code: details.code, id: id, domains: request.domains)
        for name in schemas where request.template.referenceSchemas.contains(name) {
            throw TenancyError(.invalid, "schema \(name) is the template's reference schema")
        }
        let secret = try directory.seal(generatePassword(), tenant: id, purpose: SealedPurpose.login)
        try connection.execute(
            """
            INSERT INTO reeve.tenant_store (tenant_id, server, database, schemas, reference_schemas, login, secret)
            VALUES ($1::uuid, $2::text, $3::text, $4::text[], $5::text[], $6::text, $7::bytea)
            """,
            [
                id, request.server, details.isolation == .database ? login : server.sharedDatabase, schemas,
                request.template.reference == nil ? [String]() : request.template.referenceSchemas, login,
                PostgresValue.bytes(secret),
            ])
        try connection.execute(
            "INSERT INTO reeve.tenant_checkpoint (tenant_id, name) VALUES ($1::uuid, $2::text)",
            [id, ProvisioningStep.registered.rawValue])
    }

    func server(_ name: String) throws -> (region: String, sharedDatabase: String) {
        let rows = try directory.control.withConnection {
            try $0.execute("SELECT region, shared_database FROM reeve.tenant_server WHERE name = $1::text", [name])
        }
        guard let row = rows.first else { throw TenancyError(.notFound, "no database server \(name) is registered") }
        return (try row.text(0), try row.text(1))
    }

    /// Room for a session and a child program of every job that may run at once, and for people.
    func connectionLimit(_ tenant: TenantID) throws -> Int {
        let cap = try directory.control.withConnection {
            try $0.execute(
                """
                SELECT coalesce((t.overrides ->> 'concurrency')::int, r.concurrency)
                FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = $1::uuid
                """, [tenant])[0].int(0)
        }
        return max(20, 2 * Int(cap) + 5)
    }

    func checkpoints(_ tenant: TenantID) throws -> Set<String> {
        let rows = try directory.control.withConnection {
            try $0.execute("SELECT name FROM reeve.tenant_checkpoint WHERE tenant_id = $1::uuid", [tenant])
        }
        return Set(try rows.map { try $0.text(0) })
    }

    func record(_ step: ProvisioningStep, _ tenant: TenantRecord, _ store: TenantStore) throws {
        try registry.change { connection in
            try connection.execute(
                """
                INSERT INTO reeve.tenant_checkpoint (tenant_id, name) VALUES ($1::uuid, $2::text) ON CONFLICT DO NOTHING
                """, [tenant.id, step.rawValue])
            guard step == .ready else { return }
            try connection.execute(
                "UPDATE reeve.tenant_store SET ready = true WHERE tenant_id = $1::uuid AND server = $2::text AND database = $3::text",
                [tenant.id, store.server, store.database])
            try registry.audit(connection, tenant.id, "tenant.ready", "tenant \(tenant.code)", nil, [:])
        }
    }

    // MARK: Repair

    /// Makes what a store of an earlier program lacks: the fence, and the login's use of it. Changes nothing that is there.
    public func repair(_ code: String) throws {
        let tenant = try registry.show(code)
        try alone(tenant.code) {
            for store in try directory.stores(of: tenant.id) {
                let session = try AdminSession(registry, tenant: tenant, store: store)
                defer { session.close() }
                try session.makeFence()
            }
        }
    }

    // MARK: Undo

    /// Removes what `create` or `adopt` made: objects marked with this tenant's uuid, and the registry's rows. Refused once the
    /// tenant is ready, unless `force` says so; never for a tenant that left its trial or that has jobs: that is a
    /// purge's work. Of an adopted tenant the login, grants, policies and marks go, and the platform's
    /// schemas and rows stay. Killed anywhere, the same call finishes. Audit entries stay.
    public func undo(_ code: String, force: Bool = false) throws {
        try alone(code) {
            let tenant = try registry.show(code)
            guard tenant.code == code else { throw TenancyError(.notFound, "no tenant \(code)") }
            let stores = try directory.stores(of: tenant.id, includingUnready: true)
            // What a platform made stays, whatever the tenant's status.
            guard tenant.status == .trial || !stores.isEmpty && stores.allSatisfy(\.isAdopted) else {
                throw TenancyError(
                    .refused, "tenant \(code) is \(tenant.status.rawValue), no longer in trial: churn and purge it")
            }
            let isHeld = try directory.control.withConnection {
                try $0.execute("SELECT reeve.tenant_is_held($1::uuid)", [tenant.id])[0].bool(0)
            }
            if isHeld {
                throw TenancyError(
                    .refused, "tenant \(code) is held; release it first: reeve tenant release \(code) --reason …")
            }
            if tenant.isReady && !force {
                throw TenancyError(
                    .refused, "tenant \(code) is ready and may hold data; undo it all the same with --force")
            }
            let hasJobs = try directory.control.withConnection {
                try $0.execute("SELECT EXISTS (SELECT FROM reeve.job_list WHERE tenant_code = $1::text)", [code])[0]
                    .bool(0)
            }
            if hasJobs { throw TenancyError(.refused, "tenant \(code) has jobs: churn and purge it") }
            for store in stores {
                // From here on no worker takes a session, and a create after a kill does every step again.
                try registry.change {
                    try $0.execute(
                        "UPDATE reeve.tenant_store SET ready = false WHERE tenant_id = $1::uuid", [tenant.id])
                    try $0.execute("DELETE FROM reeve.tenant_checkpoint WHERE tenant_id = $1::uuid", [tenant.id])
                }
                let session = try AdminSession(registry, tenant: tenant, store: store)
                defer { session.close() }
                try session.dropSharedRows { try directory.password(of: store, tenant: tenant.id) }
                try session.endSessions()
                try session.dropFenceRows()
                try session.dropAdopted()
                try session.dropData()
                try session.dropRoles()
            }
            try forget(tenant)
        }
    }

    private func forget(_ tenant: TenantRecord) throws {
        try registry.change { connection in
            for schedule in try connection.execute(
                "SELECT name FROM reeve.schedule WHERE tenant_id = $1::uuid", [tenant.id])
            {
                try connection.execute("SELECT reeve.delete_schedule($1::text)", [try schedule.text(0)])
            }
            for table in ["tenant_checkpoint", "tenant_store"] {
                try connection.execute("DELETE FROM reeve.\(table) WHERE tenant_id = $1::uuid", [tenant.id])
            }
            try registry.audit(connection, tenant.id, "tenant.undo", "tenant \(tenant.code)", nil, [:])
            // The record goes too where the login may delete it; an operator's may not, and the next create takes it
            // up again.
            guard try connection.execute("SELECT has_table_privilege('reeve.tenant', 'DELETE')")[0].bool(0) else {
                return
            }
            for table in ["tenant_login", "tenant_key", "tenant_status_change", "tenant_counter", "tenant_backlog"] {
                try connection.execute("DELETE FROM reeve.\(table) WHERE tenant_id = $1::uuid", [tenant.id])
            }
            try connection.execute("DELETE FROM reeve.tenant WHERE id = $1::uuid", [tenant.id])
        }
    }

    // MARK: Support

    /// Runs `body` while no other call works on the same code: a lock of a connection of its own, which ends with it.
    func alone<T>(_ code: String, _ body: () throws -> T) throws -> T {
        let connection = try Connection(directory.control.settings)
        defer { connection.close() }
        guard
            try connection.execute(
                "SELECT pg_try_advisory_lock(hashtextextended('reeve tenant ' || $1::text, 0))", [code])[0].bool(0)
        else { throw TenancyError(.conflict, "tenant \(code) is being created or undone by another process right now") }
        // The server notices the end of a connection a moment later: who comes next would meet the lock still.
        defer { _ = try? connection.execute("SELECT pg_advisory_unlock_all()") }
        return try body()
    }
}
