import JobKit
import Postgres
import ReeveTesting
import Testing

/// The pool of the restore workers: what needs a tenant's identity runs there and nowhere else.
@Suite("Restore pool")
struct RestorePoolTests {
    private let control: Control

    init() throws {
        control = try Control()
        _ = try control.connection.execute(
            """
            SELECT reeve.register_kinds('[{"name": "prove", "queue": "restores", "time_limit_ms": 60000, "max_attempts": 3,
              "statuses": ["trial", "active"], "schema": {"type": "object"}}]')
            """)
    }

    private func prove(_ tenant: String = "acme", more: String = "") throws -> Int64 {
        try control.connection.execute(
            "SELECT reeve.enqueue($1::text, 'prove'\(more))", ["\(tenant).restores"])[0].int(0)
    }

    private func pool(of id: Int64) throws -> String? {
        try control.value("SELECT pool FROM reeve.job WHERE id = $1::bigint", [id])
    }

    private func state(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> String? {
        do throws(PostgresError) {
            _ = try control.connection.execute(sql, parameters)
            return nil
        } catch { return error.sqlState }
    }

    @Test(
        "a claim of any tier's pool never gets a job of the queue restores, a claim of the pool restore gets nothing else"
    )
    func claims() throws {
        let needed = try [prove(), prove("globex"), prove("initech")]
        let plain = try control.enqueue()
        let worker = try control.worker()
        let tiers = try ["starter", "professional", "enterprise"].flatMap { try control.claim(worker, $0).map(\.id) }
        #expect(tiers == [plain])
        #expect(try Set(control.claim(worker, "restore").map(\.id)) == Set(needed))
    }

    @Test("every way back to the queue keeps the pool: a retry, a snooze, a lost worker, a tier change, a redriven job")
    func ways() throws {
        let worker = try control.worker()
        let id = try prove()
        let first = try #require(control.claim(worker, "restore").first)
        #expect(try control.settle(first, "retry", ["delay_ms": 0, "error": "x"]).isEmpty)
        _ = try control.value(
            "UPDATE reeve.job SET run_at = reeve.clock() - interval '1 s' WHERE id = $1::bigint", [id])
        _ = try control.value("SELECT reeve.promote(1000)")
        #expect(try pool(of: id) == "restore")
        #expect(try control.claim(worker, "restore").map(\.id) == [id])
        _ = try control.value("SELECT reeve.rescue($1::uuid)", [worker])
        #expect(try pool(of: id) == "restore")
        let waiting = try control.enqueue()
        _ = try control.value("SELECT reeve.set_tenant_tier('acme', 'enterprise')")
        _ = try control.value("SELECT reeve.move_pools(1000)")
        #expect(try pool(of: id) == "restore" && pool(of: waiting) == "enterprise")
        let later = try prove(more: ", run_at => reeve.clock() + interval '1 hour'")
        _ = try control.value("UPDATE reeve.job SET run_at = reeve.clock() WHERE id = $1::bigint", [later])
        _ = try control.value("SELECT reeve.promote(1000)")
        #expect(try pool(of: later) == "restore")
        let other = try control.worker()
        for claimed in try control.claim(other, "restore") {
            #expect(try control.settle(claimed, "dead", ["reason": "x", "error": "x"]).isEmpty)
        }
        let again = try #require(try control.value("SELECT reeve.retry($1::bigint)", [id]).flatMap { Int64($0) })
        #expect(try again != id && pool(of: again) == "restore")
        #expect(try control.claim(other, "enterprise").map(\.id) == [waiting])
    }

    @Test("a job that an older version left in its tenant's pool moves")
    func left() throws {
        let id = try prove()
        _ = try control.value("UPDATE reeve.job SET pool = 'professional' WHERE id = $1::bigint", [id])
        _ = try control.value("SELECT reeve.move_pools(1000)")
        #expect(try pool(of: id) == "restore")
    }

    @Test("only kinds of the queue restores run there, and they run nowhere else")
    func kinds() throws {
        #expect(try state("SELECT reeve.enqueue('acme.restores', 'work', '{\"n\": 1}')") == "RV002")
        #expect(try state("SELECT reeve.enqueue('acme.work', 'prove')") == "RV002")
        #expect(try state("SELECT reeve.enqueue('acme.restores-2', 'prove')") == "RV002")
        #expect(try control.value("SELECT count(*) FROM reeve.job") == "0")
    }

    @Test("no tier can take the pool's name")
    func tierName() throws {
        let add =
            "INSERT INTO reeve.tier SELECT 'restore', concurrency, backlog_limit, 7, 1, 10, 14, features, 1 FROM reeve.tier WHERE name = 'starter'"
        #expect(try state(add) == "23514")
        #expect(try state("UPDATE reeve.tier SET name = 'restore' WHERE name = 'starter'") == "23514")
    }

    @Test("without a restore worker the enqueuer and explain say how to start one; with one they do not")
    func words() throws {
        let id = try prove()
        #expect(control.connection.takeNotices().contains { $0.contains("no restore worker is running") })
        let why = try control.value("SELECT reeve.explain($1::bigint)", [id])
        #expect(why?.contains("reeve worker --role restore") == true)
        _ = try control.connection.execute(
            "SELECT reeve.register_worker(gen_random_uuid(), 'n', 1, 't', 'local', '{\"restore\": 2}', NULL, '1 min')")
        let free = try control.value("SELECT reeve.explain($1::bigint)", [id])
        #expect(free?.contains("a free slot of the restore workers") == true, "\(free ?? "")")
        _ = try prove("globex")
        #expect(control.connection.takeNotices().isEmpty)
    }

    @Test("an idle restore worker is woken, and what waits for it counts as backlog but for no tier's slots")
    func signals() throws {
        let worker = try control.worker()
        _ = try control.value("SELECT reeve.set_idle($1::uuid, 'restore', true)", [worker])
        let listener = try control.another()
        defer { listener.close() }
        _ = try listener.execute("LISTEN reeve_work")
        _ = try [prove(), prove()]
        let heard = try listener.notifications(waiting: .seconds(5), stop: StopSignal()).map(\.payload)
        #expect(heard.contains("restore"))
        _ = try control.claim(worker, "restore", general: 1)
        try control.enqueue()
        func slots(_ pool: String) throws -> String? {
            try control.value(
                "SELECT concat_ws(',', ready, running, desired_slots) FROM reeve.autoscale WHERE tier = $1::text",
                [pool])
        }
        #expect(try slots("restore") == "1,1,2" && slots("starter") == "1,0,1")
        _ = try control.value("SELECT reeve.tend_backlog('5 s')")
        let waiting = try control.value(
            "SELECT waiting FROM reeve.tenant_backlog b JOIN reeve.tenant t ON t.id = b.tenant_id WHERE t.code = 'acme'"
        )
        #expect(waiting == "2")
    }
}
