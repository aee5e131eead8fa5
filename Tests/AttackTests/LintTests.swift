import JobKit
import Postgres
import Testing

/// The rules, over the control database and a tenant's of each isolation.
@Suite("Lints")
struct LintTests {
    @Test("in the control database", arguments: Lint.all)
    func control(_ lint: Lint) throws {
        let faults = try lint.faults(Target.linted.admin())
        #expect(faults == [])
    }

    @Test("in tenants' databases", arguments: Isolation.allCases)
    func tenants(isolation: Isolation) throws {
        let admin = try TenantField.shared.admin("acme", isolation)
        defer { admin.close() }
        #expect(
            try admin.execute(
                "SELECT count(*) FROM pg_roles WHERE shobj_description(oid, 'pg_authid') ~ '^reeve tenant '")[0].int(0)
                >= 6)
        for lint in Lint.all {
            let faults = try lint.faults(admin)
            #expect(faults == [], "\(lint.name)")
        }
    }

    @Test("each finds the fault that is planted for it, and only once it is there", arguments: Lint.all)
    func bites(_ lint: Lint) throws {
        let admin = try Target.linted.admin()
        defer { admin.close() }
        try admin.execute("BEGIN")
        try admin.executeScript(lint.plant)
        let faults = try lint.faults(admin)
        try admin.execute("ROLLBACK")
        #expect(faults.contains { $0.contains("planted") }, "\(faults)")
    }

    @Test("what is allowed is still there: an exception for what is gone is taken out")
    func allowances() throws {
        let admin = try Target.linted.admin()
        defer { admin.close() }
        for lint in Lint.all {
            let found = try Set(admin.execute(lint.query).map { try $0.text(0) })
            #expect(Set(lint.allowed.keys).subtracting(found).isEmpty, "\(lint.name)")
        }
    }
}

/// One migrated database for all lints: they look, or roll back.
struct LintedDatabase: Sendable {
    let settings: ConnectionSettings
    func admin() throws -> Connection { try Connection(settings) }
}

extension Target {
    static let linted: LintedDatabase = {
        do { return LintedDatabase(settings: try Target().settings) } catch {
            fatalError("no database to lint: \(error)")
        }
    }()
}
