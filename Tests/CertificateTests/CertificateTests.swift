import Certificates
import Crypto
import Foundation
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Testing

@Suite("Certificate")
struct CertificateTests {
    private let body: JSON = [
        "tenant": "acme", "rows": ["orders": 12, "people": 3], "note": "Überweisung <script> €\u{1f600}",
        "steps": ["freeze", "delete"], "seconds": .double(1.5),
    ]

    @Test("a certificate verifies with openssl alone, and nothing that was changed does")
    func openssl() throws {
        let fixture = try CertificateFixture()
        _ = try fixture.keys.make(rotates: false, reason: "first", actor: "tester")
        let signed = try Certificate.sign(body, with: fixture.keys)
        let published = try fixture.connection.execute("SELECT public_key FROM reeve.signing_key")[0].text(0)
        let files = try ["key.pem", "certificate.json", "certificate.sig"].map { name in
            let path = "\(fixture.root)/\(name)"
            let data =
                switch name {
                case "key.pem": Data(published.utf8)
                case "certificate.json": Data(signed.canonical.utf8)
                default: Data(base64Encoded: signed.signature) ?? Data()
                }
            try data.write(to: URL(fileURLWithPath: path))
            return path
        }
        let verify = [
            "pkeyutl", "-verify", "-pubin", "-inkey", files[0], "-rawin", "-in", files[1], "-sigfile", files[2],
        ]
        #expect(try fixture.run("openssl", verify).0 == .exited(0))
        #expect(signed.isGenuine(under: try Ed25519.PublicKey(pem: published)))
        // The id is what openssl makes of the key, too.
        let der = "\(fixture.root)/key.der"
        try fixture.run("openssl", ["pkey", "-pubin", "-in", files[0], "-outform", "DER", "-out", der])
        let sum = try fixture.run("sha256sum", [der]).1
        #expect(sum.hasPrefix(signed.keyID))

        try Data(signed.canonical.replacing("12", with: "13").utf8).write(to: URL(fileURLWithPath: files[1]))
        #expect(try fixture.run("openssl", verify).0 == .exited(1))
        let another = Ed25519.PrivateKey().publicKey
        #expect(!signed.isGenuine(under: another))
        let swapped = SignedCertificate(
            id: signed.id, body: ["tenant": "globex"], canonical: signed.canonical, signature: signed.signature,
            keyID: signed.keyID)
        #expect(!swapped.isGenuine(under: try Ed25519.PublicKey(pem: published)))
    }

    @Test("keys made by openssl sign here, and keys made here are read by openssl")
    func exchange() throws {
        let fixture = try CertificateFixture()
        let theirs = "\(fixture.root)/theirs.pem"
        try fixture.run("openssl", ["genpkey", "-algorithm", "ed25519", "-out", theirs])
        let key = try Ed25519.PrivateKey(pem: String(contentsOfFile: theirs, encoding: .utf8))
        #expect(try fixture.run("openssl", ["pkey", "-in", theirs, "-pubout"]).1 == key.publicKey.pem)
        let mine = Ed25519.PrivateKey()
        let path = "\(fixture.root)/mine.pem"
        try mine.pem.write(toFile: path, atomically: true, encoding: .utf8)
        #expect(try fixture.run("openssl", ["pkey", "-in", path, "-pubout"]).1 == mine.publicKey.pem)
        #expect("\(mine)" == "Ed25519.PrivateKey")
        for text in ["", "x", mine.publicKey.pem, mine.pem.replacing("MC4C", with: "MC5C")] {
            #expect(throws: CryptoError.self) { try Ed25519.PrivateKey(pem: text) }
        }
    }

