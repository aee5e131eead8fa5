import EmbeddedPostgres
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Storage
import Synchronization
import Testing

@testable import Backup

@Suite("A backup in several streams")
struct SplitTests {
    let fixture: BackupFixture

    init() throws { fixture = try BackupFixture() }

    /// The objects as (part, sections, tables).
    func objects(_ artifact: Artifact) throws -> [(part: ObjectKey.Part, object: JSON)] {
        guard case .array(let objects)? = artifact.manifest["objects"] else { return [] }
        return try objects.map { (try ObjectKey(parsing: $0["key"]?.string ?? "").part, $0) }
    }

    /// Restores section by section, as a backup of several objects has to be, and counts.
    func restored(_ artifact: Artifact) throws -> [String: Int64] {
        let scratch = try TestServer.freshDatabase()
        try fixture.admin(scratch) { try $0.executeScript(BackupFixture.template("reference")) }
        let target =
            "--dbname=host=\(scratch["host"] ?? "") port=\(scratch["port"] ?? "") user=\(scratch["user"] ?? "") "
            + "dbname=\(scratch["dbname"] ?? "")"
        let keys = try fixture.objects(artifact)
        let data = keys.dropFirst().map { ($0, "data") }
        for (key, section) in [(keys[0], "pre-data")] + data + [(keys[0], "post-data")] {
            try fixture.restore(
                key, ["--exit-on-error", "--section=\(section)", target],
                environment: ["PGPASSFILE": TestServer.shared.passwordFile])
        }
        return try fixture.admin(scratch) { connection in
            var found: [String: Int64] = [:]
            for table in (artifact.manifest["rows"]?.object ?? [:]).keys {
                found[table] = try connection.execute("SELECT count(*) FROM \(table)")[0].int(0)
            }
            return found
        }
    }

    @Test(
        "above the size it is a schema and several streams of data, which restore to the same rows",
        arguments: [Isolation.schema, .database])
    func splits(isolation: Isolation) throws {
        let tenant = try fixture.addTenant("big", schema: "Big \"one\"", marker: "BIG", isolation: isolation)
        let artifact = try fixture.backUp(tenant, job: fixture.job(splitAbove: 20_000))
        let objects = try objects(artifact)
        #expect(objects.count >= 4, "\(objects.count)")
        #expect(objects[0].part == .content && objects[0].object["sections"] == ["pre-data", "post-data"])
        #expect(Set(objects.dropFirst().map(\.part)) == Set((0..<objects.count - 1).map { ObjectKey.Part.data($0) }))
        let named = objects.compactMap { $0.object["tables"]?.array }.joined()
        #expect(named.count >= 2 && Set(named.map(\.text)).count == named.count)
        let rows = (artifact.manifest["rows"]?.object ?? [:]).compactMapValues(\.int)
        #expect(rows["\"Big \"\"one\"\"\".customers"] == 12)
        #expect(try restored(artifact) == rows)
        #expect(try fixture.dumpText(artifact).contains("BIG-00001"))
    }

    @Test("of a shared tenant too, and no stream holds another's rows or a common counter")
    func shared() throws {
        try fixture.addShared()
        try fixture.adminScript("CREATE SEQUENCE shared.common; SELECT setval('shared.common', 987654321)")
        let one = try fixture.addSharedTenant("one", marker: "ONE")
        _ = try fixture.addSharedTenant("two", marker: "TWO")
        let artifact = try fixture.backUp(one, job: fixture.job(splitAbove: 5_000))
        #expect(try objects(artifact).count >= 3)
        let text = try fixture.dumpText(artifact)
        #expect(text.contains("ONE-00001") && !text.contains("TWO-") && !text.contains("987654321"))
        let rows = (artifact.manifest["rows"]?.object ?? [:]).compactMapValues(\.int)
        #expect(try restored(artifact) == rows)
    }

    /// A pg_dump that notes how many of it run at once.
    func countingTools() -> BackupTools {
        let path = fixture.folder.path + "/pg_dump"
        let running = fixture.folder.path + "/running"
        mkdir(running, 0o700)
        write(
            """
            #!/bin/sh
            [ "$1" = --version ] && exec /usr/bin/pg_dump --version
            touch \(running)/$$
            ls \(running) | wc -l >> \(fixture.folder.path)/seen
            /usr/bin/pg_dump "$@"; code=$?
            rm \(running)/$$
            exit $code

            """, to: path, mode: 0o700)
        return BackupTools(dump: path, supervisor: BuiltProducts.supervisor)
    }

    @Test("no more streams run at once than the database server has dumps free")
    func width() throws {
        let tenant = try fixture.addTenant("big", schema: "big", marker: "BIG")
        for limit in [1, 3] {
            unlink(fixture.folder.path + "/seen")
            fixture.dumps.withLock { $0.limit = limit }
            _ = try fixture.backUp(tenant, job: fixture.job(tools: countingTools(), splitAbove: 10_000))
            let seen = String(
                decoding: FileManager.default.contents(atPath: fixture.folder.path + "/seen") ?? Data(), as: UTF8.self)
            let most = seen.split(separator: "\n").compactMap { Int($0.filter(\.isNumber)) }.max() ?? 0
            #expect((1...limit).contains(most) && (limit == 1 || most > 1), "\(limit): \(seen)")
        }
    }

    @Test("one stream that fails ends the others and leaves nothing of any")
    func failing() throws {
        let tenant = try fixture.addTenant("big", schema: "big", marker: "BIG")
        let path = fixture.folder.path + "/pg_dump"
        write(
            """
            #!/bin/sh
            case "$*" in
            *--section=data*)
              /usr/bin/pg_dump "$@"
              if mkdir \(fixture.folder.path)/first 2>/dev/null; then echo 'pg_dump: error: no more' >&2; exit 1; fi
              exec sleep 1000;;
            *) exec /usr/bin/pg_dump "$@";;
            esac

            """, to: path, mode: 0o700)
        fixture.dumps.withLock { $0.limit = 64 }
        let tools = BackupTools(dump: path, supervisor: BuiltProducts.supervisor)
        let error = #expect(throws: JobFailure.self) {
            try fixture.backUp(tenant, job: fixture.job(tools: tools, splitAbove: 1_000))
        }
        #expect(error?.code == "pg_dump_failed" && error?.message.contains("no more") == true)
        #expect(fixture.folder.files().filter { $0.hasPrefix("objects/") }.isEmpty)
    }
}
