public import JobKit

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
    func count(_ context: JobContext) throws -> Int64
    /// Removes all of it.
    func clear(_ context: JobContext) throws
}
