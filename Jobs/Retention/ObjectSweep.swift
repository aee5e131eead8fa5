import FoundationEssentials
import JobKit
import Storage

/// Compares what the destinations hold of a tenant's backups, reports and exports with what its artifacts name.
struct ObjectSweep {
    let context: JobContext
    let ledger: RetentionLedger
    let catalog: any StoreCatalog
    let age: Duration
    private var counts = (swept: 0, unnamed: 0, missing: 0)
    private var unnamed: [(place: NamedStore, objects: [RetentionLedger.Unknown])] = []

    /// As many objects are asked for and removed at a time: a hold stops the rest, and the audit names each one.
    private static let page = 100

    init(context: JobContext, ledger: RetentionLedger, catalog: any StoreCatalog, age: Duration) {
        self.context = context
        self.ledger = ledger
        self.catalog = catalog
        self.age = age
    }

    /// What was found, for operators.
    var summary: [String: JSON] {
        [
            "swept": .int(Int64(counts.swept)), "unnamed_left": .int(Int64(counts.unnamed)),
            "missing": .int(Int64(counts.missing)),
        ]
    }

    /// Compares one destination after the other: those of the tenant's artifacts, and those that new ones go to. Records what is
    /// missing, so that a backup whose objects are gone is not taken for a good one.
    mutating func look() throws {
        // Before the listings: an object that is published later is in no list of what must be there.
        let known = try ledger.known()
        let placement = try catalog.placement(of: context.tenant)
        var stores: [String: any ObjectStore] = [:]
        for named in [placement.primary] + placement.copies { stores[named.name] = named.store }
        let current = Set(known.filter { $0.artifact != nil }.flatMap(\.destinations)).union(stores.keys)
        for name in Set(known.flatMap(\.destinations)).union(current).sorted() {
            try context.throwIfStopped()
            do {
                let store = try stores[name] ?? catalog.store(named: name, for: context.tenant)
                try compare(NamedStore(name: name, store: store), known)
            } catch {
                // A destination that only deleted backups were in may be gone itself.
                if current.contains(name) || error is Stopped { throw error }
                context.log.warning(
                    "a destination of deleted backups could not be looked at",
                    ["destination": .string(name), "error": .string("\(error)")])
            }
        }
    }

    /// Removes what nobody needs of what `look` found. Throws the first error after everything was tried.
    mutating func sweep() throws {
        var failure: (any Error)?
        for (place, objects) in unnamed {
            for start in stride(from: 0, to: objects.count, by: Self.page) {
                let error = try sweep(Array(objects[start..<min(start + Self.page, objects.count)]), place)
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
    }

    private mutating func compare(_ named: NamedStore, _ known: [RetentionLedger.Known]) throws {
        var found: [String: StoredObject] = [:]
        for entity in [ObjectEntity.backups, .reports, .exports] {
            try named.store.list(context.tenant.id, entity) { object in
                try context.throwIfStopped()
                found["\(object.key)"] = object
            }
        }
        try report(named, known, found)
        let names = Set(known.compactMap(\.key))
        let others = found.filter { !names.contains($0.key) }
        guard !others.isEmpty else { return }
        let whole = try wholeBackups(among: others, in: named.store)
        unnamed.append(
            (
                named,
                others.sorted { $0.key < $1.key }.map {
                    RetentionLedger.Unknown(
                        key: $0.key, modified: $0.value.modified, isWhole: whole.contains($0.key))
                }
            ))
    }

    /// Records what the destination should have and has not, or has in another size.
    private mutating func report(
        _ named: NamedStore, _ known: [RetentionLedger.Known], _ found: [String: StoredObject]
    ) throws {
        var faults: [JSON] = []
        for object in known
        where object.isNamed && !object.isDeleting && object.destinations.contains(named.name) {
            guard let text = object.key, let artifact = object.artifact else { continue }
            if let listed = found[text], object.bytes == nil || listed.bytes == object.bytes { continue }
            // Listings may lag behind; the object itself decides.
            let size = try named.store.size(of: ObjectKey(parsing: text))
            if let size, object.bytes == nil || size == object.bytes { continue }
            faults.append([
                "artifact": .string(artifact.uuidString.lowercased()), "key": .string(text),
                "fault": size == nil ? "missing" : "size",
            ])
        }
        let new = try ledger.record(faults, in: named.name)
        counts.missing += faults.count
        if new > 0 {
            context.log.error(
                "objects of artifacts are missing or have another size",
                ["destination": .string(named.name), "new": .int(new), "all": .int(Int64(faults.count))])
        }
    }

    /// The keys of backups that are there with their manifest and everything that it names.
    private func wholeBackups(
        among unnamed: [String: StoredObject], in store: any ObjectStore
    ) throws -> Set<String> {
        var whole: Set<String> = []
        for object in unnamed.values
        where object.key.entity == .backups && object.key.part == .manifest && object.bytes <= 64 << 20 {
            try context.throwIfStopped()
            var bytes: [UInt8] = []
            try store.read(object.key) { bytes += $0 }
            // What is no manifest makes no backup.
            guard let manifest = try? JSON(parsing: String(decoding: bytes, as: UTF8.self)) else { continue }
            let named = manifest["objects"]?.array?.compactMap { $0["key"]?.string } ?? []
            let keys =
                (named.isEmpty ? ["\(object.key.with(.content))"] : named)
                + [manifest["reference"]?["key"]?.string].compactMap { $0 }
            if keys.allSatisfy({ unnamed[$0] != nil }) { whole.formUnion(keys + ["\(object.key)"]) }
        }
        return whole
    }

    private mutating func sweep(
        _ objects: [RetentionLedger.Unknown], _ named: NamedStore
    ) throws -> (any Error)? {
        guard let sweepable = try ledger.beginSweep(named.name, objects, age: age) else {
            counts.unnamed += objects.count
            return nil
        }
        counts.unnamed += objects.count - sweepable.keys.count
        var removed = 0
        var failure: (any Error)?
        for text in sweepable.keys {
            try context.throwIfStopped()
            do {
                try named.store.delete(ObjectKey(parsing: text))
                removed += 1
            } catch {
                failure = failure ?? error
            }
        }
        counts.swept += removed
        try ledger.finishSweep(
            sweepable.intent, named.name, removed: Int64(removed), error: failure.map { "\($0)" })
        return failure
    }
}
