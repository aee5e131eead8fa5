import EmbeddedPostgres
import Postgres
import PostgresQueue
import ReeveTesting
import Synchronization

@testable import Tenancy

/// Who attacks the control database: a login of each role of design section 9.
enum Attacker: String, CaseIterable {
    /// Member of nothing: what PUBLIC may do.
    case outsider
    /// The platform's application: enqueues for every tenant.
    case enqueuer
    /// An enqueuer that `reeve.tenant_login` binds to tenant acme.
    case bound
    /// Another one, bound to globex.
    case rival
    case worker, viewer, `operator`, approver

    var login: String { "attack_\(rawValue)" }

    var role: String? {
        switch self {
        case .outsider: nil
        case .enqueuer, .bound, .rival: "reeve_enqueuer"
        case .worker, .viewer, .operator, .approver: "reeve_\(rawValue)"
        }
    }

    /// Those who are let into the control database.
    static let insiders = allCases.filter { $0 != .outsider }

    /// The suite's own server, with every login.
    static let server: EmbeddedPostgres = {
        do {
            let server = try TestServer.make("attack", settings: ["fsync": "off"])
            try Target.makeTemplate(server)
            let admin = try Connection(ConnectionSettings(server.conninfo(database: "postgres")))
            defer { admin.close() }
            // Provisioning makes them when it is first needed, in the middle of a test that watches the roles.
            for role in [FenceSchema.owner, TenantNames.sharedOwner] {
                try admin.execute("CREATE ROLE \(role) NOLOGIN NOINHERIT")
            }
            for attacker in allCases {
                try admin.execute("CREATE ROLE \(attacker.login) LOGIN PASSWORD 'attack'")
                if let role = attacker.role { try admin.execute("GRANT \(role) TO \(attacker.login)") }
            }
            return server
        } catch { fatalError("no test server: \(error)") }
    }()
}

/// A control database under attack: tenants acme, globex and initech, and the kinds `work` (a number) and `free` (anything).
final class Target {
    let settings: ConnectionSettings
    /// The superuser, who sees what changed.
    let admin: Connection

    init() throws {
        settings = try TestServer.freshDatabase(Attacker.server, template: Target.template)
        admin = try Connection(settings)
        // Rights on the database itself are not part of a copy.
        try admin.execute(
            """
            UPDATE pg_database d SET datacl = t.datacl FROM pg_database t
            WHERE t.datname = $1::text AND d.datname = current_database()
            """, [Target.template])
    }

    private static let template = "attack_template"

    /// The migrated database that every target is a copy of.
    static func makeTemplate(_ server: EmbeddedPostgres) throws {
        let maintenance = try Connection(ConnectionSettings(server.conninfo(database: "postgres")))
        defer { maintenance.close() }
        try maintenance.execute("CREATE DATABASE \(template)")
        let admin = try Connection(ConnectionSettings(server.conninfo(database: template)))
        defer { admin.close() }
        _ = try Migrator(admin).up()
        try admin.execute(
            """
            SELECT reeve.register_kinds('[
              {"name": "work", "queue": "work", "time_limit_ms": 60000, "max_attempts": 3, "statuses": ["trial", "active"],
               "schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false}},
              {"name": "free", "queue": "free", "time_limit_ms": 60000, "max_attempts": 3, "statuses": ["trial", "active"],
               "schema": {"type": "object"}}]')
            """)
        for code in ["acme", "globex", "initech"] {
            try admin.execute(
                "INSERT INTO reeve.tenant (code, name, tier, isolation, region) VALUES ($1::text, 'Test', 'starter', 'schema', 'local')",
                [code])
        }
        for (attacker, code) in [(Attacker.bound, "acme"), (.rival, "globex")] {
            try admin.execute(
                "INSERT INTO reeve.tenant_login SELECT $1::text, id FROM reeve.tenant WHERE code = $2::text",
                [attacker.login, code])
        }
        try admin.execute(
            "INSERT INTO reeve.tenant_server (name, conninfo, region, shared_database, admin_secret) VALUES ('main', 'host=x', 'local', 'shop', 'CANARY')"
        )
        try admin.execute(
            """
            INSERT INTO reeve.tenant_store (tenant_id, server, database, schemas, login, secret)
            SELECT id, 'main', 'shop', ARRAY['tenant_' || code], 'tenant_' || code, 'CANARY' FROM reeve.tenant
            """)
    }

