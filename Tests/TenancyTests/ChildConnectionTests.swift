import FoundationEssentials
import Glibc
import Postgres
import Testing

@testable import Tenancy

@Suite("Connections for child programs")
struct ChildConnectionTests {
    private func login(_ user: String, _ password: String) throws -> ChildConnection.Login {
        ChildConnection.Login(
            settings: try ConnectionSettings("host=/tmp dbname=d_\(user) user=\(user)"), user: user, password: password)
    }

    private func text(_ path: String) throws -> String { try String(contentsOf: URL(filePath: path), encoding: .utf8) }

    @Test("one database is found by the defaults of libpq")
    func one() throws {
        let child = try ChildConnection([login("a", "p:w")])
        defer { child.remove() }
        #expect(child.services == ["reeve"] && child.environment["PGSERVICE"] == "reeve")
        #expect(try text(#require(child.environment["PGPASSFILE"])) == "*:*:*:a:p\\:w\n")
        #expect(try text(#require(child.environment["PGSERVICEFILE"])) == "[reeve]\ndbname=d_a\nhost=/tmp\nuser=a\n")
    }

    @Test("of several databases each is a service with a password file of its own, and none is the default")
    func several() throws {
        let child = try ChildConnection([login("a", "first"), login("a", "second")])
        #expect(child.services == ["reeve-1", "reeve-2"] && child.environment["PGPASSFILE"] == nil)
        let file = try #require(child.environment["PGSERVICEFILE"])
        let service = try text(file)
        #expect(service.contains("[reeve-1]\n") && service.contains("[reeve-2]\n") && !service.contains("[reeve]\n"))
        #expect(!service.contains("first") && !service.contains("second"))
        let files = service.split(separator: "\n").compactMap {
            $0.hasPrefix("passfile=") ? String($0.dropFirst(9)) : nil
        }
        #expect(try files.map(text) == ["*:*:*:a:first\n", "*:*:*:a:second\n"])
        child.remove()
        #expect(access(file, F_OK) != 0 && files.allSatisfy { access($0, F_OK) != 0 })
    }
}
