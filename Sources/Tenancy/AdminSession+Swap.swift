import FoundationEssentials
import JobKit
import Postgres

// Putting what was restored into the place of what is live. The live data is kept under another name until an operator drops
// it. Each method may run again after it was killed anywhere.
extension AdminSession {
    /// The names under which a restore keeps what it replaced: of at most 63 bytes.
    static func keptName(_ name: String, job: Int64) -> String {
        let suffix = "_before_\(job)"
        var stem = Substring(name)
        while stem.utf8.count + suffix.utf8.count > 63 { stem = stem.dropLast() }
        return stem + suffix
    }

    var keptComment: String { "reeve before a restore of tenant \(tenantID)" }
    var stagedComment: String { "reeve restore of tenant \(tenantID)" }

    // MARK: Schemas

    /// Renames schemas of a scratch database.
    func renameInScratch(_ scratch: String, _ names: [(live: String, staged: String)]) throws {
        let connection = try self.scratch(scratch)
        for (live, staged) in names {
            try connection.execute("ALTER SCHEMA \(quoteIdentifier(live)) RENAME TO \(quoteIdentifier(staged))")
        }
    }

    /// An empty schema of this tenant beside the live ones; what an earlier attempt left there is dropped.
    func makeStaged(_ staged: String) throws {
        try operation("admin.make_staged", "schema \(staged)") {
            let connection = try database()
            try dropStagedIfThere(staged, connection)
            let owner = try stagedOwner(connection)
            try join(owner, connection)
            try connection.transaction {
                let name = quoteIdentifier(staged)
                try connection.execute("CREATE SCHEMA \(name) AUTHORIZATION \(quoteIdentifier(owner))")
                try connection.execute("COMMENT ON SCHEMA \(name) IS \(quoteLiteral(stagedComment))")
            }
        }
    }

    /// The role that owns what is restored beside the live schemas.
    func stagedOwner(_ connection: Connection) throws -> String {
        guard store.isAdopted else { return isolation == .shared ? TenantNames.sharedOwner : store.owner }
        let rows = try connection.execute(
            "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = $1::text", [store.schemas.first])
        guard let row = rows.first else { throw TenancyError(.notFound, "the tenant's schema is gone") }
        return try row.text(0)
    }

    func dropStaged(_ staged: String) throws {
        try operation("admin.drop_staged", "schema \(staged)") { try dropStagedIfThere(staged, database()) }
    }

    private func dropStagedIfThere(_ staged: String, _ connection: Connection) throws {
        guard let row = try connection.execute(ObjectKind.schema.query, [staged]).first else { return }
        guard try row.optionalText(0) == stagedComment else {
            throw TenancyError(
                .conflict, "schema \(staged) in \(store.database) exists and is no restore of tenant \(code)")
        }
        try dropSchema(staged, connection)
    }

    /// Some tables at a time, since every table takes several locks.
    private func dropSchema(_ schema: String, _ connection: Connection) throws {
        while true {
            let tables = try connection.execute(
                """
                SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'p')
                  AND NOT c.relispartition ORDER BY c.oid DESC LIMIT 100
                """, [quoteIdentifier(schema)]
            ).map { try $0.text(0) }
            if tables.count < 100 { break }
            try connection.execute("DROP TABLE \(tables.joined(separator: ", ")) CASCADE")
        }
        try connection.execute("DROP SCHEMA \(quoteIdentifier(schema)) CASCADE")
    }

