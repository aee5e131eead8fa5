import Crypto
import JobKit
import Mail
import Notices
import Postgres
import ReeveTesting
import Testing

@Suite("Notices")
struct NoticeTests {
    /// A control database with the tenant acme, and a way to deliver what waits in it.
    final class Fixture {
        let connection: Connection
        let control: Pool

        init() throws {
            let settings = try TestServer.freshControl()
            connection = try Connection(settings)
            control = Pool(settings, bound: 2, name: "control")
            try connection.executeScript(
                """
                INSERT INTO reeve.tenant (code, name, tier, isolation, region, contacts) VALUES
                  ('acme', 'Acme', 'starter', 'schema', 'local', '{"technical": {"email": "ok.tech@example.com", "name": "Ann"}}')
                """)
        }

        deinit {
            connection.close()
            control.close()
        }

        func delivery(_ targets: String, secret: String? = nil, from: String? = "reeve@platform.example") throws
            -> NoticeDelivery
        {
            let mailer = CurlMailer(
                try SMTPLocation(parsing: SMTPServer.shared.plainURL), supervisor: BuiltProducts.supervisor)
            let webhook = try secret.map {
                Webhook(secret: try HMACKey(Array($0.utf8)), supervisor: BuiltProducts.supervisor)
            }
            return NoticeDelivery(
                .init(
                    mailer: mailer, from: try from.map { try MailAddress($0) },
                    compliance: try NoticeTarget.list(targets),
                    webhook: webhook), control: control, log: .quiet)
        }

        func notify(_ subject: String, recipients: String = "compliance") throws -> Int64 {
            try connection.execute(
                """
                SELECT reeve.notify_people((SELECT id FROM reeve.tenant), 'purge.certified', $1::text, '{"rows": 12, "stores": ["a", "b"]}', $2::text)
                """, [subject, recipients])[0].int(0)
        }

        func makeDue() throws {
            try connection.executeScript("UPDATE reeve.notice SET next_at = reeve.clock() - interval '1 s'")
        }

        func state(_ id: Int64) throws -> (String, String?, [String]) {
            let row = try connection.execute(
                "SELECT state, error, to_jsonb(delivered) FROM reeve.notice WHERE id = $1::bigint", [id])[0]
            return (try row.text(0), try row.optionalText(1), try row.json(2).array?.compactMap(\.string) ?? [])
        }
    }

    @Test("a notice goes to every target once, by mail and by a webhook whose signature holds")
    func delivered() throws {
        let fixture = try Fixture()
        let hook = WebhookServer()
        defer { hook.stop() }
        let id = try fixture.notify("Purged\r\nBcc: x@y.example")
        let delivery = try fixture.delivery(
            "ok.dpo@example.com, http://127.0.0.1:\(hook.port)/hook?token=s3cret", secret: "0123456789abcdef")
        #expect(try delivery.deliver() == 1)
        #expect(try delivery.deliver() == 0)
        #expect(try fixture.state(id) == ("sent", nil, ["http://127.0.0.1:\(hook.port)/hook", "ok.dpo@example.com"]))
        let mails = SMTPServer.shared.accepted("ok.dpo@example.com")
        #expect(mails.count == 1)
        #expect(mails.first?.data.contains("Subject: Purged Bcc: x@y.example\r\n") == true)
        #expect(mails.first?.data.contains("Message-ID: <notice-\(id).purge.certified@platform.example>") == true)
        #expect(mails.first?.data.contains("Rows: 12") == true)
        let request = try #require(hook.received.first)
        #expect(hook.received.count == 1)
        #expect(try JSON(parsing: request.body)["body"]?["rows"]?.int == 12)
        let parts = (request.headers["reeve-signature"] ?? "").split(separator: ",")
        let time = parts.first?.dropFirst(2) ?? ""
        let code = hex(try HMACKey(Array("0123456789abcdef".utf8)).authenticate(Array("\(time).\(request.body)".utf8)))
        #expect(parts.last == "v1=\(code)")
        #expect(request.headers["idempotency-key"] == "reeve-notice-\(id)")
    }

