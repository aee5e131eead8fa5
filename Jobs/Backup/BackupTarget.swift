import Encryption
import FoundationEssentials
import JobKit
import Storage
import Synchronization

/// Where the objects of one backup go, and to whom they are encrypted.
struct BackupTarget: Sendable {
    let placement: Placement
    let recipients: TenantRecipients
    let age: AgeTool
    /// The lease id: two attempts never write the same file.
    let attempt: UUID
    let journal: ObjectJournal

    var stores: [NamedStore] { [placement.primary] + placement.copies }

    /// Stores a document that holds no row data beside the objects, in every store.
    func store(_ text: String, under key: ObjectKey) throws {
        for named in stores {
            let writer = try named.store.writer(for: key, attempt: attempt)
            try writer.write(Array(text.utf8))
            journal.add(key, in: named)
            try writer.publish()
            guard try named.store.size(of: key) == writer.bytes else {
                throw JobFailure("backup_corrupt", "\(named.store) does not hold what was written to it")
            }
        }
    }
}

/// Which objects an attempt has published, so that one that fails can take them back. Safe to use from any thread.
final class ObjectJournal: Sendable {
    private struct Entry {
        let key: ObjectKey
        let store: NamedStore
    }

    private let entries = Mutex<[Entry]>([])

    /// Notes an object, before it is published: one whose publishing failed half way may be there.
    func add(_ key: ObjectKey, in store: NamedStore) { entries.withLock { $0.append(Entry(key: key, store: store)) } }

    /// Removes all of them; what cannot be removed is logged and left to the sweep of unreferenced objects.
    func discard(_ log: Log) {
        let all = entries.withLock { entries in
            defer { entries = [] }
            return entries
        }
        for entry in all.reversed() {
            do { try entry.store.store.delete(entry.key) } catch {
                log.warning(
                    "an object of a failed backup stays",
                    ["key": .string("\(entry.key)"), "store": .string(entry.store.name)])
            }
        }
    }
}
