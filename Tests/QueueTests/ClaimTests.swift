import Dispatch
import FoundationEssentials
import JobKit
import Postgres
import Synchronization
import Testing

@Suite("Claim")
struct ClaimTests {
    @Test("a tenant never has more leases than its tier allows, and a lowered cap binds the next claim")
    func cap() throws {
        let control = try Control()
        let worker = try control.worker()
        for n in 0..<20 { try control.enqueue(n: n) }
        let claimed = try control.claim(worker)
        #expect(claimed.count == 5)
        #expect(try control.claim(worker).isEmpty)
        try control.complete([claimed[0]])
        #expect(try control.claim(worker).count == 1)
        try control.value("UPDATE reeve.tenant SET overrides = '{\"concurrency\": 2}' WHERE code = 'acme'")
        try control.complete([claimed[1], claimed[2]])
        #expect(try control.claim(worker).isEmpty, "3 still run")
        #expect(try control.counterFaults() == 0)
    }

    @Test("tenants with nothing running go first, and only they may use reserved permits")
    func fairness() throws {
        let control = try Control()
        try control.stopClock()
        let worker = try control.worker()
        for n in 0..<20 { try control.enqueue("acme.work", n: n) }
        #expect(try control.claim(worker, general: 2).count == 2)
        for n in 0..<3 { try control.enqueue("globex.work", n: n) }
        // acme runs two: globex gets the next slot, wherever the walk starts.
        let next = try control.claim(worker, general: 1)
        #expect(next.map(\.queue) == ["globex.work"] && next[0].isFirst)
        // Only reserved permits are left: none for tenants that have one running.
        #expect(try control.claim(worker, general: 0, reserved: 5).isEmpty)
        try control.complete(next)
        let reserved = try control.claim(worker, general: 0, reserved: 5)
        #expect(reserved.map(\.queue) == ["globex.work"])
    }

    @Test("first jobs take general permits first, so that noisy tenants together leave the reserved ones free")
    func reserveStaysFree() throws {
        let control = try Control()
        try control.stopClock()
        let worker = try control.worker()
        for n in 0..<10 {
            try control.enqueue("acme.work", n: n)
            try control.enqueue("globex.work", n: n)
        }
        #expect(try control.claim(worker, general: 3, reserved: 2).count == 3)
    }

