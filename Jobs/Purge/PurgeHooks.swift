public import JobKit
public import Postgres
public import Storage

/// The hooks that a worker has, and those that the fleet has.
public struct PurgeHooks: Sendable {
    private let hooks: [any PurgeHook]
    private let control: Pool

    /// Works with these; `control` reaches the control database.
    public init(hooks: [any PurgeHook], control: Pool) {
        self.hooks = hooks
        self.control = control
    }

    /// Tells the fleet which hooks this worker has: no other one purges without them. Blocks.
    public func register() throws {
        if hooks.isEmpty { return }
        let known = hooks.map { hook -> JSON in
            [
                "name": .string(hook.name),
                "occasions": .array(hook.occasions.map(\.rawValue).sorted().map(JSON.string)),
            ]
        }
        try control.withConnection { _ = try $0.execute("SELECT reeve.register_hooks($1::jsonb)", [JSON.array(known)]) }
    }

    /// Throws a `JobFailure` when the fleet has a hook for this occasion that this worker was not started with.
    public func requireRegistered(_ occasion: HookOccasion) throws {
        let missing = try control.withConnection {
            try $0.execute(
                "SELECT h.name FROM reeve.hook h WHERE $1::text = ANY (h.occasions) AND h.name <> ALL ($2::text[]) ORDER BY 1",
                [occasion.rawValue, hooks.map(\.name)]
            ).map { try $0.text(0) }
        }
        guard missing.isEmpty else {
            throw JobFailure(
                "hook_missing",
                "the fleet has the hooks \(missing.joined(separator: ", ")), and this worker does not: set REEVE_PURGE_HOOKS here as on "
                    + "the others, or run: reeve purge hooks --forget NAME", .retryAfter(.seconds(60)))
        }
    }

    /// How much each system holds of the tenant.
    public func count(_ occasion: HookOccasion, _ tenant: Tenant, _ limits: TransferLimits) throws -> [String: JSON] {
        var found: [String: JSON] = [:]
        for hook in hooks where hook.occasions.contains(occasion) {
            found[hook.name] = .int(try hook.count(tenant, limits))
        }
        return found
    }

    /// Clears each of them and looks whether anything is left; `between` is called before each and may throw to stop.
    func clear(
        _ occasion: HookOccasion, _ tenant: Tenant, _ limits: TransferLimits, between: () throws -> Void
    ) throws -> [String: JSON] {
        var cleared: [String: JSON] = [:]
        for hook in hooks where hook.occasions.contains(occasion) {
            try between()
            let before = try hook.count(tenant, limits)
            try hook.clear(tenant, limits)
            let after = try hook.count(tenant, limits)
            guard after == 0 else {
                throw JobFailure(
                    "hook_left", "hook \(hook.name) still finds \(after) of the tenant after it was cleared")
            }
            cleared[hook.name] = ["before": .int(before), "after": .int(after)]
        }
        return cleared
    }
}

extension JobContext {
    /// What ends calls to other systems when the attempt has to end.
    var limits: TransferLimits { TransferLimits(stop: stop, deadline: deadline) }
}
