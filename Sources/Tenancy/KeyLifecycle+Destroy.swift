import Encryption
public import FoundationEssentials
import Glibc
public import JobKit
import Postgres

/// What is known after destroying a key: it proves only what can be seen from here.
public struct KeyDestruction: Sendable {
    /// The key.
    public let key: UUID
    /// Recipients that can read what the key could, whatever became of it.
    public let escrow: [String]
    /// Places that held the identity and do not any more.
    public let gone: [String]
    /// Places where the identity is or may still be: another host's, or an earlier configuration's.
    public let unseen: [String]
    /// Whether the control database now calls the key destroyed.
    public let isRecorded: Bool

    /// For `--json` and the audit.
    public var json: JSON {
        [
            "key": .string(key.uuidString.lowercased()), "gone": .array(gone.map(JSON.string)),
            "unseen": .array(unseen.map(JSON.string)), "escrow": .array(escrow.map(JSON.string)),
            "destroyed": .bool(isRecorded),
        ]
    }
}

extension KeyLifecycle {
    /// Destroys one key of a tenant, or all but those whose identity the tenant alone has, and says for each what was seen. A key with
    /// places that cannot be seen from here stays `retired`, unless `acceptingUnseen`; it can be destroyed again where they are.
    /// Throws before anything is removed while a legal hold exists.
    public func destroy(_ code: String, key: UUID? = nil, reason: String, acceptingUnseen: Bool = false) throws
        -> [KeyDestruction]
    {
        let tenant = try registry.show(code)
        let store = try requireStore()
        // Before the intent: a store that cannot be used must not leave keys half destroyed.
        if try hasIdentities(tenant) { try store.check() }
        let rows = try registry.change {
            try $0.execute(
                """
                SELECT id, places, to_json(escrow) FROM reeve.begin_destroy($1::text, $2::uuid, $3::text) ORDER BY created_at
                """, [tenant.code, key, reason])
        }
        var ended: [KeyDestruction] = []
        for row in rows {
            let id = try row.uuid(0)
            let recorded = try row.json(1).array?.compactMap(IdentityPlace.init) ?? []
            do {
                let before = try store.list(id, of: tenant.id)
                let removed = try store.destroy(id, of: tenant.id)
                let left = try store.list(id, of: tenant.id)
                let known = Set(recorded + before + removed)
                let unseen =
                    known.filter { !store.isGone($0, removed: removed, left: left) }
                    + left.filter { !known.contains($0) }
                ended.append(
                    try record(
                        id, gone: known.subtracting(unseen).map(\.description).sorted(),
                        unseen: Set(unseen).map(\.description).sorted(), escrow: row.json(2).decode([String].self),
                        accepting: acceptingUnseen && left.isEmpty, tenant, reason))
            } catch {
                try failed("key.destroy", tenant, "key \(id.uuidString.lowercased())", error)
            }
        }
        return ended
    }

    /// Removes the identities of a tenant that `undo` takes back, which never had a backup: `undo` runs between the look at its keys
    /// and their end. Without a store they stay.
    public func undoing(_ code: String, _ undo: () throws -> Void) throws {
        let keys = try registry.directory.control.withConnection {
            try $0.execute(
                """
                SELECT k.id, k.tenant_id FROM reeve.tenant_key k JOIN reeve.tenant t ON t.id = k.tenant_id
                WHERE t.code = $1::text AND k.state <> 'destroyed' AND NOT k.is_own
                """, [code]
            ).map { (try $0.uuid(0), TenantID(rawValue: try $0.uuid(1))) }
        }
        try undo()
        guard let store, !keys.isEmpty else { return }
        // A login that may not delete the tenant's record leaves it, and its keys with it.
        if try registry.list().contains(where: { $0.code == code }) {
            _ = try destroy(code, reason: "the tenant was undone", acceptingUnseen: true)
        } else {
            for (key, tenant) in keys { _ = try store.destroy(key, of: tenant) }
        }
    }

    private func hasIdentities(_ tenant: TenantRecord) throws -> Bool {
        try registry.directory.control.withConnection {
            try $0.execute(
                "SELECT EXISTS (SELECT FROM reeve.tenant_key WHERE tenant_id = $1::uuid AND state <> 'destroyed' AND NOT is_own)",
                [tenant.id])[0].bool(0)
        }
    }

    private func record(
        _ id: UUID, gone: [String], unseen: [String], escrow: [String], accepting: Bool, _ tenant: TenantRecord,
        _ reason: String
    ) throws -> KeyDestruction {
        let isDestroyed = unseen.isEmpty || accepting
        let ended = KeyDestruction(key: id, escrow: escrow, gone: gone, unseen: unseen, isRecorded: isDestroyed)
        try registry.change { connection in
            if isDestroyed {
                try connection.execute("SELECT reeve.finish_destroy($1::uuid, $2::jsonb)", [id, ended.json])
            } else {
                let detail =
                    ended.json.object.map { JSON.object($0.merging(["outcome": "unfinished"]) { $1 }) } ?? ended.json
                try registry.audit(
                    connection, tenant.id, "key.destroy", "key \(id.uuidString.lowercased())", reason, detail)
            }
        }
        return ended
    }
}

extension IdentityStore {
    /// Whether a place was seen to hold the identity no more: the store took it away there, or it is on this host and is not there.
    func isGone(_ place: IdentityPlace, removed: [IdentityPlace], left: [IdentityPlace]) -> Bool {
        let isSame = { (other: IdentityPlace) in other.kind == place.kind && other.place == place.place }
        if left.contains(where: isSame) { return false }
        if removed.contains(where: isSame) { return true }
        guard place.host == IdentityPlace.thisHost else { return false }
        if place.kind == IdentityFolder.kind {
            var status = stat()
            return lstat(place.place, &status) != 0 && (errno == ENOENT || errno == ENOTDIR)
        }
        // A command's word counts for the command that is configured now.
        return self is IdentityCommand
    }
}
