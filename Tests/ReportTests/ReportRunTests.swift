import FoundationEssentials
import Glibc
import JobKit
import Postgres
import ReeveTesting
import Storage
import Synchronization
import Tenancy
import Testing

@testable import Report

@Suite("Reports of every isolation")
struct ReportRunTests {
    @Test("the shipped reports show each tenant its own rows, in every format, and say the same")
    func shipped() throws {
        let bench = try ReportBench(shipped: true)
        for code in bench.fixture.codes where code.hasSuffix("-a") {
            let tenant = try bench.fixture.tenant(code)
            for name in try bench.library.names(for: tenant) {
                let texts = try bench.texts(
                    .init(
                        report: name, formats: [.html, .csv, .json],
                        parameters: name == "receivables" ? ["top": 500] : [:]), tenant)
                let json = try JSON(parsing: texts[.json] ?? "")
                let rows = json["rows"]?.array ?? []
                #expect(
                    (!rows.isEmpty || name == "order-backlog") && json["row_count"]?.int == Int64(rows.count),
                    "\(code) \(name)")
                #expect(texts[.csv]?.split(separator: "\r\n").count == rows.count + 1, "\(code) \(name)")
                #expect(texts[.html]?.contains("<html lang=\"de-DE\">") == true)
                #expect(
                    texts[.html].map { $0.split(separator: "<tr>", omittingEmptySubsequences: false).count - 1 }
                        == (rows.isEmpty ? 0 : rows.count + 2))
                for other in bench.fixture.codes where other != code {
                    #expect(texts.values.allSatisfy { !$0.contains(other) }, "\(name) of \(code) shows \(other)")
                }
                if name == "receivables" {
                    let owed = try bench.fixture.asTenant(tenant) {
                        try $0.query(
                            "SELECT sum(gross_amount - paid_amount)::text FROM invoices WHERE invoiced_on <= current_date"
                        )[0].text(0)
                    }
                    #expect(json["totals"]?["open"]?.string == owed)
                    #expect(texts[.csv]?.contains(code) == true)
                }
            }
        }
    }

    @Test("a scope limits what is seen, and a definition that does not honour it is refused")
    func scope() throws {
        let bench = try ReportBench(shipped: true)
        let tenant = try bench.fixture.tenant("rpt-shared-a")
        let customer = try bench.fixture.asTenant(tenant) {
            try $0.query(
                "SELECT customer_id::text FROM invoices WHERE gross_amount > paid_amount AND invoiced_on <= current_date LIMIT 1"
            )[0].text(0)
        }
        let all = try JSON(parsing: bench.texts(.init(report: "receivables", formats: [.json]), tenant)[.json] ?? "")
        let one = try JSON(
            parsing: bench.texts(
                .init(report: "receivables", formats: [.json], scope: .init(customer: customer)), tenant)[.json] ?? "")
        #expect(one["rows"]?.array?.count == 1)
        #expect((all["rows"]?.array?.count ?? 0) > 1)
        let halls = try JSON(
            parsing: bench.texts(
                .init(report: "inventory-ageing", formats: [.json], scope: .init(locations: ["H1"])), tenant)[.json]
                ?? "")
        let lots = try bench.fixture.asTenant(tenant) {
            try $0.query("SELECT count(*)::text FROM inventory WHERE location LIKE 'H1-%'")[0].text(0)
        }
        #expect(halls["totals"]?["lots"]?.string == lots)
        #expect(bench.failure(.init(report: "receivables", scope: .init(locations: ["H1"])), tenant) == "report_scope")
        #expect(bench.failure(.init(report: "receivables", scope: .init(division: "x")), tenant) == "report_scope")
        #expect(bench.failure(.init(report: "receivables", scope: .init(customer: "")), tenant) == "report_scope")
        // A value like any other: it opens nothing.
        let hostile = try JSON(
            parsing: bench.texts(
                .init(report: "receivables", formats: [.json], scope: .init(customer: "' OR true --")), tenant)[.json]
                ?? "")
        #expect(hostile["rows"]?.array?.isEmpty == true)
    }

    @Test(
        "another tenant's data is out of reach, whatever the SQL tries",
        arguments: ["rpt-schema-a", "rpt-shared-a", "rpt-base-a"])
    func escapes(code: String) throws {
        let bench = try ReportBench()
        let tenant = try bench.fixture.tenant(code)
        let other = try bench.fixture.tenant(String(code.dropLast()) + "b")
        let store = try bench.fixture.directory.stores(of: other.id)[0]
        let schema = quoteIdentifier(store.schemas[0])
        // What would work if the login could do more than it may.
        let attempts = [
            "SELECT account_code AS a FROM \(schema).customers",
            "SELECT account_code AS a FROM customers",
            "SELECT account_code AS a FROM customers WHERE 1 / (length(account_code) - length(account_code) + 1) = 1",
            "SELECT table_name AS a FROM information_schema.tables WHERE table_schema = '\(store.schemas[0])' AND '\(code)' NOT LIKE '%shared%'",
            "SELECT pg_read_file('/etc/passwd') AS a", "SELECT pg_ls_dir('.') AS a",
            "SELECT lo_import('/etc/passwd')::text AS a",
            "SELECT query AS a FROM pg_stat_activity WHERE usename = '\(store.login)' AND query NOT LIKE '<%'",
            "SELECT rolpassword AS a FROM pg_authid", "SELECT usename::text AS a FROM pg_shadow",
            "SELECT query_to_xml('SELECT account_code FROM \(schema).customers', true, true, '')::text AS a",
            "SELECT most_common_vals::text AS a FROM pg_stats WHERE schemaname = '\(store.schemas[0])' AND attname = 'account_code'",
            "SELECT reeve_fence.holder(1)::text AS a",
            "SELECT a FROM dblink('dbname=postgres', 'SELECT 1') AS t (a text)",
            "SELECT lo_get(loid)::text AS a FROM pg_largeobject_metadata m, LATERAL (SELECT m.oid AS loid) x",
            "SELECT lo_export(1, '/tmp/x')::text AS a", "SELECT pg_stat_file('/etc/passwd')::text AS a",
            "SELECT pg_read_binary_file('/etc/passwd')::text AS a", "SELECT data::text AS a FROM pg_largeobject",
            "SELECT subconninfo AS a FROM pg_subscription", "SELECT umoptions::text AS a FROM pg_user_mapping",
            "SELECT database_to_xml(true, true, '')::text AS a",
            "SELECT cursor_to_xml('c', 1, true, true, '')::text AS a",
            "SELECT ts_stat::text AS a FROM ts_stat('SELECT to_tsvector(account_code) FROM \(schema).customers')",
            "SELECT pg_terminate_backend(pid)::text AS a FROM pg_stat_activity WHERE usename = '\(store.login)'",
        ]
        for (index, sql) in attempts.enumerated() {
            try bench.define("escape-\(index)", sql)
            do {
                let text = try bench.texts(.init(report: "escape-\(index)", formats: [.csv]), tenant)[.csv] ?? ""
                #expect(!text.contains(other.code) && !text.contains("root:"), "\(sql)")
                if code.contains("schema") && index == 0 { Issue.record("\(sql) ran") }
            } catch let error as JobFailure {
                #expect(["report_denied", "report_sql", "report_writes"].contains(error.code), "\(sql): \(error)")
                #expect(!error.message.contains(other.code + "-0"), "\(error)")
            }
        }
        // A function of the tenant's own that sets what policies read: it still sees its own rows only, and the result is dropped.
        try bench.fixture.admin(tenant) { connection in
            let own = try bench.fixture.directory.stores(of: tenant.id)[0]
            let name = "\(quoteIdentifier(own.schemas[0])).rpt_pretend_\(code.filter { $0 != "-" })"
            try connection.executeScript(
                """
                CREATE OR REPLACE FUNCTION \(name)(text, text) RETURNS text LANGUAGE sql AS $$ SELECT set_config($1, $2, true) $$;
                GRANT EXECUTE ON FUNCTION \(name)(text, text) TO \(quoteIdentifier(own.login));
                """)
        }
        let pretend = "rpt_pretend_\(code.filter { $0 != "-" })"
        try bench.define(
            "pretend",
            "SELECT p.x || c.account_code AS a FROM (SELECT \(pretend)('app.current_tenant', '\(other.id)') AS x OFFSET 0) p, customers c"
        )
        #expect(bench.failure(.init(report: "pretend"), tenant) == "report_scope")
        try bench.define("open", "SELECT \(pretend)('app.current_customer', '') AS a", extra: ["scopes": ["customer"]])
        #expect(bench.failure(.init(report: "open", scope: .init(customer: "7")), tenant) == "report_scope")
        try bench.define("become", "SELECT \(pretend)('role', '\(store.login)') AS a")
        #expect(bench.failure(.init(report: "become"), tenant) != nil)
        #expect(bench.folder.files().filter { $0.contains(other.id.description) }.isEmpty)
    }

    @Test("SQL that writes ends the job for good and changes nothing")
    func writes() throws {
        let bench = try ReportBench()
        let tenant = try bench.fixture.tenant("rpt-schema-a")
        let before = try bench.fixture.asTenant(tenant) { try $0.query("SELECT count(*) FROM inventory")[0].int(0) }
        try bench.define("cte", "WITH gone AS (DELETE FROM inventory RETURNING lot_number AS a) SELECT a FROM gone")
        try bench.define("sequence", "SELECT nextval(pg_get_serial_sequence('inventory', 'id')) AS a")
        try bench.define("lock", "SELECT lot_number AS a FROM inventory FOR UPDATE")
        for name in ["cte", "sequence", "lock"] {
            #expect(bench.failure(.init(report: name), tenant) == "report_writes", "\(name)")
        }
        for sql in [
            "DELETE FROM inventory RETURNING lot_number AS a", "SELECT 1 AS a; COMMIT", "COMMIT",
            "/* SELECT */ DROP TABLE inventory",
            "SELECT set_config('app.current_customer', '', false) AS a",
            "SELECT U&\"set\\005fconfig\"('a', 'b', false) AS a", "SELECT $1 AS a",
            "EXPLAIN ANALYZE DELETE FROM inventory", "COPY inventory TO PROGRAM 'cat'", "COPY inventory TO '/tmp/x'",
            "SET row_security = off", "SET ROLE postgres", "RESET ROLE", "SELECT 1 AS a; SET ROLE postgres",
            "DO $$ BEGIN END $$", "LOAD 'auto_explain'", "CALL p()", "CREATE TEMP VIEW v AS SELECT 1 AS a",
            "SELECT pg_catalog.set_config('row_security', 'off', true) AS a", "PREPARE x AS SELECT 1",
            "BEGIN; SELECT 1 AS a", "SELECT 1 AS a INTO TEMP t; SELECT 1",
        ] {
            try bench.define("refused", sql)
            #expect(bench.failure(.init(report: "refused"), tenant) == "definition", "\(sql)")
        }
        let after = try bench.fixture.asTenant(tenant) { try $0.query("SELECT count(*) FROM inventory")[0].int(0) }
        #expect(after == before && before > 0)
        #expect(bench.folder.files().isEmpty)
    }

    @Test("SQL that runs too long is ended, also when it takes no cancel, and what grows too large")
    func tooLong() throws {
        let bench = try ReportBench()
        let tenant = try bench.fixture.tenant("rpt-base-b")
        try bench.fixture.control(
            """
            INSERT INTO reeve.tier (name, concurrency, backlog_limit, backup_retention_days, audit_retention_years, features, report_seconds, report_rows, report_bytes,
              report_daytime_seconds)
            VALUES ('rpt-short', 5, 1000, 7, 1, '{reports}', 1, 50, 4096, NULL) ON CONFLICT DO NOTHING
            """)
        try bench.fixture.control("UPDATE reeve.tenant SET tier = 'rpt-short' WHERE code = 'rpt-base-b'")
        defer {
            _ = try? bench.fixture.control("UPDATE reeve.tenant SET tier = 'professional' WHERE code = 'rpt-base-b'")
        }
        let store = try bench.fixture.directory.stores(of: tenant.id)[0]
        try bench.fixture.admin(tenant) { connection in
            try connection.executeScript(
                """
                CREATE FUNCTION \(quoteIdentifier(store.schemas[0])).stubborn() RETURNS int LANGUAGE plpgsql AS $$
                BEGIN
                  PERFORM set_config('statement_timeout', '0', false);
                  LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP;
                END $$;
                GRANT EXECUTE ON FUNCTION \(quoteIdentifier(store.schemas[0])).stubborn() TO \(quoteIdentifier(store.login));
                """)
        }
        try bench.define("sleeper", "SELECT pg_sleep(3600)::text AS a")
        try bench.define("stubborn", "SELECT stubborn() AS a")
        try bench.define("endless", "SELECT generate_series(1, 10000000000) AS a")
        try bench.define("wide", "SELECT repeat('x', 1000) AS a FROM generate_series(1, 40)")
        for name in ["sleeper", "stubborn"] {
            #expect(bench.failure(.init(report: name, formats: [.csv]), tenant) == "report_timeout", "\(name)")
        }
        try bench.fixture.control("UPDATE reeve.tier SET report_seconds = 600 WHERE name = 'rpt-short'")
        for name in ["endless", "wide"] {
            #expect(bench.failure(.init(report: name, formats: [.csv]), tenant) == "report_too_large", "\(name)")
        }
        // Its backend is gone too, within what `client_connection_check_interval` says.
        try bench.fixture.admin(tenant) { connection in
            let limit = ContinuousClock.now + .seconds(15)
            while try connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = $1::text AND query LIKE '%stubborn%'",
                [store.login])[0].int(0) > 0
            {
                try #require(.now < limit)
                usleep(50_000)
            }
        }
        #expect(bench.folder.files().isEmpty)
    }

    @Test("nothing to show is said, and storage that fails or a suspended tenant leaves nothing behind")
    func nothing() throws {
        let bench = try ReportBench()
        let tenant = try bench.fixture.tenant("rpt-schema-b")
        try bench.define(
            "empty", "SELECT lot_number AS a FROM inventory WHERE false", columns: [["name": "a", "total": "count"]])
        let texts = try bench.texts(.init(report: "empty", formats: [.html, .csv, .json]), tenant)
        #expect(texts[.csv] == "\"a\"\r\n")
        #expect(try JSON(parsing: texts[.json] ?? "")["row_count"]?.int == 0)
        #expect(texts[.html]?.contains("gibt es keine Daten") == true)
        let files = bench.folder.files().count
        try bench.define("many", "SELECT repeat('x', 900) AS a FROM generate_series(1, 2000)")
        #expect(
            bench.failure(
                .init(report: "many", formats: [.csv, .json]), tenant, store: BrokenStore(bench.store, after: 400_000))?
                .hasPrefix("storage_full") == true)
        #expect(
            bench.failure(
                .init(report: "many", formats: [.csv, .json]), tenant, store: BrokenStore(bench.store, publishing: 2))?
                .hasPrefix("storage_full") == true)
        try bench.fixture.control("UPDATE reeve.tenant SET status = 'suspended' WHERE code = $1::text", [tenant.code])
        defer {
            _ = try? bench.fixture.control(
                "UPDATE reeve.tenant SET status = 'active' WHERE code = $1::text", [tenant.code])
        }
        #expect(bench.failure(.init(report: "many", formats: [.csv]), tenant) == "tenant_suspended")
        #expect(bench.folder.files().count == files)
    }

    @Test("an attempt that lost its lease publishes nothing")
    func lost() throws {
        let bench = try ReportBench()
        let tenant = try bench.fixture.tenant("rpt-shared-b")
        try bench.define("plain", "SELECT 1 AS a")
        let attempt = try bench.attempt(tenant)
        try bench.end(attempt)
        #expect(throws: Stopped.self) { try bench.run(.init(report: "plain"), tenant, attempt: attempt) }
        #expect(bench.folder.files().isEmpty)
    }
}

