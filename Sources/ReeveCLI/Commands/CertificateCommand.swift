import Certificates
import Crypto
import FoundationEssentials
import JobKit
import Postgres

extension Command {
    /// A certificate, its kind, and the public key that verifies it.
    private typealias Recorded = (SignedCertificate, String, String)

    private static let certificateID = CommandArgument("ID", "the certificate's id")

    static let certificate = Command(
        "certificate", "see and verify certificates of what was deleted for good",
        examples: ["reeve certificate list --tenant acme", "reeve certificate verify --all"],
        subcommands: [
            Command(
                "list", "list certificates, the newest first",
                options: [
                    CommandOption("tenant", "CODE", "of this tenant: its code or id"),
                    CommandOption("limit", "N", "at most this many (100)", .integer(1...1_000_000)),
                ], examples: ["reeve certificate list", "reeve certificate list --tenant acme --json"]
            ) { invocation in
                let items = try invocation.objects(
                    """
                    SELECT to_jsonb(c) - 'canonical' - 'body' || jsonb_build_object('tenant_code', t.code)
                    FROM reeve.certificate c LEFT JOIN reeve.tenant t ON t.id = c.tenant_id
                    WHERE $1::text IS NULL OR t.code = $1::text OR c.tenant_id::text = $1::text
                    ORDER BY c.issued_at DESC, c.id LIMIT $2::bigint
                    """, [invocation.string("tenant"), invocation.int("limit") ?? 100])
                let columns = [
                    Column("CERTIFICATE", "id"), Column("KIND", "kind"), Column("TENANT", "tenant_code"),
                    Column("REQUEST", "request_id"), Column("ISSUED", "issued_at", .time), Column("KEY", "key_id"),
                ]
                invocation.output.list(items, columns, empty: "no certificates")
                return .done
            },
            Command(
                "show", "print a certificate: the text that was signed, its signature, or a page for people",
                details: """
                    Without an option, and with --json, exactly the bytes that were signed, without a newline at the end. To verify it without
                    reeve: save them as certificate.json and the signature, decoded by base64 -d, as certificate.sig.
                    """,
                arguments: [certificateID],
                options: [
                    .flag("signature", "the signature, base64"), .flag("html", "the page"),
                    .flag("key", "the public key that verifies it, PEM"),
                ],
                examples: [
                    "reeve certificate show ID",
                    "reeve certificate show ID --signature",
                ]
            ) { invocation in
                let connection = try invocation.connect()
                let (signed, kind, key) = try certificates(connection, id: invocation.argument("ID"))[0]
                if invocation.flag("signature") {
                    invocation.output.line(signed.signature)
                } else if invocation.flag("key") {
                    invocation.output.raw(key)
                } else if invocation.flag("html") {
                    let title = kind == "erasure" ? "Certificate of erasure" : "Certificate of deletion"
                    invocation.output.raw(CertificatePage(signed, title: title, publicKey: key).html)
                } else {
                    invocation.output.raw(signed.canonical)
                }
                return .done
            },
            Command(
                "verify", "verify signatures with the published keys; exit code 1 when one does not hold",
                arguments: [CommandArgument("ID", "the certificate's id", optional: true)],
                options: [.flag("all", "every certificate")],
                examples: ["reeve certificate verify ID", "reeve certificate verify --all"]
            ) { invocation in
                let id = invocation.optionalArgument("ID")
                let connection = try invocation.connect()
                guard (id == nil) == invocation.flag("all") else {
                    throw CommandError(.usage, "say which certificate, or --all")
                }
                let found = try certificates(connection, id: id)
                let bad = try found.filter { !$0.0.isGenuine(under: try Ed25519.PublicKey(pem: $0.2)) }
                invocation.output.result(
                    [
                        "verified": .int(Int64(found.count - bad.count)),
                        "bad": .array(bad.map { .string($0.0.id.uuidString.lowercased()) }),
                    ], "\(found.count - bad.count) of \(found.count) certificates hold")
                for item in bad {
                    invocation.output.message(
                        "certificate \(item.0.id.uuidString.lowercased()) was changed after it was signed")
                }
                return bad.isEmpty ? .done : .failed
            },
        ])

    private static func certificates(_ connection: Connection, id: String?) throws -> [Recorded] {
        if let id, UUID(uuidString: id) == nil {
            throw CommandError(.usage, "'\(id)' is not a certificate's id", hint: "see: reeve certificate list")
        }
        let rows = try connection.execute(
            """
            SELECT c.id, c.body, c.canonical, c.signature, c.key_id, c.kind, k.public_key
            FROM reeve.certificate c JOIN reeve.signing_key k ON k.id = c.key_id
            WHERE $1::uuid IS NULL OR c.id = $1::uuid ORDER BY c.issued_at
            """, [id])
        if let id, rows.isEmpty {
            throw CommandError(.notFound, "there is no certificate \(id)", hint: "see: reeve certificate list")
        }
        return try rows.map { row in
            (
                SignedCertificate(
                    id: try row.uuid(0), body: try row.json(1), canonical: try row.text(2), signature: try row.text(3),
                    keyID: try row.text(4)), try row.text(5), try row.text(6)
            )
        }
    }
}
