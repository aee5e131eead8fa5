import JobKit

/// The checks before every attempt that need no session (design section 6.1 to 6.4; ISO-C-001). Pure.
struct TenantCheck {
    /// The region of this fleet.
    let region: String

    /// What to do with a claimed job.
    enum Verdict: Equatable {
        case run
        case refuse(Refused)
    }

    /// Why a job does not run.
    enum Refused: Equatable {
        case hold(String, atMost: Duration?)
        case cancel(String)
        case dead(String)
    }

    /// Checks one job against the record of its tenant; nil when there is no such tenant.
    func verdict(queue: String, tenant: Tenant?, policy: JobPolicy) -> Verdict {
        guard let tenant else { return .refuse(.dead("tenant_unknown")) }
        // 6.1: the queue's prefix is the tenant's code, the dot included.
        guard queue.utf8.count > tenant.code.utf8.count + 1, queue.hasPrefix(tenant.code),
            queue.utf8[queue.utf8.index(queue.utf8.startIndex, offsetBy: tenant.code.utf8.count)] == UInt8(ascii: ".")
        else { return .refuse(.dead("queue_of_another_tenant")) }
        // 6.2: data residency. Not dead: a worker that was started with the wrong region must not end what others would run.
        guard tenant.region == region else { return .refuse(.hold("tenant_in_another_region", atMost: .seconds(300))) }
        // 6.3: the status allows the kind.
        guard policy.statuses.contains(tenant.status) else {
            switch (policy.otherwise, tenant.status) {
            case (.cancel, _): return .refuse(.cancel("tenant_\(tenant.status.rawValue)"))
            case (.hold, .suspended): return .refuse(.hold("tenant_suspended", atMost: nil))
            case (.hold, _): return .refuse(.dead("tenant_\(tenant.status.rawValue)"))
            }
        }
        // 6.4: the tier includes the feature.
        if let feature = policy.feature, !tenant.features.contains(feature) {
            return .refuse(.dead("feature_\(feature)_not_in_tier"))
        }
        return .run
    }
}
