import Backup
import EmbeddedPostgres
import Encryption
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Storage
import Synchronization

/// A database with tenants in it, made from the demo's template, and a way to back them up.
final class BackupFixture: BackupAccess {
    let folder = ScratchFolder()
    let server: EmbeddedPostgres
    let database: ConnectionSettings
    let storage: FolderStore
    let keys = TestKeys()
    /// What the next backup is told of the last one.
    let last = Mutex<BackupEstimate?>(nil)
    /// How many dumps others run, how many the test's attempt has, and how many may run.
    let dumps = Mutex<(others: Int, own: Int, limit: Int)>((0, 0, 2))
    private let stores = Mutex<[TenantID: [BackupStore]]>([:])
    /// What the sessions and children of a test say instead of the truth: a login or options.
    let lie = Mutex<(sessionUser: String?, options: String?, childOptions: String?, childUser: String?)>(
        (nil, nil, nil, nil))

    static let password = "canary-5eb1"
    private static let counter = Mutex(0)
    let prefix = "t\(BackupFixture.counter.withLock { $0 += 1; return $0 })_"

    init(_ server: EmbeddedPostgres = TestServer.shared) throws {
        self.server = server
        database = try TestServer.freshDatabase(server)
        storage = FolderStore(root: folder.path + "/objects")
        try admin { try $0.executeScript(Self.template("reference")) }
    }

    static func template(_ name: String) throws -> String {
        let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        guard let data = FileManager.default.contents(atPath: "/\(root)/deploy/templates/steel/\(name).sql") else {
            fatalError("the template \(name) is missing")
        }
        return String(decoding: data, as: UTF8.self)
    }

    func admin<T>(_ settings: ConnectionSettings? = nil, _ body: (Connection) throws -> T) throws -> T {
        let connection = try Connection(settings ?? database)
        defer { connection.close() }
        return try body(connection)
    }

    func adminScript(_ sql: String) throws { try admin { try $0.executeScript(sql) } }

    var databaseName: String { database["dbname"] ?? "" }

    func login(_ code: String) -> String { prefix + code.lowercased() }

    private func makeLogin(_ name: String, on connection: Connection) throws {
        try connection.executeScript("CREATE ROLE \(quoteIdentifier(name)) LOGIN PASSWORD '\(Self.password)'")
        try connection.executeScript(
            "GRANT USAGE ON SCHEMA reference TO \(quoteIdentifier(name));"
                + "GRANT SELECT ON ALL TABLES IN SCHEMA reference TO \(quoteIdentifier(name))")
    }

    private func fill(_ schema: String, _ marker: String, tenant: Tenant, as user: String, in database: String) throws {
        let settings = self.database.with([
            "dbname": database, "user": user, "password": Self.password, "passfile": "/dev/null",
        ])
        try admin(settings) { connection in
            try connection.executeScript(
                "SET search_path = \(quoteIdentifier(schema)), reference; SET demo.marker = '\(marker)';"
                    + "SET demo.customers = 12; SET demo.orders_per_customer = 2; SET demo.lots = 30;"
                    + "SET app.current_tenant = '\(tenant.id)'")
            try connection.executeScript("BEGIN;" + Self.template("demo-data") + ";COMMIT")
        }
    }

    /// A tenant with a schema (of this exact name) or a database of its own; its rows carry the marker.
    func addTenant(_ code: String, schema: String, marker: String, isolation: Isolation = .schema) throws -> Tenant {
        let tenant = JobHarness.tenant(code, isolation: isolation)
        let user = login(code)
        var settings = database
        if isolation == .database {
            settings = try TestServer.freshDatabase(server)
            try admin(settings) { try $0.executeScript(Self.template("reference")) }
        }
        try admin(settings) { connection in
            try makeLogin(user, on: connection)
            let (quoted, role) = (quoteIdentifier(schema), quoteIdentifier(user))
            try connection.executeScript("CREATE SCHEMA \(quoted); SET search_path = \(quoted), reference")
            try connection.executeScript("BEGIN;" + Self.template("tenant") + ";COMMIT")
            try connection.executeScript(
                "GRANT USAGE ON SCHEMA \(quoted) TO \(role); GRANT ALL ON ALL TABLES IN SCHEMA \(quoted) TO \(role);"
                    + "GRANT ALL ON ALL SEQUENCES IN SCHEMA \(quoted) TO \(role)")
        }
        let name = settings["dbname"] ?? ""
        try fill(schema, marker, tenant: tenant, as: user, in: name)
        register(tenant, database: name, schemas: [schema], user: user)
        return tenant
    }

