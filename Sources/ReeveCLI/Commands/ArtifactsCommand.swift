import Artifacts
import FoundationEssentials
import JobKit
import Postgres

extension Command {
    static let artifacts = Command(
        "artifacts", "see reports and exports, and hand them out by links that expire",
        examples: [
            "reeve artifacts list acme",
            "reeve artifacts link 0b9f2a9e-6a0f-4d0e-8c52-0d6b0a3c1f11 --for 24h --purpose 'ticket 4711'",
        ],
        subcommands: [artifactsList, artifactsLinks, artifactsLink, artifactsFetch, artifactsRevoke])

    static let artifactsList = Command(
        "list", "list reports and exports, the newest first",
        details: """
            States: kept, expired (the next retention run deletes it: reeve backup retain), deleting, damaged (storage does not
            have its object). How long they are kept is the tier's: reeve tiers set. For backups see: reeve backup list.
            """,
        arguments: [CommandArgument("CODE", "the tenant's code; all tenants without", optional: true)],
        options: [
            CommandOption("entity", "ENTITY", "only these: report, export"),
            CommandOption("limit", "N", "at most this many, the newest (100)", .integer(1...1_000_000)),
        ],
        examples: ["reeve artifacts list acme", "reeve artifacts list --entity export --json"]
    ) { invocation in
        let connection = try invocation.connect()
        let code = invocation.optionalArgument("CODE")
        try requireTenant(code, connection)
        let artifacts = try connection.execute(
            """
            SELECT to_jsonb(a) FROM reeve.artifact_list a
            WHERE ($1::text IS NULL OR a.tenant_code = $1::text) AND ($2::text IS NULL OR a.entity = $2::text)
            ORDER BY a.created_at DESC, a.id LIMIT $3::bigint
            """, [code, invocation.string("entity"), invocation.int("limit") ?? 100]
        ).map { try $0.json(0) }
        let columns = [
            Column("ID", "id"), Column("TENANT", "tenant_code"), Column("ENTITY", "entity"), Column("NAME", "name"),
            Column("FORMAT", "format"), Column("JOB", "job", .number), Column("SIZE", "bytes", .bytes),
            Column("MADE", "created_at", .time), Column("EXPIRES", "expires_at", .time),
            Column("STATE", "state", .state), Column("LINKS", "links", .number),
            Column("DOWNLOADS", "downloads", .number),
        ]
        invocation.output.list(artifacts, columns, empty: "no artifacts; make one with: reeve export CODE")
        return .done
    }

    static let artifactsLinks = Command(
        "links", "list links to artifacts, the newest first",
        details: "Never their texts: whoever has a link's text may fetch.",
        arguments: [CommandArgument("CODE", "the tenant's code; all tenants without", optional: true)],
        options: [CommandOption("limit", "N", "at most this many, the newest (100)", .integer(1...1_000_000))],
        examples: ["reeve artifacts links acme"]
    ) { invocation in
        let connection = try invocation.connect()
        let code = invocation.optionalArgument("CODE")
        try requireTenant(code, connection)
        let links = try connection.execute(
            """
            SELECT to_jsonb(l) || jsonb_build_object('tenant_code', t.code, 'state',
              CASE WHEN l.revoked_at IS NOT NULL THEN 'revoked' WHEN l.expires_at <= reeve.clock() THEN 'expired'
                   ELSE 'valid' END)
            FROM reeve.artifact_link l JOIN reeve.tenant t ON t.id = l.tenant_id
            WHERE $1::text IS NULL OR t.code = $1::text ORDER BY l.created_at DESC, l.id LIMIT $2::bigint
            """, [code, invocation.int("limit") ?? 100]
        ).map { try $0.json(0) }
        let columns = [
            Column("LINK", "id"), Column("TENANT", "tenant_code"), Column("ARTIFACT", "artifact_id"),
            Column("PURPOSE", "purpose"), Column("MADE BY", "created_by"), Column("MADE", "created_at", .time),
            Column("EXPIRES", "expires_at", .time), Column("STATE", "state", .state),
            Column("DOWNLOADS", "downloads", .number), Column("LAST", "last_download_at", .time),
        ]
        invocation.output.list(links, columns, empty: "no links")
        return .done
    }

