import JobKit
import Storage

/// All that storage holds under the tenant's prefix, in every destination that has, may have or had objects of it.
struct PurgeObjects {
    let run: PurgeRun
    /// What the step `count` found: destinations stay known when the artifacts' rows are gone.
    let counted: JSON

    private struct Place {
        let name: String
        let store: any ObjectStore
        /// Whether only deleted objects were there: such a destination may be gone itself.
        let isFormer: Bool
    }

    /// What is there now, by destination. Throws when one shows nothing of what the control database knows to be there.
    func count() throws -> JSON {
        var found: [String: JSON] = [:]
        let expected = try run.ledger.expectedObjects()
        for place in try places() {
            guard let contents = try look(place, isNew: expected[place.name] == nil) else {
                found[place.name] = ["unseen": true, "former": true]
                continue
            }
            if let artifacts = expected[place.name], contents.objects == 0, run.work["accept_unseen"] != .bool(true) {
                throw JobFailure(
                    "purge_unseen",
                    "\(place.store) shows no object of the tenant, and should hold those of \(artifacts) artifacts: is it mounted, and "
                        + "the one that they were written to? If they are lost: reeve purge resume --accept-unseen",
                    .retryAfter(.seconds(300)))
            }
            found[place.name] = [
                "objects": .int(Int64(contents.objects)), "bytes": .int(contents.bytes),
                "unfinished": .int(Int64(contents.unfinished)), "former": .bool(place.isFormer),
            ]
        }
        return .object(found)
    }

    /// Removes all of it; what storage refuses, a locked object for instance, fails with its reason.
    func remove() throws -> JSON {
        var removed: [String: JSON] = [:]
        for place in try places() {
            try run.ledger.throwIfPaused()
            guard let before = try look(place, isNew: wasEmpty(place)) else {
                removed[place.name] = ["unseen": true]
                continue
            }
            let isNothing = before.isEmpty && wasEmpty(place) && place.store is FolderStore
            if !isNothing { try place.store.removeAll(of: run.context.tenant.id) }
            try run.job.at?("batch objects")
            removed[place.name] = [
                "objects": .int(Int64(before.objects)), "bytes": .int(before.bytes),
                "unfinished": .int(Int64(before.unfinished)),
            ]
        }
        return .object(removed)
    }

    /// What is left, in words.
    func left() throws -> [String] {
        try places().compactMap { place in
            guard let contents = try look(place, isNew: wasEmpty(place)), !contents.isEmpty else { return nil }
            return "\(contents.objects) objects and \(contents.unfinished) unfinished uploads in \(place.name)"
        }
    }

    /// The destinations that are looked at.
    func names() throws -> [String] { try places().map(\.name) }

    /// Whether nothing was there when it was counted.
    private func wasEmpty(_ place: Place) -> Bool {
        counted["objects"]?[place.name]?["objects"]?.int == 0
    }

    /// What a destination shows; nil for a former one that cannot be looked at.
    private func look(_ place: Place, isNew: Bool) throws -> TenantContents? {
        do { return try place.store.shown(of: run.context.tenant.id, isNew: isNew) } catch {
            guard place.isFormer, !(error is Stopped) else { throw error }
            run.context.log.warning(
                "a destination of deleted objects could not be looked at",
                ["destination": .string(place.name), "error": .string("\(error)")])
            return nil
        }
    }

    private func places() throws -> [Place] {
        let placement = try run.job.stores.placement(of: run.context.tenant)
        var stores: [String: any ObjectStore] = [:]
        for named in [placement.primary] + placement.copies { stores[named.name] = named.store }
        var (current, former) = try run.ledger.destinations()
        for (name, found) in counted["objects"]?.object ?? [:] {
            if found["former"] == .bool(true) { former.insert(name) } else { current.insert(name) }
        }
        current.formUnion(stores.keys)
        let limits = TransferLimits(stop: run.context.stop, deadline: run.context.deadline)
        return try current.union(former).sorted().compactMap { name in
            do {
                let store = try stores[name] ?? run.job.stores.store(named: name, for: run.context.tenant)
                return Place(name: name, store: store.limited(by: limits), isFormer: !current.contains(name))
            } catch {
                // One that only deleted objects were in may be gone itself.
                if current.contains(name) { throw error }
                return nil
            }
        }
    }
}

extension ObjectStore {
    /// What is there of a tenant. A folder that is not there holds nothing if it never held anything.
    func shown(of tenant: TenantID, isNew: Bool) throws -> TenantContents {
        do { return try contents(of: tenant) } catch let error as StorageError
            where error.code == .unavailable && isNew && self is FolderStore
        { return TenantContents() }
    }
}
