import JobKit
import Postgres
import Storage

extension Command {
    static let destination: Command = Command(
        "destination", "say where tenants' objects are kept",
        details:
            "A destination is a folder, or <remote>:<path> of rclone's configuration in the workers' environment. A tenant's\n"
            + "objects go to its own primary destination, else its tier's, else its region's, else to REEVE_STORAGE. Data stays\n"
            + "in the tenant's region: others are refused, but for copies in regions that are allowed for it.",
        examples: ["reeve destination list", "reeve destination assign eu-vault --tier enterprise"],
        subcommands: [
            Command("list", "list destinations and who uses them", examples: ["reeve destination list --json"]) {
                invocation in
                let columns = [
                    Column("DESTINATION", "name"), Column("REGION", "region"), Column("PLACE", "url"),
                    Column("ENCRYPTION", "sse"), Column("RULES", "rules", .number),
                    Column("ARTIFACTS", "artifacts", .number),
                ]
                invocation.output.list(
                    try invocation.objects(destinations + " ORDER BY d.name"), columns,
                    empty: "no destinations: everything goes to REEVE_STORAGE")
                return .done
            },
            Command(
                "show", "show a destination and its rules", arguments: [destinationName],
                examples: ["reeve destination show eu-vault"]
            ) { invocation in
                try showDestination(invocation)
            },
            Command(
                "add", "name a place for objects",
                details:
                    "Its credentials are not given here: they are in RCLONE_CONFIG or RCLONE_CONFIG_<REMOTE>_* variables of the\n"
                    + "workers. Run reeve doctor where they run.",
                arguments: [
                    destinationName, CommandArgument("PLACE", "a folder, or <remote>:<bucket or path>"),
                ],
                options: [
                    CommandOption("region", "REGION", "the region that it is in"),
                    CommandOption(
                        "sse", "ALGORITHM", "have the S3 store encrypt", .choice(["AES256", "aws:kms"])),
                    CommandOption("kms-key", "ID", "with this key of its key service"), destinationReason,
                ],
                examples: [
                    "reeve destination add eu-vault s3eu:acme-backups/reeve --region eu --sse aws:kms --kms-key alias/reeve"
                ]
            ) { invocation in
                try addDestination(invocation)
            },
            Command(
                "remove", "forget a destination that holds nothing and is assigned to nobody",
                arguments: [destinationName], options: [destinationReason],
                examples: ["reeve destination remove eu-vault"]
            ) { invocation in
                let name = invocation.argument("NAME")
                try invocation.change { connection in
                    _ = try connection.execute(
                        "SELECT reeve.remove_destination($1::text, $2::text)", [name, invocation.string("reason")])
                }
                invocation.output.result(["destination": .string(name)], "destination \(name) is forgotten")
                return .done
            },
            Command(
                "assign", "have new objects of a tenant, tier or region kept there",
                details:
                    "What is stored already stays where it is. For a tier or region a destination takes those tenants whose\n"
                    + "region it is in.",
                arguments: [destinationName],
                options: destinationSubjects + [
                    .flag("copy", "keep a copy there, beside the primary"),
                    CommandOption("kms-key", "ID", "the tenant's own key of the store's key service"),
                    destinationReason,
                ],
                examples: [
                    "reeve destination assign eu-vault --tier enterprise",
                    "reeve destination assign eu-vault --tenant acme --kms-key alias/acme",
                    "reeve destination assign us-vault --tenant acme --copy",
                ]
            ) { invocation in
                let name = invocation.argument("NAME")
                let role = invocation.flag("copy") ? "copy" : "primary"
                let (scope, subject) = try invocation.change { connection in
                    let (scope, subject) = try destinationSubject(invocation)
                    _ = try connection.execute(
                        "SELECT reeve.assign_destination($1::text, $2::text, $3::text, $4::text, $5::text, $6::text)",
                        [name, scope, subject, role, invocation.string("kms-key"), invocation.string("reason")])
                    return (scope, subject)
                }
                invocation.output.result(
                    [
                        "destination": .string(name), "scope": .string(scope), "subject": .string(subject),
                        "role": .string(role),
                    ],
                    "\(scope) \(subject): \(role == "copy" ? "copies of new objects go" : "new objects go") to \(name)")
                return .done
            },
            Command(
                "unassign", "take an assignment back", arguments: [destinationName],
                options: destinationSubjects + [destinationReason],
                examples: ["reeve destination unassign eu-vault --tier enterprise"]
            ) { invocation in
                let name = invocation.argument("NAME")
                let (scope, subject) = try invocation.change { connection in
                    let (scope, subject) = try destinationSubject(invocation)
                    _ = try connection.execute(
                        "SELECT reeve.unassign_destination($1::text, $2::text, $3::text, $4::text)",
                        [name, scope, subject, invocation.string("reason")])
                    return (scope, subject)
                }
                invocation.output.result(
                    ["destination": .string(name), "scope": .string(scope), "subject": .string(subject)],
                    "\(scope) \(subject): no longer to \(name)")
                return .done
            },
            allowance("allow", "allow copies of a tenant's objects in another region", isAllowed: true),
            allowance(
                "forbid", "allow them no longer; what is there stays until its retention is over", isAllowed: false),
        ])

