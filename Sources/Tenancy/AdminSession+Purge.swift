import Glibc
import JobKit
import Postgres

// The hard delete of all that a tenant has on a database server. Each method looks at what still exists, and may run again after
// it was killed anywhere.
extension AdminSession {
    /// What a schema is called and marked as from the moment its deletion begins.
    private var purgeComment: String { "reeve purge of tenant \(tenantID)" }

    /// Why the store must not be purged as the registry has it; empty when it may.
    func purgeBlockers() throws -> [String] {
        var found = try registeredElsewhere()
        let reserved = ["public", "information_schema", "reeve", FenceSchema.name]
        for schema in store.schemas where reserved.contains(schema) || schema.hasPrefix("pg_") {
            found.append("the registry says that schema \(schema) of \(store.database) is the tenant's")
        }
        guard try databaseExists() else { return found }
        switch isolation {
        case .database:
            do { _ = try exists(.database, store.database, maintenance()) } catch let error as TenancyError {
                found.append(error.description)
            }
        case .schema:
            let connection = try database()
            for schema in store.schemas {
                do { _ = try isOwnSchema(schema, connection) } catch let error as TenancyError {
                    found.append(error.description)
                }
            }
            if found.isEmpty {
                found += try pointers(into: store.schemas.filter { try isOwnSchema($0, connection) }).map {
                    "\($0) in \(store.database) is not the tenant's and depends on what is"
                }
            }
        case .shared: found += try foreignHolders(database()).map { "\($0) in \(store.database) and is no tenant's" }
        }
        return found
    }

    /// What the registry has for other tenants, too.
    private func registeredElsewhere() throws -> [String] {
        try registry.directory.control.withConnection {
            try $0.execute(
                """
                SELECT t.code FROM reeve.tenant_store o JOIN reeve.tenant t ON t.id = o.tenant_id
                WHERE o.server = $2::text AND o.database = $3::text AND o.tenant_id <> $1::uuid
                  AND ($4::text = 'database' OR t.isolation = 'database' OR o.login = $5::text
                       OR ($4::text = 'schema' AND o.schemas && $6::text[])
                       OR ($4::text = 'shared' AND o.schemas && $6::text[]
                           AND (t.isolation <> 'shared' OR coalesce(o.setting_value, o.tenant_id::text) = $7::text)))
                ORDER BY 1
                """,
                [
                    tenantID, store.server, store.database, isolation.rawValue, store.login, store.schemas,
                    store.settingValue,
                ]
            ).map { "the registry says that what \(code) has in \(store.database) is tenant \(try $0.text(0))'s" }
        }
    }

    /// Whether a schema of the registry is there; refuses one that is not marked as this tenant's, unless the tenant was adopted
    /// with it and nobody else claims it.
    private func isOwnSchema(_ schema: String, _ connection: Connection) throws -> Bool {
        guard let row = try connection.execute(ObjectKind.schema.query, [schema]).first else { return false }
        let found = try row.optionalText(0)
        if found == comment || store.isAdopted && found?.hasPrefix("reeve ") != true { return true }
        throw TenancyError(
            .conflict, "schema \(schema) in \(store.database) is not marked as tenant \(code)'s; it is left alone")
    }

    // MARK: Counting

    /// The tenant's rows by table, as the administrator sees them; empty when the database is gone.
    func purgeCounts() throws -> [String: Int64] {
        guard try databaseExists() else { return [:] }
        let connection = try database()
        if isolation == .shared { return try countOwned(ownedTables(connection), connection) }
        let schemas = isolation == .schema ? try doomedSchemas(connection) : try ownSchemas(connection)
        try joinOwners(of: schemas, connection)
        var counts: [String: Int64] = [:]
        for row in try connection.execute(
            """
            SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = ANY ($1::text[]) AND n.nspname <> ALL ($2::text[]) AND c.relkind = 'r' ORDER BY 1
            """, [schemas, store.referenceSchemas])
        {
            let table = try row.text(0)
            counts[table] = try connection.execute("SELECT count(*) FROM ONLY \(table)")[0].int(0)
        }
        return counts
    }

    /// The tenant's schemas as they are called now: by the registry, or by the mark of a purge that has begun.
    private func doomedSchemas(_ connection: Connection) throws -> [String] {
        let marked = try connection.execute(
            "SELECT nspname FROM pg_namespace WHERE obj_description(oid, 'pg_namespace') = $1::text ORDER BY 1",
            [purgeComment]
        ).map { try $0.text(0) }
        return try store.schemas.filter { try isOwnSchema($0, connection) } + marked
    }

