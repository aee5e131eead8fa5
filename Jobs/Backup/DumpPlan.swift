import JobKit
import Postgres
import Storage

/// One pg_dump of a backup: what it is asked for, and what must come out.
struct DumpArchive: Sendable {
    /// Which object it becomes.
    let part: ObjectKey.Part
    /// pg_dump's arguments; where to connect comes through the environment alone.
    let arguments: [String]
    /// The sections that are in it.
    let sections: [String]
    /// The tables whose data it was asked for by name; nil for all that no other archive has.
    let tables: [String]?
    /// The rows that must be in it.
    let rows: [String: Int64]
    /// How much of the database it reads, in bytes: larger ones are begun first.
    let size: Int64

    var hasData: Bool { sections.contains("data") }
}

/// The pg_dumps of one database: one, or above a size a schema and several streams of data on the same snapshot.
///
/// Owners and grants stay out: they name roles of this server, and provisioning makes them anew. Of a shared schema,
/// what comes after the data stays out too (indexes, constraints, policies): each tenant's policies name its login and
/// id, and the tables come from the platform's template.
struct DumpPlan {
    let archives: [DumpArchive]

    /// More tables than this are not named in one command line: pg_dump looks each of them up by a pattern.
    private static let namedTables = 200
    private static let mostStreams = 64

    init(of store: BackupStore, tenant: Tenant, scope: DumpScope, splitAbove: Int64) {
        let arguments = Self.common(scope) + Self.selection(store, tenant, scope)
        let isShared = tenant.isolation == .shared
        let total = scope.sizes.values.reduce(0, +)
        guard total > splitAbove, scope.rows.count > 1 else {
            let sections = isShared ? ["pre-data", "data"] : ["pre-data", "data", "post-data"]
            let limits = isShared ? sections.map { "--section=\($0)" } : []
            archives = [
                DumpArchive(
                    part: .content, arguments: arguments + limits, sections: sections, tables: nil, rows: scope.rows,
                    size: total)
            ]
            return
        }
        let definitions = isShared ? ["pre-data"] : ["pre-data", "post-data"]
        var archives = [
            DumpArchive(
                part: .content, arguments: arguments + definitions.map { "--section=\($0)" }, sections: definitions,
                tables: nil, rows: [:], size: 0)
        ]
        let groups = Self.groups(scope.sizes, of: max(1, min(splitAbove, total / 2)))
        for group in groups {
            let names = group.map { "--table=\($0)" }
            archives.append(
                DumpArchive(
                    part: .data(archives.count - 1),
                    arguments: Self.common(scope) + ["--strict-names", "--section=data"] + names
                        + scope.commonSequences.map { "--exclude-table-data=\($0)" },
                    sections: ["data"], tables: group, rows: scope.rows.filter { group.contains($0.key) },
                    size: group.reduce(0) { $0 + (scope.sizes[$1] ?? 0) }))
        }
        let named = Set(groups.joined())
        let rest = scope.rows.filter { !named.contains($0.key) }
        archives.append(
            DumpArchive(
                part: .data(archives.count - 1),
                arguments: arguments + ["--section=data"] + named.sorted().map { "--exclude-table-data=\($0)" },
                sections: ["data"], tables: nil, rows: rest, size: rest.keys.reduce(0) { $0 + (scope.sizes[$1] ?? 0) }))
        self.archives = archives
    }

    /// The large tables, largest first, packed into groups of about this size; what remains goes into one stream of its own.
    private static func groups(_ sizes: [String: Int64], of size: Int64) -> [[String]] {
        let sorted = sizes.sorted { ($0.value, $1.key) > ($1.value, $0.key) }
        var rest = sizes.values.reduce(0, +)
        var groups: [(size: Int64, tables: [String])] = []
        for (table, bytes) in sorted.prefix(namedTables) {
            if rest <= size || groups.count >= mostStreams { break }
            rest -= bytes
            if let index = groups.firstIndex(where: { $0.size + bytes <= size }) {
                groups[index].size += bytes
                groups[index].tables.append(table)
            } else {
                groups.append((bytes, [table]))
            }
        }
        return groups.map(\.tables)
    }

    /// What every dump is asked for.
    static func common(_ scope: DumpScope) -> [String] {
        [
            "--format=custom", "--snapshot=\(scope.snapshot)", "--lock-wait-timeout=30s", "--no-password", "--no-owner",
            "--no-privileges", "--no-blobs", "--no-subscriptions", "--no-publications",
            // A third less processor time than pg_dump's own 6, which pays for all that a backup does besides, and 5 % more bytes.
            "--compress=4",
        ] + (scope.hasRowSecurity ? ["--enable-row-security"] : [])
    }

    /// The tenant's tables and nothing else.
    private static func selection(_ store: BackupStore, _ tenant: Tenant, _ scope: DumpScope) -> [String] {
        var arguments: [String] = []
        // Unquoted, a pattern's |, *, ? and upper case match other schemas.
        switch tenant.isolation {
        case .database:
            for schema in store.referenceSchemas + [DumpScope.fenceSchema] {
                arguments.append("--exclude-schema=" + quoteIdentifier(schema))
            }
        case .schema, .shared:
            arguments.append("--strict-names")
            for schema in store.schemas { arguments.append("--schema=" + quoteIdentifier(schema)) }
        }
        for object in scope.leftOut { arguments.append("--exclude-table=" + object) }
        for sequence in scope.commonSequences { arguments.append("--exclude-table-data=" + sequence) }
        return arguments
    }
}
