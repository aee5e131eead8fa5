import Certificates
import Erasure
import Export
import FoundationEssentials
import JobKit
import Postgres
import Restore
import Storage

/// The kind that erases data subjects, and what restores and exports need of it.
enum ErasureKinds {
    /// With its collaborators; without secrets it refuses to run, without a signing key it certifies nothing.
    static func jobs(
        stores: any StoreCatalog, secrets: ErasureSecrets?, control: Pool, signingKeys: (any SigningKeyStore)?
    ) -> [AnyJob] {
        let certifier: any ErasureCertifier =
            signingKeys.map { Certifier(control: control, keys: SigningKeys(store: $0, control: control)) }
            ?? NoCertifier()
        return [AnyJob(ErasureJob(control: control, stores: stores, secrets: secrets, certifier: certifier))]
    }

    /// Signs certificates with the fleet's key.
    struct Certifier: ErasureCertifier {
        let control: Pool
        let keys: SigningKeys

        func certify(_ body: JSON, request: UUID, in context: JobContext) throws -> UUID? {
            let signed = try Certificate.sign(body, with: keys)
            return try control.withConnection {
                try Certificate.record(signed, kind: "erasure", request: request, attempt: context.attempt, on: $0)
            }
        }
    }

    /// Whoever was erased stays erased: replayed on restored data before anybody sees it.
    struct Replay: RestoreHook {
        let replay: LedgerReplay
        var name: String { "erasures" }

        func apply(
            _ context: JobContext, to backup: RestoredBackup,
            query: (String, [(any PostgresEncodable)?]) throws -> Rows
        ) throws -> [String: Int64] {
            try replay.apply(
                context, snapshot: backup.snapshotAt,
                scope: backup.isWholeDatabase
                    ? CatalogScope(allBut: backup.referenceSchemas) : CatalogScope(schemas: backup.schemas),
                query: query)
        }
    }

    /// The rows of the subject of a request, for a copy of the subject's data; the export's `subject` is the request's id.
    struct Subjects: SubjectMap {
        let control: Pool
        let secrets: ErasureSecrets?

        func condition(
            for subject: String, schema: String, table: String, database: String, in context: JobContext
        ) throws -> String? {
            guard let secrets else {
                throw JobFailure("no_key", "this worker has no key to open requests with; set REEVE_KEY_FILE", .giveUp)
            }
            return try SubjectCondition(request: subject, context: context, control: control, secrets: secrets)
                .sql(schema: schema, table: table)
        }
    }
}
