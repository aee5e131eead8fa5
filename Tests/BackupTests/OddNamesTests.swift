import JobKit
import ReeveTesting
import Storage
import Testing

@testable import Backup

@Suite("Backups of odd names")
struct OddNamesTests {
    @Test("a dump holds the schema of exactly that name, and its key the tenant's id alone")
    func dumps() throws {
        let fixture = try BackupFixture()
        // None of them can be made as a tenant's code: each stands for a registry that someone changed by hand.
        let codes = [
            "a\"b", "a|b", "A", "a", "b", "..", String(repeating: "a", count: 64), "аcme", "ａcme", "acme", "*", "$(id)",
        ]
        let tenants = try codes.enumerated().map { number, code in
            (try fixture.addTenant("odd-\(number)", schema: String(code.prefix(63)), marker: "M\(number)X"), code)
        }
        for (number, (tenant, code)) in tenants.enumerated() {
            let named = JobHarness.tenant(code, id: tenant.id)
            let artifact = try fixture.backUp(named)
            let text = try fixture.dumpText(artifact)
            #expect(text.contains("M\(number)X-00001"), "\(code)")
            for other in codes.indices where other != number {
                #expect(!text.contains("M\(other)X-"), "\(code) holds \(codes[other])")
            }
            #expect(try ObjectKey(parsing: artifact.key).tenant == tenant.id)
            #expect(
                artifact.key.utf8.allSatisfy { ($0 >= 97 && $0 <= 122) || ($0 >= 47 && $0 <= 57) || $0 == 45 },
                "\(artifact.key)")
        }
        let folders = Set(
            fixture.folder.files().compactMap { $0.split(separator: "/").dropFirst().first.map(String.init) })
        #expect(folders == Set(tenants.map { $0.0.id.description }))
    }
}
