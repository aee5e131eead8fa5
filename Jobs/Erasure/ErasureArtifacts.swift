import FoundationEssentials
import JobKit
import Storage

/// Reports and exports that were made of a tenant's data while the subject was in it.
struct ErasureArtifacts {
    let job: ErasureJob
    let context: JobContext
    let records: ErasureRecords

    /// What can be read as it is; others, such as PDF and archives, cannot be looked into.
    private static let readable: Set<String> = ["html", "csv", "json", "jsonl", "text", "txt", "xml", "svg"]

    /// Deletes those that the map says, with all of their copies; counts.
    func run(_ map: DataMap, _ mentions: Mentions) throws -> JSON {
        var (deleted, kept, objects) = (0, 0, 0)
        let artifacts = try records.artifacts()
        let named = try records.artifacts(mentioning: mentions)
        for (index, artifact) in artifacts.enumerated() {
            try context.throwIfStopped()
            try context.progress(done: Int64(index), of: Int64(artifacts.count), unit: "artifacts")
            guard try isToGo(artifact, map, mentions, isNamed: named.contains(artifact.id)) else {
                kept += 1
                continue
            }
            objects += try delete(artifact)
            deleted += 1
        }
        return ["deleted": .int(Int64(deleted)), "kept": .int(Int64(kept)), "objects": .int(Int64(objects))]
    }

    private func isToGo(
        _ artifact: ErasureRecords.KnownArtifact, _ map: DataMap, _ mentions: Mentions, isNamed: Bool
    ) throws -> Bool {
        switch artifact.entity == "export" ? map.exports : map.reports {
        case .retain: return false
        case .delete: return true
        case .search: if isNamed { return true }
        }
        guard !artifact.isEncrypted, let format = artifact.format, Self.readable.contains(format) else { return true }
        var isRead = false
        for text in artifact.keys {
            let key = try ownKey(text)
            guard let name = artifact.destinations.first else { return true }
            let store = try job.stores.store(named: name, for: context.tenant)
            guard try store.size(of: key) != nil else { continue }
            isRead = true
            var finder = MentionFinder(mentions)
            try store.read(key) { bytes in
                try context.throwIfStopped()
                finder.take(bytes)
            }
            if finder.isFound { return true }
        }
        // One whose objects are gone is of no use; its row goes too.
        if !isRead { try requireStores(of: artifact) }
        return !isRead
    }

    /// Throws when a store of the artifact is not there at all: what it does not show is not gone.
    private func requireStores(of artifact: ErasureRecords.KnownArtifact) throws {
        for name in artifact.destinations {
            let contents = try job.stores.store(named: name, for: context.tenant).contents(of: context.tenant.id)
            context.log.info(
                "an artifact's object is not in its store",
                ["destination": .string(name), "objects": .int(Int64(contents.objects))])
        }
    }

    private func delete(_ artifact: ErasureRecords.KnownArtifact) throws -> Int {
        try records.mark(artifact.id)
        var count = 0
        for name in artifact.destinations {
            let store = try job.stores.store(named: name, for: context.tenant)
            for text in artifact.keys {
                try context.throwIfStopped()
                let key = try ownKey(text)
                guard try store.size(of: key) != nil else {
                    if count == 0 { try requireStores(of: artifact) }
                    continue
                }
                try store.delete(key)
                guard try store.size(of: key) == nil else {
                    throw JobFailure(
                        "object_stays", "\(store) took the order to delete \(key) and still has it; is it locked?")
                }
                count += 1
            }
        }
        try records.deleted(artifact.id, objects: count)
        return count
    }

    /// A row never leads to another tenant's objects.
    private func ownKey(_ text: String) throws -> ObjectKey {
        let key = try ObjectKey(parsing: text)
        guard key.tenant == context.tenant.id else {
            throw JobFailure("foreign_key", "an artifact of \(context.tenant.code) names an object of another tenant")
        }
        return key
    }
}
