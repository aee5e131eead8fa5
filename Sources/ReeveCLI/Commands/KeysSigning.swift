import Certificates
import JobKit
import Postgres

extension Command {
    static let keysSigning = Command(
        "signing", "make, replace and publish the fleet's signing keys",
        details: """
            Certificates of purges and erasures are signed with an Ed25519 key of the fleet. Private keys are kept in the folder
            REEVE_SIGNING_KEYS or by the program REEVE_SIGNING_COMMAND, for this command and for restore workers; the public ones stay
            published for ever.
            """,
        examples: ["reeve keys signing create", "reeve keys signing publish"],
        subcommands: [
            Command(
                "create", "make the fleet's first signing key", options: [keysReason],
                examples: ["reeve keys signing create"]
            ) { try makeSigningKey($0, rotates: false) },
            Command(
                "rotate", "sign with a new key from now on; what the old one signed stays valid", options: [keysReason],
                examples: ["reeve keys signing rotate --reason yearly"]
            ) { try makeSigningKey($0, rotates: true) },
            Command("list", "list the signing keys", examples: ["reeve keys signing list"]) { invocation in
                let keys = try invocation.objects(
                    """
                    SELECT jsonb_build_object('id', k.id, 'state', CASE WHEN k.retired_at IS NULL THEN 'current' ELSE 'retired' END,
                      'created_at', k.created_at, 'created_by', k.created_by, 'retired_at', k.retired_at,
                      'certificates', (SELECT count(*) FROM reeve.certificate c WHERE c.key_id = k.id))
                    FROM reeve.signing_key k ORDER BY k.created_at
                    """)
                let columns = [
                    Column("KEY", "id"), Column("STATE", "state", .state),
                    Column("CERTIFICATES", "certificates", .number),
                    Column("MADE", "created_at", .time), Column("BY", "created_by"),
                    Column("RETIRED", "retired_at", .time),
                ]
                invocation.output.list(
                    keys, columns, empty: "no signing keys; make one with: reeve keys signing create")
                return .done
            },
            Command(
                "publish", "print the public keys as PEM, to be put where those who verify certificates look",
                details: """
                    Whoever owns the control database could publish a key of their own in it: verify with keys that were put elsewhere, a
                    web page for example, when they were made.
                    """,
                arguments: [CommandArgument("KEY", "only this one", optional: true)],
                examples: ["reeve keys signing publish"]
            ) { invocation in
                let id = invocation.optionalArgument("KEY")
                let keys = try invocation.objects(
                    """
                    SELECT jsonb_build_object('id', k.id, 'public_key', k.public_key, 'created_at', k.created_at, 'retired_at', k.retired_at)
                    FROM reeve.signing_key k WHERE $1::text IS NULL OR k.id = $1::text ORDER BY k.created_at
                    """, [id])
                guard !keys.isEmpty else {
                    throw CommandError(
                        .notFound, "there is no signing key\(id.map { " \($0)" } ?? "")",
                        hint: "see: reeve keys signing list")
                }
                if invocation.output.isJSON { invocation.output.line(JSON.array(keys).text) }
                for key in keys where !invocation.output.isJSON {
                    invocation.output.raw("# \(key["id"]?.string ?? "")\n\(key["public_key"]?.string ?? "")")
                }
                return .done
            },
        ])

    private static func makeSigningKey(_ invocation: Invocation, rotates: Bool) throws -> ExitCode {
        let pool = Pool(try invocation.databaseSettings(), bound: 1, waitTimeout: .seconds(30), name: "signing keys")
        defer { pool.close() }
        // The first contact fails with the words for a database that is down.
        _ = try pool.withConnection { try $0.execute("SELECT count(*) FROM reeve.signing_key") }
        let keys = SigningKeys(store: try invocation.configuration.signingKeyStore(), control: pool)
        let id: String
        do {
            id = try keys.make(rotates: rotates, reason: invocation.string("reason"), actor: invocation.actor)
        } catch let error as CertificateError {
            throw CommandError(error.description.hasPrefix("nothing says") ? .usage : .conflict, error.description)
        }
        invocation.output.result(
            ["key": .string(id), "rotated": .bool(rotates)],
            "certificates are signed with key \(id) from now on; publish it: reeve keys signing publish \(id)")
        return .done
    }
}
