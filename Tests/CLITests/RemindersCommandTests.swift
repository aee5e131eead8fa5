import Foundation
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Testing

@Suite("reeve reminders, notice, certificate")
struct RemindersCommandTests {
    /// A fleet with mail, and the trial `acme` whose last day is today.
    final class Fixture {
        let control: ControlFixture
        let connection: Connection
        let root: String
        let environment: [String: String]

        init(contact: String) throws {
            control = try ControlFixture()
            connection = try Connection(control.settings)
            guard let made = TemporaryFolder.make("/tmp/reeve-reminders-cli.") else {
                throw ReeveRun.Failure(what: "mkdtemp")
            }
            root = made
            environment = [
                "REEVE_DATABASE_URL": control.conninfo, "REEVE_REGION": "eu",
                "REEVE_SMTP_URL": SMTPServer.shared.plainURL,
                "REEVE_MAIL_FROM": "Steel Cloud <trials@platform.example>", "REEVE_SIGNING_KEYS": "\(root)/signing",
                "REEVE_STORAGE": "\(root)/store", "PATH": "/usr/bin:/bin",
            ]
            guard try ReeveRun(["migrate", "up"], environment).code == 0 else {
                throw ReeveRun.Failure(what: "migrate")
            }
            // At any hour that the test runs at, today is a day on which it may be sent.
            try connection.executeScript("UPDATE reeve.reminder_rule SET send_from = '00:00', send_until = '24:00'")
            try connection.execute(
                """
                INSERT INTO reeve.tenant (code, name, tier, isolation, region, status, status_changed_at, trial_ends_at, contacts)
                VALUES ('trial', 'Trial', 'starter', 'schema', 'eu', 'active', now(), NULL, jsonb_build_object('primary', $1::text))
                """, [contact])
            try connection.executeScript(
                """
                UPDATE reeve.tenant SET status = 'trial' WHERE code = 'trial';
                ALTER TABLE reeve.tenant_status_change DISABLE TRIGGER USER;
                UPDATE reeve.tenant_status_change SET at = now() - interval '10 days';
                UPDATE reeve.tenant SET trial_ends_at = date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + interval '1 day' WHERE code = 'trial';
                """)
        }

        deinit {
            connection.close()
            // A leftover of a test costs nothing.
            try? FileManager.default.removeItem(atPath: root)
        }

        func run(_ words: String..., input: String = "") throws -> ReeveRun {
            try ReeveRun(words, environment, input: input)
        }

        func worker() throws -> ChildProcess {
            try ChildProcess(
                program: BuiltProducts.path("reeve"), arguments: ["worker", "--lease", "1s"], environment: environment,
                supervisor: BuiltProducts.supervisor)
        }

        func killWorkers() throws {
            for row in try connection.execute("SELECT pid FROM reeve.worker WHERE state = 'alive'") {
                kill(pid_t(try row.int(0)), SIGKILL)
            }
        }

        func until(_ sql: String) throws {
            let limit = ContinuousClock.now + .seconds(40)
            while try !connection.execute("SELECT \(sql)")[0].bool(0) {
                guard .now < limit else { throw ReeveRun.Failure(what: sql) }
                usleep(5000)
            }
        }

        var state: String {
            get throws { try connection.execute("SELECT state FROM reeve.reminder WHERE milestone = 0")[0].text(0) }
        }
    }

    @Test(
        "a worker killed at any point of the mail never has two accepted for one milestone, and what nobody knows is listed",
        arguments: [("holdrcpt", 0), ("holddata", 0), ("holdend", 0), ("holdtaken", 1)])
    func killed(point: String, accepted: Int) throws {
        let address = "\(point).kill@example.com"
        let fixture = try Fixture(contact: address)
        let first = try fixture.worker()
        defer { first.stop() }
        SMTPServer.shared.waitUntilHeld(address)
        try fixture.killWorkers()
        let second = try fixture.worker()
        defer { second.stop() }
        try fixture.until("state = 'unknown' FROM reeve.reminder WHERE milestone = 0")
        SMTPServer.shared.release(address)
        try fixture.until("NOT EXISTS (SELECT FROM reeve.job WHERE kind = 'trial-reminder')")
        #expect(SMTPServer.shared.accepted(address).count == accepted)
        let listed = try fixture.run("reminders", "list", "--state", "unknown", "--json").json
        #expect(listed.array?.count == 1)
        #expect(listed.array?.first?["tenant_code"] == "trial")
        #expect(try fixture.run("doctor").all.contains("1 may have been sent or not"))
    }

    @Test("a worker sends what is due once, and the commands show it before and after")
    func sent() throws {
        let address = "ok.worker@example.com"
        let fixture = try Fixture(contact: address)
        let preview = try fixture.run("reminders", "preview", "--json").json.array ?? []
        #expect(preview.map { $0["verdict"] } == ["now"])
        #expect(preview.first?["to"] == "o…@example.com")
        let id = preview.first?["id"]?.text ?? ""
        let shown = try fixture.run("reminders", "show", id)
        #expect(shown.out.hasPrefix("Subject: The trial of Trial ends today\n"), "\(shown)")
        #expect(try fixture.run("reminders", "show", id, "--html").out.hasPrefix("<!DOCTYPE html>"))
        let worker = try fixture.worker()
        defer { worker.stop() }
        try fixture.until("state = 'sent' FROM reeve.reminder WHERE milestone = 0")
        #expect(SMTPServer.shared.accepted(address).count == 1)
        #expect(try fixture.run("reminders", "list", "--tenant", "trial").out.contains("sent"))
        #expect(try fixture.run("reminders", "preview").err.contains("no reminders"))
    }

