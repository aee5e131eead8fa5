import Crypto
public import FoundationEssentials
public import JobKit
public import Postgres

/// Erases again, from restored data that nobody has seen yet, everybody who was erased after the backup was taken. Only keyed
/// hashes are known of them, so every value of the identifiers' columns is hashed and compared.
public struct LedgerReplay: Sendable {
    private let control: Pool
    private let secrets: ErasureSecrets?

    /// Reads the ledger from the control database; without secrets it refuses a tenant that has entries.
    public init(control: Pool, secrets: ErasureSecrets?) {
        self.control = control
        self.secrets = secrets
    }

    /// Changes the restored data of a backup whose snapshot is of this time; returns rows by table (`schema.table`, quoted where
    /// needed, deletions negative).
    public func apply(
        _ context: JobContext, snapshot: Date, scope: CatalogScope, query: Ask
    ) throws -> [String: Int64] {
        let attempt = context.attempt
        let entries = try control.withConnection {
            try $0.execute(
                "SELECT reeve.ledger_replay($1::bigint, $2::uuid, to_timestamp($3::float8))",
                [attempt.jobID, attempt.leaseID, snapshot.timeIntervalSince1970])[0].json(0)
        }
        guard let groups = entries.array, !groups.isEmpty else { return [:] }
        guard let secrets else {
            throw JobFailure(
                "no_key",
                "people were erased after this backup, and this worker has no key to know them by; set REEVE_KEY_FILE",
                .giveUp)
        }
        // Triggers and cascades change rows that nobody named, so what changed is counted.
        let before = try Self.rows(scope, query)
        var count: Int64 = 0
        for group in groups {
            guard let document = group["map"], let hashes = group["hashes"]?.array else { continue }
            let map = try DataMap(document)
            let known = Set(
                hashes.compactMap { entry in
                    entry["name"]?.string.flatMap { name in entry["hash"]?.string.map { "\(name) \($0)" } }
                })
            // The schema may have been another then: what is not there is left out.
            let located = LocatedMap(map, in: try Catalog(scope, query))
            let subject = try subject(known, located, context, secrets, query)
            guard !subject.identifiers.isEmpty else { continue }
            let rows = SubjectRows(located: located, subject: subject)
            let found = try rows.find(query)
            let eraser = SubjectEraser(
                rows: rows, mentions: Mentions(try rows.soughtValues(found, query)), columnHash: secrets.column,
                tenant: context.tenant.id)
            var pass = 1
            while try eraser.pass(found, query).total > 0, pass < 10 { pass += 1 }
            count += group["requests"]?.int ?? 0
        }
        context.log.info("erasures were replayed on restored data", ["requests": .int(count)])
        return try Self.rows(scope, query).merging(before.mapValues { -$0 }) { $0 + $1 }.filter { $0.value != 0 }
    }

    /// The values in the restored data whose hashes are in the ledger.
    private func subject(
        _ known: Set<String>, _ located: LocatedMap, _ context: JobContext, _ secrets: ErasureSecrets, _ query: Ask
    ) throws -> Subject {
        var values: [String: [Subject.Value]] = [:]
        for table in located.tables {
            for (identifier, column) in table.direct {
                try context.throwIfStopped()
                let name = quoteIdentifier(column.name)
                let own = located.catalog.tenantCondition.map { "\($0) AND " } ?? ""
                for row in try query(
                    """
                    SELECT v.t, normalize(v.t, NFKC) FROM
                      (SELECT DISTINCT \(name)::text AS t FROM \(table.table.qualified) WHERE \(own)\(name) IS NOT NULL) v
                    """, [])
                {
                    let normal = Subject.normal(try row.text(1))
                    let hash = Subject.hash(normal, identifier, context.tenant.id, secrets.ledger)
                    guard known.contains("\(identifier) \(hash)") else { continue }
                    values[identifier, default: []].append(Subject.Value(normal: normal, forms: [try row.text(0)]))
                }
            }
        }
        return Subject(identifiers: values)
    }

    /// Rows of every table that has rows of its own, partitions too.
    private static func rows(_ scope: CatalogScope, _ query: Ask) throws -> [String: Int64] {
        let tables = try query(
            """
            SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind = 'r' AND CASE WHEN $2::boolean THEN n.nspname <> ALL ($1::text[]) AND n.nspname !~ '^pg_'
              AND n.nspname NOT IN ('information_schema', 'reeve_fence') ELSE n.nspname = ANY ($1::text[]) END
            """, [scope.schemas, scope.isWholeDatabase]
        ).map { try $0.text(0) }
        var rows: [String: Int64] = [:]
        for table in tables { rows[table] = try query("SELECT count(*) FROM ONLY \(table)", [])[0].int(0) }
        return rows
    }
}
