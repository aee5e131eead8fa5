import Artifacts
import Crypto
import FoundationEssentials
import JobKit
import Postgres
import PostgresQueue
import ReeveTesting
import Storage
import Testing

@Suite("Links to artifacts")
struct LinkTests {
    private let connection: Connection
    private let folder = ScratchFolder()
    private let key = SecretKey.random()
    private let tenant: TenantID
    private let artifact: ObjectKey
    private let bytes = Array("what was exported".utf8)

    /// The migrations take longer than the tests here: they run once.
    private static let template = Result { try TestServer.freshControl()["dbname"] }

    init() throws {
        connection = try Connection(try TestServer.freshDatabase(template: Self.template.get()))
        tenant = TenantID(
            rawValue: try connection.execute(
                """
                INSERT INTO reeve.tenant (code, name, tier, isolation, region, status)
                VALUES ('acme', 'Test', 'starter', 'schema', 'local', 'active') RETURNING id
                """)[0].uuid(0))
        artifact = try ObjectKey(tenant: tenant, entity: .exports, at: Date(), id: UUID())
        let writer = try FolderStore(root: folder.path).writer(for: artifact, attempt: UUID())
        try writer.write(bytes)
        try writer.publish()
        try add(artifact, "export")
    }

    private var links: ArtifactLinks { ArtifactLinks(key: key) }
    private var stores: SingleStore { SingleStore(FolderStore(root: folder.path)) }

    private func add(_ key: ObjectKey, _ entity: String) throws {
        let hasher = SHA256Hasher()
        hasher.update(bytes)
        try connection.execute(
            """
            INSERT INTO reeve.artifact (id, job_id, tenant_id, entity, key, bytes, sha256, manifest, expires_at)
            VALUES ($1::uuid, 7, $2::uuid, $3::text, $4::text, $5::bigint, $6::text, '{}', reeve.clock() + interval '7 days')
            """, [key.id, tenant.rawValue, entity, "\(key)", Int64(bytes.count), hasher.finishHex()])
    }

    private func make(lasting: Duration = .seconds(3600)) throws -> String {
        try links.make(artifact.id.uuidString, purpose: "ticket 4711", lasting: lasting, on: connection).text
    }

    private func fetch(_ text: String) throws -> [UInt8] {
        var got: [UInt8] = []
        try links.open(text, on: connection, stores: stores).read { got += $0 }
        return got
    }

    private func refusal(_ text: String) -> LinkRefusal? {
        do { _ = try fetch(text) } catch { return error as? LinkRefusal }
        return nil
    }

    private func audited(_ action: String) throws -> [JSON] {
        try connection.execute(
            "SELECT detail FROM reeve.audit_entry WHERE action = $1::text AND tenant_id = $2::uuid ORDER BY id",
            [action, tenant.rawValue]
        ).map { try $0.json(0) }
    }

