import JobKit
import Postgres

/// The arguments of pg_dump for one store; where to connect comes through the environment alone.
///
/// Owners and grants stay out: they name roles of this server, and provisioning makes them anew. Of a shared schema,
/// what comes after the data stays out too (indexes, constraints, policies): each tenant's policies name its login and
/// id, and the tables come from the platform's template.
func dumpArguments(of store: BackupStore, tenant: Tenant, scope: DumpScope) -> [String] {
    var arguments = [
        "--format=custom", "--snapshot=\(scope.snapshot)", "--lock-wait-timeout=30s", "--no-password", "--no-owner",
        "--no-privileges", "--no-blobs", "--no-subscriptions", "--no-publications",
    ]
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
    if scope.hasRowSecurity { arguments.append("--enable-row-security") }
    if tenant.isolation == .shared {
        arguments += ["--section=pre-data", "--section=data"]
        for sequence in scope.commonSequences { arguments.append("--exclude-table-data=" + sequence) }
    }
    return arguments
}
