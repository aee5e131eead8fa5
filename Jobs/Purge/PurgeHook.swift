public import JobKit
public import Storage

/// When a hook is run.
public enum HookOccasion: String, Sendable, CaseIterable {
    /// The tenant was suspended.
    case suspend
    /// The tenant churned.
    case churn
    /// The tenant is purged.
    case purge
}

/// A system beside the databases and stores that holds something of tenants: a cache, a search index. Each can tell what it still holds,
/// or it is refused when it is configured. Calls block; safe to use from any thread and to run again.
public protocol PurgeHook: Sendable {
    /// What operators call it.
    var name: String { get }
    /// When it is run.
    var occasions: Set<HookOccasion> { get }
    /// How much the system holds of the tenant.
    func count(_ tenant: Tenant, _ limits: TransferLimits) throws -> Int64
    /// Removes all of it.
    func clear(_ tenant: Tenant, _ limits: TransferLimits) throws
}

/// A text of an operator's in which `{tenant_id}` and `{tenant_code}` stand for a tenant's.
struct HookPattern: Sendable {
    let text: String

    /// Throws a `JobFailure` unless the text names the tenant: without, it would mean every tenant's.
    init(_ text: String, _ hook: String) throws {
        guard text.contains("{tenant_id}") || text.contains("{tenant_code}") else {
            throw JobFailure(
                "hook_config", "hook \(hook): \(text.debugDescription) holds neither {tenant_id} nor {tenant_code}",
                .giveUp)
        }
        self.text = text
    }

    /// The text for a tenant, each value changed by `escape` for where it is put.
    func text(for tenant: Tenant, escape: (String) -> String) -> String {
        text.replacing("{tenant_id}", with: escape(tenant.id.description))
            .replacing("{tenant_code}", with: escape(tenant.code))
    }
}
