import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Tenancy
import Testing

@testable import Purge

@Suite("Purge requests")
struct PurgeRequestTests {
    /// A control database with a tenant that has no data.
    private func fixture() throws -> (PurgeFixture, Tenant) {
        let fixture = try PurgeFixture()
        let code = "acme-q\(fixture.suffix)"
        let id = try fixture.registry.create(
            TenantDetails(code: code, name: "Acme", tier: "starter", isolation: .schema, region: "eu"))
        return (fixture, JobHarness.tenant(code, id: id))
    }

    private func refusal(_ body: () throws -> Void) -> String? {
        do { try body() } catch let error as PostgresError { return error.sqlState } catch { return "\(error)" }
        return nil
    }

    @Test("who asks does not approve, nobody approves twice, and both confirm with the tenant's code")
    func fourEyes() throws {
        let (fixture, acme) = try fixture()
        func asks(_ person: String, confirming: String? = nil) throws {
            try fixture.ask(
                person, "SELECT reeve.request_purge($1::text, 'why', $2::text, 'Jane Roe', 'T-1')",
                [acme.code, confirming ?? acme.code])
        }
        #expect(refusal { try asks("asker", confirming: "acme") } == "RV020")
        #expect(refusal { try asks("second") } == "42501")
        // purge_first is operator and approver in one: who asks is no approver.
        try asks("first")
        #expect(refusal { try fixture.approve(acme, by: ["first"]) } == "42501")
        #expect(refusal { try fixture.approve(acme, by: ["asker"]) } == "42501")
        #expect(
            refusal { try fixture.ask("second", "SELECT reeve.approve_purge($1::text, 'acme')", [acme.code]) }
                == "RV020")
        try fixture.approve(acme, by: ["second"])
        #expect(try fixture.state(acme) == "requested")
        #expect(refusal { try fixture.approve(acme, by: ["second"]) } == "42501")
        // Another name for the same login is no other person.
        let disguised = refusal {
            try fixture.connection.executeScript("SET reeve.actor = 'somebody else'")
            defer { try? fixture.connection.executeScript("RESET reeve.actor") }
            try fixture.approve(acme, by: ["second"])
        }
        #expect(disguised == "42501")
        #expect(try fixture.value("SELECT status FROM reeve.tenant WHERE id = $1::uuid", [acme.id]) == "trial")
        // The superuser of the test is a third one.
        _ = try fixture.connection.execute("SELECT reeve.approve_purge($1::text, $1::text)", [acme.code])
        #expect(try fixture.state(acme) == "grace")
        #expect(try fixture.value("SELECT status FROM reeve.tenant WHERE id = $1::uuid", [acme.id]) == "churned")
    }

    @Test("no job comes to be by hand without an approved request: enqueued, in a batch, retried or for another tenant")
    func byHand() throws {
        let (fixture, acme) = try fixture()
        let other = try fixture.registry.create(
            TenantDetails(
                code: "other-q\(fixture.suffix)", name: "Other", tier: "starter", isolation: .schema, region: "eu"))
        let request = try fixture.request(acme)
        let args = JSON.object(["request": .string(request.uuidString.lowercased())])
        func enqueue(_ code: String, _ args: JSON, _ kind: String = "purge", _ queue: String = "purges") throws {
            _ = try fixture.connection.execute(
                "SELECT reeve.enqueue($1::text, $2::text, $3::jsonb)", ["\(code).\(queue)", kind, args])
        }
        #expect(refusal { try enqueue(acme.code, args) } == "RV020")
        #expect(refusal { try enqueue(acme.code, ["request": .string(UUID().uuidString)]) } == "RV020")
        #expect(refusal { try enqueue(acme.code, [:]) } == "RV020")
        let batch = refusal {
            _ = try fixture.connection.execute(
                "SELECT reeve.enqueue_many(jsonb_build_array(jsonb_build_object('queue', $1::text, 'kind', 'purge', 'args', $2::jsonb)))",
                ["\(acme.code).purges", args])
        }
        #expect(batch == "RV020")
        try fixture.approve(acme)
        // The approved one has its job; another tenant's queue, and another queue, are refused.
        #expect(refusal { try enqueue(acme.code, args) } == "RV020")
        #expect(refusal { try enqueue("other-q\(fixture.suffix)", args) } == "RV020")
        #expect(refusal { try enqueue(acme.code, args, "purge", "backups") } == "RV002")
        // Its job, cancelled while the request still stands, is not redriven once the request is cancelled.
        let job = try #require(
            try fixture.connection.execute("SELECT job_id FROM reeve.purge_request")[0].optionalInt(0))
        _ = try fixture.connection.execute("SELECT reeve.cancel($1::bigint)", [job])
        _ = try fixture.ask("asker", "SELECT reeve.cancel_purge($1::text, 'no')", [acme.code])
        #expect(refusal { _ = try fixture.connection.execute("SELECT reeve.retry($1::bigint)", [job]) } == "RV020")
        #expect(try fixture.value("SELECT status FROM reeve.tenant WHERE id = $1::uuid", [other]) == "trial")
    }

    @Test(
        "before its time nothing runs, held nothing is approved, and what has begun cannot be cancelled or brought back"
    )
    func conditions() throws {
        let (fixture, acme) = try fixture()
        func asks() throws {
            try fixture.ask("asker", "SELECT reeve.request_purge($1::text, 'over', $1::text)", [acme.code])
        }
        #expect(refusal { try asks() } == "RV012")
        _ = try fixture.connection.execute("SELECT reeve.set_tenant_status($1::text, 'churned')", [acme.code])
        try asks()
        #expect(refusal { try asks() } == "RV012")
        _ = try fixture.connection.execute("SELECT reeve.hold_tenant($1::text, 'case 1')", [acme.code])
        #expect(refusal { try fixture.approve(acme, by: ["first"]) } == "RV020")
        _ = try fixture.connection.execute("SELECT reeve.release_tenant($1::text, 'closed')", [acme.code])
        // One approver is enough after the grace period, which is not over.
        try fixture.approve(acme, by: ["first"])
        #expect(try fixture.state(acme) == "grace")
        #expect(try fixture.value("SELECT reeve.tend_purges()") == "0")
        #expect(try fixture.value("SELECT job_id FROM reeve.purge_request") == nil)
        #expect(
            refusal { _ = try fixture.connection.execute("SELECT reeve.return_tenant($1::text, 'stay')", [acme.code]) }
                == "RV012")
        _ = try fixture.connection.execute(
            "UPDATE reeve.purge_request SET not_before = reeve.clock(), state = 'purging'")
        #expect(
            refusal { try fixture.ask("asker", "SELECT reeve.cancel_purge($1::text, 'no')", [acme.code]) } == "RV012")
        #expect(
            refusal {
                _ = try fixture.connection.execute("SELECT reeve.set_tenant_status($1::text, 'active')", [acme.code])
            } == "RV012")
        #expect(
            refusal {
                _ = try fixture.connection.execute("SELECT reeve.set_tenant_status($1::text, 'archived')", [acme.code])
            } == "RV012")
    }

    @Test(
        "a churn pauses the tenant's schedules, and its return within the grace period, by whatever statement, resumes those and no others"
    )
    func schedules() throws {
        let (fixture, acme) = try fixture()
        let birch = try fixture.registry.create(
            TenantDetails(
                code: "birch-q\(fixture.suffix)", name: "Birch", tier: "starter", isolation: .schema, region: "eu"))
        try fixture.connection.executeScript(
            """
            SELECT reeve.register_kinds('[{"name": "stocktake", "queue": "reports", "time_limit_ms": 1000, "max_attempts": 1,
              "statuses": ["trial", "active"], "schema": {"type": "object"}}]');
            SELECT reeve.create_schedule(jsonb_build_object('name', n, 'kind', 'stocktake', 'cron', '0 3 * * *', 'tenant', '\(acme.code)'))
              FROM unnest(ARRAY['runs', 'stopped', 'touched']) n;
            SELECT reeve.create_schedule('{"name": "theirs", "kind": "stocktake", "cron": "0 3 * * *", "tenant": "birch-q\(fixture.suffix)"}');
            SELECT reeve.pause_schedule('stopped', 'by hand')
            """)
        func running() throws -> String? {
            try fixture.value(
                """
                SELECT string_agg(s.name, ' ' ORDER BY s.name) FROM reeve.schedule s JOIN reeve.schedule_due d ON d.schedule_id = s.id
                WHERE s.paused_at IS NULL AND d.next_at < 'infinity' AND s.tenant_id IN ($1::uuid, $2::uuid)
                """, [acme.id, birch])
        }
        func set(_ status: String) throws {
            _ = try fixture.connection.execute(
                "SELECT reeve.set_tenant_status($1::text, $2::text::reeve.tenant_status, 'why')", [acme.code, status])
        }
        #expect(try running() == "runs theirs touched")
        try set("churned")
        #expect(try running() == "theirs")
        // Somebody looked after one of them meanwhile: that pause is not the churn's.
        try fixture.connection.executeScript(
            "SELECT reeve.resume_schedule('touched'); SELECT reeve.pause_schedule('touched', 'by hand')")
        _ = try fixture.connection.execute("SELECT reeve.return_tenant($1::text, 'stays')", [acme.code])
        #expect(try running() == "runs theirs")
        // Past the grace period nothing brings it back but a longer one.
        try set("churned")
        _ = try fixture.connection.execute(
            "UPDATE reeve.tenant SET status_changed_at = status_changed_at - interval '91 days' WHERE id = $1::uuid",
            [acme.id])
        #expect(refusal { try set("active") } == "RV012")
        for status in ["active", "trial", "suspended"] {
            let direct = refusal {
                try fixture.ask(
                    "asker", "UPDATE reeve.tenant SET status = $2::text::reeve.tenant_status WHERE id = $1::uuid",
                    [acme.id, status])
            }
            #expect(direct == "RV012" || direct == "42501", "\(status)")
        }
        #expect(
            refusal { _ = try fixture.connection.execute("SELECT reeve.return_tenant($1::text, 'stays')", [acme.code]) }
                == "RV012")
        #expect(try running() == "theirs")
        _ = try fixture.connection.execute("SELECT reeve.set_purge_policy(100, NULL, NULL)")
        // While a purge is asked for it does not come back either.
        try fixture.ask("asker", "SELECT reeve.request_purge($1::text, 'over', $1::text)", [acme.code])
        #expect(refusal { try set("active") } == "RV012")
        _ = try fixture.ask("asker", "SELECT reeve.cancel_purge($1::text, 'no')", [acme.code])
        try set("active")
        #expect(try running() == "runs theirs")
    }

    @Test("when the grace period is over the request files itself, and waits for approval unless the fleet runs it")
    func elapsed() throws {
        for isAutomatic in [false, true] {
            let (fixture, acme) = try fixture()
            _ = try fixture.connection.execute("SELECT reeve.set_purge_policy(90, $1::boolean, 0)", [isAutomatic])
            _ = try fixture.connection.execute("SELECT reeve.set_tenant_status($1::text, 'churned')", [acme.code])
            #expect(try fixture.value("SELECT reeve.tend_purges()") == "0")
            _ = try fixture.connection.execute(
                "UPDATE reeve.tenant SET status_changed_at = status_changed_at - interval '90 days' WHERE id = $1::uuid",
                [acme.id])
            #expect(try fixture.value("SELECT reeve.tend_purges()") == (isAutomatic ? "2" : "1"))
            #expect(try fixture.state(acme) == (isAutomatic ? "grace" : "requested"))
            #expect(try fixture.value("SELECT reeve.tend_purges()") == "0")
            if !isAutomatic { try fixture.approve(acme, by: ["first"]) }
            // A tenant without a database: nothing to back up, all the rest goes.
            try fixture.purge(acme)
            #expect(try fixture.value("SELECT status FROM reeve.tenant WHERE id = $1::uuid", [acme.id]) == "archived")
        }
    }
}
