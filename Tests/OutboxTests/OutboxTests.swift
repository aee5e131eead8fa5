import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Testing

@testable import OutboxRelay

@Suite("An outbox")
struct OutboxTests {
    @Test("what a service commits becomes the job whose id it was given, and what it rolls back never does")
    func relays() throws {
        let fixture = try OutboxFixture()
        try fixture.relayAll()
        var expected: [Int64: Int64] = [:]
        for n in 0..<20 { expected[try fixture.enqueue(n)] = Int64(n) }
        struct Undone: Error {}
        #expect(throws: Undone.self) {
            try fixture.service.transaction {
                try fixture.enqueue(99)
                throw Undone()
            }
        }
        #expect(try fixture.jobs().isEmpty)
        #expect(try fixture.relayAll() == 20)
        #expect(try fixture.jobs() == expected)
        #expect(try fixture.relayAll() == 0)
        let told = try #require(
            try fixture.connection.execute("SELECT to_jsonb(o) FROM reeve.outbox_list o")[0].optionalJSON(0))
        #expect(told["relayed"]?.int == 20 && told["state"]?.string == "relaying" && told["waiting"]?.int == 0)
    }

    @Test("the arguments, time, priority and limits of a row are the job's, nulls in the arguments too")
    func fields() throws {
        let fixture = try OutboxFixture()
        try fixture.connection.executeScript(
            """
            SELECT reeve.register_kinds('[{"name": "free", "queue": "work", "time_limit_ms": 60000, "max_attempts": 4, "statuses": ["active"], "schema": {"type": "object"}}]')
            """)
        try fixture.relayAll()
        let id = try fixture.service.execute(
            """
            SELECT reeve.enqueue('acme.work', 'free', '{"a": null, "b": {"c": null}, "t": "line\\nbreak \\"x\\""}', '2031-02-03 04:05:06.789+00', -7, NULL, 9, '00-ab-cd-01',
              (SELECT id FROM reeve.outbox_tenant WHERE code = 'acme'))
            """)[0].int(0)
        let plain = try fixture.service.execute("SELECT reeve.enqueue('acme.work', 'free')")[0].int(0)
        try fixture.relayAll()
        let row = try fixture.value(
            """
            SELECT concat_ws('|', args, run_at AT TIME ZONE 'UTC', priority, max_attempts, traceparent, state, pool, created_by) FROM reeve.job WHERE id = $1::bigint
            """, [id])
        #expect(
            row
                == #"{"a": null, "b": {"c": null}, "t": "line\nbreak \"x\""}|2031-02-03 04:05:06.789|-7|9|00-ab-cd-01|scheduled|starter|outbox:\#(fixture.name)"#
        )
        #expect(
            try fixture.value(
                "SELECT concat_ws('|', args, priority, max_attempts, state) FROM reeve.job WHERE id = $1::bigint",
                [plain])
                == "{}|0|4|available")
    }

    @Test("it refuses what the control database refuses, in the same words")
    func refusals() throws {
        let fixture = try OutboxFixture()
        try fixture.connection.executeScript(
            """
            UPDATE reeve.tenant_backlog SET is_full = true WHERE tenant_id = (SELECT id FROM reeve.tenant WHERE code = 'globex');
            SELECT reeve.drain('initech.*', 'they move', refuse => true);
            """)
        try fixture.relayAll()
        let calls = [
            "SELECT reeve.enqueue('acme', 'work')", "SELECT reeve.enqueue(NULL, 'work')",
            "SELECT reeve.enqueue('acme.audit', 'work')", "SELECT reeve.enqueue('nobody.work', 'work', '{\"n\": 1}')",
            "SELECT reeve.enqueue('acme.work', 'play')", "SELECT reeve.enqueue('acme.work', NULL)",
            "SELECT reeve.enqueue('acme.work', 'work')", "SELECT reeve.enqueue('acme.work', 'work', '{\"n\": -1}')",
            "SELECT reeve.enqueue('acme.work', 'work', '{\"n\": 1, \"x\": 2}')",
            "SELECT reeve.enqueue('acme.work', 'work', '{\"n\": 1, \"day\": \"2026-02-30\"}')",
            "SELECT reeve.enqueue('acme.work', 'work', jsonb_build_object('n', 1, 'x', repeat('y', 1100000)))",
            "SELECT reeve.enqueue('acme.work', 'work', (repeat('[', 70) || repeat(']', 70))::jsonb)",
            "SELECT reeve.enqueue('acme.work', 'work', '{\"n\": 1}', priority => 2000000)",
            "SELECT reeve.enqueue('acme.work', 'work', '{\"n\": 1}', max_attempts => 0)",
            "SELECT reeve.enqueue('acme.work', 'work', '{\"n\": 1}', run_at => now() + interval '11 years')",
            "SELECT reeve.enqueue('acme.work', 'work', '{\"n\": 1}', traceparent => E'a\\nb')",
            "SELECT reeve.enqueue('acme.work', 'work', '{\"n\": 1}', idempotency_key => '')",
            "SELECT reeve.enqueue('acme.work', 'work', '{\"n\": 1}', tenant => gen_random_uuid())",
            "SELECT reeve.enqueue('globex.work', 'work', '{\"n\": 1}')",
            "SELECT reeve.enqueue('initech.work', 'work', '{\"n\": 1}')",
            "SELECT reeve.enqueue('acme.purges', 'work', '{\"n\": 1}')", "SELECT reeve.enqueue('acme.work', 'purge')",
            "SELECT reeve.enqueue_many('{}')", "SELECT reeve.enqueue_many('[1]')",
            "SELECT reeve.enqueue_many('[{\"queue\": \"acme.work\", \"kind\": \"work\", \"args\": {\"n\": 1}}, {\"queue\": \"acme.work\", \"kind\": \"work\", \"x\": 1}]')",
            "SELECT reeve.enqueue_many((SELECT jsonb_agg(g) FROM generate_series(1, 10001) g))",
        ]
        for call in calls {
            let there = Refusal(fixture.service, call)
            #expect(there == Refusal(fixture.connection, call), "\(call)")
            #expect(there.state?.hasPrefix("RV") == true, "\(call): \(there)")
        }
        #expect(try fixture.service.execute("SELECT count(*) FROM reeve.outbox_row")[0].int(0) == 0)
    }

    @Test(
        "a change of a tenant, a kind or a drain reaches it with the next relay, and a row that was accepted before is a dead letter at most"
    )
    func freshness() throws {
        let fixture = try OutboxFixture()
        let relay = try #require(try fixture.relay())
        defer { relay.close() }
        _ = try relay.relay()
        let before = try fixture.enqueue(1, queue: "globex.work")
        try fixture.connection.executeScript(
            """
            UPDATE reeve.tenant SET status = 'churned' WHERE code = 'globex';
            UPDATE reeve.tenant SET status = 'archived' WHERE code = 'globex';
            SELECT reeve.register_kinds('[{"name": "work", "queue": "work", "time_limit_ms": 60000, "max_attempts": 3, "statuses": ["active"],
              "schema": {"type": "object", "properties": {"n": {"type": "integer", "maximum": 5}}, "required": ["n"], "additionalProperties": false}}]');
            """)
        let late = try fixture.enqueue(6)
        try fixture.relayAll()
        #expect(Refusal(fixture.service, "SELECT reeve.enqueue('globex.work', 'work', '{\"n\": 1}')").state == "RV009")
        #expect(Refusal(fixture.service, "SELECT reeve.enqueue('acme.work', 'work', '{\"n\": 6}')").state == "RV005")
        #expect(try fixture.jobs().isEmpty)
        for (id, reason) in [(before, "RV009"), (late, "RV005")] {
            let job = try #require(
                try fixture.connection.execute("SELECT reeve.job($1::bigint)", [id])[0].optionalJSON(0))
            #expect(job["state"]?.string == "dead" && job["reason"]?.string?.contains(reason) == true, "\(job)")
        }
        let listed = try fixture.connection.execute("SELECT refused FROM reeve.outbox_list")[0].int(0)
        #expect(listed == 2)
    }

    @Test(
        "a key is the same job for both ways in: what is known there is an alias of the first, with other arguments a dead letter"
    )
    func keys() throws {
        let fixture = try OutboxFixture()
        try fixture.relayAll()
        let first = try fixture.enqueue(1, key: "order 7", on: fixture.connection)
        let alias = try fixture.enqueue(1, key: "order 7")
        #expect(try fixture.enqueue(1, key: "order 7") == alias)
        #expect(
            Refusal(
                fixture.service, "SELECT reeve.enqueue('acme.work', 'work', '{\"n\": 2}', idempotency_key => 'order 7')"
            ).state == "RV008")
        let other = try fixture.enqueue(1, key: "order 8", on: fixture.connection)
        let clash = try fixture.enqueue(2, key: "order 8")
        let fresh = try fixture.enqueue(3, key: "order 9")
        try fixture.relayAll()
        #expect(try fixture.jobs() == [first: 1, other: 1, fresh: 3])
        #expect(try fixture.enqueue(3, key: "order 9", on: fixture.connection) == fresh)
        #expect(try fixture.value("SELECT reeve.job($1::bigint) ->> 'id'", [alias]) == "\(first)")
        #expect(try fixture.value("SELECT reeve.job($1::bigint) ->> 'state'", [clash]) == "dead")
        #expect(try fixture.value("SELECT reeve.cancel($1::bigint)", [alias]) == "cancelled")
        #expect(try fixture.value("SELECT reeve.job($1::bigint) ->> 'state'", [first]) == "cancelled")
    }

    @Test("without a relay ids are used up: a clear refusal, after which nothing is missing")
    func usedUp() throws {
        let fixture = try OutboxFixture(block: 10)
        #expect(Refusal(fixture.service, "SELECT reeve.enqueue('acme.work', 'work', '{\"n\": 1}')").state == "RV001")
        try fixture.relayAll()
        var ids: [Int64] = []
        for n in 0..<20 { ids.append(try fixture.enqueue(n)) }
        let ticket = "SELECT last_value FROM reeve.outbox_ticket"
        let drawn = try fixture.service.execute(ticket)[0].int(0)
        for _ in 0..<5 {
            let refusal = Refusal(fixture.service, "SELECT reeve.enqueue('acme.work', 'work', '{\"n\": 1}')")
            #expect(refusal.state == "RV030" && refusal.hint?.contains("relay") == true)
        }
        #expect(try fixture.service.execute(ticket)[0].int(0) == drawn)
        try fixture.relayAll()
        ids.append(try fixture.enqueue(20))
        try fixture.relayAll()
        #expect(Set(ids).count == 21)
        #expect(try fixture.jobs() == Dictionary(uniqueKeysWithValues: ids.enumerated().map { ($1, Int64($0)) }))
        // Ids of the control database itself come from the same numbers.
        #expect(!ids.contains(try fixture.enqueue(1, on: fixture.connection)))
    }

    @Test("a row whose transaction commits after later ones is relayed, and one that is rolled back holds nothing up")
    func late() throws {
        let fixture = try OutboxFixture()
        let relay = try #require(try fixture.relay())
        defer { relay.close() }
        _ = try relay.relay()
        let (slow, undone) = (try Connection(fixture.database), try Connection(fixture.database))
        defer {
            slow.close()
            undone.close()
        }
        try slow.execute("BEGIN")
        try undone.execute("BEGIN")
        let first = try fixture.enqueue(1, on: slow)
        try fixture.enqueue(2, on: undone)
        let third = try fixture.enqueue(3)
        #expect(try relay.relay() == 1)
        try undone.execute("ROLLBACK")
        let fourth = try fixture.enqueue(4)
        #expect(try relay.relay() == 1)
        try slow.execute("COMMIT")
        #expect(try relay.relay() == 1)
        #expect(try fixture.jobs() == [first: 1, third: 3, fourth: 4])
        // Once nobody can bring the missing number any more (transactions of other databases count), the place moves on, and
        // another relay begins behind it.
        try waitUntil("the place moves on") {
            _ = try relay.relay()
            return try fixture.value("SELECT next_row FROM reeve.outbox") == "5"
        }
        relay.close()
        #expect(try fixture.relayAll() == 0)
    }

    @Test("only who holds the lease relays: a relay that was stopped and goes on takes nothing")
    func lease() throws {
        let fixture = try OutboxFixture()
        let zombie = try #require(try fixture.relay())
        defer { zombie.close() }
        _ = try zombie.relay()
        try fixture.enqueue(1)
        let successor = UUID()
        #expect(try fixture.relay(as: successor) == nil)
        try fixture.connection.execute("UPDATE reeve.outbox SET lease_until = reeve.clock() - interval '1 ms'")
        let relay = try #require(try fixture.relay(as: successor))
        defer { relay.close() }
        #expect {
            _ = try zombie.relay()
        } throws: {
            isLeaseOver($0)
        }
        #expect(try fixture.jobs().isEmpty)
        #expect(try relay.relay() == 1)
        #expect(try fixture.jobs().count == 1)
    }

    @Test("rows that are sent again are taken once, and an id that was not reserved, or is used, is refused")
    func untrusted() throws {
        let fixture = try OutboxFixture()
        try fixture.relayAll()
        let id = try fixture.enqueue(1)
        try fixture.relayAll()
        let row = try fixture.service.execute(
            """
            SELECT jsonb_build_object('id', id, 'job', job_id, 'mark', mark, 'login', login, 'item', item) FROM reeve.outbox_row WHERE job_id = $1::bigint
            """, [id])[0].json(0)
        func take(_ changes: [String: JSON]) throws -> String? {
            let changed = JSON.object((row.object ?? [:]).merging(changes) { $1 })
            return try fixture.value(
                "SELECT concat(taken, aliased, refused) FROM reeve.take_outbox_rows((SELECT id FROM reeve.outbox), $1::uuid, $2::jsonb, 1)",
                [fixture.process, JSON.array([changed])])
        }
        #expect(try take([:]) == "000")
        #expect(try take(["mark": .string(UUID().uuidString)]) == "001")
        let foreign = try fixture.enqueue(5, on: fixture.connection)
        #expect(try take(["mark": .string(UUID().uuidString), "job": .int(foreign + 500_000)]) == "001")
        #expect(try take(["mark": .string(UUID().uuidString), "job": .int(id + 1), "item": "nonsense"]) == "001")
        #expect(try take(["mark": .string(UUID().uuidString), "job": .int(id + 2), "item": .null]) == "001")
        #expect(try fixture.jobs() == [id: 1, foreign: 5])
        #expect(
            try fixture.value("SELECT string_agg(code, ' ' ORDER BY at) FROM reeve.outbox_refusal")
                == "RV032 RV032 RV002 RV002")
    }
}
