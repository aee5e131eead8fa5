import EmbeddedPostgres
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import ReeveTesting
import Storage
import Tenancy
import Testing

@testable import Report

/// What depends on the server itself: a streaming standby, and a server on which nothing happens between two requests.
@Suite("Reports and their server", .serialized)
struct ReportServerTests {
    private struct Servers: Sendable {
        let primary: EmbeddedPostgres
        let standby: EmbeddedPostgres
        let fixture: ReportFixture
    }

    /// A server of its own for the tenants; the control database, where much is written, is on another.
    private static let servers = Result { () throws -> Servers in
        // Neither vacuums nor writes of its own accord.
        let primary = try TestServer.make(
            "report-primary", settings: ["autovacuum": "off", "bgwriter_delay": "10s"])
        let fixture = try ReportFixture(primary, codes: ["far-base"])
        return Servers(
            primary: primary, standby: try TestServer.makeStandby(of: primary, "report-standby"), fixture: fixture)
    }

    private func standby(_ servers: Servers, _ sql: String) throws {
        let connection = try Connection(ConnectionSettings(servers.standby.conninfo(database: "postgres")))
        defer { connection.close() }
        _ = try connection.execute(sql)
    }

    /// Names the standby in the registry while `body` runs.
    private func withReplica<T>(_ servers: Servers, lag: Int, _ body: () throws -> T) throws -> T {
        try servers.fixture.control(
            "UPDATE reeve.tenant_server SET replica_conninfo = $1::text, replica_lag_limit = $2::int",
            ["host=\(servers.standby.socketDirectory) port=\(servers.standby.port) dbname=postgres", lag])
        defer {
            _ = try? servers.fixture.control("UPDATE reeve.tenant_server SET replica_conninfo = NULL")
        }
        return try body()
    }

