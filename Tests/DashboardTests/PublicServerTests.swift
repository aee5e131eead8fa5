import Artifacts
import Crypto
import Dashboard
import Foundation
import HTTP
import JobKit
import Postgres
import ReeveTesting
import Storage
import Testing

@Suite("Public routes")
struct PublicServerTests {
    private let control: ConnectionSettings
    private let connection: Connection
    private let folder = ScratchFolder()
    private let key = SecretKey.random()
    private let tenant: TenantID
    private let artifact: ObjectKey
    private let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }

    init() throws {
        control = try TestServer.freshControl()
        connection = try Connection(control)
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
        let hasher = SHA256Hasher()
        hasher.update(bytes)
        try connection.execute(
            """
            INSERT INTO reeve.artifact (id, job_id, tenant_id, entity, key, bytes, sha256, manifest, expires_at)
            VALUES ($1::uuid, 7, $2::uuid, 'export', $3::text, $4::bigint, $5::text, '{}', reeve.clock() + interval '7 days')
            """, [artifact.id, tenant.rawValue, "\(artifact)", Int64(bytes.count), hasher.finishHex()])
    }

    private func serving(_ body: (Int) throws -> Void) throws {
        let pool = Pool(control, bound: 2, name: "public")
        defer { pool.close() }
        let server = PublicServer(
            pool: pool, links: ArtifactLinks(key: key), stores: SingleStore(FolderStore(root: folder.path)), log: .quiet
        )
        let listener = try HTTPListener(
            try #require(ListenAddress(parsing: "127.0.0.1:0")), log: .quiet, responder: server)
        defer { listener.stop() }
        try body(Int(listener.address.port))
    }

    private func ask(_ method: String, _ path: String, _ port: Int, body: String = "") -> String {
        let length = method == "POST" ? "Content-Length: \(body.utf8.count)\r\n" : ""
        return RawConnection.exchange("\(method) \(path) HTTP/1.1\r\nHost: h\r\n\(length)\r\n\(body)", port: port) ?? ""
    }

    private func link() throws -> String {
        try ArtifactLinks(key: key).make(
            artifact.id.uuidString, purpose: "ticket 4711", lasting: .seconds(3600), on: connection
        ).text
    }

    private func downloads() throws -> Int64 {
        try connection.execute("SELECT count(*) FROM reeve.audit_entry WHERE action = 'artifact.download'")[0].int(0)
    }

    @Test(
        "a link gives the artifact's bytes, as a file to keep, and the audit knows; looking without taking is no download"
    )
    func download() throws {
        try serving { (port: Int) throws in
            let connection = try #require(RawConnection(port: port))
            connection.send("GET /artifacts/\(try link()) HTTP/1.1\r\nHost: h\r\n\r\n")
            let answer = connection.readBytes(within: .seconds(20))
            let head = String(decoding: answer.prefix(600), as: UTF8.self)
            #expect(head.hasPrefix("HTTP/1.1 200") && head.contains("Content-Length: 300000\r\n"))
            #expect(head.contains("attachment; filename=\"export-"))
            #expect(Array(answer.suffix(300_000)) == bytes)
            #expect(try downloads() == 1)
            #expect(ask("HEAD", "/artifacts/\(try link())", port).hasPrefix("HTTP/1.1 405"))
            #expect(ask("POST", "/artifacts/\(try link())", port).hasPrefix("HTTP/1.1 405"))
            #expect(try downloads() == 1)
        }
    }

    @Test("a forged, a revoked and an unknown link give nothing, and a damaged artifact ends before its end")
    func refused() throws {
        try serving { (port: Int) throws in
            #expect(ask("GET", "/artifacts/reeve1.abc.def", port).hasPrefix("HTTP/1.1 404"))
            for path in ["/", "/artifacts/", "/artifacts/../x", "/artifacts/a/b", "/nothing/x", "/healthz/x"] {
                #expect(ask("GET", path, port).hasPrefix("HTTP/1.1 404"), "\(path)")
            }
            let text = try link()
            let id = try connection.execute("SELECT id::text FROM reeve.artifact_link LIMIT 1")[0].text(0)
            try connection.execute("SELECT reeve.revoke_links($1::uuid, 'sent to the wrong one')", [id])
            #expect(ask("GET", "/artifacts/\(text)", port).hasPrefix("HTTP/1.1 410"))
            try connection.execute("UPDATE reeve.artifact SET sha256 = repeat('0', 64)")
            let damaged = try #require(RawConnection(port: port))
            damaged.send("GET /artifacts/\(try link()) HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(damaged.readBytes(within: .seconds(20)).count < 300_000)
        }
    }

    @Test("reminders end by a POST in one click, never by a GET, and no answer says whether a token was right")
    func unsubscribe() throws {
        let token = try connection.execute(
            """
            INSERT INTO reeve.reminder (tenant_id, period, milestone, trial_ends_at, due_at, address_hash)
            VALUES ($1::uuid, 1, 3, now(), now(), repeat('a', 64)) RETURNING unsubscribe::text
            """, [tenant.rawValue])[0].text(0)
        func suppressed() throws -> Int64 {
            try connection.execute("SELECT count(*) FROM reeve.mail_suppression")[0].int(0)
        }
        try serving { (port: Int) throws in
            #expect(ask("GET", "/unsubscribe/\(token)", port).contains("<form method=\"post\">"))
            #expect(try suppressed() == 0)
            let done = ask("POST", "/unsubscribe/\(token)", port, body: "List-Unsubscribe=One-Click")
            #expect(done.hasPrefix("HTTP/1.1 200"))
            #expect(try suppressed() == 1)
            for wrong in [UUID().uuidString, "x", "%27"] {
                #expect(
                    ask("POST", "/unsubscribe/\(wrong)", port, body: "List-Unsubscribe=One-Click") == done, "\(wrong)")
            }
            #expect(try suppressed() == 1)
        }
    }
}
