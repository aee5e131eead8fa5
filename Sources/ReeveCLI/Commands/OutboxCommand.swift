import JobKit
import OutboxRelay
import Postgres
import Tenancy

extension Command {
    static let outbox = Command(
        "outbox", "let services enqueue in transactions of their own databases",
        details: """
            An outbox puts reeve.enqueue into a service's database, with the same refusals; it returns the job's id at once. Workers
            (or reeve relay) bring the rows here, each exactly once.
            """,
        examples: ["reeve outbox install 'host=db2 dbname=billing user=postgres' --name billing", "reeve outbox list"],
        subcommands: [
            Command(
                "install", "put an outbox into a service's database, or bring one up to date",
                details: """
                    DATABASE is an administrator's connection without a password, which comes from --password-file or from where
                    libpq finds it. A login of the relay's own is made there, and its password sealed with the key. Grant the role
                    reeve_enqueuer to the service's logins there.
                    """,
                arguments: [outboxDatabase],
                options: [
                    CommandOption("name", "NAME", "the outbox's name: a-z, 0-9 and - (the database's name)"),
                    CommandOption(
                        "tenant", "CODE", "the tenant whose database it is: it enqueues for that tenant alone"),
                    CommandOption(
                        "block", "N", "how many job ids are reserved at once (10000)", .integer(10...1_000_000)),
                    outboxPassword, CommandOption("reason", "TEXT", "why, for the audit"), .setting(.keyFile),
                ],
                examples: [
                    "reeve outbox install 'host=db2 dbname=billing user=postgres' --password-file /run/secrets/db2",
                    "reeve outbox install service=acme --name acme-shop --tenant acme",
                ]
            ) { try installOutbox($0) },
            Command("list", "list the outboxes", examples: ["reeve outbox list --json"]) { invocation in
                let columns = [
                    Column("OUTBOX", "name"), Column("STATE", "state", .state), Column("TENANT", "tenant_code"),
                    Column("WAITING", "waiting", .number), Column("OLDEST", "oldest_at", .age),
                    Column("RELAYED", "relayed", .number), Column("REFUSED", "refused", .number),
                    Column("IDS LEFT", "ids_left", .number), Column("NODE", "node"), Column("PROBLEM", "problem"),
                ]
                invocation.output.list(
                    try invocation.objects("SELECT to_jsonb(o) FROM reeve.outbox_list o ORDER BY o.name"), columns,
                    empty: "no outboxes; put one into a service's database with: reeve outbox install")
                return .done
            },
            Command(
                "status", "show one outbox, and the rows of it that were refused", arguments: [outboxName],
                examples: ["reeve outbox status billing"]
            ) { try showOutbox($0) },
            Command(
                "resume", "go on with an outbox that was stopped after a restore",
                details: """
                    An outbox stops when its last row or its ids are not those that were relayed: its database, or the control
                    database, was restored to an earlier time. What it holds is looked at again, rows that became jobs are known
                    by their marks, and new ids are handed out.
                    """,
                arguments: [outboxName], options: [CommandOption("reason", "TEXT", "why, for the audit")],
                examples: ["reeve outbox resume billing --reason 'restored, INC-204'"]
            ) { invocation in
                let name = invocation.argument("NAME")
                try invocation.change { connection in
                    _ = try connection.execute(
                        "SELECT reeve.resume_outbox($1::text, $2::text)", [name, invocation.string("reason")])
                }
                invocation.output.result(["outbox": .string(name)], "outbox \(name) goes on")
                return .done
            },
            Command(
                "remove", "forget an outbox, and take it out of the service's database",
                details: """
                    Refused while rows wait in it, unless --force says that they may be lost. Without DATABASE only the control
                    database forgets it.
                    """,
                arguments: [
                    outboxName,
                    CommandArgument(
                        "DATABASE", "the service's database, as an administrator without a password", optional: true),
                ],
                options: [
                    .flag("force", "also while rows wait: they are lost"), .yes, outboxPassword,
                    CommandOption("reason", "TEXT", "why, for the audit"),
                ],
                examples: ["reeve outbox remove billing 'host=db2 dbname=billing user=postgres' --yes"]
            ) { try removeOutbox($0) },
        ])

    private static let outboxName = CommandArgument("NAME", "the outbox's name")
    private static let outboxDatabase = CommandArgument(
        "DATABASE", "the service's database without a password: any libpq URL, keyword string or service=name")
    private static let outboxPassword = CommandOption(
        "password-file", "FILE", "the file that holds the administrator's password; - for standard input")

