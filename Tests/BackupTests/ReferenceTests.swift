import EmbeddedPostgres
import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Storage
import Testing

@testable import Backup

@Suite("What a tenant's tables depend on")
struct ReferenceTests {
    let fixture: BackupFixture

    init() throws { fixture = try BackupFixture() }

    func names(_ json: JSON?) -> [String] { (json?.array ?? []).compactMap(\.string) }

    /// Restores the reference object and then the backup into an empty database; counts a table.
    func restoredIntoNothing(_ artifact: Artifact, extensions: [String], counting table: String) throws -> Int64 {
        let scratch = try TestServer.freshDatabase()
        let target =
            "--dbname=host=\(scratch["host"] ?? "") port=\(scratch["port"] ?? "") user=\(scratch["user"] ?? "") "
            + "dbname=\(scratch["dbname"] ?? "")"
        for name in extensions { try fixture.admin(scratch) { try $0.executeScript(name) } }
        let reference = try ObjectKey(parsing: artifact.manifest["reference"]?["key"]?.string ?? "")
        #expect(reference.part == .reference)
        for key in [reference] + (try fixture.objects(artifact)) {
            try fixture.restore(
                key, ["--exit-on-error", "--no-owner", target], environment: ["PGPASSFILE": fixture.server.passwordFile]
            )
        }
        return try fixture.admin(scratch) { try $0.execute("SELECT count(*) FROM \(table)")[0].int(0) }
    }

    @Test(
        "foreign keys, types, defaults and functions are followed through schemas, and an empty server takes it all back"
    )
    func followed() throws {
        let tenant = try fixture.addTenant("acme", schema: "acme", marker: "ACME")
        try fixture.adminScript(
            """
            CREATE SCHEMA kinds; CREATE SCHEMA deep; CREATE SCHEMA unrelated; CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext;
            CREATE DOMAIN deep.text_id AS text; CREATE TABLE unrelated.secrets (a int);
            CREATE TYPE kinds.state AS (id deep.text_id, at timestamptz);
            CREATE FUNCTION kinds.next() RETURNS int LANGUAGE sql AS 'SELECT 7';
            CREATE TABLE acme.more (id int DEFAULT kinds.next(), state kinds.state, name ext.citext);
            INSERT INTO acme.more (state, name) VALUES (ROW('x', NULL), 'MORE');
            GRANT ALL ON acme.more TO \(fixture.login("acme")); GRANT USAGE ON SCHEMA ext, kinds, deep TO \(fixture.login("acme"));
            """)
        let artifact = try fixture.backUp(tenant)
        let reference = try #require(artifact.manifest["reference"])
        #expect(names(reference["schemas"]) == ["deep", "kinds", "reference"])
        #expect(reference["rows"]?["reference.grades"]?.int ?? 0 > 0)
        let citext = artifact.manifest["extensions"]?.array?.first { $0["name"] == "citext" }
        #expect(citext?["schema"] == "ext" && citext?["needed"] == true && citext?["version"]?.string?.isEmpty == false)
        // Not in the registry: definitions alone, and said.
        #expect(names(artifact.manifest["warnings"]).contains { $0.contains("kinds") && $0.contains("without data") })
        let key = try ObjectKey(parsing: reference["key"]?.string ?? "")
        let text = try fixture.dumpText(key)
        #expect(text.contains("CREATE TYPE kinds.state") && !text.contains("secrets") && !text.contains("ACME-"))
        #expect(
            try restoredIntoNothing(
                artifact, extensions: ["CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext"],
                counting: "acme.customers") == 12)
    }

    @Test("of a shared tenant and of a database too")
    func everyIsolation() throws {
        try fixture.addShared()
        let one = try fixture.addSharedTenant("one", marker: "ONE")
        let whole = try fixture.addTenant("whole", schema: "app", marker: "WHOLE", isolation: .database)
        for (tenant, table) in [(one, "shared.customers"), (whole, "app.customers")] {
            let artifact = try fixture.backUp(tenant)
            #expect(names(artifact.manifest["reference"]?["schemas"]) == ["reference"])
            #expect(try restoredIntoNothing(artifact, extensions: [], counting: table) == 12)
        }
    }

    @Test("a reference table that the tenant needs and may not read is refused by name; one it does not need stays out")
    func unreadable() throws {
        let tenant = try fixture.addTenant("acme", schema: "acme", marker: "ACME")
        let login = fixture.login("acme")
        try fixture.adminScript(
            "CREATE TABLE reference.\"Internal\" (a text); INSERT INTO reference.\"Internal\" VALUES ('INTERNAL-1');"
                + "REVOKE ALL ON reference.\"Internal\" FROM \(login)")
        let artifact = try fixture.backUp(tenant)
        let key = try ObjectKey(parsing: artifact.manifest["reference"]?["key"]?.string ?? "")
        #expect(try !fixture.dumpText(key).contains("Internal"))
        try fixture.adminScript("REVOKE SELECT ON reference.grades FROM \(login)")
        let error = #expect(throws: JobFailure.self) { try fixture.backUp(tenant) }
        #expect(error?.code == "backup_reference_unreadable" && error?.message.contains("reference.grades") == true)
    }

    @Test("a tenant that depends on nothing has no reference object")
    func none() throws {
        let tenant = try fixture.addTenant("acme", schema: "acme", marker: "ACME")
        try fixture.adminScript(
            """
            DROP SCHEMA acme CASCADE; CREATE SCHEMA acme; CREATE TABLE acme.plain (id int PRIMARY KEY);
            GRANT USAGE ON SCHEMA acme TO \(fixture.login("acme")); GRANT SELECT ON acme.plain TO \(fixture.login("acme"))
            """)
        let artifact = try fixture.backUp(tenant)
        #expect(artifact.manifest["reference"] == .null && fixture.folder.files().count == 2)
    }
}
