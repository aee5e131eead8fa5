import EmbeddedPostgres
import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Storage
import Tenancy
import Testing

@testable import Report

@Suite("Where reports read and write")
struct ReportPlaceTests {
    @Test(
        "a report of a tenant with several databases reads the one that its definition names, or is refused with what to write"
    )
    func severalDatabases() throws {
        let fixture = try ReportFixture.shared.get()
        let bench = try ReportBench()
        let tenant = try fixture.tenant("rpt-base-b")
        let store = try fixture.directory.stores(of: tenant.id)[0]
        let name = "rpt_second_rpt-base-b"
        try fixture.admin(tenant) { connection in
            try connection.execute("CREATE DATABASE \(quoteIdentifier(name))")
            let second = try Connection(ConnectionSettings(fixture.server.conninfo(database: name)))
            defer { second.close() }
            let (schema, login) = (quoteIdentifier(store.schemas[0]), quoteIdentifier(store.login))
            try second.executeScript(
                """
                CREATE SCHEMA IF NOT EXISTS \(schema); CREATE TABLE \(schema).place AS SELECT 'second' AS a;
                GRANT USAGE ON SCHEMA \(schema) TO \(login); GRANT SELECT ON \(schema).place TO \(login);
                """)
            try connection.executeScript(
                """
                CREATE TABLE \(schema).place AS SELECT 'first' AS a; GRANT SELECT ON \(schema).place TO \(login);
                """)
        }
        try bench.define("anywhere", "SELECT a FROM place", columns: ["a"])
        try bench.define("second", "SELECT a FROM place", columns: ["a"], extra: ["database": "rpt_second_{code}"])
        try bench.define("elsewhere", "SELECT a FROM place", columns: ["a"], extra: ["database": "nowhere"])
        // With one database its name does not matter.
        #expect(try bench.texts(.init(report: "second", formats: [.csv]), tenant)[.csv]?.contains("first") == true)
        try fixture.control(
            """
            INSERT INTO reeve.tenant_store SELECT (jsonb_populate_record(o, jsonb_build_object('database', $2::text))).*
            FROM reeve.tenant_store o WHERE o.tenant_id = $1::uuid
            """, [tenant.id, name])
        defer { _ = try? fixture.control("DELETE FROM reeve.tenant_store WHERE database = $1::text", [name]) }
        #expect(try bench.texts(.init(report: "second", formats: [.csv]), tenant)[.csv]?.contains("second") == true)
        for report in ["anywhere", "elsewhere"] {
            do {
                _ = try bench.run(.init(report: report, formats: [.csv]), tenant)
                Issue.record("\(report) ran")
            } catch let error as JobFailure {
                #expect(
                    error.code == "several_stores" && error.message.contains(name)
                        && error.message.contains("\(report).json"))
            }
        }
        let findings = try DefinitionCheck(library: bench.library, tenant: tenant).run(
            on: fixture.directory.stores(of: tenant.id)
        ) { store, body in
            try fixture.sessions.withReader(
                store, of: bench.attempt(tenant), stop: StopSignal(), deadline: .now + .seconds(30), body)
        }
        #expect(findings.map(\.name) == ["anywhere", "elsewhere", "second"])
        #expect(findings.map(\.problems.isEmpty) == [false, false, true], "\(findings)")
    }

    /// Two stores, as destinations with a copy make them.
    private struct TwoStores: StoreCatalog {
        let primary: any ObjectStore
        let copy: any ObjectStore
        func placement(of tenant: Tenant) -> Placement {
            Placement(primary: NamedStore(name: "near", store: primary), copies: [NamedStore(name: "far", store: copy)])
        }
        func store(named name: String, for tenant: Tenant) -> any ObjectStore { name == "far" ? copy : primary }
    }

    @Test("a report is in every destination that the tenant's placement names, or in none")
    func copies() throws {
        let bench = try ReportBench()
        let tenant = try bench.fixture.tenant("rpt-schema-b")
        let far = ScratchFolder()
        try bench.define("plain", "SELECT repeat('x', 700) AS a FROM generate_series(1, 1000)")
        let stores = TwoStores(primary: bench.store, copy: FolderStore(root: far.path))
        guard
            case .finished(let result) = try bench.run(
                .init(report: "plain", formats: [.csv, .html]), tenant, stores: stores)
        else {
            Issue.record("not finished")
            return
        }
        for artifact in result.artifacts {
            #expect(artifact.manifest["destination"] == "near" && artifact.manifest["copies"] == ["far"])
            let key = try ObjectKey(parsing: artifact.key)
            var (one, two): ([UInt8], [UInt8]) = ([], [])
            try stores.primary.read(key) { one += $0 }
            try stores.copy.read(key) { two += $0 }
            #expect(one == two && Int64(one.count) == artifact.bytes)
        }
        let before = (bench.folder.files(), far.files())
        for broken in [
            TwoStores(primary: bench.store, copy: BrokenStore(FolderStore(root: far.path), after: 300_000)),
            TwoStores(primary: bench.store, copy: BrokenStore(FolderStore(root: far.path), publishing: 2)),
            TwoStores(primary: BrokenStore(bench.store, publishing: 1), copy: FolderStore(root: far.path)),
        ] {
            #expect(throws: StorageError.self) {
                try bench.run(.init(report: "plain", formats: [.csv, .html]), tenant, stores: broken)
            }
            #expect(bench.folder.files() == before.0 && far.files() == before.1)
        }
    }

    @Test("a report that has never run waits for the window when the planner takes it for large")
    func estimates() throws {
        let bench = try ReportBench()
        let tenant = try bench.fixture.tenant("rpt-base-a")
        // About 10^10 rows: some 10^8 units of cost, 500 s and more.
        try bench.define(
            "vast", "SELECT 1 AS a FROM generate_series(1, 100000) x, generate_series(1, 100000) y LIMIT :n",
            parameters: [["name": "n", "type": "integer"]])
        try bench.define("small", "SELECT 1 AS a FROM inventory")
        try bench.fixture.control(
            """
            SELECT reeve.set_report_window('rpt-base-a', ((reeve.clock() AT TIME ZONE 'Europe/Berlin')::time + interval '2 hours')::time,
                                           ((reeve.clock() AT TIME ZONE 'Europe/Berlin')::time + interval '3 hours')::time)
            """)
        defer { _ = try? bench.fixture.control("SELECT reeve.set_report_window('rpt-base-a', NULL, NULL)") }
        do {
            _ = try bench.run(.init(report: "vast", formats: [.csv]), tenant)
            Issue.record("it ran")
        } catch let error as JobFailure {
            guard case .hold(let reason, let wait) = error.disposition else {
                Issue.record("\(error)")
                return
            }
            #expect(reason == "off_peak" && wait > .seconds(6000) && wait < .seconds(7300))
        }
        #expect(bench.folder.files().isEmpty)
        #expect(bench.failure(.init(report: "small", formats: [.csv]), tenant) == nil)
        // The same with a parameter that makes it small; then its last run counts.
        #expect(bench.failure(.init(report: "vast", formats: [.csv], parameters: ["n": 5]), tenant) == nil)
        try bench.fixture.control("UPDATE reeve.report_cost SET seconds = 1 WHERE report = 'vast'")
        #expect(bench.failure(.init(report: "vast", formats: [.csv], parameters: ["n": 6]), tenant) == nil)
    }
}
