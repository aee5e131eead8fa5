import FoundationEssentials
import JobKit
import Storage

/// Deletes backups, and reports and exports that have expired, with all of their objects.
struct ArtifactDeletion {
    let context: JobContext
    let ledger: RetentionLedger
    let catalog: any StoreCatalog
    private var counts = (deleted: 0, artifacts: 0, failed: 0, withdrawn: 0, objects: 0)

    init(context: JobContext, ledger: RetentionLedger, catalog: any StoreCatalog) {
        self.context = context
        self.ledger = ledger
        self.catalog = catalog
    }

    /// What was done, for operators.
    var summary: [String: JSON] {
        [
            "deleted": .int(Int64(counts.deleted)), "artifacts_deleted": .int(Int64(counts.artifacts)),
            "failed": .int(Int64(counts.failed)),
            "withdrawn": .int(Int64(counts.withdrawn)), "objects_deleted": .int(Int64(counts.objects)),
        ]
    }

    /// Deletes one backup after the other. What storage refuses is recorded and does not stop the others.
    mutating func run(_ work: [RetentionLedger.Work]) throws {
        for (index, item) in work.enumerated() {
            try context.progress(done: Int64(index), of: Int64(work.count), unit: "backups")
            let marked = try ledger.begin(item.backup)
            if marked.isEmpty && item.hasBegun { try withdraw(item.backup) }
            for artifact in marked where try delete(artifact) { counts.deleted += 1 }
        }
    }

    /// Deletes what people of the tenant could have fetched, and may not any more.
    mutating func run(expired artifacts: [UUID]) throws {
        for (index, id) in artifacts.enumerated() {
            try context.progress(done: Int64(index), of: Int64(artifacts.count), unit: "artifacts")
            if let marked = try ledger.begin(expired: id), try delete(marked) { counts.artifacts += 1 }
        }
    }

    /// Whether this attempt deleted it.
    private mutating func delete(_ marked: RetentionLedger.Marked) throws -> Bool {
        var (removed, absent) = (0, 0)
        do {
            let keys = try marked.keys.map { try ownKey($0) }
            for name in marked.destinations {
                let store = try catalog.store(named: name, for: context.tenant)
                for key in keys {
                    try context.throwIfStopped()
                    if try store.size(of: key) == nil {
                        absent += 1
                        continue
                    }
                    try store.delete(key)
                    // A store that keeps versions or locks objects may take the order and keep the object.
                    guard try store.size(of: key) == nil else {
                        throw JobFailure(
                            "object_stays", "\(store) took the order to delete \(key) and still has it; is it locked?")
                    }
                    removed += 1
                }
            }
        } catch let error as Stopped {
            throw error
        } catch {
            counts.failed += 1
            counts.objects += removed
            context.log.warning(
                "an artifact could not be deleted",
                ["artifact": .string(marked.artifact.uuidString.lowercased()), "error": .string("\(error)")])
            try ledger.fail(marked.artifact, "\(error)")
            return false
        }
        counts.objects += removed
        let detail: JSON = ["objects": .int(Int64(removed)), "absent": .int(Int64(absent))]
        return try ledger.finish(marked.artifact, detail)
    }

    /// Unmarks a backup of a tenant that is held meanwhile, if it still has all of its objects.
    private mutating func withdraw(_ backup: Int64) throws {
        for object in try ledger.known() where object.backup == backup && object.isNamed {
            guard let text = object.key else { continue }
            let key = try ownKey(text)
            for name in object.destinations {
                try context.throwIfStopped()
                guard try catalog.store(named: name, for: context.tenant).size(of: key) != nil else { return }
            }
        }
        if try ledger.withdraw(backup) > 0 { counts.withdrawn += 1 }
    }

    /// A manifest never leads to another tenant's objects.
    private func ownKey(_ text: String) throws -> ObjectKey {
        let key = try ObjectKey(parsing: text)
        guard key.tenant == context.tenant.id else {
            throw JobFailure("foreign_key", "an artifact of \(context.tenant.code) names an object of another tenant")
        }
        return key
    }
}
