import Crypto
import FoundationEssentials
import JobKit
import Postgres
import PostgresQueue
import Tenancy

/// A fleet with provisioned tenants on the benchmark's server.
final class PurgeBenchGround {
    let registry: TenantRegistry
    private let directory: TenantDirectory
    /// The tenants' database, as the administrator.
    let database: ConnectionSettings
    private let settings: ConnectionSettings
    private let control: Pool
    private let folder: String
    private var made: [PurgeBenchScene.Tenant] = []

    private static let name = "reeve_bench_purge"

    init(_ settings: ConnectionSettings) throws {
        self.settings = settings
        let connection = try Connection(settings)
        _ = try Migrator(connection).up()
        connection.close()
        control = Pool(settings, bound: 4, name: "control")
        directory = TenantDirectory(control: control, sealer: Sealer(key: .random()))
        registry = TenantRegistry(directory: directory, actor: "bench")
        database = settings.with(["dbname": Self.name])
        guard let folder = TemporaryFolder.make("/tmp/reeve-bench-purge-") else {
            throw BenchFailure("no folder below /tmp")
        }
        self.folder = folder
        for (name, sql) in [("reference", Self.reference), ("tenant", Self.tables(1...20)), ("shared", Self.shared)] {
            try sql.write(toFile: "\(folder)/\(name).sql", atomically: false, encoding: .utf8)
        }
        var server = settings.with(["dbname": "postgres"])
        server["password"] = nil
        try registry.addServer(
            "bench", conninfo: server.conninfo, region: "local", sharedDatabase: Self.name,
            adminPassword: settings["password"]
        )
    }

    /// Drops what was made on the server. What is not there need not go.
    func removeAll() {
        control.close()
        try? FileManager.default.removeItem(atPath: folder)
        guard let admin = try? Connection(settings.with(["dbname": "postgres"])) else { return }
        defer { admin.close() }
        _ = try? admin.execute("DROP DATABASE IF EXISTS \(Self.name) WITH (FORCE)")
        for tenant in made {
            for role in [tenant.login, tenant.owner] {
                _ = try? admin.execute("DROP ROLE IF EXISTS \(quoteIdentifier(role))")
            }
        }
    }

    // MARK: Scenes

    /// A schema with many tables, some of which refer to reference data that all tenants read, and three small ones.
    func makeSchemas(tables: Int) throws -> PurgeBenchScene {
        let tenants = try (0..<4).map { try tenant("bench-schema-\($0)", .schema) }
        try inDatabase { connection in
            try connection.executeScript(
                "SET ROLE \(quoteIdentifier(tenants[0].owner)); SET search_path = \(quoteIdentifier(tenants[0].schema))"
            )
            var first = 21
            while first <= tables {
                try connection.executeScript(Self.tables(first...min(first + 99, tables)))
                first += 100
            }
        }
        return PurgeBenchScene(
            doomed: tenants[0], others: Array(tenants.dropFirst()), rows: Int64(max(tables, 20)),
            read: { _ in
                "SELECT t.name, u.label FROM t_10 t JOIN reference.units u ON u.code = t.unit WHERE t.id = $1::bigint"
            },
            write: { _ in "UPDATE t_10 SET name = 'changed', at = now() WHERE id = $1::bigint" }, keys: 20)
    }

    /// Tables that ten tenants share, their rows in turn on every page.
    func makeShared(rows: Int) throws -> PurgeBenchScene {
        let tenants = try (0..<10).map { try tenant("bench-shared-\($0)", .shared) }
        let (customers, orders) = (max(10, rows / 500 * 10), max(10, rows / 40 * 10))
        let lines = max(10, rows - customers - orders)
        let ids = "(ARRAY[" + tenants.map { "'\($0.id)'" }.joined(separator: ",") + "]::uuid[])[1 + n % 10]"
        try inDatabase { connection in
            for sql in [
                "INSERT INTO shared.customers SELECT \(ids), n / 10 + 1, 'Customer ' || n, 'c-' || n || '@example.com' FROM generate_series(0, \(customers - 1)) n",
                "INSERT INTO shared.orders SELECT \(ids), n / 10 + 1, n / 10 % (\(customers) / 10) + 1, n % 1000, 'ring at door ' || n, now() - n * interval '1 s' FROM generate_series(0, \(orders - 1)) n",
                "INSERT INTO shared.lines SELECT \(ids), n / 10 + 1, n / 10 % (\(orders) / 10) + 1, n % 5000, n % 9 + 1, 'piece ' || n FROM generate_series(0, \(lines - 1)) n",
            ] { _ = try connection.execute(sql) }
            try connection.executeScript(Self.keys)
            _ = try connection.execute("VACUUM (ANALYZE) shared.customers, shared.orders, shared.lines")
            _ = try connection.execute("CHECKPOINT")
        }
        let doomed = try count(tenants[0])
        return PurgeBenchScene(
            doomed: tenants[0], others: Array(tenants.dropFirst()), rows: doomed,
            read: { tenant in
                """
                SELECT o.total, c.name, (SELECT sum(l.quantity) FROM lines l WHERE l.tenant_id = o.tenant_id AND l.order_id = o.id)
                FROM orders o JOIN customers c ON c.tenant_id = o.tenant_id AND c.id = o.customer_id
                WHERE o.tenant_id = '\(tenant.id)' AND o.id = $1::bigint
                """
            },
            write: { "UPDATE orders SET note = 'changed' WHERE tenant_id = '\($0.id)' AND id = $1::bigint" },
            keys: orders / 10)
    }

