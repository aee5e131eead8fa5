import Backup
import Dumps
import Encryption
import FoundationEssentials
import JobKit
import Postgres
import Restore
import Storage
import Tenancy

/// The final backup of a tenant: outside of the tenant's prefix, under `retained/<request id>/`, encrypted to a key of its own, so that
/// neither deleting the tenant's objects nor destroying its keys reaches it, and deleting it reaches nothing else.
struct RetainedBackup {
    let job: PurgeJob
    let ledger: PurgeLedger
    let context: JobContext
    let acceptsUnseen: Bool

    /// A key pair of its own, whose identity is where the tenants' are. Killed anywhere, the next attempt begins with a new pair.
    func makeKey() throws -> JSON {
        let placement = try job.stores.placement(of: context.tenant)
        let known = try ledger.retained()
        let id = known?["key_id"]?.string.flatMap(UUID.init(uuidString:)) ?? UUID()
        try ledger.retained([
            "key_id": .string(id.uuidString.lowercased()), "destination": .string(placement.primary.name),
        ])
        let identities = try job.requireIdentities()
        if try !identities.list(id, of: context.tenant.id).isEmpty {
            _ = try identities.destroy(id, of: context.tenant.id)
        }
        let pair = try IdentityPair(supervisor: job.tools.supervisor)
        let expected = identities.destinations(id, of: context.tenant.id)
        try ledger.retained(["places": .array(expected.map(\.json))])
        let places = try identities.store(pair.identity, id, of: context.tenant.id)
        let kept = try IdentityPair.recipient(
            of: identities.fetch(id, of: context.tenant.id), supervisor: job.tools.supervisor)
        guard kept == pair.recipient else {
            throw JobFailure("key_differs", "\(identities.summary) gives back another identity than it was given")
        }
        try ledger.retained([
            "recipient": .string(pair.recipient), "places": .array(Set(expected + places).map(\.json)),
        ])
        return ["key": .string(id.uuidString.lowercased())]
    }

    /// Backs all of the tenant's databases up. What an earlier attempt left of it is removed first. Nil when the database server has no
    /// dump free now.
    func make() throws -> JSON? {
        let record = try requireRecord()
        do { try store(record.destination).removeAll(of: context.tenant.id) } catch let error as StorageError
            where error.code == .unavailable
        {
            // Nothing was ever stored there, as the step before found; the backup's first object makes the folder.
            context.log.info("the final backup's store is not there yet", ["store": .string(record.destination)])
        }
        let backup = BackupJob(
            stores: RetainedCatalog(stores: job.stores, request: ledger.request), recipients: record,
            access: job.backupAccess, policy: BackupPolicy { _ in .seconds(86_400) }, tools: job.backupTools,
            slots: job.slots)
        let outcome = try backup.run(
            BackupJob.Payload(reason: "purge \(ledger.request.uuidString.lowercased())"), in: context)
        guard case .finished(let result) = outcome else { return nil }
        let artifacts = result.artifacts.map { artifact -> JSON in
            [
                "id": .string(artifact.id.uuidString.lowercased()), "job": .int(context.attempt.jobID),
                "tenant": .string(context.tenant.id.description), "key": .string(artifact.key),
                "bytes": .int(artifact.bytes), "sha256": .string(artifact.sha256), "manifest": artifact.manifest,
            ]
        }
        let bytes = result.artifacts.reduce(0) { $0 + $1.bytes }
        try ledger.retained(["artifacts": .array(artifacts), "bytes": .int(bytes)])
        return ["databases": .int(Int64(artifacts.count)), "bytes": .int(bytes)]
    }

    /// Restores it into scratch databases and compares: nothing of the tenant is deleted before.
    func prove() throws -> JSON {
        let record = try requireRecord()
        let identities = RetainedIdentity(key: record.keyID, store: try job.requireIdentities())
        let reader = BackupReader(
            tools: job.tools, stores: RetainedCatalog(stores: job.stores, request: ledger.request),
            identities: identities)
        let proof = BackupProof(reader: reader, registry: job.registry)
        var (rows, tables): (Int64, Int) = (0, 0)
        for artifact in record.artifacts {
            try ledger.throwIfPaused()
            let found = try proof.prove(BackupRecord(artifact, of: context.tenant.id), context)
            rows += found.rows
            tables += found.tables
        }
        try ledger.retained(["proven": true])
        return ["rows": .int(rows), "tables": .int(Int64(tables))]
    }

