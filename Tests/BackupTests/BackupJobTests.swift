import EmbeddedPostgres
import FoundationEssentials
import JobKit
import Postgres
import Processes
import ReeveTesting
import Storage
import Testing

@testable import Backup

@Suite("BackupJob")
struct BackupJobTests {
    func sql(_ artifact: Artifact, in fixture: BackupFixture) throws -> String { try fixture.dumpText(artifact) }

    func rows(_ artifact: Artifact) -> [String: Int64] {
        (artifact.manifest["rows"]?.object ?? [:]).compactMapValues(\.int)
    }

    /// Restores into a new database and counts there.
    func restoredRows(_ artifact: Artifact, in fixture: BackupFixture) throws -> [String: Int64] {
        let scratch = try TestServer.freshDatabase()
        return try fixture.admin(scratch) { connection in
            try connection.executeScript(BackupFixture.template("reference"))
            let target =
                "--dbname=host=\(scratch["host"] ?? "") port=\(scratch["port"] ?? "") "
                + "user=\(scratch["user"] ?? "") dbname=\(scratch["dbname"] ?? "")"
            for key in try fixture.objects(artifact) {
                try fixture.restore(
                    key, ["--exit-on-error", "--no-owner", target],
                    environment: ["PGPASSFILE": TestServer.shared.passwordFile])
            }
            var found: [String: Int64] = [:]
            for table in rows(artifact).keys {
                found[table] = try connection.execute("SELECT count(*) FROM \(table)")[0].int(0)
            }
            return found
        }
    }

    @Test("a schema's dump restores with the manifest's counts and holds no neighbour's row or name")
    func schema() throws {
        let fixture = try BackupFixture()
        let tenant = try fixture.addTenant("tenant-a", schema: "tenant_a", marker: "MINE")
        // Each of these is matched by an unquoted pattern of the first, or the other way round.
        _ = try fixture.addTenant("tenant-a-live", schema: "tenant_a_live", marker: "LIVE")
        let upper = try fixture.addTenant("upper", schema: "Tenant_A", marker: "UPPER")
        let pattern = try fixture.addTenant("pattern", schema: "tenant_a|tenant_*", marker: "PATTERN")
        let artifact = try fixture.backUp(tenant)
        let text = try sql(artifact, in: fixture)
        #expect(text.contains("MINE-00001"))
        for other in ["LIVE-", "UPPER-", "PATTERN-", "tenant_a_live", "Tenant_A", "S355JR', 'structural"] {
            #expect(!text.contains(other), "\(other)")
        }
        #expect(rows(artifact)["tenant_a.customers"] == 12)
        #expect(try restoredRows(artifact, in: fixture) == rows(artifact))
        for (other, marker) in [(upper, "UPPER"), (pattern, "PATTERN")] {
            let text = try sql(try fixture.backUp(other), in: fixture)
            #expect(text.contains("\(marker)-00001") && !text.contains("MINE-") && !text.contains("LIVE-"))
        }
    }

    @Test("a shared tenant's dump holds its rows alone, and no other tenant's id, login or counter")
    func shared() throws {
        let fixture = try BackupFixture()
        try fixture.addShared()
        try fixture.adminScript("CREATE SEQUENCE shared.common; SELECT setval('shared.common', 987654321)")
        let one = try fixture.addSharedTenant("one", marker: "ONE")
        let two = try fixture.addSharedTenant("two", marker: "TWO")
        let artifact = try fixture.backUp(one)
        let text = try sql(artifact, in: fixture)
        #expect(text.contains("ONE-00001"))
        for other in ["TWO-", two.id.description, fixture.login("two"), "987654321"] {
            #expect(!text.contains(other), "\(other)")
        }
        #expect(rows(artifact)["shared.customers"] == 12)
        #expect(try restoredRows(artifact, in: fixture) == rows(artifact))
        #expect(try sql(try fixture.backUp(two), in: fixture).contains("TWO-00001"))
    }

    @Test("a database's dump holds all of it but the reference data and Reeve's own schema")
    func database() throws {
        let fixture = try BackupFixture()
        let tenant = try fixture.addTenant("whole", schema: "app", marker: "WHOLE", isolation: .database)
        let artifact = try fixture.backUp(tenant)
        let text = try sql(artifact, in: fixture)
        #expect(text.contains("WHOLE-00001") && !text.contains("CREATE SCHEMA reference"))
        #expect(try restoredRows(artifact, in: fixture) == rows(artifact))
    }

    @Test("the artifact names what storage holds, the manifest lies beside it, and its key is the tenant's")
    func artifact() throws {
        let fixture = try BackupFixture()
        let tenant = try fixture.addTenant("acme", schema: "tenant_acme", marker: "ACME")
        let artifact = try fixture.backUp(tenant)
        let key = try ObjectKey(parsing: artifact.key)
        #expect(key.tenant == tenant.id && key.entity == .backups && key.id == artifact.id)
        #expect(try fixture.storage.size(of: key) == artifact.bytes)
        var manifest: [UInt8] = []
        try fixture.storage.read(key.with(.manifest)) { manifest += $0 }
        #expect(String(decoding: manifest, as: UTF8.self) == artifact.manifest.text)
        #expect(artifact.manifest["sha256"]?.string == artifact.sha256 && artifact.sha256.utf8.count == 64)
        #expect(artifact.manifest["format"] == 2 && artifact.manifest["destination"] == "default")
        #expect(artifact.manifest["encryption"]?["key_id"]?.string == fixture.keys.keyID.uuidString.lowercased())
        #expect(artifact.keptFor == .seconds(7 * 86400))
        #expect(!artifact.manifest.text.contains(BackupFixture.password))
        #expect(fixture.folder.files().count == 3)
    }
}
