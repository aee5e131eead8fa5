import Destinations
import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Storage
import Testing

/// A control database with three tenants: `acme` (enterprise) and `globex` in region eu, `initech` (enterprise) in us.
final class DestinationFixture {
    let settings: ConnectionSettings
    let connection: Connection
    let pool: Pool
    let standard = FolderStore(root: "/nonexistent/standard")

    /// The migrations take longer than most tests here: they run once.
    private static let template = Result { try TestServer.freshControl()["dbname"] }

    init() throws {
        settings = try TestServer.freshDatabase(template: Self.template.get())
        connection = try Connection(settings)
        pool = Pool(settings, bound: 2, name: "destinations")
        for (code, tier, region) in [
            ("acme", "enterprise", "eu"), ("globex", "starter", "eu"), ("initech", "enterprise", "us"),
        ] {
            _ = try connection.execute(
                """
                INSERT INTO reeve.tenant (code, name, tier, isolation, region, status)
                VALUES ($1::text, 'Test', $2::text, 'schema', $3::text, 'active')
                """, [code, tier, region])
        }
        try add("eu-one", "m:eu-one", "eu")
        try add("eu-two", "m:eu-two", "eu")
        try add("us-one", "m:us-one", "us")
    }

    deinit {
        pool.close()
        connection.close()
    }

    func add(_ name: String, _ url: String, _ region: String, sse: String? = nil, key: String? = nil) throws {
        _ = try connection.execute(
            "SELECT reeve.add_destination($1::text, $2::text, $3::text, $4::text, $5::text)",
            [name, url, region, sse, key])
    }

    func assign(_ name: String, _ scope: String, _ subject: String, _ role: String = "primary", key: String? = nil)
        throws
    {
        _ = try connection.execute(
            "SELECT reeve.assign_destination($1::text, $2::text, $3::text, $4::text, $5::text)",
            [name, scope, subject, role, key])
    }

    /// The SQLSTATE that a statement is refused with.
    func refusal(_ body: () throws -> Void) -> String? {
        do {
            try body()
            return nil
        } catch { return (error as? PostgresError)?.sqlState }
    }

    func tenant(_ code: String) throws -> Tenant {
        let row = try connection.execute("SELECT id, tier, region FROM reeve.tenant WHERE code = $1::text", [code])[0]
        return Tenant(
            id: TenantID(rawValue: try row.uuid(0)), code: code, tier: try row.text(1), status: .active,
            isolation: .schema, region: try row.text(2), timezone: "UTC", features: [], version: 1)
    }

    func catalog() -> DestinationCatalog {
        DestinationCatalog(control: pool, standard: standard, tool: ObjectServer.shared.tool(), memory: .zero)
    }

    /// The names of a tenant's primary and copies.
    func names(_ code: String) throws -> [String] {
        let placement = try catalog().placement(of: tenant(code))
        return [placement.primary.name] + placement.copies.map(\.name)
    }
}

@Suite("Destinations")
struct DestinationTests {
    let fixture: DestinationFixture

    init() throws { fixture = try DestinationFixture() }

    @Test("the most specific rule decides: a tenant's, then its tier's, then its region's, then the configured storage")
    func resolution() throws {
        #expect(try fixture.names("acme") == ["default"])
        try fixture.assign("eu-one", "region", "eu")
        #expect(try fixture.names("acme") == ["eu-one"])
        #expect(try fixture.names("globex") == ["eu-one"])
        #expect(try fixture.names("initech") == ["default"])
        try fixture.add("eu-tier", "m:eu-tier", "eu")
        try fixture.assign("eu-tier", "tier", "enterprise")
        #expect(try fixture.names("acme") == ["eu-tier"])
        #expect(try fixture.names("globex") == ["eu-one"])
        // Of the same tier, in another region.
        #expect(try fixture.names("initech") == ["default"])
        try fixture.assign("us-one", "tier", "enterprise")
        #expect(try fixture.names("initech") == ["us-one"])
        try fixture.assign("eu-two", "tenant", "acme")
        #expect(try fixture.names("acme") == ["eu-two"])
        try fixture.assign("eu-one", "tenant", "acme", "copy")
        #expect(try fixture.names("acme") == ["eu-two", "eu-one"])
        _ = try fixture.connection.execute("SELECT reeve.unassign_destination('eu-two', 'tenant', 'acme')")
        #expect(try fixture.names("acme") == ["eu-tier", "eu-one"])
        let audited = try fixture.connection.execute(
            "SELECT count(*) FROM reeve.audit_entry WHERE action LIKE 'destination.%'")[0].int(0)
        #expect(audited == 10)
    }

