import EmbeddedPostgres
import Export
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Storage
import Synchronization
import Testing

/// Tenants whose tables hold every kind of value, and a way to export them and to look into the archive.
final class ExportFixture: ExportAccess {
    /// What a test does while an export runs.
    struct Hooks: Sendable {
        /// Before a COPY: the table's statement.
        var beforeCopy: (@Sendable (String, Connection) throws -> Void)?
        /// After this many rows of a COPY.
        var atRow: (@Sendable (Int, String, Connection) throws -> Void)?
    }

    let folder = ScratchFolder()
    let server: EmbeddedPostgres
    let database: ConnectionSettings
    let storage: FolderStore
    let keys = TestKeys()
    let hooks = Mutex(Hooks())
    private let stores = Mutex<[TenantID: [ExportStore]]>([:])

    static let password = "canary-5eb1"
    private static let counter = Mutex(0)
    private let prefix = "x\(ExportFixture.counter.withLock { $0 += 1; return $0 })_"

    init() throws {
        server = TestServer.shared
        database = try TestServer.freshDatabase(server)
        storage = FolderStore(root: folder.path + "/objects")
    }

    func admin<T>(_ name: String? = nil, _ body: (Connection) throws -> T) throws -> T {
        let connection = try Connection(name.map { database.with(["dbname": $0]) } ?? database)
        defer { connection.close() }
        return try body(connection)
    }

    func script(_ sql: String) throws { try admin { try $0.executeScript(sql) } }

    // MARK: Tenants

    /// A tenant with the tables of `OddTables`; every text of its own holds its marker. In `database` isolation it has two
    /// databases, the first with two schemas.
    func addTenant(_ code: String, _ isolation: Isolation, marker: String, rows: Int = 40) throws -> Tenant {
        let tenant = JobHarness.tenant(code, isolation: isolation)
        let login = prefix + code
        try script("CREATE ROLE \(quoteIdentifier(login)) LOGIN PASSWORD '\(Self.password)'")
        switch isolation {
        case .shared:
            try fill("shared", nil, login, marker, rows, owner: tenant.id)
            register(tenant, databaseName, ["shared"], login)
        case .schema:
            try fill("tenant_\(code)", nil, login, marker, rows)
            register(tenant, databaseName, ["tenant_\(code)"], login)
        case .database:
            for index in 0..<2 {
                let name = try TestServer.freshDatabase(server)["dbname"] ?? ""
                try fill("app", name, login, marker, rows)
                if index == 0 { try fill("extra", name, login, marker, rows) }
                register(tenant, name, ["app"], login)
            }
        }
        return tenant
    }

    var databaseName: String { database["dbname"] ?? "" }

    func login(_ tenant: Tenant) -> String { prefix + tenant.code }

    private func fill(
        _ schema: String, _ database: String?, _ login: String, _ marker: String, _ rows: Int, owner: TenantID? = nil
    ) throws {
        try admin(database) { connection in
            let role = quoteIdentifier(login)
            if try owner == nil || !exists(schema, connection) {
                try connection.executeScript("CREATE SCHEMA \(schema); SET search_path = \(schema)")
                try connection.executeScript(OddTables.script(isShared: owner != nil))
            }
            try connection.executeScript("SET search_path = \(schema)")
            try connection.executeScript(
                "GRANT USAGE ON SCHEMA \(schema) TO \(role); GRANT SELECT ON ALL TABLES IN SCHEMA \(schema) TO \(role)")
            if let owner {
                for table in try connection.execute(
                    """
                    SELECT a.attrelid::regclass::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                    WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p') AND a.attname = 'tenant_id'
                    """,
                    [schema])
                {
                    for kind in ["PERMISSIVE", "RESTRICTIVE"] {
                        try connection.executeScript(
                            "CREATE POLICY \(quoteIdentifier(login + kind)) ON \(try table.text(0)) AS \(kind) TO \(role) "
                                + "USING (tenant_id = '\(owner)')")
                    }
                }
            }
            try connection.executeScript(OddTables.rows(marker: marker, count: rows, owner: owner))
        }
    }

    private func exists(_ schema: String, _ connection: Connection) throws -> Bool {
        try connection.execute("SELECT to_regnamespace($1::text) IS NOT NULL", [schema])[0].bool(0)
    }

    private func register(_ tenant: Tenant, _ database: String, _ schemas: [String], _ login: String) {
        stores.withLock {
            $0[tenant.id, default: []].append(
                ExportStore(
                    server: "main", database: database, schemas: schemas, referenceSchemas: ["reference"], login: login,
                    tenantValue: tenant.id.description))
        }
    }

    // MARK: Access

    func stores(_ context: JobContext) throws -> [ExportStore] { stores.withLock { $0[context.tenant.id] ?? [] } }

    func withSession(
        _ store: ExportStore, _ context: JobContext, stop: StopSignal, _ body: (any ExportSession) throws -> Void
    ) throws {
        let settings = database.with([
            "dbname": store.database, "user": store.login, "password": Self.password, "passfile": "/dev/null",
            "application_name": "reeve:\(context.attempt.leaseID.uuidString.lowercased())",
        ])
        let connection = try Connection(settings)
        defer { connection.close() }
        try body(Session(connection: connection, stop: stop, hooks: hooks.withLock { $0 }))
    }

