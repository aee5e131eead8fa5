import Certificates
import Dumps
import Encryption
import Erasure
import JobKit
import Postgres
import Purge
import Restore
import Storage
import Tenancy

/// The kinds that read backups: on the queue `restores`, for workers that are given identities.
enum RestoreKinds {
    /// With their collaborators; without identities they can open nothing that is encrypted.
    static func jobs(
        stores: any StoreCatalog, identities: (any IdentitySource)?, registry: TenantRegistry, control: Pool,
        erasures: ErasureSecrets?, deletion: Deletion? = nil
    ) -> [AnyJob] {
        let reader = BackupReader(tools: PostgresTools(), stores: stores, identities: identities)
        return [
            AnyJob(BackupVerifyJob(reader: reader, control: control)),
            AnyJob(BackupDrillJob(reader: reader, registry: registry, control: control)),
            AnyJob(
                RestoreJob(
                    reader: reader, registry: registry, control: control,
                    hooks: [ErasureKinds.Replay(replay: LedgerReplay(control: control, secrets: erasures))])),
            AnyJob(
                PurgeJob(
                    registry: registry, control: control, stores: stores, identities: deletion?.identities,
                    signing: SigningKeys(store: deletion?.signing, control: control), hooks: deletion?.hooks ?? [])),
            AnyJob(OffboardingJob(registry: registry, control: control, hooks: deletion?.hooks ?? [])),
        ] + ErasureKinds.jobs(stores: stores, secrets: erasures, control: control, signingKeys: deletion?.signing)
    }

    /// What deleting for good needs besides: where identities are, what signs certificates, and other systems that hold something.
    struct Deletion {
        let identities: any IdentityStore
        let signing: (any SigningKeyStore)?
        let hooks: [any PurgeHook]
    }

    /// For commands that only need to know names, rules and schemas; their pool is never used.
    static var unassembled: [AnyJob] {
        let control = Pool(ConnectionSettings(options: [:]), bound: 1, name: "none")
        return jobs(
            stores: SingleStore(NoStore()), identities: nil,
            registry: TenantRegistry(directory: TenantDirectory(control: control, sealer: nil)), control: control,
            erasures: nil)
    }
}
