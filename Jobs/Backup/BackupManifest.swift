import Encryption
import FoundationEssentials
import JobKit
import Storage

/// What a backup says of itself, beside the objects and in `reeve.artifact`. It holds no row data and is not encrypted.
///
/// Format 2 has all keys of format 1; `bytes` and `sha256` are those of the stored, encrypted object of the backup's own key.
struct BackupManifest {
    let attempt: JobAttempt
    let store: BackupStore
    let scope: DumpScope
    let reference: ReferenceScope
    let target: BackupTarget
    let key: ObjectKey
    let toolVersion: String
    /// The backup's own object first.
    let results: [ArchiveResult]
    let referenceResult: ArchiveResult?
    /// Each table's digest.
    let fingerprint: [String: String]
    let reason: String?
    let seconds: Double

    private var own: SealedRecord? { results.first { $0.record.key == key }?.record }

    /// The stored bytes of the backup's own object.
    var bytes: Int64 { own?.bytes ?? 0 }

    var sha256: String { own?.sha256 ?? "" }

    var json: JSON {
        let warnings = results.flatMap(\.warnings) + reference.warnings + (referenceResult?.warnings ?? [])
        return .object(
            [
                "format": 2,
                "key": .string("\(key)"),
                "tenant": ["id": .string(attempt.tenant.id.description), "code": .string(attempt.tenant.code)],
                "store": [
                    "server": .string(store.server), "database": .string(store.database),
                    "schemas": .array(store.schemas.map(JSON.string)),
                    "isolation": .string(attempt.tenant.isolation.rawValue),
                ],
                "versions": ["pg_dump": .string(toolVersion), "server": .string(scope.serverVersion)],
                // Seconds since 1970 by the database server's clock.
                "snapshot_at": .double(scope.time),
                "rows": .object(scope.rows.mapValues(JSON.int)),
                "large_objects_left_out": 0,
                "sections": .array(
                    (attempt.tenant.isolation == .shared ? ["pre-data", "data"] : ["pre-data", "data", "post-data"])
                        .map(JSON.string)),
                "bytes": .int(bytes),
                "sha256": .string(sha256),
                "job": .int(attempt.jobID),
                "lease": .string(attempt.leaseID.uuidString.lowercased()),
                "reason": reason.map(JSON.string) ?? .null,
                "warnings": .array(warnings.map(JSON.string)),
            ].merging(second) { $1 })
    }

    /// What format 1 did not have.
    private var second: [String: JSON] {
        [
            "destination": .string(target.placement.primary.name),
            "copies": .array(target.placement.copies.map { .string($0.name) }),
            "objects": .array(results.map(object)),
            "encryption": [
                "format": "age", "key_id": .string(target.recipients.keyID.uuidString.lowercased()),
                "recipients": .array(target.recipients.recipients.map(JSON.string)),
                "tenants_own": .bool(target.recipients.isTenantsOwn),
            ],
            "extensions": .array(
                reference.extensions.map {
                    [
                        "name": .string($0.name), "version": .string($0.version), "schema": .string($0.schema),
                        "needed": .bool($0.isNeeded),
                    ]
                }),
            "reference": referenceResult.map { result in
                guard case .object(var members) = object(result) else { return .null }
                members["schemas"] = .array(reference.schemas.map(JSON.string))
                members["rows"] = .object(reference.rows.mapValues(JSON.int))
                return .object(members)
            } ?? .null,
            "fingerprint": .object(fingerprint.mapValues(JSON.string)),
            "table_bytes": .int(scope.tableBytes),
            "seconds": .double(seconds),
        ]
    }

    private func object(_ result: ArchiveResult) -> JSON {
        [
            "key": .string("\(result.record.key)"), "bytes": .int(result.record.bytes),
            "sha256": .string(result.record.sha256), "plain_bytes": .int(result.record.plainBytes),
            "plain_sha256": .string(result.record.plainSHA256),
            "sections": .array(result.archive.sections.map(JSON.string)),
            "tables": result.archive.tables.map { .array($0.map(JSON.string)) } ?? .null,
        ]
    }
}