    static let artifactsLink = Command(
        "link", "make a link to an artifact, which expires",
        details: """
            Whoever has the link may fetch the artifact until it expires, is revoked, or the tenant's status forbids it; every
            download is audited. It is signed with a key derived from the one that seals credentials (REEVE_KEY_FILE).
            With --presigned the store signs the link: it is an address that any browser opens, lasts 15 minutes at most, can't
            be revoked, and its downloads are seen by the store alone. Folders have none.
            """,
        arguments: [CommandArgument("ID", "the artifact's id")],
        options: [
            CommandOption("for", "TIME", "how long it lasts (24h; presigned 15m)", .duration),
            CommandOption("purpose", "TEXT", "what it is for, in the audit (download)"),
            .flag("presigned", "the store's own link"), .setting(.storage),
        ],
        examples: [
            "reeve artifacts link 0b9f2a9e-6a0f-4d0e-8c52-0d6b0a3c1f11 --for 7d --purpose 'ticket 4711'",
            "reeve artifacts link 0b9f2a9e-6a0f-4d0e-8c52-0d6b0a3c1f11 --presigned",
        ]
    ) { invocation in
        let links = try invocation.artifactLinks()
        let (id, purpose) = (invocation.argument("ID"), invocation.string("purpose") ?? "download")
        if invocation.flag("presigned") {
            let lasting = invocation.duration("for") ?? .seconds(900)
            // Audited even when the store then makes none: that is known only afterwards.
            let link = try invocation.withStores { stores in
                try invocation.change {
                    try links.presigned(id, purpose: purpose, lasting: lasting, on: $0, stores: stores)
                }
            }
            guard let link else {
                throw CommandError(
                    .refused, "the store of this artifact makes no links of its own",
                    hint: "leave --presigned out: reeve artifacts link \(id)")
            }
            invocation.output.result(["link": .string(link), "presigned": true], link)
            return .done
        }
        let lasting = invocation.duration("for") ?? .seconds(86_400)
        let made = try invocation.change { try links.make(id, purpose: purpose, lasting: lasting, on: $0) }
        invocation.output.result(
            [
                "link": .string(made.text), "id": .string(made.link.id.uuidString.lowercased()),
                "artifact": .string(made.link.artifact.uuidString.lowercased()), "expires": .int(made.link.expires),
            ], made.text)
        return .done
    }

    static let artifactsRevoke = Command(
        "revoke", "take links back",
        details: "Links that a store signed itself (--presigned) can't be revoked; they last 15 minutes at most.",
        arguments: [CommandArgument("ID", "a link, its id, or an artifact's: then all of its links")],
        options: [CommandOption("reason", "TEXT", "why, for the audit; needed")],
        examples: ["reeve artifacts revoke 0b9f2a9e-6a0f-4d0e-8c52-0d6b0a3c1f11 --reason 'sent to the wrong person'"]
    ) { invocation in
        let text = invocation.argument("ID")
        let id = SignedLink.claimedID(text)?.uuidString.lowercased() ?? text
        guard id.utf8.count == 36 else {
            throw CommandError(.usage, "this is no link and no id", hint: "see: reeve artifacts links")
        }
        let count = try invocation.change {
            try $0.execute("SELECT reeve.revoke_links($1::uuid, $2::text)", [id, invocation.string("reason")])[0].int(0)
        }
        invocation.output.result(
            ["revoked": .int(count)], count == 1 ? "1 link is revoked" : "\(count) links are revoked")
        return .done
    }

    private static func requireTenant(_ code: String?, _ connection: Connection) throws {
        guard let code else { return }
        let isKnown = try connection.execute(
            "SELECT EXISTS (SELECT FROM reeve.tenant WHERE code = $1::text)", [code])[0].bool(0)
        if !isKnown { throw unknownTenant(code) }
    }
}

extension Invocation {
    /// What makes and opens links.
    func artifactLinks() throws -> ArtifactLinks {
        guard let key = try configuration.loadKey() else {
            throw CommandError(
                .usage, "REEVE_KEY_FILE is not set: links are signed with a key derived from it",
                hint: "set REEVE_KEY_FILE, or REEVE_KEY_COMMAND to what prints the key")
        }
        return ArtifactLinks(key: key)
    }
}