    /// Gives staged schemas the owners and rights of the live ones, and the tenant's login its rights on all of them.
    func grantStaged(_ names: [(live: String, staged: String)]) throws {
        try operation("admin.grant_staged", "role \(store.login)") {
            let connection = try database()
            let login = quoteIdentifier(store.login)
            try joinOwners(of: names.map(\.live) + names.map(\.staged), connection)
            for (_, staged) in names {
                let schema = quoteIdentifier(staged)
                try connection.execute("GRANT USAGE ON SCHEMA \(schema) TO \(login)")
                try connection.execute(
                    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \(schema) TO \(login)")
                try connection.execute("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA \(schema) TO \(login)")
            }
            let statements = try identity(of: names.map(\.live), as: names.map(\.staged), connection)
            try apply(statements, connection)
        }
    }

    /// What outside of the live schemas points into them, and would go on pointing at the old tables after a swap.
    func pointers(into schemas: [String]) throws -> [String] {
        try database().execute(
            """
            SELECT DISTINCT 'constraint ' || quote_ident(k.conname) || ' of ' || k.conrelid::regclass::text
            FROM pg_constraint k JOIN pg_class r ON r.oid = k.confrelid JOIN pg_class o ON o.oid = k.conrelid
            WHERE r.relnamespace = ANY ($1::text[]::regnamespace[]) AND o.relnamespace <> ALL ($1::text[]::regnamespace[])
            UNION
            SELECT DISTINCT 'view ' || v.oid::regclass::text
            FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid AND d.classid = 'pg_rewrite'::regclass JOIN pg_class v ON v.oid = w.ev_class
            JOIN pg_class r ON r.oid = d.refobjid AND d.refclassid = 'pg_class'::regclass
            WHERE r.relnamespace = ANY ($1::text[]::regnamespace[]) AND v.relnamespace <> ALL ($1::text[]::regnamespace[])
            ORDER BY 1
            """, [schemas.map { quoteIdentifier($0) }]
        ).map { try $0.text(0) }
    }

    /// Whether the schemas are there that a swap keeps; it makes them all or none.
    func isKept(_ schemas: [String]) throws -> Bool {
        let connection = try database()
        return try schemas.allSatisfy {
            try connection.execute(ObjectKind.schema.query, [$0]).first?.optionalText(0) == keptComment
        }
    }

    /// Two renames for each schema, in one transaction that waits until nobody uses the live tables and keeps everybody out: what
    /// has read the old tables must not go on to write the new ones. Throws `restore_busy` with nothing changed when somebody
    /// still does when `patience` is over.
    func swapSchemas(_ names: [(live: String, staged: String, kept: String)]) throws {
        try operation("admin.swap_schemas", names.map { "schema \($0.live)" }.joined(separator: ", ")) {
            let connection = try database()
            if try isKept(names.map(\.kept)) { return }
            try joinOwners(of: names.map(\.live), connection)
            try whenUnused(names.map(\.live), connection) {
                for name in names {
                    let row = try connection.execute(ObjectKind.schema.query, [name.live]).first
                    guard let row else { throw TenancyError(.notFound, "schema \(name.live) is gone") }
                    let mark = try row.optionalText(0)
                    guard mark == comment || store.isAdopted && store.schemas.contains(name.live) else {
                        throw TenancyError(.conflict, "schema \(name.live) is not marked as tenant \(code)'s")
                    }
                    let (live, staged, kept) = (
                        quoteIdentifier(name.live), quoteIdentifier(name.staged), quoteIdentifier(name.kept)
                    )
                    try connection.execute("ALTER SCHEMA \(live) RENAME TO \(kept)")
                    try connection.execute("COMMENT ON SCHEMA \(kept) IS \(quoteLiteral(keptComment))")
                    try connection.execute("REVOKE ALL ON SCHEMA \(kept) FROM \(quoteIdentifier(store.login))")
                    try connection.execute("ALTER SCHEMA \(staged) RENAME TO \(live)")
                    try connection.execute("COMMENT ON SCHEMA \(live) IS \(mark.map { quoteLiteral($0) } ?? "NULL")")
                }
            }
        }
    }

    /// Runs `body` in a transaction that holds every table of the schemas alone.
    private func whenUnused(_ schemas: [String], _ connection: Connection, _ body: () throws -> Void) throws {
        let quoted = schemas.map { quoteIdentifier($0) }
        do {
            try patiently(connection) {
                let tables = try connection.execute(
                    """
                    SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = ANY ($1::text[]::regnamespace[])
                      AND c.relkind IN ('r', 'p') ORDER BY c.oid
                    """, [quoted]
                ).map { try $0.text(0) }
                if !tables.isEmpty {
                    // The lock timeout is for each table; all together must not keep others waiting for long either.
                    try connection.execute("SET LOCAL statement_timeout = '5s'")
                    try connection.execute("LOCK TABLE \(tables.joined(separator: ", ")) IN ACCESS EXCLUSIVE MODE")
                    try connection.execute("SET LOCAL statement_timeout = DEFAULT")
                }
                try body()
            }
        } catch let error as PostgresError where Self.isBusy(error) {
            let users = try tableUsers(quoted, connection)
            throw JobFailure(
                "restore_busy",
                "nothing was replaced: after \(patience) the live tables are still used by "
                    + (users.isEmpty ? "sessions that come and go" : users.joined(separator: "; "))
                    + "; stop the platform's work for tenant \(code), or end those sessions: SELECT pg_terminate_backend(pid)",
                .retryAfter(.seconds(60)))
        }
    }

    /// Who holds locks on tables of these schemas, without what they run.
    private func tableUsers(_ quoted: [String], _ connection: Connection) throws -> [String] {
        try connection.execute(
            """
            SELECT DISTINCT format('pid %s (%s, %s, %s, transaction since %s)', a.pid, coalesce(a.usename, 'unknown'),
              coalesce(nullif(a.application_name, ''), 'no application name'), coalesce(a.state, 'unknown'), a.xact_start::timestamptz(0))
            FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a ON a.pid = l.pid
            WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.granted
              AND c.relnamespace = ANY ($1::text[]::regnamespace[]) AND l.pid <> pg_backend_pid() ORDER BY 1 LIMIT 10
            """, [quoted]
        ).map { try $0.text(0) }
    }

    // MARK: Databases

    /// Makes a scratch database ready to be the store's: owners, rights, settings and the fence. Nobody can enter it yet.
    func finishSuccessor(_ scratch: String) throws {
        try operation("admin.finish_successor", "database \(scratch)") {
            let inside = try self.scratch(scratch)
            let live = try database()
            let schemas = try ownSchemas(live)
            let statements = try identity(of: schemas, as: schemas, live)
            try join(store.owner, inside)
            try joinOwners(of: schemas, inside)
            // What the live database does not have any more.
            for schema in try ownSchemas(inside) where !schemas.contains(schema) {
                try inside.execute("ALTER SCHEMA \(quoteIdentifier(schema)) OWNER TO \(quoteIdentifier(store.owner))")
            }
            for schema in store.schemas where try ownSchemas(inside).contains(schema) {
                for row in try inside.execute(
                    """
                    SELECT format('ALTER TABLE %s OWNER TO %I', c.oid::regclass, $2::text) FROM pg_class c
                    WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
                    """, [quoteIdentifier(schema), store.owner])
                {
                    try inside.execute(row.text(0))
                }
                let login = quoteIdentifier(store.login)
                try inside.execute("GRANT USAGE ON SCHEMA \(quoteIdentifier(schema)) TO \(login)")
                try inside.execute(
                    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \(quoteIdentifier(schema)) TO \(login)"
                )
                try inside.execute(
                    "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA \(quoteIdentifier(schema)) TO \(login)")
                try inside.execute("COMMENT ON SCHEMA \(quoteIdentifier(schema)) IS \(quoteLiteral(comment))")
            }
            try apply(statements, inside)
            try copyDatabaseSettings(to: scratch)
            try inside.execute(
                "ALTER DATABASE \(quoteIdentifier(scratch)) OWNER TO \(quoteIdentifier(store.owner))")
        }
        successor = scratch
        defer { successor = nil }
        try makeFence()
    }

    /// What the live database lets roles do, and the settings that sessions in it start with.
    private func copyDatabaseSettings(to scratch: String) throws {
        let connection = try maintenance()
        for row in try connection.execute(
            """
            SELECT format('GRANT %s ON DATABASE %I TO %s', a.privilege_type, $2::text,
              CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
            FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = $1::text AND a.grantee <> d.datdba
            UNION ALL
            SELECT CASE s.setrole WHEN 0 THEN format('ALTER DATABASE %I', $2::text)
              ELSE format('ALTER ROLE %I IN DATABASE %I', pg_get_userbyid(s.setrole), $2::text) END
              || format(' SET %s = ', split_part(c, '=', 1))
              || CASE split_part(c, '=', 1) WHEN 'search_path' THEN substr(c, 13) ELSE quote_literal(substr(c, position('=' IN c) + 1)) END
            FROM pg_database d JOIN pg_db_role_setting s ON s.setdatabase = d.oid, unnest(s.setconfig) c WHERE d.datname = $1::text
            """, [store.database, scratch])
        {
            try connection.execute(row.text(0))
        }
    }

    /// Two renames of databases in one transaction, while nobody may connect to either.
    func swapDatabase(_ scratch: String, kept: String) throws {
        try operation("admin.swap_database", "database \(store.database)") {
            let connection = try maintenance()
            let (live, next, old) = (quoteIdentifier(store.database), quoteIdentifier(scratch), quoteIdentifier(kept))
            func comment(of name: String) throws -> String? {
                try connection.execute(ObjectKind.database.query, [name]).first?.optionalText(0)
            }
            if try comment(of: kept) == keptComment { return }
            guard try exists(.database, store.database, connection) else {
                throw TenancyError(.notFound, "database \(store.database) is gone")
            }
            try join(store.owner, connection)
            try connection.execute("ALTER DATABASE \(live) ALLOW_CONNECTIONS false")
            do {
                disconnectDatabase()
                disconnect(scratch)
                try connection.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname IN ($1::text, $2::text)",
                    [store.database, scratch])
                try connection.transaction {
                    try connection.execute("ALTER DATABASE \(live) RENAME TO \(old)")
                    try connection.execute("COMMENT ON DATABASE \(old) IS \(quoteLiteral(keptComment))")
                    try connection.execute("REVOKE ALL ON DATABASE \(old) FROM \(quoteIdentifier(store.login))")
                    try connection.execute("ALTER DATABASE \(old) ALLOW_CONNECTIONS true")
                    try connection.execute("ALTER DATABASE \(next) RENAME TO \(live)")
                    try connection.execute("COMMENT ON DATABASE \(live) IS \(quoteLiteral(self.comment))")
                }
            } catch {
                // The database that is still live opens again; the first error is the one to report.
                _ = try? connection.execute("ALTER DATABASE \(live) ALLOW_CONNECTIONS true")
                throw error
            }
        }
    }

