import Glibc
import JobKit
import Postgres
import Tenancy

extension Command {
    static let server = Command(
        "server", "see and register the servers that hold tenants' databases",
        examples: ["reeve server list"],
        subcommands: [
            Command("list", "list the servers", examples: ["reeve server list --json"]) { invocation in
                let servers = try invocation.objects(
                    """
                    SELECT jsonb_build_object('name', s.name, 'conninfo', s.conninfo, 'region', s.region,
                      'shared_database', s.shared_database, 'dump_limit', s.dump_limit, 'scratch_limit', s.scratch_limit,
                      'has_password', s.admin_secret IS NOT NULL,
                      'tenants', (SELECT count(DISTINCT t.tenant_id) FROM reeve.tenant_store t WHERE t.server = s.name))
                    FROM reeve.tenant_server s ORDER BY s.name
                    """)
                let columns = [
                    Column("SERVER", "name"), Column("REGION", "region"), Column("TENANTS", "tenants", .number),
                    Column("SHARED DATABASE", "shared_database"), Column("DUMPS", "dump_limit", .number),
                    Column("PASSWORD", "has_password"), Column("CONNECTION", "conninfo"),
                ]
                invocation.output.list(servers, columns, empty: "no servers; register one with: reeve server add")
                return .done
            },
            Command(
                "add", "register a server, or change one",
                details:
                    "The connection is an administrator's that may create roles and databases. Its password comes\n"
                    + "from a file, is sealed with the key and never printed. The connection is tried first.",
                arguments: [
                    CommandArgument("NAME", "lower case, digits, - and _"),
                    CommandArgument(
                        "CONNINFO",
                        "the administrator's connection without a password: 'host=db1 user=admin dbname=postgres'"),
                ],
                options: [
                    CommandOption("password-file", "FILE", "the file that holds the password; - for standard input"),
                    CommandOption("shared-database", "NAME", "where tenants of isolation 'shared' live (reeve_shared)"),
                    CommandOption("dump-limit", "N", "how many dumps may run at once (2)", .integer(1...1000)),
                    CommandOption(
                        "scratch-limit", "SIZE",
                        "how much the scratch databases of restores may take there at once, as 200G (what the disk has)"
                    ),
                    CommandOption(
                        "replica", "CONNINFO",
                        "a replica that reports read, without a password: 'host=db1b dbname=postgres'"),
                    CommandOption(
                        "replica-lag", "N", "how many seconds it may be behind (30)", .integer(0...86400)),
                    .setting(.region), .setting(.keyFile),
                ],
                examples: [
                    "reeve server add db1 'host=db1 user=admin dbname=postgres' --region eu --password-file /run/secrets/db1"
                ]
            ) { invocation in
                try addServer(invocation)
            },
        ])

    private static func addServer(_ invocation: Invocation) throws -> ExitCode {
        let name = invocation.argument("NAME")
        let region = try invocation.configuration.require(.region)
        let settings: ConnectionSettings
        do {
            settings = try ConnectionSettings(invocation.argument("CONNINFO"))
        } catch {
            throw CommandError(.usage, "CONNINFO: \(error.message)")
        }
        guard settings["password"] == nil, settings["sslpassword"] == nil else {
            throw CommandError(
                .usage, "CONNINFO holds a password: a command line is visible to every user of the machine",
                hint: "use --password-file FILE")
        }
        let scratchLimit = try invocation.string("scratch-limit").map { text in
            guard let bytes = Durations.parseBytes(text), bytes >= 1 else {
                throw CommandError(.usage, "--scratch-limit: '\(text)' is not a size", hint: "for example 200G")
            }
            return bytes
        }
        var password: String?
        var full = settings
        if let path = invocation.string("password-file") {
            let text: String
            do {
                text = String(try TextFile.read(path).prefix { !$0.isNewline })
            } catch {
                throw CommandError(.usage, "--password-file: cannot read \(path): \(error)")
            }
            full["password"] = text
            password = text
            _ = try invocation.configuration.requireSealer()
        }
        try tryServer(full)
        let pool = Pool(try invocation.databaseSettings(), bound: 2, waitTimeout: .seconds(30), name: "server")
        defer { pool.close() }
        let directory = TenantDirectory(control: pool, sealer: try invocation.configuration.makeSealer())
        try TenantRegistry(directory: directory, actor: invocation.actor).addServer(
            name, conninfo: invocation.argument("CONNINFO"), region: region,
            sharedDatabase: invocation.string("shared-database") ?? "reeve_shared",
            dumpLimit: invocation.int("dump-limit") ?? 2, scratchLimit: scratchLimit, adminPassword: password)
        if let replica = invocation.string("replica") { try setReplica(replica, of: name, invocation) }
        invocation.output.result(["server": .string(name), "region": .string(region)], "server \(name) is registered")
        return .done
    }

    private static func setReplica(_ conninfo: String, of name: String, _ invocation: Invocation) throws {
        do {
            let settings = try ConnectionSettings(conninfo)
            guard settings["password"] == nil, settings["sslpassword"] == nil else {
                throw CommandError(.usage, "--replica holds a password; tenants log in with their own")
            }
        } catch let error as PostgresError {
            throw CommandError(.usage, "--replica: \(error.message)")
        }
        try invocation.change { connection in
            _ = try connection.execute(
                """
                UPDATE reeve.tenant_server SET replica_conninfo = $2::text, replica_lag_limit = coalesce($3::int, replica_lag_limit)
                WHERE name = $1::text
                """, [name, conninfo, invocation.int("replica-lag")])
        }
    }

    private static func tryServer(_ settings: ConnectionSettings) throws {
        do {
            let row = try Connection(settings, timeout: .seconds(5)).execute(
                """
                SELECT rolsuper OR (rolcreaterole AND rolcreatedb), rolname::text
                FROM pg_roles WHERE rolname = current_user
                """
            )[0]
            guard try row.bool(0) else {
                throw CommandError(
                    .refused, "\(try row.text(1)) may not create roles and databases there",
                    hint: "use an administrator with CREATEROLE and CREATEDB")
            }
        } catch let error as PostgresError {
            throw CommandError(
                .unavailable, "cannot reach that server: \(error.message)", hint: "check CONNINFO and --password-file")
        }
    }
}
