import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Testing

@Suite("Isolation")
struct IsolationTests {
    private func isolate(_ control: Control, _ more: String = "") throws -> JSON {
        try control.connection.execute("SELECT reeve.isolate_tenant('acme', 'key leaked'\(more))")[0].json(0)
    }

    private func release(_ control: Control, _ more: String = "") throws -> JSON {
        try control.connection.execute("SELECT reeve.release_isolation('acme', 'closed'\(more))")[0].json(0)
    }

    @Test(
        "an isolated tenant starts nothing, what it runs is cancelled, others go on; the release runs again what was cancelled"
    )
    func roundTrip() throws {
        let control = try Control()
        let worker = try control.worker()
        let running = [try control.enqueue(n: 1), try control.enqueue(n: 2)]
        let claimed = try control.claim(worker)
        let waiting = try control.enqueue(n: 3)
        let made = try isolate(control)
        #expect(made["cancelled"] == .array(running.map(JSON.int)) && made["running"] == 2)
        #expect(try control.value("SELECT reeve.cancellations($1::uuid)", [worker]) == "{\(running[0]),\(running[1])}")
        let other = try control.enqueue("globex.work")
        #expect(try control.claim(worker).map(\.id) == [other])
        #expect(try control.settle(claimed[0], "cancel", ["reason": "cancelled"]).isEmpty)
        #expect(try control.complete([claimed[1]]).isEmpty, "its own end wins if it comes first")
        try control.value("SELECT reeve.tend_cancellations()")
        let done = try release(control)
        let again = try #require(done["retried"]?.array?.first?.int)
        #expect(done["retried"]?.array?.count == 1 && done["refused"] == [])
        #expect(
            try control.value(
                "SELECT retried_from || ' ' || (args ->> 'n') FROM reeve.job WHERE id = $1::bigint", [again])
                == "\(running[0]) 1")
        #expect(try Set(control.claim(worker).map(\.id)) == [waiting, again])
        #expect(try control.counterFaults() == 0)
        #expect(
            try control.value(
                "SELECT string_agg(action, ' ' ORDER BY id) FROM reeve.audit_entry WHERE action LIKE 'tenant.%isol%'")
                == "tenant.isolate tenant.release_isolation")
    }

    @Test("a job that has not stopped when the release comes goes on, and nothing is retried when that is not wanted")
    func releaseEarly() throws {
        let control = try Control()
        let worker = try control.worker()
        let going = try control.enqueue()
        let stopped = try control.enqueue()
        let claimed = try control.claim(worker)
        _ = try isolate(control)
        #expect(
            try control.settle(try #require(claimed.first { $0.id == stopped }), "cancel", ["reason": "cancelled"])
                .isEmpty)
        let done = try release(control, ", p_retry => false")
        #expect(done["going_on"] == [.int(going)] && done["retried"] == [])
        #expect(try control.value("SELECT reeve.cancellations($1::uuid)", [worker]) == "{}")
        #expect(try control.state(stopped) == "cancelled")
    }

    @Test("resume, and resuming everything, does not lift an isolation; only its release does, once")
    func stays() throws {
        let control = try Control()
        let worker = try control.worker()
        let job = try control.enqueue()
        try control.value("SELECT reeve.pause('acme.*', 'x')")
        _ = try isolate(control)
        let again = try isolate(control)
        #expect(again["cancelled"] == [])
        try control.value("SELECT reeve.resume('tenant:acme')")
        #expect(try control.refusal("SELECT reeve.resume('tenant:acme')").0 == "RV011")
        #expect(try control.claim(worker).isEmpty)
        #expect(try control.value("SELECT count(*) FROM reeve.isolation_list WHERE released_at IS NULL") == "1")
        _ = try release(control)
        #expect(try control.claim(worker).map(\.id) == [job])
        let refusal = try control.refusal("SELECT reeve.release_isolation('acme', 'x')")
        #expect(refusal.0 == "RV011")
        #expect(try control.refusal("SELECT reeve.isolate_tenant('acme', ' ')").0 == "RV010")
        #expect(try control.refusal("SELECT reeve.isolate_tenant('nobody', 'x')").0 == "RV001")
        let id = try control.value("SELECT id FROM reeve.isolation_list")
        #expect(try control.refusal("SELECT reeve.note_isolation_logins($1::bigint, '[]')", [id]).0 == "RV012")
    }

    @Test("its own logins enqueue nothing while it is isolated; the platform's do, unless it was to refuse")
    func enqueue() throws {
        let control = try Control()
        let login = "isolated_\(control.settings["dbname"] ?? "")"
        try control.connection.executeScript(
            """
            CREATE ROLE \(login) LOGIN PASSWORD 'isolated'; GRANT reeve_enqueuer TO \(login);
            INSERT INTO reeve.tenant_login SELECT '\(login)', id FROM reeve.tenant WHERE code = 'acme'
            """)
        let tenant = try Connection(control.settings.with(["user": login, "password": "isolated"]))
        defer { tenant.close() }
        let sql = #"SELECT reeve.enqueue('acme.work', 'work', '{"n": 1}')"#
        #expect(try control.refusal(sql, on: tenant).0 == nil)
        _ = try isolate(control)
        #expect(try control.refusal(sql, on: tenant).0 == "RV013")
        #expect(try control.refusal(sql).0 == nil)
        _ = try isolate(control, ", refuse => true")
        #expect(try control.refusal(sql).0 == "RV013")
        #expect(try control.refusal(#"SELECT reeve.enqueue('globex.work', 'work', '{"n": 1}')"#).0 == nil)
        _ = try release(control)
        #expect(try control.refusal(sql, on: tenant).0 == nil)
    }
}