    /// What is still there of the tenant on the server, in words; empty when nothing is. Rows come first.
    func purgeLeftovers() throws -> [String] {
        var found = try purgeCounts().filter { $0.value > 0 || isolation != .shared }.map {
            "\($0.value) rows in \(store.database) \($0.key)"
        }
        let suffix =
            "reeve (tenant|scratch of tenant|restore of tenant|purge of tenant|before a restore of tenant) \(tenantID)"
        let connection = try maintenance()
        for (kind, query) in [
            ("database", "SELECT datname FROM pg_database WHERE shobj_description(oid, 'pg_database') ~ $1::text"),
            ("role", "SELECT rolname FROM pg_roles WHERE shobj_description(oid, 'pg_authid') ~ $1::text"),
        ] {
            found += try connection.execute(query, ["^\(suffix)$"]).map { "\(kind) \(try $0.text(0))" }
        }
        guard try databaseExists() else { return found }
        let inside = try database()
        found += try inside.execute(
            "SELECT nspname FROM pg_namespace WHERE obj_description(oid, 'pg_namespace') ~ $1::text", ["^\(suffix)$"]
        ).map { "schema \(try $0.text(0)) in \(store.database)" }
        if isolation != .database, try hasFence(inside) {
            let rows = try inside.transaction {
                try join(FenceSchema.owner, inside)
                try inside.execute("SET LOCAL ROLE \(FenceSchema.owner)")
                return try inside.execute(
                    "SELECT count(*) FROM \(FenceSchema.name).lease WHERE login = $1::name", [store.login])[0].int(0)
            }
            if rows > 0 { found.append("\(rows) rows in \(store.database) \(FenceSchema.name).lease") }
        }
        return found.sorted()
    }

    // MARK: Deleting

    /// Deletes the tenant's data on this server, with what restores kept of it; `pace` is told of each batch and may throw to stop.
    func purgeData(_ pace: (PurgeBatch) throws -> Void) throws -> Int64 {
        let blockers = try purgeBlockers()
        guard blockers.isEmpty else { throw TenancyError(.refused, blockers.joined(separator: "; ")) }
        let copies = try purgeCopies(pace)
        switch isolation {
        case .shared:
            guard try databaseExists() else { return copies }
            return try operation("admin.purge_rows", "role \(store.login)") { try deleteOwnedRows(pace) }
        case .schema:
            guard try databaseExists() else { return copies }
            return try operation("admin.purge_schemas", store.schemas.joined(separator: ", ")) {
                try condemnSchemas()
                return try dropCondemned(pace)
            }
        case .database:
            return try operation("admin.purge_database", "database \(store.database)") {
                let connection = try maintenance()
                guard try exists(.database, store.database, connection) else { return 0 }
                disconnectDatabase()
                let start = ContinuousClock.now
                try connection.execute("DROP DATABASE \(quoteIdentifier(store.database)) WITH (FORCE)")
                try pace(
                    PurgeBatch(
                        object: "database \(store.database)", rows: 1,
                        seconds: (ContinuousClock.now - start) / .seconds(1)))
                return 1
            }
        }
    }

    /// Databases that restores and drills made of this tenant's backups: scratch ones, kept ones, and those an operator asked for.
    private func purgeCopies(_ pace: (PurgeBatch) throws -> Void) throws -> Int64 {
        let connection = try maintenance()
        let rows = try connection.execute(
            """
            SELECT datname FROM pg_database
            WHERE shobj_description(oid, 'pg_database') ~ $1::text AND datname <> $2::text ORDER BY 1
            """, [TenantCopies.pattern(of: tenantID), store.database])
        for row in rows {
            let name = try row.text(0)
            try operation("admin.purge_copy", "database \(name)") {
                disconnect(name)
                try connection.execute("DROP DATABASE IF EXISTS \(quoteIdentifier(name)) WITH (FORCE)")
            }
            try pace(PurgeBatch(object: "database \(name)", rows: 1, seconds: 0))
        }
        return Int64(rows.count)
    }