    @Test("a claim finds the tenants with room past any number at their cap, and then knows that there is nothing more")
    func pastTheCapped() throws {
        let control = try Control()
        try control.stopClock()
        let worker = try control.worker()
        try control.value(
            """
            INSERT INTO reeve.tenant (code, name, tier, status, isolation, region)
            SELECT 'full-' || i, 'Full', 'starter', 'active', 'schema', 'local' FROM generate_series(1, 250) i
            """)
        for n in 1...250 { try control.enqueue("full-\(n).work", n: n) }
        try control.value(
            "UPDATE reeve.tenant_counter c SET running = c.cap FROM reeve.tenant t WHERE t.id = c.tenant_id AND t.code LIKE 'full-%'"
        )
        #expect(try control.claim(worker, general: 4).isEmpty)
        try control.enqueue("acme.work", n: 0)
        try control.enqueue("globex.work", n: 0)
        #expect(Set(try control.claim(worker, general: 4).map(\.queue)) == ["acme.work", "globex.work"])
        // More with room than were asked for: the walk goes on instead.
        #expect(
            try control.value(
                "SELECT tenants IS NULL AND running IS NOT NULL FROM reeve.tenants_with_room(gen_random_uuid(), false, 1)"
            ) == "t")
    }

    @Test("a batch is shared out by turns")
    func turns() throws {
        let control = try Control()
        try control.stopClock()
        let worker = try control.worker()
        for n in 0..<10 {
            try control.enqueue("acme.work", n: n)
            try control.enqueue("globex.work", n: n)
        }
        let claimed = try control.claim(worker, general: 6)
        #expect(claimed.count { $0.queue == "acme.work" } == 3 && claimed.count { $0.queue == "globex.work" } == 3)
    }

    @Test("within a queue lower priority numbers go first, then older jobs")
    func priority() throws {
        let control = try Control()
        let worker = try control.worker()
        let late = try control.enqueue(more: ", priority => 5")
        let first = try control.enqueue(more: ", priority => -1")
        let second = try control.enqueue()
        #expect(try (0..<3).map { _ in try control.claim(worker, general: 1).first?.id } == [first, second, late])
    }

    @Test("a paused queue is not claimed from, whatever pattern names it, and resumes")
    func pause() throws {
        let control = try Control()
        let worker = try control.worker()
        for pattern in ["acme.work", "acme.*", "*.work", "*.*"] {
            let id = try control.enqueue()
            try control.value("SELECT reeve.pause($1::text, 'maintenance')", [pattern])
            #expect(try control.claim(worker).isEmpty, "\(pattern)")
            #expect(try control.value("SELECT reeve.explain($1::bigint)", [id])?.contains("maintenance") == true)
            try control.value("SELECT reeve.resume($1::text)", [pattern])
            let claimed = try control.claim(worker)
            #expect(claimed.map(\.id) == [id])
            try control.complete(claimed)
        }
        #expect(try control.refusal("SELECT reeve.pause('acme', 'x')").0 == "RV002")
        #expect(try control.refusal("SELECT reeve.pause('acme.*', ' ')").0 == "RV010")
        #expect(try control.refusal("SELECT reeve.resume('acme.*')").0 == "RV011")
    }

    @Test("a pause that is committed while a claim waits for the counter is obeyed by that claim")
    func pauseRace() throws {
        let control = try Control()
        let worker = try control.worker()
        try control.enqueue()
        let pausing = try control.another()
        try pausing.executeScript("BEGIN")
        _ = try pausing.execute("SELECT reeve.pause('acme.*', 'race')")
        let claiming = SendableConnection(try control.another())
        let count = Mutex<Int?>(nil)
        let done = DispatchSemaphore(value: 0)
        let pid = claiming.value.backendPID
        DispatchQueue(label: "claim").async {
            // A claim that ran out of its 10 ms answers with a row without an id.
            let rows = try? claiming.value.execute(
                "SELECT id FROM reeve.claim($1::uuid, 'starter', 10, 0) WHERE id IS NOT NULL", [worker])
            count.withLock { $0 = rows?.count }
            done.signal()
        }
        while try control.value("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $1::int", [pid]) != "Lock" {}
        try pausing.executeScript("COMMIT")
        done.wait()
        #expect(count.withLock { $0 } == 0)
    }

    @Test("a worker claims only from the queues it serves, and walks past tenants that have none of those")
    func queues() throws {
        let control = try Control()
        let worker = try control.worker()
        try control.enqueue("acme.work")
        let wanted = try control.enqueue("globex.other")
        #expect(try control.claim(worker, general: 1, queues: ["%.other"]).map(\.id) == [wanted])
        #expect(try control.claim(worker, general: 1, queues: ["globex.%"]).isEmpty)
    }

    @Test("a worker that is dead, unknown or past its lease claims nothing")
    func deadWorker() throws {
        let control = try Control()
        let worker = try control.worker()
        try control.enqueue()
        #expect(try control.refusal("SELECT reeve.claim(gen_random_uuid(), 'starter', 1, 0)").0 == "55000")
        try control.advanceClock(by: "2 min")
        #expect(try control.refusal("SELECT reeve.claim($1::uuid, 'starter', 1, 0)", [worker]).0 == "55000")
        try control.value("SELECT reeve.rescue($1::uuid)", [worker])
        #expect(
            try control.value("SELECT reeve.renew_lease($1::uuid, '{}', false)", [worker]) == nil,
            "declared dead is final")
    }

    @Test(
        "jobs of a claim whose answer was lost go back at no cost, those of claims that the worker knows stay, and other pools' too"
    )
    func lostClaim() throws {
        let control = try Control()
        let worker = try control.worker()
        try control.enqueue()
        let known = try control.claim(worker)
        let lost = [try control.enqueue(), try control.enqueue("globex.work")]
        #expect(try control.claim(worker).count == 2, "the answer that nobody saw")
        try control.enqueue("initech.work")
        #expect(try control.claim(worker, "professional").count == 1)
        let call = "SELECT reeve.return_lost_claims($1::uuid, 'starter', $2::uuid[])"
        #expect(try control.value(call, [worker, known.map(\.lease)]) == "2")
        #expect(try control.value(call, [worker, known.map(\.lease)]) == "0")
        #expect(try lost.allSatisfy { try control.state($0) == "available" && control.job($0)["attempt"] == 0 })
        #expect(try control.complete(known).isEmpty)
        #expect(try control.counterFaults() == 0)
        #expect(try control.claim(worker).count == 2)
    }

    @Test("declaring a worker dead waits for its claim in flight, and then returns those jobs, too")
    func rescueRace() throws {
        let control = try Control()
        let worker = try control.worker()
        try control.enqueue()
        let claiming = try control.another()
        try claiming.executeScript("BEGIN")
        #expect(try control.claim(worker, on: claiming).count == 1)
        let rescuing = SendableConnection(try control.another())
        let count = Mutex<String?>(nil)
        let done = DispatchSemaphore(value: 0)
        let pid = rescuing.value.backendPID
        DispatchQueue(label: "rescue").async {
            let rows = try? rescuing.value.execute("SELECT reeve.rescue($1::uuid)", [worker])
            count.withLock { $0 = try? rows?[0].optionalText(0) }
            done.signal()
        }
        while try control.value("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $1::int", [pid]) != "Lock" {}
        try claiming.executeScript("COMMIT")
        done.wait()
        #expect(count.withLock { $0 } == "1")
        #expect(try control.value("SELECT count(*) FROM reeve.job WHERE state = 'running'") == "0")
        #expect(try control.counterFaults() == 0)
    }

    @Test("a walk that runs out of time says so and goes on from where it stopped")
    func longWalk() throws {
        let control = try Control()
        let worker = try control.worker()
        try control.connection.executeScript(
            """
            INSERT INTO reeve.tenant (code, name, tier, isolation, region) SELECT 'crowd-' || i, 'Crowd', 'starter', 'schema', 'local' FROM generate_series(1, 4000) i;
            INSERT INTO reeve.job (id, tenant_id, pool, queue, kind, state, max_attempts, run_at, created_by, args)
              SELECT nextval('reeve.job_id'), id, 'starter', code || '.work', 'work', 'available', 3, reeve.clock(), 'test', '{"n": 1}' FROM reeve.tenant WHERE code LIKE 'crowd-%';
            UPDATE reeve.tenant_counter c SET running = cap FROM reeve.tenant t WHERE t.id = c.tenant_id AND t.code LIKE 'crowd-%' AND t.code <> 'crowd-77';
            """)
        var cursor: UUID?
        var rounds = 0
        var found: [String] = []
        while found.isEmpty, rounds < 1000 {
            rounds += 1
            let rows = try control.connection.execute(
                "SELECT queue, next_cursor, stopped_early FROM reeve.claim($1::uuid, 'starter', 1, 0, $2::uuid)",
                [worker, cursor])
            for row in rows {
                cursor = try row.optionalUUID(1) ?? cursor
                if let queue = try row.optionalText(0) { found.append(queue) }
            }
            if rows.isEmpty { break }
        }
        #expect(found == ["crowd-77.work"])
    }

    @Test("eight claimers, completions and random rescues leave every counter right, pass no cap and lose nothing")
    func storm() throws {
        let control = try Control()
        for n in 0..<900 { try control.enqueue(["acme.work", "globex.work", "initech.work"][n % 3], n: n) }
        let over = Mutex(0)
        let errors = Mutex<[String]>([])
        let group = DispatchGroup()
        for number in 0..<8 {
            let connection = SendableConnection(try control.another())
            let settings = control.settings
            DispatchQueue(label: "claimer \(number)").async(group: group) {
                do {
                    var random = SystemRandomNumberGenerator()
                    let connection = connection.value
                    var worker = try register(connection)
                    var empty = 0
                    while empty < 30 {
                        let pool = Bool.random(using: &random) ? "starter" : "professional"
                        let rows = try connection.execute(
                            "SELECT id, lease_id FROM reeve.claim($1::uuid, $2::text, 3, 1) WHERE id IS NOT NULL",
                            [worker, pool])
                        let ids = try rows.map { try $0.int(0) }
                        let leases = try rows.map { try $0.uuid(1) }
                        let high = try connection.execute(
                            """
                            SELECT count(*) FROM (SELECT tenant_id, count(*) AS n FROM reeve.job WHERE state = 'running' GROUP BY 1) j
                            JOIN reeve.tenant_counter c USING (tenant_id) WHERE j.n > c.cap
                            """)[0].int(0)
                        over.withLock { $0 += Int(high) }
                        empty = ids.isEmpty ? empty + 1 : 0
                        if Int.random(in: 0..<12, using: &random) == 0 {
                            _ = try connection.execute("SELECT reeve.rescue($1::uuid)", [worker])
                            worker = try register(connection)
                        } else if !ids.isEmpty {
                            _ = try connection.execute(
                                "SELECT id FROM reeve.complete($1::bigint[], $2::uuid[], NULL)", [ids, leases])
                        }
                    }
                    _ = settings
                } catch { errors.withLock { $0.append("\(error)") } }
            }
        }
        group.wait()
        #expect(errors.withLock { $0 } == [])
        #expect(over.withLock { $0 } == 0)
        #expect(try control.counterFaults() == 0)
        #expect(try control.value("SELECT count(*) FROM reeve.job_history") == "900")
        #expect(try control.value("SELECT count(*) FROM reeve.job") == "0")
    }
}

private func register(_ connection: Connection) throws -> UUID {
    let id = UUID()
    _ = try connection.execute(
        "SELECT reeve.register_worker($1::uuid, 'node', 1, 'test', 'local', '{}', NULL, '1 min')", [id])
    return id
}