/// A store that runs out of space: after so many bytes, or when the nth object is published.
final class BrokenStore: ObjectStore {
    private let store: FolderStore
    private let limit: Int64
    private let publishing: Int
    private let published = Mutex(0)

    init(_ store: FolderStore, after limit: Int64 = .max, publishing: Int = .max) {
        self.store = store
        self.limit = limit
        self.publishing = publishing
    }

    var description: String { "broken \(store)" }
    func writer(for key: ObjectKey, attempt: UUID) throws -> any ObjectWriter {
        BrokenWriter(try store.writer(for: key, attempt: attempt), self)
    }
    func size(of key: ObjectKey) throws -> Int64? { try store.size(of: key) }
    func read(_ key: ObjectKey, _ body: (UnsafeRawBufferPointer) throws -> Void) throws { try store.read(key, body) }
    func localPath(of key: ObjectKey) -> String? { nil }
    func delete(_ key: ObjectKey) throws { try store.delete(key) }
    func list(_ tenant: TenantID, _ entity: ObjectEntity, _ body: (StoredObject) throws -> Void) throws {
        try store.list(tenant, entity, body)
    }
    func sweep(olderThan age: Duration) throws -> Int { try store.sweep(olderThan: age) }

    private final class BrokenWriter: ObjectWriter {
        private let writer: any ObjectWriter
        private let store: BrokenStore
        init(_ writer: any ObjectWriter, _ store: BrokenStore) { (self.writer, self.store) = (writer, store) }
        var bytes: Int64 { writer.bytes }
        func write(_ bytes: UnsafeRawBufferPointer) throws {
            if writer.bytes + Int64(bytes.count) > store.limit { throw StorageError(.full, "no space left") }
            try writer.write(bytes)
        }
        func publish() throws {
            let number = store.published.withLock { count -> Int in
                count += 1
                return count
            }
            if number >= store.publishing { throw StorageError(.full, "no space left") }
            try writer.publish()
        }
        func abandon() { writer.abandon() }
    }
}