    /// Takes the tenant's schemas out of everybody's sight, all in one transaction: renamed and marked.
    private func condemnSchemas() throws {
        let connection = try database()
        let stem = "reeve_purge_" + tenantID.description.replacing("-", with: "")
        try patiently(connection) {
            let own = try store.schemas.filter { try isOwnSchema($0, connection) }
            let copies = try connection.execute(
                "SELECT nspname FROM pg_namespace WHERE obj_description(oid, 'pg_namespace') ~ $1::text ORDER BY 1",
                [TenantCopies.pattern(of: tenantID, scratches: false)]
            ).map { try $0.text(0) }
            try joinOwners(of: own + copies, connection)
            var taken = Set(
                try connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE $1::text", [stem + "%"])
                    .map { try $0.text(0) })
            var number = 0
            for schema in own + copies {
                while taken.contains("\(stem)_\(number)") { number += 1 }
                let name = "\(stem)_\(number)"
                taken.insert(name)
                try connection.execute(
                    "ALTER SCHEMA \(quoteIdentifier(schema)) RENAME TO \(quoteIdentifier(name))")
                try connection.execute("COMMENT ON SCHEMA \(quoteIdentifier(name)) IS \(quoteLiteral(purgeComment))")
            }
        }
    }

    /// Drops the marked schemas, some tables in each transaction: every table takes several locks.
    private func dropCondemned(_ pace: (PurgeBatch) throws -> Void) throws -> Int64 {
        let connection = try database()
        var total: Int64 = 0
        for schema in try doomedSchemas(connection) {
            try joinOwners(of: [schema], connection)
            try dropKeysLeadingOut(of: schema, connection, pace)
            var size = BatchSize(first: 2, least: 1, most: 100)
            while true {
                let tables = try connection.execute(
                    """
                    SELECT c.oid::regclass::text, c.relkind = 'f' FROM pg_class c
                    WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'p', 'f')
                      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
                    ORDER BY c.relispartition DESC, c.relkind = 'p', c.oid DESC LIMIT $2::int8
                    """, [quoteIdentifier(schema), size.value]
                ).map { (name: try $0.text(0), isForeign: try $0.bool(1)) }
                if tables.isEmpty { break }
                let start = ContinuousClock.now
                try patiently(connection) {
                    for (list, word) in [
                        (tables.filter { !$0.isForeign }, "TABLE"), (tables.filter(\.isForeign), "FOREIGN TABLE"),
                    ]
                    where !list.isEmpty {
                        try connection.execute("DROP \(word) \(list.map(\.name).joined(separator: ", ")) CASCADE")
                    }
                }
                let seconds = (ContinuousClock.now - start) / .seconds(1)
                total += Int64(tables.count)
                let batch = PurgeBatch(object: "schema \(schema)", rows: Int64(tables.count), seconds: seconds)
                try pace(batch)
                size.adapt(to: seconds)
                batch.rest()
            }
            try patiently(connection) {
                try connection.execute("DROP SCHEMA IF EXISTS \(quoteIdentifier(schema)) CASCADE")
            }
        }
        return total
    }

    /// Drops the foreign keys by which the schema's tables refer to others: dropping such a table locks the other one, which every
    /// tenant may read, up to the transaction's end. Each key goes in a transaction of its own that waits for no disk, with pauses.
    private func dropKeysLeadingOut(
        of schema: String, _ connection: Connection, _ pace: (PurgeBatch) throws -> Void
    ) throws {
        for row in try connection.execute(
            """
            SELECT k.conrelid::regclass::text, quote_ident(k.conname) FROM pg_constraint k JOIN pg_class r ON r.oid = k.confrelid
            WHERE k.contype = 'f' AND k.conparentid = 0 AND k.connamespace = $1::text::regnamespace AND r.relnamespace <> k.connamespace
            ORDER BY k.oid
            """, [quoteIdentifier(schema)])
        {
            let (table, key) = (try row.text(0), try row.text(1))
            let start = ContinuousClock.now
            try patiently(connection, spell: "50ms") {
                try connection.execute("SET LOCAL synchronous_commit = off")
                try connection.execute("ALTER TABLE \(table) DROP CONSTRAINT \(key)")
            }
            let took = ContinuousClock.now - start
            try pace(PurgeBatch(object: "\(table) \(key)", rows: 0, seconds: took / .seconds(1)))
            usleep(useconds_t(min(100_000, max(2000, took / .microseconds(1) * 4))))
        }
    }
}