    @Test("a destination outside of the tenant's region is refused, and a copy there unless its record allows it")
    func residency() throws {
        #expect(fixture.refusal { try fixture.assign("us-one", "tenant", "acme") } == "RV003")
        #expect(fixture.refusal { try fixture.assign("us-one", "region", "eu") } == "RV003")
        #expect(fixture.refusal { try fixture.assign("us-one", "tenant", "acme", "copy") } == "RV003")
        // For a region copies are offered: they go to those tenants that allow them.
        try fixture.assign("us-one", "region", "eu", "copy")
        #expect(try fixture.names("acme") == ["default"])
        _ = try fixture.connection.execute("SELECT reeve.allow_copies('acme', 'us', true)")
        #expect(try fixture.names("acme") == ["default", "us-one"])
        #expect(try fixture.names("globex") == ["default"])
        #expect(fixture.refusal { try fixture.assign("us-one", "tenant", "acme") } == "RV003")
        try fixture.assign("us-one", "tenant", "acme", "copy")
        _ = try fixture.connection.execute("SELECT reeve.allow_copies('acme', 'us', false)")
        let error = #expect(throws: StorageError.self) { try fixture.names("acme") }
        #expect(error?.code == .residency)
    }

    @Test("rules that got around the functions are refused at placement all the same")
    func residencyAtPlacement() throws {
        _ = try fixture.connection.execute(
            """
            INSERT INTO reeve.destination_rule (scope, tenant_id, role, destination)
            SELECT 'tenant', t.id, 'primary', 'us-one' FROM reeve.tenant t WHERE t.code = 'acme'
            """)
        _ = try fixture.connection.execute(
            """
            INSERT INTO reeve.destination_rule (scope, region, role, destination)
            VALUES ('region', 'eu', 'primary', 'us-one')
            """)
        let error = #expect(throws: StorageError.self) { try fixture.names("acme") }
        #expect(error?.code == .residency)
        #expect(try fixture.names("globex") == ["default"])
        // A worker whose copy of the record says another region than the database's.
        let acme = try fixture.tenant("acme")
        try fixture.assign("eu-one", "region", "eu")
        let moved = Tenant(
            id: try fixture.tenant("globex").id, code: "globex", tier: acme.tier, status: .active, isolation: .schema,
            region: "us", timezone: "UTC", features: [], version: 1)
        let second = #expect(throws: StorageError.self) { try fixture.catalog().placement(of: moved) }
        #expect(second?.code == .residency)
    }

    @Test("a store that a manifest names is found for tenants that may be there; for others it only finds and deletes")
    func named() throws {
        let catalog = fixture.catalog()
        let acme = try fixture.tenant("acme")
        #expect("\(try catalog.store(named: "default", for: acme))" == "\(fixture.standard)")
        #expect("\(try catalog.store(named: "eu-two", for: acme))" == "remote m:eu-two")
        let unknown = #expect(throws: StorageError.self) { try catalog.store(named: "gone", for: acme) }
        #expect(unknown?.code == .misconfigured)
        let folder = "/tmp/reeve-destination-\(UUID())"
        defer { _ = try? FileManager.default.removeItem(atPath: folder) }  // A test's own folder.
        try fixture.add("us-folder", folder, "us")
        let key = try ObjectKey(tenant: acme.id, entity: .backups, at: .now, id: UUID())
        let writer = try FolderStore(root: folder).writer(for: key, attempt: UUID())
        try writer.write([1, 2, 3])
        try writer.publish()
        let forbidden = try catalog.store(named: "us-folder", for: acme).limited(by: TransferLimits())
        for call in [{ _ = try forbidden.writer(for: key, attempt: UUID()) }, { try forbidden.read(key) { _ in } }]
            as [() throws -> Void]
        {
            let error = #expect(throws: StorageError.self) { try call() }
            #expect(error?.code == .residency)
        }
        #expect(try forbidden.size(of: key) == 3)
        try forbidden.delete(key)
        #expect(try forbidden.size(of: key) == nil)
    }

