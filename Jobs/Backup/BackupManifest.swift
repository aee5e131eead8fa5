import FoundationEssentials
import JobKit

/// What a backup says of itself, beside the dump and in `reeve.artifact`.
struct BackupManifest {
    let attempt: JobAttempt
    let store: BackupStore
    let scope: DumpScope
    let key: String
    let toolVersion: String
    let warnings: [String]
    let reason: String?
    let bytes: Int64
    let sha256: String

    var json: JSON {
        [
            "format": 1,
            "key": .string(key),
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
            "large_objects_left_out": .int(scope.largeObjects),
            "sections": attempt.tenant.isolation == .shared
                ? ["pre-data", "data"] : ["pre-data", "data", "post-data"],
            "bytes": .int(bytes),
            "sha256": .string(sha256),
            "job": .int(attempt.jobID),
            "lease": .string(attempt.leaseID.uuidString.lowercased()),
            "reason": reason.map(JSON.string) ?? .null,
            "warnings": .array(warnings.map(JSON.string)),
        ]
    }
}
