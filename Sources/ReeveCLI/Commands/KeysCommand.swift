import Encryption
import FoundationEssentials
import JobKit
import Postgres
import Tenancy

extension Command {
    private static let code = CommandArgument("CODE", "the tenant's code")
    static let keysReason = CommandOption("reason", "TEXT", "why, for the audit")
    private static let making = [
        CommandOption("recipient", "age1…", "the tenant's own recipient, whose identity only the tenant has"),
        .flag("own", "says that --recipient is the tenant's own: no drill and no restore is possible here"),
        .flag("escrow", "encrypt to REEVE_ESCROW_RECIPIENTS as well, who can read all of it, destroyed key or not"),
        keysReason,
    ]

    static let keys = Command(
        "keys", "make, replace and destroy tenants' keys",
        details: """
            Each tenant has an age key pair. Workers know the recipient and encrypt to it; the identity is kept in the folder
            REEVE_IDENTITIES or by the program REEVE_IDENTITY_COMMAND, and only restore workers fetch it.
            """,
        examples: [
            "reeve keys create acme", "reeve keys list", "reeve keys destroy acme --confirm acme --reason 'ticket 7'",
        ],
        subcommands: [
            Command(
                "create", "make a tenant's first key, or register its own recipient", arguments: [code],
                options: making,
                examples: ["reeve keys create acme", "reeve keys create acme --recipient age1… --own"]
            ) { try make($0, rotates: false) },
            Command(
                "rotate", "encrypt to a new key from now on; the old one stays, to read what it encrypted",
                arguments: [code], options: making, examples: ["reeve keys rotate acme --reason 'yearly'"]
            ) { try make($0, rotates: true) },
            keysDestroy, keysSigning,
            Command(
                "list", "list the keys", arguments: [CommandArgument("CODE", "of this tenant only", optional: true)],
                options: [.flag("all", "destroyed ones too")],
                examples: ["reeve keys list", "reeve keys list acme --all"]
            ) { invocation in
                let code = invocation.optionalArgument("CODE")
                let keys = try invocation.objects(
                    """
                    SELECT to_jsonb(k) FROM reeve.key_list k
                    WHERE ($1::text IS NULL OR k.tenant_code = $1::text) AND ($2::bool OR k.state <> 'destroyed')
                    ORDER BY k.tenant_code, k.created_at
                    """, [code, invocation.flag("all")])
                let columns = [
                    Column("TENANT", "tenant_code"), Column("KEY", "id"), Column("STATE", "state", .state),
                    Column("OWN", "is_own"), Column("ESCROW", "escrow", .number), Column("AGE", "created_at", .age),
                    Column("RECIPIENT", "recipient"),
                ]
                invocation.output.list(keys, columns, empty: "no keys; make one with: reeve keys create CODE")
                return .done
            },
            Command(
                "show", "show a tenant's keys, where their identities were written, and what needs them",
                arguments: [code],
                examples: ["reeve keys show acme"]
            ) { try show($0) },
        ])

    private static func make(_ invocation: Invocation, rotates: Bool) throws -> ExitCode {
        var request = KeyLifecycle.Request(code: invocation.argument("CODE"))
        request.rotates = rotates
        request.reason = invocation.string("reason")
        request.ownRecipient = invocation.string("recipient")
        guard (request.ownRecipient != nil) == invocation.flag("own") else {
            throw CommandError(
                .usage,
                "--recipient and --own go together: of a recipient made elsewhere only the tenant has the identity",
                hint: "without both a key pair is made here")
        }
        if invocation.flag("escrow") {
            request.escrow = invocation.configuration.escrow
            guard !request.escrow.isEmpty else {
                throw CommandError(
                    .usage, "no escrow is configured", hint: "set REEVE_ESCROW_RECIPIENTS to age recipients")
            }
        }
        let id = try invocation.withKeys { try $0.create(request) }
        let name = id.uuidString.lowercased()
        if !request.escrow.isEmpty {
            invocation.output.message("note: whoever has the escrow's identities can read what this key encrypts")
        }
        invocation.output.result(
            [
                "tenant": .string(request.code), "key": .string(name), "own": .bool(request.ownRecipient != nil),
                "escrow": .array(request.escrow.map(JSON.string)),
            ], "what is made for \(request.code) from now on is encrypted to key \(name)")
        return .done
    }

    private static func show(_ invocation: Invocation) throws -> ExitCode {
        let code = invocation.argument("CODE")
        let connection = try invocation.connect()
        let found = try connection.execute("SELECT id FROM reeve.tenant WHERE code = $1::text", [code])
        guard let tenant = found.first else { throw unknownTenant(code) }
        let keys = try connection.execute(
            """
            SELECT to_jsonb(k) - 'tenant_id' || jsonb_build_object('backups',
              (SELECT count(*) FROM reeve.artifact a
               WHERE a.tenant_id = k.tenant_id AND a.manifest -> 'encryption' ->> 'key_id' = k.id::text))
            FROM reeve.tenant_key k WHERE k.tenant_id = $1::uuid ORDER BY k.created_at
            """, [try tenant.uuid(0)]
        ).map { try $0.json(0) }
        if invocation.output.isJSON {
            invocation.output.line(JSON.array(keys).text)
        } else if keys.isEmpty {
            invocation.output.message("\(code) has no key; make one with: reeve keys create \(code)")
        }
        for (index, key) in keys.enumerated() where !invocation.output.isJSON {
            var members = key.object ?? [:]
            let places = key["places"]?.array?.compactMap(IdentityPlace.init).map(\.description) ?? []
            members["places"] = .string(places.joined(separator: ", "))
            members["destruction"] = key["destruction"].flatMap { $0 == .null ? nil : .string($0.text) } ?? .null
            invocation.output.raw((index == 0 ? "" : "\n") + Details(members).text)
        }
        return .done
    }
}

extension Invocation {
    /// What makes and destroys keys, with the identity store that is configured, audited as this user.
    func withKeys<T>(_ body: (KeyLifecycle) throws -> T) throws -> T {
        let pool = Pool(try databaseSettings(), bound: 2, waitTimeout: .seconds(30), name: "keys")
        defer { pool.close() }
        // The first contact fails with the words for a database that is down.
        _ = try pool.withConnection { try $0.execute("SELECT count(*) FROM reeve.tier") }
        let registry = TenantRegistry(directory: TenantDirectory(control: pool, sealer: nil), actor: actor)
        return try body(KeyLifecycle(registry: registry, store: configuration.identityStore()))
    }
}
