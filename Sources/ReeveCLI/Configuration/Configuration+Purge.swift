import JobKit
import Purge

extension Configuration {
    /// The hooks of the fleet; none unless a file of them is configured.
    func purgeHooks() throws -> [any PurgeHook] {
        guard let path = self[.purgeHooks] else { return [] }
        do { return try HookFile.read(path) } catch let failure as JobFailure {
            throw CommandError(
                .usage, "\(entry(.purgeHooks)?.source ?? ""): \(failure.message)",
                hint: "see the README, Churn and purge")
        }
    }
}
