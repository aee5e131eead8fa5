import FoundationEssentials
import JobKit
import Storage
import Testing

@Suite("ObjectKey")
struct ObjectKeyTests {
    let tenant = TenantID("0a1b2c3d-0000-4000-8000-000000000001")!
    let id = UUID(uuidString: "0a1b2c3d-0000-4000-8000-000000000002")!

    @Test("a key is tenant, entity, year, month and id, in lower case")
    func text() throws {
        let key = try ObjectKey(tenant: tenant, entity: .backups, year: 2026, month: 3, id: id)
        #expect("\(key)" == "\(tenant)/backups/2026/03/0a1b2c3d-0000-4000-8000-000000000002")
        #expect("\(key.with(.manifest))" == "\(key).manifest.json")
        #expect(try ObjectKey(parsing: "\(key)") == key)
        #expect(try ObjectKey(parsing: "\(key.with(.manifest))") == key.with(.manifest))
    }

    @Test(
        "the month is the UTC month of the time",
        arguments: [
            (0.0, "1970/01"), (951_782_399, "2000/02"), (951_868_799, "2000/02"), (951_868_800, "2000/03"),
            (1_798_761_599, "2026/12"), (1_798_761_600, "2027/01"), (253_402_300_799, "9999/12"),
        ])
    func month(seconds: Double, expected: String) throws {
        let key = try ObjectKey(tenant: tenant, entity: .backups, at: Date(timeIntervalSince1970: seconds), id: id)
        #expect("\(key)".contains("/backups/\(expected)/"))
    }

    @Test("times and months outside the calendar are refused", arguments: [-1.0, 253_402_300_800, .infinity, .nan])
    func outside(seconds: Double) {
        #expect(throws: StorageError.self) {
            try ObjectKey(tenant: tenant, entity: .backups, at: Date(timeIntervalSince1970: seconds), id: id)
        }
        #expect(throws: StorageError.self) {
            try ObjectKey(tenant: tenant, entity: .backups, year: 2026, month: 13, id: id)
        }
    }

    @Test(
        "whatever a key would not print is refused",
        arguments: [
            "", "/", "..", "T/backups/2026/03/ID/", "/T/backups/2026/03/ID", "T/../2026/03/ID", "T/backups/2026/3/ID",
            "T/backups/02026/03/ID", "T/backups/+2026/03/ID", "T/Backups/2026/03/ID", "T/back%2fups/2026/03/ID",
            "T/backups/2026/03/ID\0", "T/backups/2026/03/ID\r\n", "T/backups/2026/13/ID", "T/backups//03/ID",
            "T/backups/2026/03/ID.exe", "T/backups/2026/03/ID.manifest.json/..", "T/backups/2026/03/..",
            "T\u{2044}backups/2026/03/ID", "T/-backups/2026/03/ID", "T/b\u{0430}ckups/2026/03/ID",
            "acme/backups/2026/03/ID", "T/backups/2026/03/ID.data", "T/backups/2026/03/ID.data.",
            "T/backups/2026/03/ID.data.01",
            "T/backups/2026/03/ID.data.-1", "T/backups/2026/03/ID.data.+1", "T/backups/2026/03/ID.data.10000",
            "T/backups/2026/03/ID.data.1.", "T/backups/2026/03/ID.data.\u{0661}", "T/backups/2026/03/ID.reference.1",
        ])
    func refused(pattern: String) {
        let text = pattern.split(separator: "ID", omittingEmptySubsequences: false).joined(
            separator: "\(TenantID(rawValue: id))")
        let whole = text.hasPrefix("T") ? "\(tenant)" + text.dropFirst() : text
        #expect(throws: StorageError.self) { try ObjectKey(parsing: whole) }
        #expect(throws: StorageError.self) { try ObjectKey(parsing: whole.uppercased()) }
    }

    @Test("each part of an object has a name of its own, which reads back")
    func parts() throws {
        let key = try ObjectKey(tenant: tenant, entity: .backups, year: 2026, month: 3, id: id)
        let parts: [ObjectKey.Part] = [.content, .manifest, .reference, .data(0), .data(10), .data(9999)]
        let texts = parts.map { "\(key.with($0))" }
        #expect(Set(texts).count == parts.count && texts[4].hasSuffix(".data.10"))
        for (part, text) in zip(parts, texts) { #expect(try ObjectKey(parsing: text).part == part) }
        #expect(throws: StorageError.self) {
            try ObjectKey(tenant: tenant, entity: .backups, year: 2026, month: 3, id: id, part: .data(10_000))
        }
    }

    @Test("an entity is made of a-z and hyphens", arguments: ["", "A", "a/b", "..", "-a", "a-", "a.b", "a\0", "é"])
    func entity(name: String) { #expect(ObjectEntity(rawValue: name) == nil) }
}