    @Test("without a key, with two first keys, or with a key that was swapped, nothing is signed")
    func keys() throws {
        let fixture = try CertificateFixture()
        #expect(throws: CertificateError.self) { try Certificate.sign(body, with: fixture.keys) }
        #expect(throws: CertificateError.self) {
            _ = try fixture.keys.make(rotates: true, reason: nil, actor: nil)
        }
        let id = try fixture.keys.make(rotates: false, reason: nil, actor: nil)
        #expect(throws: CertificateError.self) {
            _ = try fixture.keys.make(rotates: false, reason: nil, actor: nil)
        }
        let file = "\(fixture.root)/signing/\(id).pem"
        let good = try String(contentsOfFile: file, encoding: .utf8)
        try Ed25519.PrivateKey().pem.write(toFile: file, atomically: false, encoding: .utf8)
        #expect(throws: CertificateError.self) { try Certificate.sign(body, with: fixture.keys) }
        try good.write(toFile: file, atomically: false, encoding: .utf8)
        chmod(file, 0o644)
        #expect(throws: CertificateError.self) { try Certificate.sign(body, with: fixture.keys) }
        chmod(file, 0o600)
        #expect(try Certificate.sign(body, with: fixture.keys).keyID == id)
    }

    @Test("a rotated key stays published and what it signed stays genuine; a new one signs")
    func rotation() throws {
        let fixture = try CertificateFixture()
        _ = try fixture.keys.make(rotates: false, reason: nil, actor: nil)
        let old = try Certificate.sign(body, with: fixture.keys)
        _ = try fixture.keys.make(rotates: true, reason: "yearly", actor: nil)
        let new = try Certificate.sign(body, with: fixture.keys)
        #expect(old.keyID != new.keyID)
        let pem = try fixture.connection.execute(
            "SELECT public_key FROM reeve.signing_key WHERE id = $1::text", [old.keyID])[0].text(0)
        #expect(old.isGenuine(under: try Ed25519.PublicKey(pem: pem)))
        for change in [
            "UPDATE reeve.signing_key SET public_key = (SELECT max(public_key) FROM reeve.signing_key)",
            "UPDATE reeve.signing_key SET retired_at = NULL, retired_by = NULL", "DELETE FROM reeve.signing_key",
            "TRUNCATE reeve.signing_key CASCADE",
        ] {
            #expect(throws: PostgresError.self) { try fixture.connection.executeScript(change) }
        }
    }

    @Test("a certificate is recorded once for each request, by the attempt that holds the job, and never changes")
    func recording() throws {
        let fixture = try CertificateFixture()
        _ = try fixture.keys.make(rotates: false, reason: nil, actor: nil)
        let attempt = try fixture.attempt("acme")
        let request = UUID()
        let first = try Certificate.sign(body, with: fixture.keys)
        let again = try Certificate.sign(body, with: fixture.keys)
        let connection = fixture.connection
        let recorded = try Certificate.record(first, kind: "purge", request: request, attempt: attempt, on: connection)
        #expect(recorded == first.id)
        #expect(
            try Certificate.record(again, kind: "purge", request: request, attempt: attempt, on: connection) == first.id
        )
        let row = try connection.execute("SELECT canonical, body = canonical::jsonb FROM reeve.certificate")
        #expect(row.count == 1)
        #expect(try row[0].text(0) == first.canonical)

        let other = try fixture.attempt("globex")
        let stolen = #expect(throws: PostgresError.self) {
            try Certificate.record(again, kind: "purge", request: request, attempt: other, on: connection)
        }
        #expect(stolen?.sqlState == "42501")
        let stale = JobAttempt(
            jobID: attempt.jobID, tenant: attempt.tenant, queue: attempt.queue, kind: attempt.kind, number: 2,
            leaseID: UUID(), traceparent: nil)
        let lost = #expect(throws: PostgresError.self) {
            try Certificate.record(again, kind: "erasure", request: UUID(), attempt: stale, on: connection)
        }
        #expect(lost?.sqlState == "RV014")
        for change in [
            "UPDATE reeve.certificate SET kind = 'erasure'", "DELETE FROM reeve.certificate",
            "TRUNCATE reeve.certificate",
        ] {
            #expect(throws: PostgresError.self) { try connection.executeScript(change) }
        }
    }

    @Test("the page says what the text says, escaped, with how to verify it")
    func page() throws {
        let fixture = try CertificateFixture()
        _ = try fixture.keys.make(rotates: false, reason: nil, actor: nil)
        let signed = try Certificate.sign(body, with: fixture.keys)
        let html = CertificatePage(signed, title: "Certificate of <erasure>").html
        #expect(html.contains("Certificate of &lt;erasure&gt;"))
        #expect(html.contains("Überweisung &lt;script&gt;"))
        #expect(!html.contains("<script"))
        #expect(html.contains("openssl pkeyutl -verify"))
        #expect(html.contains(signed.signature))
    }
}