    private static let destinationName = CommandArgument("NAME", "the destination's name: a-z, 0-9 and -")
    private static let destinationReason = CommandOption("reason", "TEXT", "why, for the audit")
    private static let destinationSubjects = [
        CommandOption("tenant", "CODE", "of this tenant"), CommandOption("tier", "TIER", "of the tenants of this tier"),
        CommandOption("region", "REGION", "of the tenants of this region"),
    ]

    private static func destinationSubject(_ invocation: Invocation) throws -> (scope: String, subject: String) {
        let given = ["tenant", "tier", "region"].compactMap { name in invocation.string(name).map { (name, $0) } }
        guard given.count == 1, let only = given.first else {
            throw CommandError(.usage, "give one of --tenant, --tier and --region")
        }
        return only
    }

    private static func addDestination(_ invocation: Invocation) throws -> ExitCode {
        let name = invocation.argument("NAME")
        let place = try invocation.change { connection in
            let (place, region) = try destinationPlace(invocation)
            _ = try connection.execute(
                "SELECT reeve.add_destination($1::text, $2::text, $3::text, $4::text, $5::text, $6::text)",
                [
                    name, place, region, invocation.string("sse"), invocation.string("kms-key"),
                    invocation.string("reason"),
                ])
            return place
        }
        invocation.output.result(
            ["destination": .string(name), "place": .string(place)],
            "destination \(name) is \(place); run reeve doctor where the workers run")
        return .done
    }

    private static func destinationPlace(_ invocation: Invocation) throws -> (place: String, region: String) {
        guard let region = invocation.string("region") else {
            throw CommandError(.usage, "--region is missing", hint: "tenants' data stays in their region")
        }
        let location: StorageLocation
        do { location = try StorageLocation(parsing: invocation.argument("PLACE")) } catch {
            throw CommandError(.usage, error.message)
        }
        if case .folder(let path) = location, !path.hasPrefix("/") {
            throw CommandError(.usage, "a folder is named from / on, and a remote as <remote>:<path>")
        }
        return ("\(location)", region)
    }

    private static func showDestination(_ invocation: Invocation) throws -> ExitCode {
        let name = invocation.argument("NAME")
        guard let found = try invocation.objects(destinations + " WHERE d.name = $1::text", [name]).first else {
            throw CommandError(.notFound, "there is no destination \(name)", hint: "see: reeve destination list")
        }
        let rules = try invocation.objects(
            """
            SELECT jsonb_build_object('scope', u.scope, 'subject', coalesce(u.tier, u.region, t.code), 'role', u.role,
                                      'kms_key_id', u.kms_key_id, 'created_at', u.created_at, 'created_by', u.created_by)
            FROM reeve.destination_rule u LEFT JOIN reeve.tenant t ON t.id = u.tenant_id
            WHERE u.destination = $1::text ORDER BY u.scope, coalesce(u.tier, u.region, t.code)
            """, [name])
        if invocation.output.isJSON {
            invocation.output.result(.object((found.object ?? [:]).merging(["rules": .array(rules)]) { $1 }), "")
            return .done
        }
        invocation.output.raw(Details(found.object ?? [:]).text)
        invocation.output.list(
            rules,
            [Column("FOR", "scope"), Column("WHOM", "subject"), Column("AS", "role"), Column("KEY", "kms_key_id")],
            empty: "assigned to nobody")
        return .done
    }

    private static func allowance(_ word: String, _ summary: String, isAllowed: Bool) -> Command {
        Command(
            word, summary,
            arguments: [CommandArgument("CODE", "the tenant's code"), CommandArgument("REGION", "the other region")],
            options: [destinationReason], examples: ["reeve destination \(word) acme us --reason 'contract 7.2'"]
        ) { invocation in
            let code = invocation.argument("CODE")
            let region = invocation.argument("REGION")
            try invocation.change { connection in
                _ = try connection.execute(
                    "SELECT reeve.allow_copies($1::text, $2::text, $3::boolean, $4::text)",
                    [code, region, isAllowed, invocation.string("reason")])
            }
            invocation.output.result(
                ["tenant": .string(code), "region": .string(region), "allowed": .bool(isAllowed)],
                "\(code): copies in \(region) are \(isAllowed ? "allowed" : "not allowed")")
            return .done
        }
    }

    private static let destinations: String = """
        SELECT to_jsonb(d) || jsonb_build_object(
          'rules', (SELECT count(*) FROM reeve.destination_rule u WHERE u.destination = d.name),
          'artifacts', (SELECT count(*) FROM reeve.artifact a
                        WHERE a.manifest ->> 'destination' = d.name OR a.manifest -> 'copies' ? d.name))
        FROM reeve.destination d
        """
}