    /// Makes the schema that tenants share.
    func addShared() throws {
        try admin { connection in
            try connection.executeScript("CREATE SCHEMA shared; SET search_path = shared, reference")
            try connection.executeScript("BEGIN;" + Self.template("shared") + ";COMMIT")
        }
    }

    /// A tenant in the shared schema.
    func addSharedTenant(_ code: String, marker: String) throws -> Tenant {
        let tenant = JobHarness.tenant(code, isolation: .shared)
        let user = login(code)
        try admin { connection in
            try makeLogin(user, on: connection)
            let role = quoteIdentifier(user)
            try connection.executeScript(
                "GRANT USAGE ON SCHEMA shared TO \(role); GRANT ALL ON ALL TABLES IN SCHEMA shared TO \(role)")
            let tables = try connection.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'shared'::regnamespace AND relkind = 'r'")
            for table in tables {
                let name = try table.text(0)
                for kind in ["PERMISSIVE", "RESTRICTIVE"] {
                    try connection.executeScript(
                        "CREATE POLICY \(quoteIdentifier("\(user)_\(kind.lowercased())")) ON shared.\(name) AS \(kind) TO \(role) "
                            + "USING (tenant_id = '\(tenant.id)') WITH CHECK (tenant_id = '\(tenant.id)')")
                }
            }
        }
        try fill("shared", marker, tenant: tenant, as: user, in: databaseName)
        register(tenant, database: databaseName, schemas: ["shared"], user: user)
        return tenant
    }

    private func register(_ tenant: Tenant, database: String, schemas: [String], user: String) {
        stores.withLock {
            $0[tenant.id] = [
                BackupStore(
                    server: "main", database: database, schemas: schemas, referenceSchemas: ["reference"], login: user,
                    dumpLimit: 2)
            ]
        }
    }

    func job(
        tools: BackupTools? = nil, storage: (any ObjectStore)? = nil, stores: (any StoreCatalog)? = nil,
        slots: DumpSlots = DumpSlots(), splitAbove: Int64 = BackupPolicy.standardSplit,
        recipients: (any RecipientSource)? = nil
    ) -> BackupJob {
        BackupJob(
            stores: stores ?? SingleStore(storage ?? self.storage), recipients: recipients ?? keys, access: self,
            policy: BackupPolicy(patience: .milliseconds(100), splitAbove: splitAbove) { _ in .seconds(7 * 86400) },
            tools: tools ?? BackupTools(supervisor: BuiltProducts.supervisor), slots: slots)
    }

    func lastBackup(_ store: BackupStore, _ context: JobContext) -> BackupEstimate? { last.withLock { $0 } }

    func takeDumps(_ wanted: Int, of store: BackupStore, _ context: JobContext) -> Int {
        dumps.withLock { dumps in
            dumps.own = max(dumps.own, min(wanted, dumps.limit - dumps.others))
            return dumps.own
        }
    }

    func returnDumps(of store: BackupStore, _ context: JobContext) { dumps.withLock { $0.own = 0 } }

    /// Runs a backup that has to succeed with one artifact.
    func backUp(_ tenant: Tenant, job: BackupJob? = nil) throws -> Artifact {
        let outcome = try JobHarness.run(job ?? self.job(), .init(reason: "test"), tenant: tenant)
        guard case .finished(let result) = outcome, result.artifacts.count == 1 else {
            throw JobFailure("not_finished", "\(outcome)")
        }
        return result.artifacts[0]
    }

    func stores(_ context: JobContext) throws -> [BackupStore] { try storesOf(context.tenant) }

    func storesOf(_ tenant: Tenant) throws -> [BackupStore] { stores.withLock { $0[tenant.id] ?? [] } }

    /// Gives the tenant a second database that cannot be reached.
    func addBrokenStore(to tenant: Tenant) {
        stores.withLock {
            $0[tenant.id]?.append(
                BackupStore(
                    server: "main", database: "no_such_database", schemas: ["x"], referenceSchemas: [],
                    login: login(tenant.code), dumpLimit: 2))
        }
    }