    @Test(
        "the replica is read while it is not too far behind, else the server; the artifact says which, and of when its data is"
    )
    func replica() throws {
        let servers = try Self.servers.get()
        let bench = try ReportBench(servers.fixture)
        let tenant = try bench.fixture.tenant("far-base")
        try bench.define(
            "where",
            "SELECT pg_is_in_recovery() AS a, (SELECT count(*) FROM customers WHERE company = 'Late GmbH') AS b",
            columns: ["a", "b"], extra: ["repeatable": true])
        func run(lag: Int) throws -> (isReplica: Bool, isLate: Bool, manifest: JSON) {
            try withReplica(servers, lag: lag) {
                guard
                    case .finished(let result) = try bench.run(.init(report: "where", formats: [.csv, .html]), tenant)
                else { throw JobFailure("no", "not finished") }
                let csv = String(decoding: try bench.bytes(result.artifacts[0]), as: UTF8.self)
                let page = String(decoding: try bench.bytes(result.artifacts[1]), as: UTF8.self)
                let isReplica = csv.contains("\r\nt,")
                #expect(result.summary?["replica"] == .bool(isReplica))
                #expect(page.contains("von einer Replik gelesen") == isReplica)
                return (isReplica, csv.hasSuffix(",1\r\n"), result.artifacts[0].manifest)
            }
        }
        // A standby knows the time of what it has replayed, not of what it was copied from.
        _ = try bench.fixture.admin(tenant) { try $0.execute("CREATE TABLE public.replayed AS SELECT 1 AS n") }
        #expect(try TestServer.isReplayed(servers.primary, by: servers.standby))
        let fresh = try run(lag: 0)
        #expect(fresh.isReplica && !fresh.isLate && fresh.manifest["replica"] == true)
        // It stands still; the server goes on.
        try standby(servers, "SELECT pg_wal_replay_pause()")
        defer { try? standby(servers, "SELECT pg_wal_replay_resume()") }  // the server goes with the tests
        let store = try bench.fixture.directory.stores(of: tenant.id)[0]
        let before = try bench.fixture.admin(tenant) { connection in
            let now = try connection.execute("SELECT clock_timestamp()::text")[0].text(0)
            try connection.executeScript(
                """
                SET search_path = \(quoteIdentifier(store.schemas[0]));
                CREATE TEMP TABLE late AS SELECT * FROM customers LIMIT 1;
                UPDATE late SET id = 900000, account_code = 'LATE', company = 'Late GmbH';
                SET session_replication_role = replica;
                INSERT INTO customers OVERRIDING SYSTEM VALUE SELECT * FROM late
                """)
            return now
        }
        let within = try run(lag: 3600)
        #expect(within.isReplica && !within.isLate)
        let isOlder = try bench.fixture.control(
            "SELECT ($1::timestamp AT TIME ZONE 'Europe/Berlin' <= $2::timestamptz)::text",
            [within.manifest["data_time"]?.string.map { String($0.prefix(19)) }, before])
        #expect(
            isOlder == "true", "the artifact says newer data than was read: \(within.manifest["data_time"] ?? .null)")
        let beyond = try run(lag: 0)
        #expect(!beyond.isReplica && beyond.isLate && beyond.manifest["replica"] == false)
        try standby(servers, "SELECT pg_wal_replay_resume()")
        #expect(try TestServer.isReplayed(servers.primary, by: servers.standby))
        let again = try run(lag: 0)
        #expect(again.isReplica && again.isLate)
        // A replica that is none, and one that is not there, are not read.
        try servers.fixture.control(
            "UPDATE reeve.tenant_server SET replica_conninfo = $1::text",
            ["host=\(servers.primary.socketDirectory) port=\(servers.primary.port) dbname=postgres"])
        #expect(try bench.texts(.init(report: "where", formats: [.csv]), tenant)[.csv]?.contains("\r\nf,1") == true)
        try servers.fixture.control(
            "UPDATE reeve.tenant_server SET replica_conninfo = 'host=/nonexistent dbname=postgres'")
        #expect(try bench.texts(.init(report: "where", formats: [.csv]), tenant)[.csv]?.contains("\r\nf,1") == true)
        try servers.fixture.control("UPDATE reeve.tenant_server SET replica_conninfo = NULL")
    }

    /// Puts on disk what was written, also what no commit has flushed: until then nothing is shared.
    private func flush(_ connection: Connection) throws {
        _ = try connection.execute("CHECKPOINT")
        let limit = ContinuousClock.now + .seconds(20)
        while try !connection.execute("SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()")[0].bool(0) {
            try #require(.now < limit)
            usleep(10_000)
        }
    }

    /// Equal requests one after the other, and which of them made artifacts of its own last.
    private final class Requests {
        private let quiet: Connection
        private let bench: ReportBench
        private let tenant: Tenant
        private let report: String
        private var latest: Int64 = 0
        /// Before each request everything that is written is put on disk by this.
        private let flush: (Connection) throws -> Void

        init(
            _ report: String, _ bench: ReportBench, _ tenant: Tenant, _ quiet: Connection,
            flush: @escaping (Connection) throws -> Void
        ) {
            (self.report, self.bench, self.tenant, self.quiet, self.flush) = (report, bench, tenant, quiet, flush)
        }

        /// Whether the next request shares what the last made, of which nothing else is told.
        func shares() throws -> Bool {
            try flush(quiet)
            let run = try bench.complete(.init(report: report, formats: [.csv]), tenant)
            guard let shared = run.result.summary?["shared_with"]?.int else {
                #expect(run.result.artifacts.count == 1)
                latest = run.job
                return false
            }
            #expect(shared == latest && run.result.artifacts.isEmpty)
            return true
        }

        /// Asks until one shares. Reading tidies pages, and what that logs is not on disk at once: such a request shares nothing, nor does
        /// the next one with it; a large one outside of its window fails.
        func comeToShare() throws {
            try waitUntil("a shared report") {
                do { return try shares() } catch let failure as JobFailure where failure.code == "off_peak" {
                    return false
                }
            }
        }
    }

    @Test("a later equal request shares the artifacts while nothing was written on the server, and no longer")
    func unchanged() throws {
        let servers = try Self.servers.get()
        let bench = try ReportBench(servers.fixture)
        let tenant = try bench.fixture.tenant("far-base")
        try bench.define("stock", "SELECT count(*) AS a FROM inventory", extra: ["repeatable": true])
        try bench.define("moment", "SELECT count(*) AS a FROM inventory")
        let quiet = try Connection(ConnectionSettings(servers.primary.conninfo(database: "postgres")))
        defer { quiet.close() }
        let (stock, moment) = (
            Requests("stock", bench, tenant, quiet, flush: flush),
            Requests("moment", bench, tenant, quiet, flush: flush)
        )
        #expect(try !stock.shares())
        try stock.comeToShare()
        try stock.comeToShare()
        // One that does not say it is repeatable is run again.
        #expect(try !moment.shares() && !moment.shares())
        // Something was written in another database of the server: it is not known what.
        _ = try quiet.execute("CREATE TABLE public.noise AS SELECT 1 AS n")
        #expect(try !stock.shares())
        try stock.comeToShare()
        // What a transaction has written and not committed nobody sees; once it has, the result is another one.
        let writer = try Connection(ConnectionSettings(servers.primary.conninfo(database: "postgres")))
        defer { writer.close() }
        try writer.transaction {
            _ = try writer.execute("INSERT INTO public.noise VALUES (2)")
            try stock.comeToShare()
        }
        #expect(try !stock.shares())
        // Other parameters, another branding, a changed tenant: nothing is shared.
        try stock.comeToShare()
        try bench.define("stock", "SELECT count(*) AS a FROM inventory WHERE true", extra: ["repeatable": true])
        #expect(try !stock.shares())
        try stock.comeToShare()
        try bench.fixture.control("UPDATE reeve.tenant SET locale = 'fr-FR', version = version + 1")
        #expect(try !stock.shares())
        try stock.comeToShare()
        // Artifacts that go are not shared, nor those of another server's life: a mark names its timeline.
        try bench.fixture.control("UPDATE reeve.artifact SET expires_at = reeve.clock() + interval '59 minutes'")
        #expect(try !stock.shares())
        try stock.comeToShare()
        let mark = try bench.fixture.control(
            "SELECT mark FROM reeve.report_result ORDER BY admitted_at DESC LIMIT 1")
        #expect(mark?.split(separator: "/").count == 5, "\(mark ?? "")")
    }

    @Test("a large report that would wait for the window is answered at once while nothing has changed")
    func heavy() throws {
        let servers = try Self.servers.get()
        let bench = try ReportBench(servers.fixture)
        let tenant = try bench.fixture.tenant("far-base")
        try bench.define("large", "SELECT count(*) AS a FROM invoices", extra: ["repeatable": true, "heavy": true])
        func window(_ from: Int, _ until: Int) throws {
            try bench.fixture.control(
                """
                SELECT reeve.set_report_window('far-base', ((reeve.clock() AT TIME ZONE 'Europe/Berlin')::time + $1::int * interval '1 hour')::time,
                                               ((reeve.clock() AT TIME ZONE 'Europe/Berlin')::time + $2::int * interval '1 hour')::time)
                """, [from, until])
        }
        defer { _ = try? bench.fixture.control("SELECT reeve.set_report_window('far-base', NULL, NULL)") }
        try window(-1, 1)
        let quiet = try Connection(ConnectionSettings(servers.primary.conninfo(database: "postgres")))
        defer { quiet.close() }
        let large = Requests("large", bench, tenant, quiet, flush: flush)
        try large.comeToShare()
        let files = bench.folder.files()
        try window(2, 3)
        try large.comeToShare()
        _ = try bench.fixture.admin(tenant) { try $0.execute("CREATE TABLE public.other AS SELECT 1 AS n") }
        #expect(bench.failure(.init(report: "large", formats: [.csv]), tenant) == "off_peak")
        #expect(bench.folder.files() == files)
    }
}