    @Test(
        "rules, suppression and resolving are steered and audited; a trial is extended; bad words are refused with their exit code"
    )
    func steering() throws {
        let fixture = try Fixture(contact: "ok.steer@example.com")
        /// What is said of the mail of the last day; until the morning yesterday's may be there, too.
        func verdict() throws -> JSON? {
            try fixture.run("reminders", "preview", "--json").json.array?.first { $0["milestone"] == 0 }?["verdict"]
        }
        #expect(try fixture.run("reminders", "rules", "--stop", "0", "--reason", "text").code == 0)
        #expect(try verdict() == "no: stopped")
        #expect(try fixture.run("reminders", "rules", "--json").json["stopped"] == [0])
        #expect(try fixture.run("reminders", "rules", "--start", "0").code == 0)
        #expect(try fixture.run("reminders", "rules", "--from", "19:00", "--until", "08:00").code == 2)
        #expect(
            try fixture.run("reminders", "suppress", "--reason", "bounce", input: "OK.steer@example.com\n").code == 0)
        #expect(try verdict() == "no: suppressed")
        #expect(try fixture.run("reminders", "allow", input: "ok.steer@example.com\n").out.contains("again"))
        #expect(try fixture.run("reminders", "suppress", input: "nobody\n").code == 2)
        #expect(try fixture.run("reminders", "resolve", "1", "--sent").code != 0)
        #expect(try fixture.run("reminders", "resolve", "999999", "--sent", "--reason", "x").code == 3)
        #expect(try fixture.run("reminders", "show", "x").code == 2)
        #expect(try fixture.run("tenant", "update", "trial", "--trial-ends", "2099-01-31 18:00").code == 0)
        let due =
            try fixture.run("reminders", "list", "--tenant", "trial", "--state", "planned", "--json").json.array ?? []
        #expect(due.first?["due_at"]?.string?.hasPrefix("2099-01-31") == true, "\(due)")
        #expect(try fixture.run("tiers", "set", "starter", "--trial-milestones", "5,0").code == 0)
        #expect(try fixture.run("tiers", "set", "starter", "--trial-milestones", "x").code == 2)
        let audit = try fixture.run("audit", "list").out
        #expect(audit.contains("reminder.rule") && audit.contains("mail.suppress"))
        #expect(!audit.contains("steer@"))
    }

    @Test("signing keys are made, rotated, listed and published by the command; certificates are shown and verified")
    func certificates() throws {
        let fixture = try Fixture(contact: "ok.keys@example.com")
        let doctor = try fixture.run("doctor").all
        #expect(doctor.contains("cannot be certified") && doctor.contains("0 targets for compliance"), "\(doctor)")
        let made = try fixture.run("keys", "signing", "create", "--json").json["key"]?.string ?? ""
        #expect(made.utf8.count == 32)
        #expect(try fixture.run("keys", "signing", "create").code == 5)
        #expect(try fixture.run("keys", "signing", "rotate", "--reason", "yearly").code == 0)
        let list = try fixture.run("keys", "signing", "list", "--json").json.array ?? []
        #expect(list.map { $0["state"] } == ["retired", "current"])
        let published = try fixture.run("keys", "signing", "publish", made).out
        #expect(published.contains("BEGIN PUBLIC KEY") && !published.contains("PRIVATE"))
        let listed = try FileManager.default.contentsOfDirectory(atPath: "\(fixture.root)/signing")
        #expect(listed.count == 2)
        let without = fixture.environment.filter { $0.key != "REEVE_SIGNING_KEYS" }
        #expect(try ReeveRun(["keys", "signing", "rotate"], without).code == 2)
        #expect(try fixture.run("certificate", "verify", "--all").out.contains("0 of 0"))
        #expect(try fixture.run("certificate", "show", "6f9619ff-8b86-d011-b42d-00cf4fc964ff").code == 3)
        #expect(try fixture.run("certificate", "show", "x").code == 2)
    }

    @Test("a notice waits, says why, and is sent by the worker once the fleet says to whom")
    func notices() throws {
        let fixture = try Fixture(contact: "ok.n@example.com")
        try fixture.connection.executeScript("SELECT reeve.notify_people(NULL, 'test.topic', 'Something happened')")
        let list = try fixture.run("notice", "list", "--state", "waiting", "--json").json.array ?? []
        #expect(list.count == 1 && list[0]["subject"] == "Something happened")
        let id = list.first?["id"]?.text ?? ""
        #expect(try fixture.run("notice", "retry", id).code == 0)
        #expect(try fixture.run("notice", "retry", "999").code == 3)
        let worker = try ChildProcess(
            program: BuiltProducts.path("reeve"), arguments: ["worker"],
            environment: fixture.environment.merging(["REEVE_COMPLIANCE": "ok.dpo.cli@example.com"]) { $1 },
            supervisor: BuiltProducts.supervisor)
        defer { worker.stop() }
        SMTPServer.shared.waitUntilAccepted("ok.dpo.cli@example.com")
        try fixture.until("state = 'sent' FROM reeve.notice")
        #expect(try fixture.run("notice", "retry", id).code == 5)
        let bad = fixture.environment.merging(["REEVE_COMPLIANCE": "http://hooks.example/"]) { $1 }
        #expect(try ReeveRun(["worker"], bad).code == 2)
    }
}