    /// Opens the store's database again when an attempt closed it and was killed before it could swap it.
    func reopenDatabase() throws {
        let connection = try maintenance()
        let isClosed = try connection.execute(
            "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1::text AND NOT datallowconn)", [store.database])[
                0]
        guard try isClosed.bool(0), try exists(.database, store.database, connection) else { return }
        try operation("admin.reopen_database", "database \(store.database)") {
            _ = try connection.execute("ALTER DATABASE \(quoteIdentifier(store.database)) ALLOW_CONNECTIONS true")
        }
    }

    /// Gives a scratch database its last name and keeps it: for an operator to look at.
    func keepScratch(_ scratch: String, as name: String) throws {
        try operation("admin.keep_scratch", "database \(name)") {
            let connection = try maintenance()
            if let row = try connection.execute(ObjectKind.database.query, [name]).first {
                guard try row.optionalText(0) == stagedComment else {
                    throw TenancyError(.conflict, "database \(name) exists already on \(store.server)")
                }
                // An earlier attempt's, which was restored and compared.
                return
            }
            disconnect(scratch)
            try connection.transaction {
                try connection.execute("ALTER DATABASE \(quoteIdentifier(scratch)) RENAME TO \(quoteIdentifier(name))")
                try connection.execute("COMMENT ON DATABASE \(quoteIdentifier(name)) IS \(quoteLiteral(stagedComment))")
            }
        }
    }

