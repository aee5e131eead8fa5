import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Testing

@testable import Export

@Suite("What exports hold")
struct ExportContentTests {
    @Test(
        "CSV holds every text exactly, unless it is asked to be safe for spreadsheets: then formulas are text; JSON never changes"
    )
    func formulas() throws {
        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", .schema, marker: "m", rows: 1)
        let exact = try fixture.open(try fixture.export(tenant))
        let safe = try fixture.open(try fixture.export(tenant, .init(spreadsheetSafe: true)))
        #expect(try exact.text("data/hostile.jsonl") == safe.text("data/hostile.jsonl"))
        let texts = try exact.text("data/hostile.jsonl").split(separator: "\n").compactMap {
            try JSON(parsing: String($0))["text"]?.string
        }
        #expect(texts.map { Array($0.utf8) } == OddTables.hostile.map { Array($0.utf8) })
        let before = try exact.text("data/hostile.csv")
        let after = try safe.text("data/hostile.csv")
        #expect(before.contains("\n0,=1+1\n") && before.contains("\n13,\"\"\n"))
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "\u{FF1D}1"] {
            #expect(after.contains("'\(formula)"), "\(formula.debugDescription)")
        }
        #expect(after.contains("a,b;c") && !after.contains("'a,b") && !after.contains("''"))
        #expect(try safe.text("data/everything.csv").contains("-32768"), "a number is no formula")
        #expect(try safe.json("manifest.json")["spreadsheet_safe"] == true)
    }

    @Test(
        "members' names hold no path that leaves the folder, no two are one where case does not count, and the dictionary knows them"
    )
    func names() throws {
        var names = MemberNames()
        let paths = [
            ["orders"], ["ORDERS"], ["../../x"], ["a/b"], ["a\\b"], [".hidden"], ["nul"], ["x\r\ny"], ["\u{202E}"],
            [""], ["ä"],
            [String(repeating: "a", count: 300)],
        ].map { names.path($0) }
        #expect(Set(paths.map { $0.lowercased() }).count == paths.count)
        for path in paths {
            #expect(path.hasPrefix("data/") && !path.contains("..") && path.utf8.count < 120)
            #expect(path.dropFirst(5).utf8.allSatisfy { $0 > 32 && $0 < 127 && $0 != 47 && $0 != 92 }, "\(path)")
        }
        #expect(names.file("/etc/passwd") == "files/etc/passwd")
        #expect(names.file("../../x.pdf") == "files/__/__/x.pdf")
        #expect(names.file("etc/passwd") == "files/etc/passwd-2")

        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", .schema, marker: "m", rows: 1)
        let archive = try fixture.open(try fixture.export(tenant))
        let files = try #require(try archive.json("dictionary.json")["tables"]?.array).flatMap {
            ($0["files"]?.object ?? [:]).values.compactMap(\.string)
        }
        #expect(Set(files) == Set(archive.members.keys.filter { $0.hasPrefix("data/") }))
        #expect(archive.members.keys.allSatisfy { !$0.contains("..") && !$0.hasPrefix("/") })
    }

    @Test("the dictionary says what columns are and mean; comments, keys and types")
    func dictionary() throws {
        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", .schema, marker: "m", rows: 1)
        let dictionary = try fixture.open(try fixture.export(tenant)).json("dictionary.json")
        let tables = try #require(dictionary["tables"]?.array)
        let customers = try #require(tables.first { $0["name"] == "customers" })
        #expect(customers["primary_key"] == ["id"])
        let name = customers["columns"]?.array?.first { $0["name"] == "name" }
        #expect(name?["comment"] == "The name on invoices" && name?["type"] == "text" && name?["nullable"] == false)
        #expect(!tables.contains { ["measured_2025", "summary"].contains($0["name"]?.string) })
        #expect(
            Set((dictionary["types"]?.array ?? []).compactMap { $0["name"]?.string }) == [
                "mood", "positive", "place", "span",
            ])
    }

    @Test("the page shows hostile names and comments as text, loads nothing and runs nothing")
    func page() throws {
        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", .schema, marker: "m", rows: 1)
        let page = try fixture.open(try fixture.export(tenant)).text("index.html")
        #expect(page.contains("Who buys &lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;"))
        #expect(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"))
        #expect(!page.contains("\u{202E}") && page.contains("default-src 'none'"))
        #expect(IndexPage.escaped("a\u{0}<b>\u{2066}'\"&\n") == "a\u{FFFD}&lt;b&gt;\u{FFFD}&#39;&quot;&amp; ")
    }

    @Test("a tenant's own files come in, large and small, under names that are safe")
    func files() throws {
        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", .schema, marker: "m", rows: 1)
        let archive = try fixture.open(try fixture.export(tenant, job: fixture.job(files: Documents())))
        #expect(try archive.text("files/letters/one.txt") == "Dear customer")
        #expect(archive.members["files/large.bin"] == Documents.large)
        #expect(try archive.json("manifest.json")["files"]?.array?.count == 3)
        #expect(archive.members.keys.filter { $0.hasPrefix("files/") }.allSatisfy { !$0.contains("..") })
    }

    @Test("an export of one data subject holds the rows that the map names, and no files")
    func subject() throws {
        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", .schema, marker: "m", rows: 20)
        let job = fixture.job(files: Documents(), subjects: Map())
        let artifact = try fixture.export(tenant, .init(subject: "7"), job: job)
        let archive = try fixture.open(artifact)
        #expect(Set(archive.members.keys.filter { $0.hasSuffix(".csv") }) == ["data/customers.csv", "data/orders.csv"])
        #expect(try archive.text("data/customers.csv").split(separator: "\n").count == 2)
        #expect(try archive.text("data/orders.csv").split(separator: "\n").count == 3)
        #expect(artifact.manifest["is_subject"] == true)
    }

    @Test("gzip's frame is read byte by byte as well as whole, and what is cut is refused")
    func frame() throws {
        let bytes: [UInt8] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 3, 1, 2, 3, 0x78, 0x56, 0x34, 0x12, 5, 0, 0, 0]
        for size in 1...bytes.count {
            let frame = GzipFrame()
            var data: [UInt8] = []
            for start in stride(from: 0, to: bytes.count, by: size) {
                let part = Array(bytes[start..<min(start + size, bytes.count)])
                data += try part.withUnsafeBytes { try frame.take($0) } ?? []
            }
            let end = try frame.finish()
            #expect(data == [1, 2, 3] && end.crc == 0x1234_5678 && end.size == 5)
        }
        let cut = GzipFrame()
        _ = try bytes.prefix(12).withUnsafeBytes { try cut.take($0) }
        #expect(throws: JobFailure.self) { try cut.finish() }
        #expect(CRC32.of(Array("123456789".utf8)) == 0xCBF4_3926)
    }
}

private struct Documents: ExportFiles {
    static let large = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }

    func files(
        of context: JobContext,
        _ add: (String, (_ sink: (UnsafeRawBufferPointer) throws -> Void) throws -> Void) throws -> Void
    ) throws {
        try add("letters/one.txt") { sink in try Array("Dear customer".utf8).withUnsafeBytes { try sink($0) } }
        try add("../../etc/passwd") { _ in }
        try add("large.bin") { sink in
            for start in stride(from: 0, to: Self.large.count, by: 1000) {
                try Array(Self.large[start..<start + 1000]).withUnsafeBytes { try sink($0) }
            }
        }
    }
}

private struct Map: SubjectMap {
    func condition(
        for subject: String, schema: String, table: String, database: String, in context: JobContext
    ) -> String? {
        ["customers": "id = \(quoteLiteral(subject))", "orders": "customer = \(quoteLiteral(subject))"][table]
    }
}