    @Test("a target that fails is tried again until it takes the notice, and the others are not told twice")
    func retried() throws {
        let fixture = try Fixture()
        let hook = WebhookServer(statuses: [503, 302])
        defer { hook.stop() }
        let id = try fixture.notify("Erased")
        let delivery = try fixture.delivery(
            "ok.retry@example.com http://127.0.0.1:\(hook.port)/", secret: "0123456789abcdef")
        for round in 1...2 {
            #expect(try delivery.deliver() == 1)
            let (state, error, done) = try fixture.state(id)
            #expect(state == "waiting")
            #expect(error?.contains(round == 1 ? "503" : "302") == true)
            #expect(done == ["ok.retry@example.com"])
            #expect(try delivery.deliver() == 0)
            try fixture.makeDue()
        }
        #expect(try delivery.deliver() == 1)
        #expect(try fixture.state(id).0 == "sent")
        #expect(SMTPServer.shared.accepted("ok.retry@example.com").count == 1)
        #expect(Set(hook.received.map { $0.headers["idempotency-key"] }).count == 1)
    }

    @Test("what a worker took and never settled is taken again; what it settles too late changes nothing")
    func abandoned() throws {
        let fixture = try Fixture()
        let id = try fixture.notify("Purged")
        let claim = try fixture.connection.execute("SELECT claim FROM reeve.claim_notices('{compliance}')")[0].uuid(0)
        let delivery = try fixture.delivery("ok.abandoned@example.com")
        #expect(try delivery.deliver() == 0)
        try fixture.makeDue()
        #expect(try delivery.deliver() == 1)
        #expect(try fixture.state(id).0 == "sent")
        let late = try fixture.connection.execute(
            "SELECT reeve.settle_notice($1::bigint, $2::uuid, '{}', 'late')", [id, claim])[0].bool(0)
        #expect(!late)
        #expect(try fixture.state(id).1 == nil)
    }

    @Test(
        "a tenant's technical contact is told, without the address being kept; without a contact the notice waits and says so"
    )
    func technical() throws {
        let fixture = try Fixture()
        let id = try fixture.notify("Jobs failed", recipients: "technical")
        let delivery = try fixture.delivery("")
        #expect(try delivery.deliver() == 1)
        #expect(try fixture.state(id) == ("sent", nil, ["technical"]))
        #expect(SMTPServer.shared.accepted("ok.tech@example.com").count == 1)
        try fixture.connection.executeScript("UPDATE reeve.tenant SET contacts = '{}'")
        let other = try fixture.notify("Jobs failed", recipients: "technical")
        #expect(try delivery.deliver() == 1)
        #expect(try fixture.state(other).1?.contains("no technical contact") == true)
        try fixture.connection.executeScript("UPDATE reeve.tenant SET status = 'archived'")
        try fixture.makeDue()
        #expect(try delivery.deliver() == 0)
        #expect(try fixture.state(other).0 == "dropped")
    }

    @Test(
        "a worker that knows nobody of compliance leaves its notices to one that does; without a secret nothing is posted"
    )
    func unconfigured() throws {
        let fixture = try Fixture()
        let hook = WebhookServer()
        defer { hook.stop() }
        let id = try fixture.notify("Purged")
        #expect(try fixture.delivery("").deliver() == 0)
        #expect(try fixture.delivery("http://127.0.0.1:\(hook.port)/").deliver() == 1)
        #expect(try fixture.state(id).1?.contains("REEVE_WEBHOOK_SECRET") == true)
        #expect(hook.received.isEmpty)
        for bad in [
            "http://hooks.example/", "http://127.0.0.1.evil.example/", "dpo", "https://x.example/\u{7}",
            "ftp://x.example",
        ] {
            #expect(throws: MailError.self) { try NoticeTarget.list(bad) }
        }
    }

    @Test("a notice is of the transaction that wrote it")
    func transactional() throws {
        let fixture = try Fixture()
        try fixture.connection.executeScript("BEGIN")
        _ = try fixture.notify("Purged")
        try fixture.connection.executeScript("ROLLBACK")
        #expect(try fixture.delivery("ok.none@example.com").deliver() == 0)
    }
}
