import FoundationEssentials
import JobKit

/// The documents of an archive: what is in it, for programs and for people.
struct ArchivePages {
    let contents: ArchiveContents

    private var tenant: Tenant { contents.context.tenant }

    /// `manifest.json`: which files there are, with rows and digests, and of which moment.
    var manifest: JSON {
        var members: [String: JSON] = [
            "format": 1, "tenant": ["id": .string(tenant.id.description), "code": .string(tenant.code)],
            "made_by": "reeve", "job": .int(contents.context.attempt.jobID),
            "snapshots": .array(
                contents.snapshots.map {
                    [
                        "database": .string($0.store.database), "at": .string(isoTime($0.time)),
                        "server_version": .string($0.serverVersion),
                    ]
                }),
            "schema_digest": .string(contents.schemaDigest),
            "spreadsheet_safe": .bool(contents.request.isSpreadsheetSafe),
            "total_rows": .int(contents.totalRows),
            "tables": .array(contents.tables.map(Self.summary)),
            "files": .array(contents.files),
            "left_out": .array(
                contents.snapshots.flatMap { snapshot in
                    snapshot.survey.leftOut.map { item in
                        .object((item.object ?? [:]).merging(["database": .string(snapshot.store.database)]) { $1 })
                    }
                }),
        ]
        if let subject = contents.request.subject { members["subject"] = .string(subject) }
        if let reason = contents.request.reason { members["reason"] = .string(reason) }
        return .object(members)
    }

    private static func summary(_ table: ArchiveContents.Table) -> JSON {
        [
            "database": .string(table.database), "schema": .string(table.table.schema),
            "name": .string(table.table.name), "rows": .int(table.rows ?? 0),
            "files": .array(
                table.files.map {
                    [
                        "file": .string($0.name), "format": .string($0.format.rawValue),
                        "bytes": .int($0.member.plainBytes), "sha256": .string($0.member.sha256),
                    ]
                }),
        ]
    }

    /// `dictionary.json`: tables, columns, types, keys and their meaning; enough to build the tables again.
    var dictionary: JSON {
        [
            "format": 1, "conventions": Self.conventions(contents.request.isSpreadsheetSafe),
            "types": .array(
                contents.snapshots.flatMap { snapshot in
                    snapshot.survey.types.map { type in
                        .object((type.object ?? [:]).merging(["database": .string(snapshot.store.database)]) { $1 })
                    }
                }),
            "tables": .array(
                contents.tables.map { table in
                    let files = Dictionary(
                        uniqueKeysWithValues: table.files.map { ($0.format.rawValue, JSON.string($0.name)) })
                    let more: [String: JSON] = [
                        "database": .string(table.database), "rows": .int(table.rows ?? 0), "files": .object(files),
                    ]
                    return .object((table.table.entry.object ?? [:]).merging(more) { $1 })
                }),
        ]
    }

    private static func conventions(_ isSpreadsheetSafe: Bool) -> JSON {
        [
            "encoding": "UTF-8", "time_zone": "UTC",
            "dates": "ISO 8601, as PostgreSQL writes them: BC years and infinity in words",
            "intervals": "ISO 8601", "binary": "hexadecimal after \\x",
            "csv":
                "RFC 4180 with a header and LF line ends, as PostgreSQL's COPY reads it: an empty field is NULL, one of two quotes is an empty text",
            "jsonl": "one JSON object per line; NULL is null, arrays and composite values are arrays and objects",
            "type":
                "the column's type in the database that was exported, where `types` defines those that are not built in",
            "portable_type": "a built-in type of PostgreSQL that can hold the values of the CSV file",
            "formulas": isSpreadsheetSafe
                ? "CSV text that a spreadsheet would take for a formula has an apostrophe before it; JSON Lines are exact"
                : "values are exact: a spreadsheet may take text that begins with = + - @ for a formula; import it as text"
                ,
        ]
    }

    /// `index.html`: the same for people.
    var page: String { IndexPage(contents: contents).html }
}
