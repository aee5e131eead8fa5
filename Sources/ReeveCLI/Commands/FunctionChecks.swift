import JobKit
import Postgres
import Tenancy

extension DatabaseChecks {
    /// Functions that a restore in place would lead astray, since they find the tenant's schema by its name.
    static func functions(_ doctor: Doctor, _ connection: Connection) throws {
        // Without the key that opens the administrators' passwords, which has a finding of its own, nobody can look.
        guard try connection.execute("SELECT to_regclass('reeve.tenant_store') IS NOT NULL")[0].bool(0),
            try doctor.invocation.configuration.makeSealer() != nil
        else { return }
        let found = try doctor.invocation.withTenancy { registry, _ in try registry.functionsNamingSchemas() }
        let more = found.count > 10 ? " and \(found.count - 10) more" : ""
        doctor.report(
            "functions", found.isEmpty ? .ok : .warn,
            found.isEmpty
                ? "none finds a tenant's schema by its name" : found.prefix(10).joined(separator: ", ") + more,
            "they name a tenant's schema in their text or settings, which a restore into another schema does not change; "
                + "write them without the schema's name, or with a BEGIN ATOMIC body")
    }
}