    @Test("each tenant's objects are encrypted with its own key of the key service, as the server sees it")
    func keys() throws {
        let server = ObjectServer.shared
        let bucket = server.newBucket()
        #expect(fixture.refusal { try fixture.assign("eu-one", "tenant", "acme", key: "alias/acme") } == "RV010")
        try fixture.add("sealed", "m:\(bucket)/base", "eu", sse: "aws:kms", key: "alias/all")
        try fixture.assign("sealed", "tenant", "acme", key: "alias/acme")
        try fixture.assign("sealed", "region", "eu")
        let catalog = fixture.catalog()
        for (code, expected) in [("acme", "alias/acme"), ("globex", "alias/all")] {
            let tenant = try fixture.tenant(code)
            let key = try ObjectKey(tenant: tenant.id, entity: .backups, at: .now, id: UUID())
            let writer = try catalog.placement(of: tenant).primary.store.writer(for: key, attempt: UUID())
            try writer.write([7])
            try writer.publish()
            let head = server.ask("HEAD", "/\(bucket)/base/\(key)").headers
            #expect(head["x-amz-server-side-encryption"] == "aws:kms")
            #expect(head["x-amz-server-side-encryption-aws-kms-key-id"] == expected)
            #expect(try catalog.store(named: "sealed", for: tenant).size(of: key) == 1)
        }
    }

    @Test("a destination that is used or named, or is none, is refused")
    func refusals() throws {
        try fixture.assign("eu-one", "region", "eu")
        #expect(fixture.refusal { try fixture.assign("eu-two", "region", "eu") } == "RV012")
        func remove(_ name: String) -> String? {
            fixture.refusal { _ = try fixture.connection.execute("SELECT reeve.remove_destination($1::text)", [name]) }
        }
        #expect(remove("eu-one") == "RV012")
        #expect(remove("nowhere") == "RV011")
        _ = try fixture.connection.execute(
            """
            INSERT INTO reeve.artifact (id, job_id, tenant_id, entity, key, bytes, sha256, manifest)
            SELECT gen_random_uuid(), 1, t.id, 'backup', t.id::text || '/x', 1, repeat('a', 64),
                   '{"destination": "default", "copies": ["eu-two"]}' FROM reeve.tenant t WHERE t.code = 'acme'
            """)
        #expect(remove("eu-two") == "RV012")
        #expect(remove("us-one") == nil)
        #expect(fixture.refusal { try fixture.add("eu-one", "m:other", "eu") } == "RV012")
        for (url, sse, key) in [
            ("relative", nil, nil), ("m:a/../b", nil, nil), (":s3,key=x:b", nil, nil), ("--config:x", nil, nil),
            ("/srv/x", "AES256", nil), ("m:b", "AES256", "alias/x"), ("m:b", "none", nil), ("m:b", "aws:kms", "--dump"),
        ] as [(String, String?, String?)] {
            #expect(fixture.refusal { try fixture.add("other", url, "eu", sse: sse, key: key) } == "RV010", "\(url)")
        }
        #expect(fixture.refusal { try fixture.add("default", "m:b", "eu") } == "RV010")
        #expect(fixture.refusal { try fixture.assign("eu-one", "tenant", "nobody") } == "RV001")
        #expect(fixture.refusal { try fixture.assign("eu-one", "tier", "nothing") } == "RV010")
        #expect(fixture.refusal { try fixture.assign("eu-one", "planet", "earth") } == "RV010")
    }

    @Test("of two that assign a primary at once, one is refused")
    func race() throws {
        let other = try Connection(fixture.settings)
        defer { other.close() }
        _ = try fixture.connection.execute("BEGIN")
        try fixture.assign("eu-one", "region", "eu")
        _ = try other.execute("SET lock_timeout = '200ms'")
        let state = fixture.refusal {
            _ = try other.execute("SELECT reeve.assign_destination('eu-two', 'region', 'eu')")
        }
        #expect(state == "55P03")
        _ = try fixture.connection.execute("COMMIT")
        let late = fixture.refusal {
            _ = try other.execute("SELECT reeve.assign_destination('eu-two', 'region', 'eu')")
        }
        #expect(late == "RV012")
    }
}