    @Test("a link gives the stored bytes, and each download is in the audit and counted")
    func download() throws {
        let text = try make()
        #expect(try fetch(text) == bytes)
        #expect(try fetch(text) == bytes)
        let entries = try audited("artifact.download")
        #expect(entries.map { $0["verdict"] } == ["ok", "ok"])
        #expect(entries.allSatisfy { $0["purpose"] == "ticket 4711" })
        #expect(try audited("artifact.link").count == 1)
        #expect(try connection.execute("SELECT downloads FROM reeve.artifact_list")[0].int(0) == 2)
        #expect(
            try connection.execute("SELECT count(*) FROM reeve.audit_entry WHERE detail::text LIKE '%reeve1.%'")[0].int(
                0) == 0)
    }

    @Test("a link of which any character is changed, cut, added or signed with another key opens nothing")
    func forged() throws {
        let text = try make()
        let characters = Array(text)
        for index in characters.indices {
            var changed = characters
            changed[index] = changed[index] == "A" ? "B" : "A"
            #expect(refusal(String(changed)) == .forged, "character \(index)")
        }
        for other in [
            text + "A", text + ".", String(text.dropLast()), "", "reeve1..", "reeve1.\u{0}.A", text + "\n", " " + text,
            String(repeating: text, count: 4),
        ] {
            #expect(refusal(other) == .forged)
        }
        let foreign = try ArtifactLinks(key: .random()).make(
            artifact.id.uuidString, purpose: "x", lasting: .seconds(60), on: connection)
        #expect(refusal(foreign.text) == .forged)
        #expect(try audited("artifact.download") == [])
    }

    @Test("a link whose words are genuine, but not those that the control database kept, opens nothing")
    func kept() throws {
        let made = try links.make(artifact.id.uuidString, purpose: "p", lasting: .seconds(60), on: connection).link
        let others = [
            SignedLink(id: UUID(), artifact: made.artifact, tenant: made.tenant, purpose: "p", expires: made.expires),
            SignedLink(id: made.id, artifact: UUID(), tenant: made.tenant, purpose: "p", expires: made.expires),
            SignedLink(
                id: made.id, artifact: made.artifact, tenant: TenantID(rawValue: UUID()), purpose: "p",
                expires: made.expires),
            SignedLink(id: made.id, artifact: made.artifact, tenant: made.tenant, purpose: "q", expires: made.expires),
            SignedLink(
                id: made.id, artifact: made.artifact, tenant: made.tenant, purpose: "p", expires: made.expires + 9999),
        ]
        for other in others { #expect(refusal(try other.text(key: key)) == .unknown) }
        #expect(try fetch(try made.text(key: key)) == bytes)
    }

    @Test("an expired link, a revoked one and one of an artifact that has gone are refused, and that is audited")
    func over() throws {
        let (expired, revoked) = (try make(), try make())
        try connection.execute(
            """
            UPDATE reeve.artifact_link SET expires_at = date_trunc('second', reeve.clock() - interval '1 minute')
            WHERE id = $1::uuid
            """, [SignedLink.claimedID(expired)])
        let late = try connection.execute(
            "SELECT extract(epoch FROM expires_at)::bigint FROM reeve.artifact_link WHERE id = $1::uuid",
            [SignedLink.claimedID(expired)])[0].int(0)
        let moved = SignedLink(
            id: try #require(SignedLink.claimedID(expired)), artifact: artifact.id, tenant: tenant,
            purpose: "ticket 4711", expires: late)
        #expect(refusal(try moved.text(key: key)) == .expired)
        #expect(refusal(expired) == .unknown, "the database's expiry and the signed one must be the same")

        try connection.execute(
            "SELECT reeve.revoke_links($1::uuid, 'sent to the wrong person')",
            [SignedLink.claimedID(revoked)])
        #expect(refusal(revoked) == .revoked)

        let rest = try make()
        #expect(try fetch(rest) == bytes)
        try connection.execute("SELECT reeve.revoke_links($1::uuid, 'all of them')", [artifact.id])
        #expect(refusal(rest) == .revoked)

        let last = try make()
        try connection.execute("UPDATE reeve.artifact SET expires_at = reeve.clock()")
        #expect(refusal(last) == .gone)
        #expect(throws: PostgresError.self) { try make() }
        #expect(
            try audited("artifact.download").map { $0["verdict"] } == ["expired", "revoked", "ok", "revoked", "gone"])
    }

    @Test("a tenant's status decides at each download: reports while it may work, exports until its grace is over")
    func status() throws {
        let report = try ObjectKey(tenant: tenant, entity: .reports, at: Date(), id: UUID())
        let writer = try FolderStore(root: folder.path).writer(for: report, attempt: UUID())
        try writer.write(bytes)
        try writer.publish()
        try add(report, "report")
        let export = try make()
        let other = try links.make(report.id.uuidString, purpose: "p", lasting: .seconds(60), on: connection).text
        func set(_ status: String, days: Int = 0) throws {
            try connection.execute(
                """
                UPDATE reeve.tenant SET status = $1::reeve.tenant_status,
                  status_changed_at = reeve.clock() - $2::bigint * interval '1 day'
                """, [status, days])
        }
        try set("suspended")
        #expect(try fetch(export) == bytes)
        #expect(refusal(other) == .status)
        try set("churned", days: 89)
        #expect(try fetch(export) == bytes)
        #expect(refusal(other) == .status)
        try set("active")
        #expect(try fetch(export) == bytes)
        #expect(try fetch(other) == bytes)
        try set("churned")
        try set("churned", days: 91)
        #expect(refusal(export) == .status)
        try set("archived")
        #expect(refusal(export) == .status)
    }

    @Test("what storage holds is compared with the digest; bytes that differ are an error")
    func damaged() throws {
        let text = try make()
        let path = "\(folder.path)/\(artifact)"
        var other = bytes
        other[3] ^= 1
        try Data(other).write(to: URL(filePath: path))
        #expect(throws: JobFailure.self) { try fetch(text) }
        try FileManager.default.removeItem(atPath: path)
        #expect(throws: JobFailure.self) { try fetch(text) }
    }

    @Test(
        "purposes that are more than words, lengths beyond the bounds and backups get no link; a folder signs none itself"
    )
    func badInput() throws {
        for purpose in ["", " x", "a\r\nb", "<script>", "a\nb", String(repeating: "a", count: 101), "\u{202E}abc"] {
            #expect(throws: PostgresError.self) {
                try links.make(artifact.id.uuidString, purpose: purpose, lasting: .seconds(60), on: connection)
            }
        }
        for lasting in [Duration.seconds(0), .seconds(-5), .seconds(31 * 86_400)] {
            #expect(throws: PostgresError.self) { try make(lasting: lasting) }
        }
        for id in ["", "x", UUID().uuidString, "' OR true --"] {
            #expect(throws: PostgresError.self) {
                try links.make(id, purpose: "p", lasting: .seconds(60), on: connection)
            }
        }
        let backup = try ObjectKey(tenant: tenant, entity: .backups, at: Date(), id: UUID())
        try add(backup, "backup")
        #expect(throws: PostgresError.self) {
            try links.make(backup.id.uuidString, purpose: "p", lasting: .seconds(60), on: connection)
        }
        #expect(throws: PostgresError.self) {
            try links.presigned(
                artifact.id.uuidString, purpose: "p", lasting: .seconds(901), on: connection, stores: stores)
        }
        let none = try links.presigned(
            artifact.id.uuidString, purpose: "p", lasting: .seconds(900), on: connection, stores: stores)
        #expect(none == nil)
        #expect(try audited("artifact.presign").count == 1)
        // A link never outlives its artifact.
        try connection.execute("UPDATE reeve.artifact SET expires_at = reeve.clock() + interval '1 minute'")
        let link = try links.make(artifact.id.uuidString, purpose: "p", lasting: .seconds(3600), on: connection).link
        #expect(Double(link.expires) <= Date().timeIntervalSince1970 + 61)
        #expect(throws: PostgresError.self) { try connection.execute("DELETE FROM reeve.artifact_link") }
    }
}
