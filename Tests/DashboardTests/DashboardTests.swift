import Foundation
import JobKit
import Postgres
import ReeveTesting
import Testing

@Suite("Dashboard")
struct DashboardTests {
    @Test("every page's question is answered on an empty fleet and on one with work")
    func pages() throws {
        let dashboard = try DashboardFixture()
        let paths = [
            "overview", "overview?width=hour&slots=24", "tenants", "tenants?busiest=1", "queues", "jobs",
            "jobs?state=running", "jobs?state=dead",
            "workers", "schedules", "batches", "backups", "purges", "erasures", "audit", "names", "me", "dead",
        ]
        for path in paths { _ = try dashboard.json("/api/\(path)") }
        let job = try dashboard.tenant("acme", jobs: 3)[1]
        try dashboard.connection.execute("SELECT reeve.tend_backlog()")
        for path in paths + ["jobs/\(job)", "tenants/acme", "queues?tenant=acme"] {
            _ = try dashboard.json("/api/\(path)")
        }
        let queue = try #require(try dashboard.json("/api/queues")["rows"]?.array?.first)
        #expect(queue["queue"]?.string == "acme.reports" && queue["available"]?.int == 3)
        #expect(try dashboard.json("/api/tenants")["rows"]?.array?.first?["waiting"]?.int == 3)
        #expect(try dashboard.json("/api/jobs/\(job)")["explain"]?.string?.contains("no running worker") == true)
        for path in ["jobs/999999", "tenants/nobody", "nothing"] {
            #expect(dashboard.ask("GET", "/api/\(path)", as: "viewer").status == 404, "\(path)")
        }
        #expect(dashboard.ask("GET", "/api/jobs?state=nonsense'--", as: "viewer").status == 200)
    }

    @Test("pages of jobs follow one another without a gap or a repeat, and filters narrow them")
    func paging() throws {
        let dashboard = try DashboardFixture()
        try dashboard.tenant("acme")
        try dashboard.tenant("globex", jobs: 2)
        try dashboard.connection.execute(
            """
            SELECT reeve.enqueue_many((SELECT jsonb_agg('{"queue": "acme.reports", "kind": "test"}'::jsonb) FROM generate_series(1, 120)))
            """)
        var seen: [Int64] = []
        var next: Int64?
        repeat {
            let page = try dashboard.json("/api/jobs" + (next.map { "?before=\($0)" } ?? ""))
            seen += page["rows"]?.array?.compactMap { $0["id"]?.int } ?? []
            next = page["next"]?.int
        } while next != nil
        #expect(seen.count == 122 && Set(seen).count == 122 && seen == seen.sorted(by: >))
        let few = try dashboard.json("/api/jobs?tenant=globex&state=available&kind=test&queue=*.reports")
        #expect(few["rows"]?.array?.count == 2)
        #expect(try dashboard.json("/api/jobs?search=\(seen[5])")["rows"]?.array?.count == 1)
        #expect(try dashboard.json("/api/jobs?queue=acme.r_ports")["rows"]?.array?.isEmpty == true)
    }

    @Test("a search that finds nothing in what it may look at says where to go on, and goes on to the end")
    func search() throws {
        let dashboard = try DashboardFixture()
        try dashboard.tenant("acme")
        try dashboard.connection.execute(
            """
            INSERT INTO reeve.job_history (id, tenant_id, pool, queue, kind, state, priority, attempt, max_attempts, run_at, created_at, started_at, created_by, last_error, args)
            SELECT nextval('reeve.job_id'), t.id, 'starter', 'acme.reports', 'test', 'succeeded', 0, 1, 5, now(), now(), now(), 'x', CASE i WHEN 1 THEN 'needle' END, '{}'
            FROM reeve.tenant t, generate_series(1, 45000) i WHERE t.code = 'acme' ORDER BY i
            """)
        var before: Int64?
        var rounds = 0
        var found = 0
        repeat {
            let page = try dashboard.json("/api/jobs?search=needle" + (before.map { "&before=\($0)" } ?? ""))
            found += page["rows"]?.array?.count ?? 0
            before = page["next"]?.int
            rounds += 1
        } while before != nil && rounds < 10
        #expect(found == 1 && rounds == 3)
    }

    @Test("pausing, draining, cancelling and retrying do what they say, in the name of who did it")
    func actions() throws {
        let dashboard = try DashboardFixture()
        let jobs = try dashboard.tenant("acme", jobs: 2)
        #expect(
            dashboard.act("drain", as: "operator", ["pattern": "acme.*", "reason": "incident 7", "expires": "2 hours"])
                .status == 200)
        let block = try #require(try dashboard.json("/api/queues")["blocks"]?.array?.first)
        #expect(block["mode"]?.string == "drain" && block["reason"]?.string == "incident 7")
        #expect(dashboard.act("pause", as: "operator", ["pattern": "acme.*", "reason": "x"]).status == 409)
        #expect(dashboard.act("resume", as: "operator", ["pattern": "acme.*", "reason": "over"]).status == 200)
        #expect(dashboard.act("cancel", as: "operator", ["job": .int(jobs[0]), "reason": "not wanted"]).status == 200)
        #expect(try dashboard.json("/api/jobs/\(jobs[0])")["state"]?.string == "cancelled")
        let again = dashboard.act("retry", as: "operator", ["job": .int(jobs[0]), "reason": "wanted after all"])
        let new = try #require(try JSON(parsing: again.body)["job"]?.int)
        #expect(try dashboard.json("/api/jobs/\(new)")["retried_from"]?.int == jobs[0])
        #expect(dashboard.act("cancel", as: "operator", ["job": 999_999, "reason": "x"]).status == 404)
        let reasons = try dashboard.connection.execute(
            "SELECT reason FROM reeve.audit_entry WHERE actor LIKE 'the operator%' AND reason IS NOT NULL")
        #expect(
            Set(try reasons.map { try $0.text(0) }).isSuperset(of: [
                "incident 7", "over", "not wanted", "wanted after all",
            ]))
    }

    @Test("an open page is told what is now without asking")
    func live() throws {
        let dashboard = try DashboardFixture()
        try dashboard.tenant("acme", jobs: 1)
        try dashboard.connection.execute("SELECT reeve.tend_stats()")
        let page = try #require(RawConnection(port: dashboard.port))
        page.send(
            "GET /api/live HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \(DashboardFixture.tokens["viewer"] ?? "")\r\n\r\n"
        )
        let seen = try #require(page.read(untilIt: "event: running", within: .seconds(10)))
        #expect(seen.contains("event: overview\ndata: {") && seen.contains("\"starter\""))
    }
}
