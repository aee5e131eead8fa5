import FoundationEssentials
import JobKit
import Postgres

/// A tenant's data as an application writes it: numbers, times, short and longer texts, documents. Compresses about as such
/// data does.
struct BackupBenchData {
    static let schema = "bench_data"
    static let login = "reeve_bench_tenant"
    static let password = "only-for-the-benchmark"

    let settings: ConnectionSettings
    let admin: Connection
    let isolation: Isolation
    let bytes: Int64
    let tenant: Tenant

    init(_ settings: ConnectionSettings, _ admin: Connection, isolation: Isolation, bytes: Int64) {
        self.settings = settings
        self.admin = admin
        self.isolation = isolation
        self.bytes = bytes
        tenant = Tenant(
            id: TenantID(rawValue: UUID()), code: "bench", tier: "starter", status: .active, isolation: isolation,
            region: "eu", timezone: "UTC", features: [], version: 1)
    }

    /// What plain pg_dump is asked for.
    var dumpOptions: [String] {
        isolation == .shared
            ? ["--schema=\(Self.schema)", "--enable-row-security", "--section=pre-data", "--section=data"]
            : isolation == .schema ? ["--schema=\(Self.schema)"] : []
    }

    /// Makes tables until they have the bytes; returns how many they have. Of a shared schema a tenth more is another
    /// tenant's.
    func make() throws -> Int64 {
        drop()
        let column = isolation == .shared ? "tenant_id uuid NOT NULL, " : ""
        try admin.executeScript(
            """
            CREATE ROLE \(Self.login) LOGIN PASSWORD '\(Self.password)';
            CREATE SCHEMA \(Self.schema);
            SET search_path = \(Self.schema);
            CREATE TABLE orders (\(column)id bigint NOT NULL, customer int NOT NULL, placed_at timestamptz NOT NULL,
              amount numeric(12, 2) NOT NULL, status text NOT NULL, note text);
            CREATE TABLE events (\(column)id bigint NOT NULL, at timestamptz NOT NULL, kind text NOT NULL, payload jsonb NOT NULL);
            CREATE TABLE customers (\(column)id bigint NOT NULL, name text NOT NULL, mail text NOT NULL, since date NOT NULL);
            """)
        var (first, size) = (Int64(1), Int64(0))
        let step = max(1000, min(200_000, bytes / 800))
        while size < bytes {
            try fill(first, step, owner: tenant.id.description)
            first += step
            size = try admin.execute(
                "SELECT sum(pg_table_size(oid))::bigint FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'r'",
                [Self.schema])[0].int(0)
        }
        if isolation == .shared {
            for start in stride(from: first, to: first + first / 10, by: Int(step)) {
                try fill(start, step, owner: UUID().uuidString)
            }
        }
        try admin.executeScript(
            """
            ALTER TABLE orders ADD PRIMARY KEY (id); ALTER TABLE events ADD PRIMARY KEY (id); CREATE INDEX ON orders (customer);
            GRANT USAGE ON SCHEMA \(Self.schema) TO \(Self.login);
            GRANT SELECT ON ALL TABLES IN SCHEMA \(Self.schema) TO \(Self.login);
            """)
        if isolation == .shared { try secure() }
        try admin.executeScript("VACUUM (ANALYZE) orders, events, customers")
        try admin.executeScript("CHECKPOINT")
        return size
    }

    private func fill(_ first: Int64, _ count: Int64, owner: String) throws {
        let value = isolation == .shared ? "'\(owner)'::uuid, " : ""
        let rows = "generate_series(\(first)::bigint, \(first + count - 1)) n"
        try admin.executeScript(
            """
            INSERT INTO orders SELECT \(value)n, (random() * 50000)::int, '2024-01-01'::timestamptz + n * interval '7 seconds' + random() * interval '1 hour',
              (random() * 10000)::numeric(12, 2), (ARRAY['open', 'paid', 'shipped', 'delivered', 'returned'])[1 + (random() * 4)::int],
              'Delivery ' || (ARRAY['before noon', 'to the back door', 'with a call ahead', 'on pallets', 'as one lot'])[1 + (random() * 4)::int]
                || ', reference ' || substr(md5(random()::text), 1, 14) || ', contact ' || (random() * 1000000)::int FROM \(rows);
            INSERT INTO events SELECT \(value)n, '2024-01-01'::timestamptz + n * interval '3 seconds',
              (ARRAY['order.placed', 'order.paid', 'item.scanned', 'login', 'page.view'])[1 + (random() * 4)::int],
              jsonb_build_object('session', md5(random()::text), 'user', (random() * 90000)::int, 'path', '/orders/' || n, 'ms', (random() * 900)::int,
                'agent', 'Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/1' || (random() * 30)::int) FROM \(rows);
            INSERT INTO customers SELECT \(value)n, 'Customer ' || substr(md5(n::text), 1, 9) || ' GmbH', substr(md5(random()::text), 1, 10) || '@example.org',
              '2015-01-01'::date + (random() * 3000)::int FROM \(rows) WHERE n % 10 = 0;
            """)
    }

    private func secure() throws {
        for table in ["orders", "events", "customers"] {
            try admin.executeScript(
                "ALTER TABLE \(table) ENABLE ROW LEVEL SECURITY; ALTER TABLE \(table) FORCE ROW LEVEL SECURITY")
            for kind in ["PERMISSIVE", "RESTRICTIVE"] {
                try admin.executeScript(
                    "CREATE POLICY \(kind) ON \(table) AS \(kind) TO \(Self.login) USING (tenant_id = '\(tenant.id)')")
            }
        }
    }

    /// Removes all of it.
    func drop() {
        // What is not there need not go; a database that is gone takes it along.
        try? admin.executeScript("DROP SCHEMA IF EXISTS \(Self.schema) CASCADE")
        try? admin.executeScript("DROP ROLE IF EXISTS \(Self.login)")
    }
}
