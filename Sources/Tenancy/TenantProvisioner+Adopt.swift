import Crypto
public import JobKit
import Postgres

extension TenantProvisioner {
    /// Looks at what the request names and says what adopting it would do; changes nothing. Blocks.
    public func plan(_ request: AdoptRequest) throws -> AdoptPlan {
        try TenantCode.check(request.details.code)
        guard request.details.isolation != .database else {
            throw TenancyError(.invalid, "schemas or shared tables are adopted: isolation schema or shared")
        }
        let database = try request.database ?? server(request.server).sharedDatabase
        let connection = try Connection(
            directory.serverSettings(request.server).with([
                "dbname": database, "application_name": "reeve adopt \(request.details.code)",
            ]))
        defer { connection.close() }
        return try AdoptSurvey(
            request: request, database: database, login: request.login ?? TenantNames.login(request.details.code),
            connection: connection
        ).plan()
    }

    /// Takes over a tenant that a platform made, or goes on where an earlier call stopped: a login of its own, policies
    /// bound to it, the fence, and the registry's entry. `confirmation` is the plan's, when it has one.
    @discardableResult
    public func adopt(
        _ request: AdoptRequest, confirmation: String? = nil, progress: (ProvisioningStep) -> Void = { _ in }
    ) throws -> TenantID {
        try alone(request.details.code) {
            let plan = try plan(request)
            guard plan.confirmation == nil || plan.confirmation == confirmation else {
                throw TenancyError(
                    .refused,
                    "tables without row-level security would be opened to the login, and enabling it takes rows from the roles that "
                        + "the plan lists; confirm with --confirm-rls \(plan.confirmation ?? "")")
            }
            let tenant = try registerAdopted(request, plan)
            progress(.registered)
            let found = try directory.stores(of: tenant.id, includingUnready: true).first {
                $0.server == request.server && $0.database == plan.database
            }
            guard let store = found else {
                throw TenancyError(.conflict, "the store of tenant \(tenant.code) was removed meanwhile")
            }
            let session = try AdminSession(registry, tenant: tenant, store: store)
            defer { session.close() }
            let finished = try checkpoints(tenant.id)
            for step in [ProvisioningStep.roles, .grants, .policies, .fence, .login, .ready]
            where !finished.contains(step.rawValue) {
                try perform(step, plan, session)
                try beforeCheckpoint?(step)
                try record(step, tenant, store)
                progress(step)
            }
            return tenant.id
        }
    }

    private func perform(_ step: ProvisioningStep, _ plan: AdoptPlan, _ session: AdminSession) throws {
        switch step {
        case .roles:
            try session.makeRoles(
                password: directory.password(of: session.store, tenant: session.tenantID),
                connectionLimit: connectionLimit(session.tenantID))
        case .grants: try session.adoptSchemas()
        case .policies: try session.adoptTables(plan)
        case .fence: try session.makeFence()
        case .login: try session.configureLogin()
        default: try proveLogin(session) { try session.proveRows(plan, as: $0) }
        }
    }

    private func registerAdopted(_ request: AdoptRequest, _ plan: AdoptPlan) throws -> TenantRecord {
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
                SELECT t.id, t.isolation::text, o.server IS NULL, coalesce(o.ready, false),
                  coalesce(o.adopted AND (o.server, o.database, o.schemas, o.login, o.setting_name, o.tenant_column)
                    = ($2::text, $3::text, $4::text[], $5::text, $6::text, $7::text)
                    AND o.setting_value IS NOT DISTINCT FROM $8::text, false)
                FROM reeve.tenant t LEFT JOIN reeve.tenant_store o ON o.tenant_id = t.id WHERE t.code = $1::text
                """,
                [
                    details.code, request.server, plan.database, request.schemas, plan.login, request.setting,
                    request.column, request.value,
                ])
            let id: TenantID
            if let row = rows.first {
                id = TenantID(rawValue: try row.uuid(0))
                if try row.bool(3) {
                    throw TenancyError(.conflict, "tenant \(details.code) already exists and is ready")
                }
                guard try row.text(1) == details.isolation.rawValue, try row.bool(2) || row.bool(4) else {
                    throw TenancyError(
                        .conflict, "tenant \(details.code) was begun in another way; undo it first, or repeat that")
                }
                if try !row.bool(2) { return try record(of: details, id) }
            } else {
                id = try registry.insert(details, connection)
            }
            if request.status != .trial {
                try connection.execute(
                    "SELECT reeve.set_tenant_status($1::text, $2::reeve.tenant_status, 'adopted')",
                    [details.code, request.status.rawValue])
            }
            try refuseTaken(request, plan, id, connection)
            try insertAdopted(request, plan, id, connection)
            return try record(of: details, id)
        }
    }

    /// What the registry says is another tenant's is never adopted.
    private func refuseTaken(_ request: AdoptRequest, _ plan: AdoptPlan, _ id: TenantID, _ connection: Connection)
        throws
    {
        let rows = try connection.execute(
            """
            SELECT t.code FROM reeve.tenant_store o JOIN reeve.tenant t ON t.id = o.tenant_id
            WHERE o.server = $1::text AND o.database = $2::text AND o.tenant_id <> $3::uuid
              AND (o.schemas && $4::text[] OR o.reference_schemas && $4::text[])
              AND NOT (o.adopted AND t.isolation = 'shared' AND $5::text = 'shared'
                       AND coalesce(o.setting_value, o.tenant_id::text) <> $6::text)
            LIMIT 1
            """,
            [
                request.server, plan.database, id, request.schemas, request.details.isolation.rawValue,
                request.value ?? id.description,
            ])
        if let row = rows.first {
            throw TenancyError(
                .conflict, "the registry says that these schemas or rows are tenant \(try row.text(0))'s")
        }
    }

    private func insertAdopted(_ request: AdoptRequest, _ plan: AdoptPlan, _ id: TenantID, _ connection: Connection)
        throws
    {
        let secret = try directory.seal(generatePassword(), tenant: id, purpose: SealedPurpose.login)
        try connection.execute(
            """
            INSERT INTO reeve.tenant_store (tenant_id, server, database, schemas, login, secret, adopted, setting_name,
              setting_value, tenant_column)
            VALUES ($1::uuid, $2::text, $3::text, $4::text[], $5::text, $6::bytea, true, $7::text, $8::text, $9::text)
            """,
            [
                id, request.server, plan.database, request.schemas, plan.login, PostgresValue.bytes(secret),
                request.setting, request.value, request.column,
            ])
        try connection.execute(
            "INSERT INTO reeve.tenant_checkpoint (tenant_id, name) VALUES ($1::uuid, $2::text)",
            [id, ProvisioningStep.registered.rawValue])
        try registry.audit(
            connection, id, "tenant.adopt", "tenant \(request.details.code)", nil,
            [
                "database": .string("\(request.server)/\(plan.database)"),
                "schemas": .array(request.schemas.map(JSON.string)), "login": .string(plan.login),
                "enables_rls": .array(plan.unsecured.map { .string($0.quoted) }),
            ])
    }
}
