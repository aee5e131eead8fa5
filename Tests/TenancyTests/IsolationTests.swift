import EmbeddedPostgres
import Foundation
import JobKit
import Postgres
import ReeveTesting
import Testing

@testable import Tenancy

@Suite("Isolation of tenants")
struct IsolationTests {
    @Test("no SQL in one tenant's session reads or writes another's rows", arguments: Isolation.allCases)
    func noWayIn(isolation: Isolation) throws {
        let fleet = try Fleet()
        let acme = try fleet.tenant("acme", isolation)
        let globex = try fleet.tenant("globex", isolation)
        let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        try sessions.withSession(globex.store, of: globex.attempt, stop: StopSignal()) { session in
            try session.write(insertCustomer, ["SECRET"])
        }
        let theirs = globex.store
        let table = "\(quoteIdentifier(theirs.schemas[0])).customers"
        let entries = [
            "SELECT 1", "SET app.current_tenant = '\(globex.id)'", "SET ROLE \(quoteIdentifier(theirs.login))",
            "SET ROLE \(quoteIdentifier(theirs.owner))", "SET ROLE \(TenantNames.sharedOwner)", "RESET ROLE",
            "SET SESSION AUTHORIZATION \(quoteIdentifier(theirs.login))", "RESET SESSION AUTHORIZATION",
            "SET search_path TO \(quoteIdentifier(theirs.schemas[0]))", "SET row_security = off",
            "ALTER TABLE \(table) DISABLE ROW LEVEL SECURITY", "ALTER TABLE \(table) NO FORCE ROW LEVEL SECURITY",
            "GRANT \(quoteIdentifier(theirs.login)) TO CURRENT_USER",
            "DROP POLICY \(quoteIdentifier(acme.store.login)) ON \(table)",
            "CREATE POLICY mine ON \(table) USING (true)", "ALTER ROLE CURRENT_USER BYPASSRLS",
        ]
        for entry in entries {
            try sessions.withSession(acme.store, of: acme.attempt, stop: StopSignal()) { session in
                // Refused or not: what counts is what can be reached afterwards.
                _ = try? session.query(entry)
                for sql in [
                    "SELECT account_code FROM customers", "SELECT account_code FROM \(table)",
                    "UPDATE \(table) SET company = 'taken' RETURNING account_code",
                    "DELETE FROM \(table) RETURNING account_code",
                ] {
                    let rows =
                        (try? session.transaction { try session.query(sql) })?.map { (try? $0.text(0)) ?? "" } ?? []
                    #expect(!rows.contains("SECRET"), "\(entry); \(sql)")
                }
            }
        }
        try sessions.withSession(globex.store, of: globex.attempt, stop: StopSignal()) { session in
            let found = try session.query("SELECT company FROM customers WHERE account_code = 'SECRET'")[0].text(0)
            #expect(found == "C")
        }
    }

    @Test("a row cannot be written into another tenant of the shared tables")
    func noForeignRow() throws {
        let fleet = try Fleet()
        let acme = try fleet.tenant("acme", .shared)
        let globex = try fleet.tenant("globex", .shared)
        let sessions = TenantSessions(directory: fleet.directory, leases: CurrentLeases())
        defer { sessions.close() }
        try sessions.withSession(acme.store, of: acme.attempt, stop: StopSignal()) { session in
            try session.query("SET app.current_tenant = '\(globex.id)'")
            #expect(throws: PostgresError.self) { try session.write(insertCustomer, ["X1"]) }
            try session.query("SET app.current_tenant = '\(acme.id)'")
            try session.write(insertCustomer, ["X1"])
            #expect(throws: PostgresError.self) {
                try session.write("UPDATE customers SET tenant_id = $1::uuid", [globex.id])
            }
            #expect(throws: PostgresError.self) { try session.write("TRUNCATE customers CASCADE") }
        }
    }

    @Test("a tenant's login cannot connect to another tenant's database")
    func noForeignDatabase() throws {
        let fleet = try Fleet()
        let acme = try fleet.tenant("acme", .schema)
        let globex = try fleet.tenant("globex", .database)
        let password = try fleet.directory.password(of: acme.store, tenant: acme.id)
        let settings = acme.store.settings(applicationName: "test").with(["password": password])
        try Connection(settings).close()
        #expect(throws: PostgresError.self) { try Connection(settings.with(["dbname": globex.store.database])) }
    }

    @Test("a password sealed for one tenant does not open for another, nor for another purpose")
    func sealedToItsOwner() throws {
        let fleet = try Fleet()
        let acme = try fleet.tenant("acme", .schema)
        let globex = try fleet.tenant("globex", .schema)
        let sealed = try fleet.directory.seal("secret", tenant: acme.id, purpose: SealedPurpose.login)
        #expect(sealed.count > 6)
        // Moved in the registry, as someone with write access to it could.
        try fleet.control.withConnection { connection in
            _ = try connection.execute(
                """
                UPDATE reeve.tenant_store SET secret = (SELECT secret FROM reeve.tenant_store WHERE tenant_id = $1::uuid)
                WHERE tenant_id = $2::uuid
                """, [acme.id, globex.id])
        }
        #expect(throws: (any Error).self) { try fleet.directory.password(of: globex.store, tenant: globex.id) }
        #expect(throws: TenancyError.self) { try fleet.directory.password(of: acme.store, tenant: globex.id) }
        _ = try fleet.directory.password(of: acme.store, tenant: acme.id)
    }

    @Test("passwords are in no dump of the control database and not in the server's log")
    func passwordsAreNowhere() throws {
        let fleet = try Fleet()
        let tenants = try Isolation.allCases.map { try fleet.tenant("t\($0.rawValue)", $0) }
        let passwords = try tenants.map { try fleet.directory.password(of: $0.store, tenant: $0.id) }
        let dump = try run(
            "pg_dump", ["--dbname=\(Fleet.server.conninfo(database: try #require(fleet.controlSettings["dbname"])))"])
        #expect(dump.contains("COPY reeve.tenant_store"))
        let log = try String(contentsOfFile: Fleet.server.logPath, encoding: .utf8)
        #expect(log.contains("ALTER ROLE \"\(tenants[0].store.login)\""))
        for password in passwords {
            #expect(password.count >= 32)
            let forms = [
                password, password.utf8.map { String($0, radix: 16) }.joined(),
                Data(password.utf8).base64EncodedString(),
            ]
            for form in forms {
                #expect(!dump.contains(form))
                #expect(!log.contains(form))
            }
        }
    }

    private func run(_ program: String, _ arguments: [String]) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [program] + arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        return String(decoding: data, as: UTF8.self)
    }
}