    /// Throws when the store does not show the backup.
    func requireVisible() throws {
        let record = try requireRecord()
        let place = try store(record.destination)
        guard try place.contents(of: context.tenant.id).objects > 0 else {
            throw JobFailure(
                "retained_unseen",
                "\(place) does not show the final backup that was made there; is it mounted, and is it the same as then?",
                .retryAfter(.seconds(60)))
        }
    }

    /// Deletes the backup and then its key, and says what was seen. Safe to run again.
    func end() throws -> JSON {
        let record = try requireRecord()
        let place = try store(record.destination)
        let before = try place.contents(of: context.tenant.id)
        try place.removeAll(of: context.tenant.id)
        let left = try place.contents(of: context.tenant.id)
        guard left.isEmpty else {
            throw JobFailure("retained_left", "\(place) still holds \(left.objects) objects of the final backup")
        }
        try ledger.retained(["deleted": true])
        let destruction = try TenantKeyPurge(store: job.requireIdentities()).destroy(
            record.keyID, of: context.tenant.id, places: record.places, escrow: [])
        guard destruction.unseen.isEmpty || acceptsUnseen else { throw unseen(destruction) }
        try ledger.retained(["destruction": destruction.json])
        return [
            "objects": .int(Int64(before.objects)), "bytes": .int(before.bytes), "objects_left": 0,
            "key": destruction.json,
        ]
    }

    private func store(_ destination: String) throws -> any ObjectStore {
        try RetainedCatalog(stores: job.stores, request: ledger.request).store(named: destination, for: context.tenant)
    }

    private func requireRecord() throws -> RetainedRecord {
        guard let json = try ledger.retained(), let record = RetainedRecord(json) else {
            throw JobFailure("retained_unknown", "the final backup of this purge has no key", .giveUp)
        }
        return record
    }
}

/// What the control database says of a final backup.
struct RetainedRecord: RecipientSource {
    let keyID: UUID
    let destination: String
    let recipient: String?
    let places: JSON
    let artifacts: [JSON]

    init?(_ json: JSON) {
        guard let key = json["key_id"]?.string.flatMap(UUID.init(uuidString:)),
            let destination = json["destination"]?.string
        else { return nil }
        keyID = key
        self.destination = destination
        recipient = json["recipient"]?.string
        places = json["places"] ?? []
        artifacts = json["artifacts"]?.array ?? []
    }

    func recipients(of tenant: Tenant) throws -> TenantRecipients {
        guard let recipient else {
            throw JobFailure("retained_no_key", "the final backup's key was not made", .giveUp)
        }
        return TenantRecipients(keyID: keyID, recipients: [recipient])
    }
}

/// The one identity that opens a final backup.
private struct RetainedIdentity: IdentitySource {
    let key: UUID
    let store: any IdentityStore

    func withIdentity<T>(_ keyID: UUID, of tenant: Tenant, _ body: (String) throws -> T) throws -> T {
        guard keyID == key else {
            throw JobFailure("key_unknown", "the final backup names another key than its own", .giveUp)
        }
        return try body(try store.fetch(keyID, of: tenant.id))
    }
}

/// The same stores, below `retained/<request id>`: the primary alone, since a copy would need its own deletion.
private struct RetainedCatalog: StoreCatalog {
    let stores: any StoreCatalog
    let request: UUID

    func placement(of tenant: Tenant) throws -> Placement {
        let primary = try stores.placement(of: tenant).primary
        return Placement(primary: NamedStore(name: primary.name, store: try within(primary.store)))
    }

    func store(named name: String, for tenant: Tenant) throws -> any ObjectStore {
        try within(stores.store(named: name, for: tenant))
    }

    private func within(_ store: any ObjectStore) throws -> any ObjectStore {
        try store.within(["retained", request.uuidString.lowercased()])
    }
}

/// Places of identities that nobody can look at from here.
func unseen(_ destruction: KeyDestruction) -> JobFailure {
    JobFailure(
        "key_unseen",
        "the identity of key \(destruction.key.uuidString.lowercased()) was written to places that cannot be seen from here: "
            + destruction.unseen.joined(separator: ", ")
            + "; remove it there and run: reeve purge resume --accept-unseen", .giveUp)
}