    struct Session: ExportSession {
        let connection: Connection
        let stop: StopSignal
        let hooks: Hooks

        func query(_ sql: String, _ parameters: [(any PostgresEncodable)?]) throws -> Rows {
            try connection.execute(sql, parameters, stop: stop)
        }

        func copyOut(_ sql: String, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
            try hooks.beforeCopy?(sql, connection)
            var row = 0
            try connection.copyOut(sql, stop: stop) { bytes in
                row += 1
                try hooks.atRow?(row, sql, connection)
                try body(bytes)
            }
        }

        func inSnapshot(_ body: () throws -> Void) throws {
            try connection.transaction(isolation: "repeatable read", readOnly: true, body)
        }
    }

    // MARK: Exports

    func job(
        storage: (any ObjectStore)? = nil, connections: Int = 2, isGraceOver: Bool = false,
        files: any ExportFiles = NoFiles(), subjects: any SubjectMap = NoSubjectMap()
    ) -> ExportJob {
        ExportJob(
            stores: SingleStore(storage ?? self.storage), recipients: keys, access: self,
            policy: ExportPolicy(connections: connections) { _ in
                ExportPolicy.Facts(keptFor: .seconds(7 * 86_400), isGraceOver: isGraceOver)
            }, tools: ExportTools(supervisor: BuiltProducts.supervisor), files: files, subjects: subjects)
    }

    /// Runs an export that has to succeed.
    func export(
        _ tenant: Tenant, _ payload: ExportJob.Payload = .init(), job: ExportJob? = nil
    ) throws -> Artifact {
        let outcome = try JobHarness.run(job ?? self.job(), payload, tenant: tenant)
        guard case .finished(let result) = outcome, let artifact = result.artifacts.first, result.artifacts.count == 1
        else { throw JobFailure("not_finished", "\(outcome)") }
        return artifact
    }

    /// The archive's file in the store.
    func file(_ artifact: Artifact) -> String { "\(storage.root)/\(artifact.key)" }

    /// The archive, read by another program's library.
    func open(_ artifact: Artifact) throws -> OpenedArchive { try OpenedArchive(file(artifact)) }

    /// Builds the tables again with the script that knows the dictionary alone; returns what it says, and whether all is equal.
    func rebuild(_ artifact: Artifact, from format: String, database exported: String? = nil) throws -> (Bool, String) {
        let empty = try TestServer.freshDatabase(server)
        let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        var said: [UInt8] = []
        let output = try ChildProcess.run(
            program: "python3",
            arguments: ["\(root)/deploy/examples/rebuild-export", file(artifact), "--from", format]
                + (exported.map { ["--database", $0] } ?? []),
            environment: [
                "PATH": "/usr/local/bin:/usr/bin:/bin", "PGHOST": empty["host"] ?? "", "PGPORT": empty["port"] ?? "",
                "PGUSER": empty["user"] ?? "", "PGDATABASE": empty["dbname"] ?? "",
                "PGPASSFILE": empty["passfile"] ?? "",
            ], supervisor: BuiltProducts.supervisor
        ) { said += $0 }
        return (output.exit == .exited(0), String(decoding: said, as: UTF8.self) + output.standardError)
    }

    /// Every file below the folder of objects.
    func objects() -> [String] { folder.files() }

    /// How many sessions a tenant's login has.
    func sessions(of tenant: Tenant) throws -> Int64 {
        try admin {
            try $0.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = $1::text", [login(tenant)])[0].int(0)
        }
    }
}

/// A zip archive as Python's zipfile and Info-ZIP's unzip see it.
struct OpenedArchive {
    let members: [String: [UInt8]]

    init(_ path: String) throws {
        let tested = try ChildProcess.run(
            program: "unzip", arguments: ["-tqq", path], environment: ["LC_ALL": "C.UTF-8"],
            supervisor: BuiltProducts.supervisor)
        guard tested.exit == .exited(0) else { throw JobFailure("bad_zip", "unzip: \(tested.standardError)") }
        let program = """
            import base64, json, sys, zipfile
            z = zipfile.ZipFile(sys.argv[1])
            assert z.testzip() is None
            print(json.dumps({i.filename: base64.b64encode(z.read(i)).decode() for i in z.infolist()}))
            """
        var text: [UInt8] = []
        let read = try ChildProcess.run(
            program: "python3", arguments: ["-c", program, path], environment: ["PATH": "/usr/bin:/bin"],
            supervisor: BuiltProducts.supervisor
        ) { text += $0 }
        guard read.exit == .exited(0) else { throw JobFailure("bad_zip", "python: \(read.standardError)") }
        let found = try JSONDecoder().decode([String: Data].self, from: Data(text))
        members = found.mapValues { Array($0) }
    }

    func text(_ name: String) throws -> String { String(decoding: try #require(members[name]), as: UTF8.self) }
    func json(_ name: String) throws -> JSON { try JSON(parsing: text(name)) }
}