    /// The SQL text of all the objects of a backup.
    func dumpText(_ artifact: Artifact) throws -> String {
        try objects(artifact).map { try dumpText($0) }.joined()
    }

    /// The keys of a backup's own objects.
    func objects(_ artifact: Artifact) throws -> [ObjectKey] {
        guard case .array(let objects)? = artifact.manifest["objects"] else { return [] }
        return try objects.map { try ObjectKey(parsing: $0["key"]?.string ?? "") }
    }

    /// The SQL text of one object.
    func dumpText(_ key: ObjectKey) throws -> String {
        let text = Mutex<[UInt8]>([])
        try restore(key, ["--file=-"]) { bytes in text.withLock { $0 += bytes } }
        return String(decoding: text.withLock { $0 }, as: UTF8.self)
    }

    /// Decrypts an object into a pg_restore with these arguments.
    func restore(
        _ key: ObjectKey, _ arguments: [String], environment: [String: String] = [:],
        output: @escaping (UnsafeRawBufferPointer) -> Void = { _ in }
    ) throws {
        let restore = try ChildStream(
            program: "pg_restore", arguments: arguments,
            environment: environment.merging(["PATH": "/usr/bin:/bin"]) { $1 }, supervisor: BuiltProducts.supervisor,
            output: output)
        let decryptor = try AgeDecryptor(
            identity: keys.pair.identity, tool: AgeTool(supervisor: BuiltProducts.supervisor)
        ) { try restore.write($0) }
        try storage.read(key) { try decryptor.write($0) }
        try decryptor.finish()
        let ended = try restore.finish()
        guard ended.exit == .exited(0) else { throw JobFailure("pg_restore_failed", ended.standardError) }
    }

    private func settings(_ store: BackupStore, _ tenant: Tenant, options: String?) -> ConnectionSettings {
        database.with([
            "dbname": store.database, "user": store.login, "password": Self.password,
            "options": options ?? "-c app.current_tenant=\(tenant.id)", "passfile": "/dev/null",
        ])
    }

    func withSession(_ store: BackupStore, _ context: JobContext, _ body: (any BackupSession) throws -> Void) throws {
        let lie = lie.withLock { $0 }
        var settings = settings(store, context.tenant, options: lie.options)
        if let user = lie.sessionUser {
            settings = user == EmbeddedPostgres.superuser ? database : settings.with(["user": user])
        }
        try admin(settings) { try body(Session(connection: $0, stop: context.stop)) }
    }

    func withChildEnvironment(
        _ store: BackupStore, _ context: JobContext, _ body: ([String: String]) throws -> Void
    ) throws {
        let private_ = ScratchFolder()
        let lie = lie.withLock { $0 }
        var made = settings(store, context.tenant, options: lie.childOptions)
        if let user = lie.childUser { made = made.with(["user": user]) }
        let service =
            "[t]\n"
            + made.options.filter { $0.key != "password" && $0.key != "passfile" }
            .map { "\($0.key)=\($0.value)\n" }.joined()
        write(service, to: private_.path + "/service")
        write("*:*:*:*:\(Self.password)\n", to: private_.path + "/pass")
        try body([
            "PGSERVICEFILE": private_.path + "/service", "PGSERVICE": "t", "PGPASSFILE": private_.path + "/pass",
        ])
    }

    struct Session: BackupSession {
        let connection: Connection
        let stop: StopSignal
        var serverVersion: Int { connection.serverVersion }
        func query(_ sql: String, _ parameters: [(any PostgresEncodable)?]) throws -> Rows {
            try connection.execute(sql, parameters, stop: stop)
        }
        func inSnapshot(_ body: () throws -> Void) throws {
            try connection.transaction(isolation: "repeatable read", readOnly: true, body)
        }
    }
}

/// Writes a file for its owner alone.
func write(_ text: String, to path: String, mode: mode_t = 0o600) {
    if mode & 0o100 != 0 {
        do { try writeProgram(text, to: path, mode: mode) } catch { fatalError("no program at \(path): \(error)") }
        return
    }
    let file = open(path, O_CREAT | O_TRUNC | O_WRONLY, mode)
    defer { close(file) }
    var text = text
    text.withUTF8 { _ = Glibc.write(file, $0.baseAddress, $0.count) }
}