    deinit { admin.close() }

    /// A session of an attacker.
    func session(_ attacker: Attacker) throws(PostgresError) -> Connection {
        try Connection(settings.with(["user": attacker.login, "password": "attack", "passfile": "/dev/null"]))
    }

    /// One value of a query of the superuser's.
    @discardableResult
    func value(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> String? {
        try admin.execute(sql, parameters).first?.optionalText(0)
    }

    /// Enqueues as the superuser.
    func enqueue(_ queue: String = "globex.work") throws -> Int64 {
        try admin.execute(#"SELECT reeve.enqueue($1::text, 'work', '{"n": 1}')"#, [queue])[0].int(0)
    }

    /// A digest of everything an attack could leave behind: rows of every table, rights, functions, settings, roles' attributes.
    func fingerprint() throws -> [String: String] {
        var found: [String: String] = [:]
        let tables = try admin.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'reeve'::regnamespace AND relkind = 'r' ORDER BY 1"
        )
        for row in tables {
            let table = try row.text(0)
            found[table] = try value(
                "SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM \(table) t")
        }
        let rest = [
            "relations":
                "SELECT concat_ws(' ', c.oid::regclass, c.relkind, c.relacl, c.relowner) FROM pg_class c WHERE c.relnamespace::regnamespace::text !~ '^pg_'",
            "functions":
                "SELECT concat_ws(' ', p.oid::regprocedure, p.proacl, p.proowner, p.prosecdef, p.prosrc) FROM pg_proc p WHERE p.pronamespace::regnamespace::text <> 'pg_catalog'",
            "schemas":
                "SELECT concat_ws(' ', nspname, nspacl, nspowner) FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'",
            "triggers": "SELECT concat_ws(' ', tgname, tgenabled, tgrelid) FROM pg_trigger",
            "extensions": "SELECT extname FROM pg_extension", "event triggers": "SELECT evtname FROM pg_event_trigger",
            "large objects": "SELECT oid::text FROM pg_largeobject_metadata",
            "policies": "SELECT polname::text FROM pg_policy",
            "default rights": "SELECT defaclacl::text FROM pg_default_acl WHERE defaclrole::regrole::text ~ '^reeve_'",
            "roles":
                "SELECT concat_ws(' ', rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit, rolconfig) FROM pg_roles WHERE rolname ~ '^(reeve|attack)_'",
            "members":
                "SELECT concat_ws(' ', m.roleid::regrole, m.member::regrole, m.admin_option) FROM pg_auth_members m WHERE m.member::regrole::text ~ '^(reeve|attack)_'",
        ]
        for (name, sql) in rest {
            found[name] = try value("SELECT md5(coalesce(string_agg(t, '|' ORDER BY t), '')) FROM (\(sql)) AS s (t)")
        }
        return found
    }
}

/// How one statement went.
struct Attempt {
    /// The SQLSTATE of the refusal; nil when it was accepted.
    let state: String?
    let message: String
    let rows: [String]

    /// Runs one statement; whatever it opened is closed again.
    init(_ sql: String, _ parameters: [(any PostgresEncodable)?] = [], on session: Connection) throws {
        defer { if session.inTransaction { _ = try? session.execute("ROLLBACK") } }
        do throws(PostgresError) {
            let found = try session.execute(sql, parameters)
            rows = try found.map { row throws(PostgresError) in try row.optionalText(0) ?? "NULL" }
            (state, message) = (nil, "accepted")
        } catch {
            (state, message, rows) = (
                error.sqlState ?? "connection", error.message + (error.detail.map { " | \($0)" } ?? ""), []
            )
        }
    }
}
