import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Synchronization
import Testing

@testable import Export

@Suite("Exports are whole")
struct RebuildTests {
    @Test(
        "the dictionary alone rebuilds every table with equal rows and digests, and no other tenant's rows are in the archive",
        arguments: Isolation.allCases)
    func rebuilt(isolation: Isolation) throws {
        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", isolation, marker: "marker-of-acme")
        _ = try fixture.addTenant("globex", isolation, marker: "marker-of-globex")
        let artifact = try fixture.export(tenant)
        let archive = try fixture.open(artifact)
        let tables = try #require(try archive.json("dictionary.json")["tables"]?.array)
        #expect(tables.count == (isolation == .database ? 27 : 9))
        #expect(artifact.manifest["tables"] == .int(Int64(tables.count)))
        let databases = Set(tables.compactMap { $0["database"]?.string })
        for database in databases.sorted() {
            for format in database == databases.min() ? ["csv", "jsonl"] : ["jsonl"] {
                let (isEqual, said) = try fixture.rebuild(artifact, from: format, database: database)
                #expect(isEqual, "\(format):\n\(said)")
            }
        }
        let data = archive.members.filter { $0.key.hasPrefix("data/") }
        #expect(data.values.contains { String(decoding: $0, as: UTF8.self).contains("marker-of-acme") })
        for (name, bytes) in archive.members {
            #expect(!String(decoding: bytes, as: UTF8.self).contains("marker-of-globex"), "\(name)")
        }
        if isolation == .shared {
            #expect(
                try archive.json("manifest.json")["left_out"]?.array?.compactMap { $0["name"]?.string } == ["common"])
        }
        // Rows of every file as the manifest says, and each line of JSON Lines an object.
        for table in try archive.json("manifest.json")["tables"]?.array ?? [] {
            for file in table["files"]?.array ?? [] where file["format"] == "jsonl" {
                let lines = try archive.text(try #require(file["file"]?.string)).split(separator: "\n")
                #expect(Int64(lines.count) == table["rows"]?.int)
                for line in lines { #expect(try JSON(parsing: String(line)).object != nil) }
            }
        }
        #expect(try fixture.sessions(of: tenant) == 0)
    }

    @Test("what is written, emptied or dropped while the export runs is not seen: all tables are of one moment")
    func snapshot() throws {
        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", .schema, marker: "m", rows: 100)
        let hits = Counter()
        fixture.hooks.withLock { hooks in
            hooks.beforeCopy = { sql, _ in
                guard hits.next() == 1 else { return }
                try fixture.admin { connection in
                    try connection.executeScript(
                        """
                        SET search_path = tenant_acme; SET lock_timeout = '100ms';
                        INSERT INTO orders SELECT 1000 + n, 1, 1, now() FROM generate_series(1, 50) n;
                        DELETE FROM customers WHERE id > 10; UPDATE hostile SET text = 'changed';
                        """)
                    // Neither is seen by a snapshot as it should be, so both have to wait.
                    for sql in [
                        "TRUNCATE hostile", "DROP TABLE measured", "ALTER TABLE orders ALTER COLUMN id TYPE int",
                    ] {
                        #expect(throws: PostgresError.self, "\(sql)") { try connection.executeScript(sql) }
                    }
                }
            }
        }
        let artifact = try fixture.export(tenant)
        #expect(hits.value > 1)
        let manifest = try fixture.open(artifact).json("manifest.json")
        let rows = Dictionary(
            uniqueKeysWithValues: (manifest["tables"]?.array ?? []).compactMap { table in
                table["name"]?.string.map { ($0, table["rows"]?.int) }
            })
        #expect(rows["orders"] == 100 && rows["customers"] == 100)
        #expect(try !fixture.open(artifact).text("data/hostile.csv").contains("changed"))
    }

    @Test("in one format alone the other's files are not there; several schemas have folders of their own")
    func formats() throws {
        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", .database, marker: "m", rows: 3)
        let archive = try fixture.open(try fixture.export(tenant, .init(formats: ["jsonl"])))
        let names = archive.members.keys
        #expect(!names.contains { $0.hasSuffix(".csv") } && names.contains { $0.hasSuffix("/app/orders.jsonl") })
        for formats in [["xml"], [], ["csv", "csv"], ["CSV"]] {
            #expect(throws: JobFailure.self) { try fixture.export(tenant, .init(formats: formats)) }
        }
    }

    @Test("a large table comes through the compressor; two connections and one give the same files")
    func large() throws {
        let fixture = try ExportFixture()
        let tenant = try fixture.addTenant("acme", .schema, marker: "m", rows: 20_000)
        let one = try fixture.open(try fixture.export(tenant, job: fixture.job(connections: 1)))
        let artifact = try fixture.export(tenant, job: fixture.job(connections: 3))
        let three = try fixture.open(artifact)
        for (name, bytes) in one.members where name.hasPrefix("data/") {
            let isSame = three.members[name] == bytes
            #expect(isSame, "\(name)")
        }
        let (isEqual, said) = try fixture.rebuild(artifact, from: "csv")
        #expect(isEqual, "\(said)")
        #expect(try #require(artifact.manifest["plain_bytes"]?.int) > 100_000)
    }
}