    private static func installOutbox(_ invocation: Invocation) throws -> ExitCode {
        let database = try serviceDatabase(invocation)
        let name =
            invocation.string("name")
            ?? (database["dbname"] ?? database["service"] ?? "").lowercased()
            .replacing("_", with: "-")
        let sealer = try invocation.configuration.requireSealer()
        let control = try invocation.connect()
        defer { control.close() }
        let request = OutboxInstaller.Request(
            name: name, database: database, tenant: invocation.string("tenant"),
            blockSize: invocation.int("block") ?? 10_000, reason: invocation.string("reason"))
        do {
            try OutboxInstaller(control: control, sealer: sealer).install(request) { body in
                try invocation.change(body)
            }
        } catch let error as PostgresError where error.operation == "connect" {
            throw CommandError(
                .unavailable, "cannot reach the service's database: \(error.message)",
                hint: "check DATABASE and --password-file")
        }
        invocation.output.result(
            ["outbox": .string(name)],
            "outbox \(name) is there; grant its enqueuers: GRANT reeve_enqueuer TO <login>; workers relay it from now on"
        )
        return .done
    }

    private static func serviceDatabase(_ invocation: Invocation) throws -> ConnectionSettings {
        var settings: ConnectionSettings
        do { settings = try ConnectionSettings(invocation.argument("DATABASE")) } catch {
            throw CommandError(.usage, "DATABASE: \(error.message)")
        }
        guard settings["password"] == nil, settings["sslpassword"] == nil else {
            throw CommandError(
                .usage, "DATABASE holds a password: a command line is visible to every user of the machine",
                hint: "use --password-file FILE")
        }
        if let path = invocation.string("password-file") {
            do { settings["password"] = String(try TextFile.read(path).prefix { !$0.isNewline }) } catch {
                throw CommandError(.usage, "--password-file: cannot read \(path): \(error)")
            }
        }
        return settings
    }

    private static func showOutbox(_ invocation: Invocation) throws -> ExitCode {
        let name = invocation.argument("NAME")
        guard
            let found = try invocation.objects(
                "SELECT to_jsonb(o) FROM reeve.outbox_list o WHERE o.name = $1::text", [name]
            ).first
        else { throw CommandError(.notFound, "there is no outbox \(name)", hint: "see: reeve outbox list") }
        let refusals = try invocation.objects(
            """
            SELECT to_jsonb(r) - 'outbox_id' FROM reeve.outbox_refusal r WHERE r.outbox_id = $1::int
            ORDER BY r.at DESC LIMIT 100
            """, [found["id"]?.int])
        if invocation.output.isJSON {
            invocation.output.result(.object((found.object ?? [:]).merging(["refusals": .array(refusals)]) { $1 }), "")
            return .done
        }
        invocation.output.raw(Details(found.object ?? [:]).text)
        if !refusals.isEmpty {
            let columns = [
                Column("AT", "at", .time), Column("ROW", "row_id", .number), Column("JOB", "job_id", .number),
                Column("CODE", "code"), Column("REASON", "reason"),
            ]
            invocation.output.list(refusals, columns, empty: "")
        }
        return .done
    }

    private static func removeOutbox(_ invocation: Invocation) throws -> ExitCode {
        let name = invocation.argument("NAME")
        let isForced = invocation.flag("force")
        let database = invocation.argument("DATABASE").isEmpty ? nil : try serviceDatabase(invocation)
        let known = try invocation.objects(
            "SELECT to_jsonb(o) FROM reeve.outbox_list o WHERE o.name = $1::text", [name])
        guard let found = known.first else {
            throw CommandError(.notFound, "there is no outbox \(name)", hint: "see: reeve outbox list")
        }
        let waiting = try database.map { try OutboxInstaller.waiting(in: $0) } ?? found["waiting"]?.int ?? 0
        guard waiting == 0 || isForced else {
            throw CommandError(
                .refused, "\(waiting) rows of outbox \(name) wait to be relayed",
                hint: "wait until they are, or lose them with --force")
        }
        try invocation.confirm(
            "Remove outbox \(name)" + (database == nil ? "?" : ", with schema reeve of its database?"))
        if let database { try OutboxInstaller.uninstall(name, from: database, dropping: true) }
        try invocation.change { connection in
            _ = try connection.execute(
                "SELECT reeve.remove_outbox($1::text, $2::text)", [name, invocation.string("reason")])
        }
        invocation.output.result(["outbox": .string(name)], "outbox \(name) is removed")
        return .done
    }
}