    private func tenant(_ code: String, _ isolation: Isolation) throws -> PurgeBenchScene.Tenant {
        let id = try TenantProvisioner(registry: registry).create(
            TenantRequest(
                details: TenantDetails(
                    code: code, name: "Benchmark", tier: "starter", isolation: isolation, region: "local"),
                server: "bench", template: TenantTemplate(directory: folder)))
        let store = try directory.stores(of: id)[0]
        let tenant = PurgeBenchScene.Tenant(
            id: id, code: code, login: store.login, owner: store.owner, settingName: store.settingName,
            settingValue: store.settingValue,
            schema: store.schemas[0])
        made.append(tenant)
        return tenant
    }

    // MARK: Checks

    /// Throws when the tenant is under a legal hold.
    func checkHolds(_ tenant: TenantID) throws {
        let isHeld = try control.withConnection {
            try $0.execute("SELECT reeve.tenant_is_held($1::uuid)", [tenant], name: "held")[0].bool(0)
        }
        if isHeld { throw BenchFailure("the tenant is held") }
    }

    /// How much the other tenants have, in the order in which they are.
    func others(_ scene: PurgeBenchScene) throws -> [Int64] { try scene.others.map(count) }

    /// Throws when something of the purged tenant is left, or something of another's is gone.
    func check(_ scene: PurgeBenchScene, _ before: [Int64]) throws {
        guard try count(scene.doomed) == 0 else { throw BenchFailure("something of the purged tenant is left") }
        guard try others(scene) == before else { throw BenchFailure("something of another tenant is gone") }
    }

    private func count(_ tenant: PurgeBenchScene.Tenant) throws -> Int64 {
        try inDatabase { connection in
            let tables = try connection.execute(
                "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident($1::text)) AND relkind = 'r'",
                [tenant.schema])[0].int(0)
            guard tenant.schema == "shared" else { return tables }
            return try connection.execute(
                """
                SELECT (SELECT count(*) FROM shared.customers WHERE tenant_id = $1::uuid) + (SELECT count(*) FROM shared.orders WHERE tenant_id = $1::uuid)
                  + (SELECT count(*) FROM shared.lines WHERE tenant_id = $1::uuid)
                """, [tenant.id])[0].int(0)
        }
    }

    private func inDatabase<T>(_ body: (Connection) throws -> T) throws -> T {
        let connection = try Connection(database)
        defer { connection.close() }
        return try body(connection)
    }

    // MARK: Tables

    private static let reference = """
        CREATE SCHEMA IF NOT EXISTS reference;
        CREATE TABLE IF NOT EXISTS reference.units (code text PRIMARY KEY, label text NOT NULL);
        INSERT INTO reference.units VALUES ('kg', 'kilogram'), ('m', 'metre') ON CONFLICT DO NOTHING;
        """

    /// Every tenth table refers to reference data.
    private static func tables(_ numbers: ClosedRange<Int>) -> String {
        numbers.map { number in
            """
            CREATE TABLE t_\(number) (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, unit text NOT NULL\(number % 10 == 0 ? " REFERENCES reference.units (code)" : ""),
              name text NOT NULL, at timestamptz NOT NULL DEFAULT now());
            CREATE INDEX ON t_\(number) (at);
            INSERT INTO t_\(number) (unit, name) SELECT 'kg', 'row ' || n FROM generate_series(1, 20) n;
            """
        }.joined(separator: "\n")
    }

    private static let shared = ["customers", "orders", "lines"].map { table in
        let columns = [
            "customers": "name text NOT NULL, email text NOT NULL",
            "orders":
                "customer_id bigint NOT NULL, total numeric(12, 2) NOT NULL, note text NOT NULL, made_at timestamptz NOT NULL",
            "lines": "order_id bigint NOT NULL, item int NOT NULL, quantity int NOT NULL, text text NOT NULL",
        ]
        return """
            CREATE TABLE \(table) (tenant_id uuid NOT NULL, id bigint NOT NULL, \(columns[table] ?? ""));
            ALTER TABLE \(table) ENABLE ROW LEVEL SECURITY; ALTER TABLE \(table) FORCE ROW LEVEL SECURITY;
            """
    }.joined(separator: "\n")

    private static let keys = """
        SET search_path = shared; SET maintenance_work_mem = '256MB';
        ALTER TABLE customers ADD PRIMARY KEY (tenant_id, id); ALTER TABLE orders ADD PRIMARY KEY (tenant_id, id); ALTER TABLE lines ADD PRIMARY KEY (tenant_id, id);
        CREATE INDEX ON orders (tenant_id, customer_id); CREATE INDEX ON lines (tenant_id, order_id);
        ALTER TABLE orders ADD FOREIGN KEY (tenant_id, customer_id) REFERENCES customers; ALTER TABLE lines ADD FOREIGN KEY (tenant_id, order_id) REFERENCES orders;
        """
}
