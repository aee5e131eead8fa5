public import FoundationEssentials
public import JobKit
public import Postgres

/// A request on its way into the control database: sealed, with the hashes by which duplicates are found.
public struct ErasureFiling {
    private let sealed: [UInt8]
    private let identifiers: JSON
    private let map: DataMap

    /// Prepares a request about a subject of a tenant.
    public init(_ subject: Subject, map: DataMap, tenant: TenantID, secrets: ErasureSecrets) throws {
        sealed = try secrets.seal(subject, tenant: tenant, purpose: .subject)
        identifiers = .array(
            subject.hashes(of: tenant, secrets.ledger).map { ["name": .string($0.name), "hash": .string($0.hex)] })
        self.map = map
    }

    /// Files it, inside the caller's transaction. `received` is when the person asked, in any form that PostgreSQL reads; now
    /// when nil. Returns the request, and one about the same person that was completed before.
    public func file(
        _ code: String, purpose: String, received: String?, identity: String?, reason: String?,
        _ connection: Connection
    ) throws -> (id: UUID, dueAt: String, before: String?) {
        let document: JSON = [
            "digest": .string(map.digest), "application": .string(map.application), "version": .int(Int64(map.version)),
            "document": map.document,
        ]
        let made = try connection.execute(
            """
            SELECT reeve.request_erasure($1::text, $2::text, $3::jsonb, $4::bytea, $5::jsonb, $6::timestamptz, $7::text, $8::text)
            """, [code, purpose, identifiers, sealed, document, received, identity, reason])[0].json(0)
        guard let id = made["id"]?.string.flatMap(UUID.init(uuidString:)) else {
            throw JobFailure("erasure_request", "the database named no request", .giveUp)
        }
        return (id, made["due_at"]?.string ?? "", made["completed_before"]?.string)
    }
}