    // MARK: What restores kept

    /// Drops what earlier restores of this tenant kept; returns the names.
    func dropKept() throws -> [String] {
        try operation("admin.drop_kept", "of tenant \(code)") {
            var dropped: [String] = []
            let connection = try maintenance()
            for row in try connection.execute(
                "SELECT datname FROM pg_database WHERE shobj_description(oid, 'pg_database') = $1::text ORDER BY 1",
                [keptComment])
            {
                let name = try row.text(0)
                try connection.execute("DROP DATABASE \(quoteIdentifier(name)) WITH (FORCE)")
                dropped.append("database \(name)")
            }
            guard try databaseExists() else { return dropped }
            let inside = try database()
            for row in try inside.execute(
                "SELECT nspname FROM pg_namespace WHERE obj_description(oid, 'pg_namespace') = $1::text ORDER BY 1",
                [keptComment])
            {
                let name = try row.text(0)
                try dropSchema(name, inside)
                dropped.append("schema \(name)")
            }
            return dropped
        }
    }

    // MARK: Shared tables

    /// Lets the login make temporary tables, or not any more: through one, rows are copied into tables whose row-level
    /// security refuses COPY.
    func lendTemporary(_ isLent: Bool) throws {
        try operation("admin.lend_temporary", "role \(store.login)") {
            let connection = try database()
            let owner = try connection.execute(
                "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()")[0].text(0)
            let (verb, word) = isLent ? ("GRANT", "TO") : ("REVOKE", "FROM")
            try connection.transaction {
                try asRole(owner, connection) {
                    try connection.execute(
                        "\(verb) TEMPORARY ON DATABASE \(quoteIdentifier(store.database)) \(word) \(quoteIdentifier(store.login))"
                    )
                }
            }
        }
    }

    /// Raises the sequences of shared tables to these values, never lowers one: other tenants draw from them meanwhile, and
    /// wait for a moment.
    func raiseSequences(_ values: [String: Int64]) throws {
        let connection = try database()
        let low = try values.filter { try connection.execute("SELECT last_value FROM \($0.key)")[0].int(0) < $0.value }
        if low.isEmpty { return }
        try operation("admin.raise_sequences", low.keys.sorted().joined(separator: ", ")) {
            for (sequence, value) in low.sorted(by: { $0.key < $1.key }) {
                let row = try connection.execute(
                    "SELECT pg_get_userbyid(c.relowner), s.seqincrement FROM pg_class c JOIN pg_sequence s ON s.seqrelid = c.oid WHERE c.oid = $1::text::regclass",
                    [sequence])[0]
                let (owner, step) = (try row.text(0), try row.int(1))
                try patiently(connection) {
                    try asRole(owner, connection) {
                        // Its lock keeps nextval out until the end of the transaction.
                        try connection.execute("ALTER SEQUENCE \(sequence) INCREMENT BY \(step)")
                        try connection.execute(
                            "SELECT setval('\(sequence.replacing("'", with: "''"))', $1::bigint) FROM \(sequence) WHERE last_value < $1::bigint",
                            [value])
                    }
                }
            }
        }
    }
}
