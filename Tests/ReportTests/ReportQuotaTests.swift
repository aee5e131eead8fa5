import Dispatch
import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Synchronization
import Testing

@testable import Report

@Suite("Quotas and windows of reports")
struct ReportQuotaTests {
    @Test("two at once cannot both take the last place of a scheduled report")
    func places() throws {
        let fixture = try ReportFixture.shared.get()
        let code = "rpt-schema-b"
        try fixture.control(
            "UPDATE reeve.tenant SET overrides = '{\"scheduled_reports\": 3}' WHERE code = $1::text", [code])
        try fixture.control("SELECT reeve.take_report_place($1::text, 'first')", [code])
        let refused = Mutex<[String]>([])
        DispatchQueue.concurrentPerform(iterations: 8) { index in
            do {
                try fixture.pool.withConnection { connection in
                    try connection.transaction {
                        _ = try connection.execute(
                            "SELECT reeve.take_report_place($1::text, $2::text)", [code, "place \(index)"])
                    }
                }
            } catch { refused.withLock { $0.append((error as? PostgresError)?.sqlState ?? "\(error)") } }
        }
        #expect(refused.withLock { $0 } == [String](repeating: "RV012", count: 6))
        #expect(
            try fixture.control(
                "SELECT count(*)::text FROM reeve.report_place p JOIN reeve.tenant t ON t.id = p.tenant_id WHERE t.code = $1::text",
                [code]) == "3")
        // The same one again takes no place; one given back is free.
        #expect(try fixture.control("SELECT reeve.take_report_place($1::text, 'first')::text", [code]) == "false")
        #expect(try fixture.control("SELECT reeve.release_report_place($1::text, 'first')::text", [code]) == "true")
        #expect(try fixture.control("SELECT reeve.take_report_place($1::text, 'again')::text", [code]) == "true")
        // Nor does a transaction that would not see who was faster.
        #expect(throws: PostgresError.self) {
            try fixture.pool.withConnection { connection in
                try connection.transaction(isolation: "repeatable read") {
                    _ = try connection.execute(
                        "INSERT INTO reeve.report_place (tenant_id, name) SELECT id, 'x' FROM reeve.tenant WHERE code = 'rpt-base-a'"
                    )
                }
            }
        }
        try fixture.control(
            "UPDATE reeve.tenant SET tier = 'enterprise', overrides = '{}' WHERE code = $1::text", [code])
        defer {
            _ = try? fixture.control("UPDATE reeve.tenant SET tier = 'professional' WHERE code = $1::text", [code])
        }
        for index in 0..<60 {
            try fixture.control("SELECT reeve.take_report_place($1::text, $2::text)", [code, "more \(index)"])
        }
    }

    @Test(
        "the off-peak window follows the clock on the wall, also when that changes",
        arguments: [
            // Inside, before, after; then the skipped and the repeated hour of Berlin.
            ("22:00", "06:00", "2026-06-01 23:30+02", "2026-06-01 23:30+02"),
            ("22:00", "06:00", "2026-06-01 12:10+02", "2026-06-01 22:00+02"),
            ("22:00", "06:00", "2026-06-01 06:00+02", "2026-06-01 22:00+02"),
            ("09:00", "17:00", "2026-06-01 18:00+02", "2026-06-02 09:00+02"),
            ("02:30", "05:00", "2026-03-29 01:00+01", "2026-03-29 03:00+02"),
            ("02:00", "03:00", "2026-03-29 01:59+01", "2026-03-30 02:00+02"),
            ("02:30", "05:00", "2026-10-25 01:00+02", "2026-10-25 02:30+02"),
            ("02:30", "02:45", "2026-10-25 02:50+02", "2026-10-25 02:30+01"),
            ("08:00", "08:00", "2026-06-01 12:00+02", "2026-06-01 12:00+02"),
        ])
    func window(opens: String, closes: String, at: String, next: String) throws {
        let fixture = try ReportFixture.shared.get()
        let isNext = try fixture.control(
            "SELECT (reeve.next_off_peak('Europe/Berlin', $1::time, $2::time, $3::timestamptz) = $4::timestamptz)::text",
            [opens, closes, at, next])
        #expect(isNext == "true", "\(opens)–\(closes) at \(at)")
    }

    @Test("a report whose last run was expensive waits for the tenant's window, at no cost of attempts")
    func offPeak() throws {
        let bench = try ReportBench()
        let tenant = try bench.fixture.tenant("rpt-base-a")
        try bench.define("costly", "SELECT 1 AS a")
        try bench.define("heavy", "SELECT 1 AS a", extra: ["heavy": true])
        // A window that is shut now and opens within 23 hours.
        try bench.fixture.control(
            """
            SELECT reeve.set_report_window('rpt-base-a', ((reeve.clock() AT TIME ZONE 'Europe/Berlin')::time + interval '2 hours')::time,
                                           ((reeve.clock() AT TIME ZONE 'Europe/Berlin')::time + interval '3 hours')::time)
            """)
        defer { _ = try? bench.fixture.control("SELECT reeve.set_report_window('rpt-base-a', NULL, NULL)") }
        #expect(bench.failure(.init(report: "costly"), tenant) == nil)
        #expect(bench.failure(.init(report: "heavy"), tenant) == "off_peak")
        try bench.fixture.control("UPDATE reeve.report_cost SET seconds = 500 WHERE report = 'costly'")
        do {
            _ = try bench.run(.init(report: "costly"), tenant)
            Issue.record("it ran")
        } catch let error as JobFailure {
            guard case .hold(let reason, let wait) = error.disposition else {
                Issue.record("\(error)")
                return
            }
            #expect(reason == "off_peak" && wait > .seconds(6000) && wait < .seconds(7300))
        }
        try bench.fixture.control(
            "SELECT reeve.set_report_window('rpt-base-a', ((reeve.clock() AT TIME ZONE 'Europe/Berlin')::time - interval '1 hour')::time, ((reeve.clock() AT TIME ZONE 'Europe/Berlin')::time + interval '1 hour')::time)"
        )
        #expect(bench.failure(.init(report: "heavy"), tenant) == nil)
        #expect(bench.failure(.init(report: "costly"), tenant) == nil)
    }

    @Test("a request that is answered by newer data than itself shares the artifacts; a later one does not")
    func sharing() throws {
        let bench = try ReportBench()
        let tenant = try bench.fixture.tenant("rpt-shared-b")
        try bench.define(
            "shared", "SELECT clock_timestamp() AS a, :n AS b", columns: ["a", "b"],
            parameters: [["name": "n", "type": "integer"]])
        func request(_ n: Int64, createdSecondsAgo: Double) throws -> (job: Int64, result: JobResult) {
            try bench.complete(
                .init(report: "shared", formats: [.csv], parameters: ["n": .int(n)]), tenant,
                createdSecondsAgo: createdSecondsAgo)
        }
        let first = try request(1, createdSecondsAgo: 60)
        let second = try request(1, createdSecondsAgo: 30)
        #expect(second.result.artifacts.isEmpty && second.result.summary?["shared_with"]?.int == first.job)
        #expect(try request(2, createdSecondsAgo: 30).result.artifacts.count == 1)
        #expect(try request(1, createdSecondsAgo: 0).result.artifacts.count == 1)
        // Another tenant's equal request is another one.
        #expect(
            try bench.run(
                .init(report: "shared", formats: [.csv], parameters: ["n": 1]), bench.fixture.tenant("rpt-shared-a")
            ).artifactCount == 1)
    }

    @Test("the same request waits for one that runs and was begun after it was made")
    func waiting() throws {
        let bench = try ReportBench()
        let tenant = try bench.fixture.tenant("rpt-schema-a")
        try bench.define("twin", "SELECT 1 AS a")
        let payload = ReportJob.Payload(report: "twin")
        let running = try bench.attempt(
            tenant, args: JSON(encoding: payload), createdSecondsAgo: 20, startedSecondsAgo: 10)
        let waiting = try bench.attempt(tenant, args: JSON(encoding: payload), createdSecondsAgo: 15)
        guard case .snoozed = try bench.run(payload, tenant, attempt: waiting) else {
            Issue.record("it did not wait")
            return
        }
        try bench.end(running)
        #expect(try bench.run(payload, tenant, attempt: waiting).artifactCount == 1)
        try bench.end(waiting)
    }

    @Test("a tenant's own definition goes before the system's, for tiers that allow it")
    func overrides() throws {
        let bench = try ReportBench()
        let tenant = try bench.fixture.tenant("rpt-schema-a")
        try bench.define("stock", "SELECT 'system' AS a")
        try bench.define("stock", "SELECT 'own' AS a", tenant: tenant.code)
        try bench.define("extra", "SELECT 'own' AS a", tenant: tenant.code)
        #expect(try bench.texts(.init(report: "stock", formats: [.csv]), tenant)[.csv]?.contains("own") == true)
        let starter = Tenant(
            id: tenant.id, code: tenant.code, tier: "starter", status: .active, isolation: tenant.isolation,
            region: "eu",
            timezone: tenant.timezone, features: ["reports"], version: tenant.version)
        #expect(try bench.texts(.init(report: "stock", formats: [.csv]), starter)[.csv]?.contains("system") == true)
        #expect(bench.failure(.init(report: "extra"), starter) == "report_unknown")
        #expect(bench.failure(.init(report: "extra"), try bench.fixture.tenant("rpt-schema-b")) == "report_unknown")
        #expect(
            try bench.library.names(for: tenant) == ["extra", "stock"]
                && bench.library.unusableNames(of: starter) == ["extra", "stock"])
    }
}

extension JobOutcome {
    fileprivate var artifactCount: Int? { if case .finished(let result) = self { result.artifacts.count } else { nil } }
}
