import FoundationEssentials
public import JobKit
public import Postgres

/// Which rows are a subject's, as SQL without parameters: for a copy of the subject's data, made of one snapshot.
public struct SubjectCondition {
    private let map: DataMap
    private let subject: Subject

    /// Of a subject.
    public init(_ map: DataMap, _ subject: Subject) {
        self.map = map
        self.subject = subject
    }

    /// Of the subject of a request of the attempt's own tenant.
    public init(request: String, context: JobContext, control: Pool, secrets: ErasureSecrets) throws {
        let attempt = context.attempt
        let found = try UUID(uuidString: request).flatMap { id in
            try control.withConnection {
                try $0.execute(
                    "SELECT decode(r ->> 'sealed', 'hex'), r -> 'map' FROM reeve.subject_request($1::bigint, $2::uuid, $3::uuid) r",
                    [attempt.jobID, attempt.leaseID, id]
                ).first
            }
        }
        guard let row = found, let sealed = try row.optionalBytes(0) else {
            throw JobFailure(
                "export_subject", "the subject of an export is an open request; ask with: reeve erasure request",
                .giveUp)
        }
        self.init(try DataMap(row.json(1)), try secrets.open(sealed, tenant: attempt.tenant.id, purpose: .subject))
    }

    /// The condition over the columns of a table; nil when no row of it is the subject's. Ways that lead to a table already on
    /// the way are left out: cycles are followed once.
    public func sql(schema: String, table: String) -> String? {
        guard let entry = entry(schema, table) else { return nil }
        return sql(entry, schema, on: [entry.name])
    }

    private func entry(_ schema: String, _ table: String) -> DataMap.Table? {
        map.tables.first { $0.name == "\(schema).\(table)" } ?? map.tables.first { $0.name == table }
    }

    private func sql(_ table: DataMap.Table, _ schema: String, on way: Set<String>) -> String? {
        var ways: [String] = []
        for (identifier, column) in table.direct.sorted(by: { $0.key < $1.key }) {
            guard let values = subject.identifiers[identifier] else { continue }
            let name = quoteIdentifier(column)
            let forms = values.flatMap(\.forms)
            let isCaseless = map.identifiers[identifier]?.match == .caseless
            let list = forms.map { quoteLiteral($0) }.map { isCaseless ? "lower(\($0))" : $0 }
            ways.append(
                "\(isCaseless ? "lower(\(name)::text)" : "\(name)::text") IN (\(list.joined(separator: ", ")))")
        }
        for path in table.paths where !way.contains(path.table) {
            guard let parent = map.tables.first(where: { $0.name == path.table }),
                let condition = sql(parent, schema, on: way.union([path.table]))
            else { continue }
            let name = path.table.split(separator: ".", maxSplits: 1).map(String.init)
            let place = name.count == 2 ? name : [schema, path.table]
            let from = place.map { quoteIdentifier($0) }.joined(separator: ".")
            ways.append(
                "(\(path.columns.map { quoteIdentifier($0) }.joined(separator: ", "))) IN (SELECT "
                    + path.references.map { quoteIdentifier($0) }.joined(separator: ", ")
                    + " FROM \(from) WHERE \(condition))")
        }
        return ways.isEmpty ? nil : ways.joined(separator: " OR ")
    }
}
