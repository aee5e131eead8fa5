import JobKit
import Synchronization

/// The records of tenants that this worker has seen, each as new as the claim that names it.
final class TenantCache: Sendable {
    private let source: any JobSource
    private let known = Mutex<[TenantID: Tenant]>([:])

    init(source: any JobSource) { self.source = source }

    /// The records of these jobs' tenants, read again where a claim saw a newer one.
    func tenants(of jobs: [ClaimedJob]) throws -> [TenantID: Tenant] {
        var found: [TenantID: Tenant] = [:]
        var missing: Set<TenantID> = []
        known.withLock { known in
            for job in jobs where found[job.tenantID] == nil {
                if let tenant = known[job.tenantID], tenant.version >= job.tenantVersion {
                    found[job.tenantID] = tenant
                } else {
                    missing.insert(job.tenantID)
                }
            }
        }
        guard !missing.isEmpty else { return found }
        for tenant in try source.tenants(Array(missing)) { found[tenant.id] = tenant }
        known.withLock { known in
            // Bounded: a fleet of many thousand tenants must not grow a worker without end.
            if known.count > 50_000 { known.removeAll() }
            for id in missing { known[id] = found[id] }
        }
        return found
    }
}
