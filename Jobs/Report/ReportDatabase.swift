public import JobKit
public import Tenancy

extension ReportDefinition {
    /// The one of a tenant's databases that the report reads. Throws a `JobFailure` for a tenant that has none, or several of which
    /// the definition names none.
    public func store(of tenant: Tenant, among stores: [TenantStore]) throws -> TenantStore {
        guard let first = stores.first else {
            throw JobFailure(
                "report_no_store", "tenant \(tenant.code) has no database in the registry; provision it",
                .retryAfter(.seconds(300)))
        }
        if stores.count == 1 { return first }
        let names = stores.map(\.database).joined(separator: ", ")
        guard let database else {
            throw JobFailure(
                "several_stores",
                "tenant \(tenant.code) has the databases \(names) and a report reads one: name it in \(name).json with "
                    + "\"database\"", .giveUp)
        }
        let wanted = database.replacing("{code}", with: tenant.code)
        let found = stores.filter { $0.database == wanted || "\($0.server)/\($0.database)" == wanted }
        guard found.count == 1, let store = found.first else {
            throw JobFailure(
                "several_stores",
                found.isEmpty
                    ? "tenant \(tenant.code) has no database \(wanted), which \(name).json names; it has: \(names)"
                    : "tenant \(tenant.code) has \(wanted) on several servers; \(name).json must say server/database",
                .giveUp)
        }
        return store
    }
}
