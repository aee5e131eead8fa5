import Crypto
import JobKit
public import Postgres
public import Tenancy

/// Makes, finds and takes away outboxes: `reeve.enqueue` in a service's database, a login for the relay there, and the record in
/// the control database. Blocks.
public struct OutboxInstaller {
    /// What is to be made.
    public struct Request: Sendable {
        /// How the outbox is called: a-z, 0-9 and -.
        public var name: String
        /// The service's database, as an administrator; the relay connects to the same place as its own login.
        public var database: ConnectionSettings
        /// The code of the tenant whose database it is; nil for a service of all tenants.
        public var tenant: String?
        /// How many job ids are reserved at once; two blocks are kept ahead.
        public var blockSize: Int
        /// Why, for the audit.
        public var reason: String?

        /// Creates the record.
        public init(
            name: String, database: ConnectionSettings, tenant: String? = nil, blockSize: Int = 10_000,
            reason: String? = nil
        ) {
            self.name = name
            self.database = database
            self.tenant = tenant
            self.blockSize = blockSize
            self.reason = reason
        }
    }

    private let control: Connection
    private let sealer: Sealer

    /// Works with this connection to the control database, whose login is an operator's, outside of a transaction.
    public init(control: Connection, sealer: Sealer) {
        self.control = control
        self.sealer = sealer
    }

    /// The relay's login in a service's database.
    public static func login(_ name: String) -> String { "outbox_" + name.replacing("-", with: "_") }

    /// Makes the outbox, or brings one up to date and gives its relay a new password. A kill in the middle leaves an outbox that
    /// the same call finishes. `change` runs what it is given in a transaction of the control database that names the actor.
    public func install(_ request: Request, change: ((Connection) throws -> Void) throws -> Void) throws {
        guard request.name.wholeMatch(of: /[a-z][a-z0-9-]{0,39}/) != nil else {
            throw TenancyError(.invalid, "'\(request.name)' is not an outbox's name: a-z, 0-9 and -, up to 40")
        }
        let tenant = try request.tenant.map { code in
            guard
                let row = try control.execute("SELECT id FROM reeve.tenant WHERE code = $1::text", [code]).first
            else { throw TenancyError(.notFound, "there is no tenant \(code)") }
            return try row.text(0)
        }
        let functions = try control.execute("SELECT * FROM reeve.outbox_functions()").map { try $0.text(0) }
        let login = Self.login(request.name)
        let password = generatePassword()
        let service = try Connection(request.database, timeout: .seconds(10))
        defer { service.close() }
        try service.transaction {
            try service.executeScript(OutboxScript.text)
            for text in functions { try service.executeScript(text) }
            try setIdentity(service, request.name, tenant)
            try service.executeScript("RESET ROLE")
            try makeLogin(service, login, password, request.name)
        }
        let place = try conninfo(request.database, service)
        let secret = try sealer.seal(password, tenant: nil, purpose: OutboxSecret.purpose(request.name))
        try change { control in
            try control.execute(
                "SELECT reeve.add_outbox($1::text, $2::text, $3::text, $4::bytea, $5::text, $6::int, $7::text)",
                [
                    request.name, place, login, PostgresValue.bytes(secret), request.tenant, request.blockSize,
                    request.reason,
                ])
        }
    }

    /// Takes the relay's login, and with `dropping` schema `reeve` and all that waits in it, from a service's database.
    public static func uninstall(_ name: String, from database: ConnectionSettings, dropping: Bool) throws {
        let service = try Connection(database, timeout: .seconds(10))
        defer { service.close() }
        let found = try service.execute("SELECT to_regclass('reeve.outbox_state') IS NOT NULL")[0].bool(0)
        guard found, try service.execute("SELECT name FROM reeve.outbox_state")[0].text(0) == name else {
            throw TenancyError(.notFound, "that database does not hold the outbox \(name)")
        }
        try service.transaction {
            if dropping { try service.executeScript("DROP SCHEMA reeve CASCADE") }
            let login = quoteIdentifier(login(name))
            if try isOurs(service, Self.login(name), name) {
                try service.execute("DROP OWNED BY \(login)")
                try service.execute("DROP ROLE \(login)")
            }
        }
    }

    /// How many rows wait in a service's database.
    public static func waiting(in database: ConnectionSettings) throws -> Int64 {
        let service = try Connection(database, timeout: .seconds(10))
        defer { service.close() }
        return try service.execute("SELECT waiting FROM reeve.outbox_waiting()")[0].int(0)
    }

    private func setIdentity(_ service: Connection, _ name: String, _ tenant: String?) throws {
        let known = try service.execute("SELECT name, tenant_id::text FROM reeve.outbox_state").first
        if let known, try known.text(0) != name || known.optionalText(1) != tenant {
            throw TenancyError(
                .conflict, "that database holds the outbox \(try known.text(0)), or is another tenant's")
        }
        try service.execute(
            """
            INSERT INTO reeve.outbox_state (name, tenant_id, version) VALUES ($1::text, $2::uuid, $3::int)
            ON CONFLICT (one) DO UPDATE SET version = excluded.version, facts_digest = NULL
            """, [name, tenant, OutboxScript.version])
    }

    private static func isOurs(_ service: Connection, _ login: String, _ name: String) throws -> Bool {
        let rows = try service.execute(
            "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1::text", [login])
        guard let row = rows.first else { return false }
        guard try row.optionalText(0) == "reeve outbox \(name)" else {
            throw TenancyError(.conflict, "role \(login) is there already and was not made for this outbox")
        }
        return true
    }

    private func makeLogin(_ service: Connection, _ login: String, _ password: String, _ name: String) throws {
        let role = quoteIdentifier(login)
        if try !Self.isOurs(service, login, name) {
            try service.execute("CREATE ROLE \(role) NOINHERIT NOCREATEDB NOCREATEROLE")
            try service.execute("COMMENT ON ROLE \(role) IS \(quoteLiteral("reeve outbox \(name)"))")
        }
        let verifier = try service.encryptedPassword(password, for: login)
        try service.execute("ALTER ROLE \(role) LOGIN CONNECTION LIMIT 4 PASSWORD \(quoteLiteral(verifier))")
        let database = try service.execute("SELECT current_database()")[0].text(0)
        try service.execute("GRANT CONNECT ON DATABASE \(quoteIdentifier(database)) TO \(role)")
        try service.executeScript(
            """
            SET LOCAL ROLE reeve_outbox_owner;
            GRANT USAGE ON SCHEMA reeve TO \(role);
            GRANT EXECUTE ON FUNCTION reeve.outbox_read(bigint, bigint[], bigint[], int), reeve.outbox_relayed(bigint),
              reeve.outbox_listen(boolean), reeve.outbox_identity(bigint), reeve.outbox_add_ids(bigint[], bigint[], boolean),
              reeve.outbox_refresh(text, jsonb), reeve.outbox_tend(interval, int), reeve.outbox_waiting() TO \(role);
            RESET ROLE;
            """)
    }

    /// The place without who connects: what the relay's own login is put into.
    private func conninfo(_ settings: ConnectionSettings, _ service: Connection) throws -> String {
        var options = settings.options
        for name in ["user", "password", "passfile", "sslpassword", "application_name", "options"] {
            options[name] = nil
        }
        options["dbname"] = try service.execute("SELECT current_database()")[0].text(0)
        return ConnectionSettings(options: options).conninfo
    }
}
