import JobKit
import Postgres
import Testing

@testable import Tenancy

@Suite("Tenants' registry")
struct RegistryTests {
    @Test(
        "a code that is none is refused with the character and its position",
        arguments: [
            ("a\"b", "character 2 is \"\"\""), ("a|b", "character 2 is \"|\""),
            ("A", "character 1 is \"A\", which must be lower"),
            ("..", "character 1 is \".\""), ("", "0 characters"), ("ab", "2 characters"),
            (String(repeating: "a", count: 64), "64 characters"), (String(repeating: "a", count: 41), "41 characters"),
            ("аcme", "character 1 is U+0430"), ("ａcme", "character 1 is U+FF41"),
            ("acme\u{200B}", "character 5 is U+200B"),
            ("acme\0", "character 5 is U+0000"),
            ("-acme", "starts or ends with -"), ("acme-", "starts or ends with -"), ("a b", "character 2 is U+0020"),
        ])
    func badCodes(code: String, reason: String) throws {
        let error = #expect(throws: TenancyError.self) { try TenantCode.check(code) }
        #expect(error?.kind == .invalid)
        #expect(error?.description.contains(reason) == true, "\(error?.description ?? "")")
    }

    @Test("a bad code reaches neither the registry nor the server")
    func badCodeCreatesNothing() throws {
        let fleet = try Fleet()
        for code in ["a\"b", "a|b", "A", "..", "аcme", "ａcme", String(repeating: "a", count: 64), "acme-owner"] {
            var request = fleet.request("x", .schema)
            request.details.code = code
            #expect(throws: TenancyError.self) { try fleet.provisioner.create(request) }
            #expect(throws: TenancyError.self) { try fleet.provisioner.undo(code, force: true) }
        }
        #expect(try fleet.registry.list().isEmpty)
    }

    @Test("codes of 3 and 40 characters are good", arguments: ["a-1", "123", String(repeating: "z", count: 40)])
    func goodCodes(code: String) throws { try TenantCode.check(code) }

    @Test("a schema name of 63 bytes is taken and one of 64 is refused")
    func schemaNames() throws {
        let id = try #require(TenantID("0b8f1a52-0f0f-4e0e-9c1c-2f4b6a7d8e9f"))
        let code = String(repeating: "a", count: 40)
        let fits = try SchemaPattern(String(repeating: "p", count: 23) + "<code>")
        #expect(try fits.names(code: code, id: id, domains: [])[0].utf8.count == 63)
        let long = try SchemaPattern(String(repeating: "p", count: 24) + "<code>")
        #expect(throws: TenancyError.self) { try long.names(code: code, id: id, domains: []) }
        #expect(try SchemaPattern.standard.names(code: "a-b-c", id: id, domains: []) == ["tenant_a_b_c"])
        #expect(
            try SchemaPattern("t<id>").names(code: "abc", id: id, domains: [])[0]
                == "t0b8f1a52_0f0f_4e0e_9c1c_2f4b6a7d8e9f")
        for bad in ["x", "tenant", "<domain>"] { #expect(throws: TenancyError.self) { try SchemaPattern(bad) } }
        for bad in ["pg_<code>", "T<code>", "a b<code>", "\"<code>", "1<code>", "é<code>"] {
            let pattern = try SchemaPattern(bad)
            #expect(throws: TenancyError.self, "\(bad)") { try pattern.names(code: "abc", id: id, domains: []) }
        }
    }

    @Test("suspend, activate and churn keep their times and reasons, and each is audited")
    func statuses() throws {
        let fleet = try Fleet()
        let code = fleet.code("acme")
        let id = try fleet.registry.create(fleet.request("acme", .shared).details)
        try fleet.registry.suspend(code, reason: "unpaid")
        try fleet.registry.activate(code, reason: "paid")
        try fleet.registry.churn(code, reason: "left")
        let record = try fleet.registry.show(code)
        #expect(record.status == .churned)
        let changes = try #require(record.document["status_changes"]?.array)
        #expect(changes.map { $0["became"]?.string } == ["trial", "suspended", "active", "churned"])
        #expect(changes.map { $0["reason"]?.string } == [nil, "unpaid", "paid", "left"])
        let times = try changes.map { try #require($0["at"]?.string) }
        #expect(Set(times).count == 4)
        let entries = try fleet.control.withConnection {
            try $0.execute(
                "SELECT count(*) FROM reeve.audit_entry WHERE tenant_id = $1::uuid AND action = 'tenant.status' AND actor = 'tester'",
                [id])
        }
        #expect(try entries[0].int(0) == 3)
        #expect(throws: PostgresError.self) { try fleet.registry.suspend(code) }
    }

    @Test("a trial ends the tier's trial days after it began")
    func trial() throws {
        let fleet = try Fleet()
        let id = try fleet.registry.create(fleet.request("acme", .shared).details)
        let days = try fleet.control.withConnection {
            try $0.execute(
                "SELECT trial_ends_at - created_at BETWEEN '13 days 23 hours' AND '14 days 1 hour' FROM reeve.tenant WHERE id = $1::uuid",
                [id])
        }
        #expect(try days[0].bool(0))
    }

    @Test("contacts and the rest of the record can be changed, and the audit entry holds no value of them")
    func update() throws {
        let fleet = try Fleet()
        let id = try fleet.registry.create(fleet.request("acme", .shared).details)
        var changes = TenantChanges()
        changes.contacts = ["primary": ["email": "eva.muster@acme.example"]]
        changes.locale = "de-DE"
        changes.externalCode = "ACME_1"
        changes.overrides = ["concurrency": 7]
        try fleet.registry.update(fleet.code("acme"), changes)
        let record = try fleet.registry.show("ACME_1")
        #expect(record.id == id)
        #expect(record.document["locale"]?.string == "de-DE")
        #expect(record.document["currency"]?.string == "EUR")
        #expect(try fleet.registry.setTier(fleet.code("acme"), "enterprise", reason: "grew") == 0)
        let row = try fleet.control.withConnection {
            try $0.execute(
                """
                SELECT (SELECT cap FROM reeve.tenant_counter WHERE tenant_id = $1::uuid),
                       EXISTS (SELECT FROM reeve.audit_entry WHERE detail::text ~ 'eva|muster')
                """, [id])
        }
        #expect(try row[0].int(0) == 7)
        #expect(try !row[0].bool(1))
    }

    @Test("an unknown tenant, tier and server are named")
    func unknown() throws {
        let fleet = try Fleet()
        let missing = #expect(throws: TenancyError.self) { try fleet.registry.show("nobody") }
        #expect(missing?.kind == .notFound)
        var details = fleet.request("acme", .shared).details
        details.tier = "platinum"
        #expect(throws: TenancyError.self) { try fleet.registry.create(details) }
        #expect(throws: TenancyError.self) { try fleet.directory.serverSettings("nowhere") }
    }

    @Test("a server's connection string must not hold a password; one given apart is sealed and opened again")
    func serverPassword() throws {
        let fleet = try Fleet()
        for conninfo in ["host=db password=hunter2", "postgresql://admin:hunter2@db/postgres"] {
            #expect(throws: TenancyError.self) {
                try fleet.registry.addServer("other", conninfo: conninfo, region: "eu", sharedDatabase: "shop")
            }
        }
        try fleet.registry.addServer(
            "other", conninfo: "host=db user=admin", region: "eu", sharedDatabase: "shop", adminPassword: "hunter2")
        #expect(try fleet.directory.serverSettings("other")["password"] == "hunter2")
    }
}
