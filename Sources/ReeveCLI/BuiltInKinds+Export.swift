import Encryption
import Export
import JobKit
import Postgres
import Storage

extension BuiltInKinds {
    /// Exports, whose rules the control database knows.
    static func exportJob(stores: any StoreCatalog, recipients: any RecipientSource, control: Pool?) -> AnyJob {
        AnyJob(
            ExportJob(
                stores: stores, recipients: recipients,
                policy: ExportPolicy { tenant in
                    guard let control else {
                        throw JobFailure("not_assembled", "this program does not run jobs", .giveUp)
                    }
                    return try control.withConnection { connection in
                        let row = try connection.execute(
                            """
                            SELECT reeve.artifact_days($1::uuid, 'export'),
                              coalesce(reeve.grace_ends_at($1::uuid) <= reeve.clock(), false)
                            """, [tenant.id])[0]
                        return ExportPolicy.Facts(
                            keptFor: .seconds(try row.int(0) * 86_400), isGraceOver: try row.bool(1))
                    }
                }))
    }
}
