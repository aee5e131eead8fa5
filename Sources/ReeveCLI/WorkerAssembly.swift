import Backup
import Destinations
import Dispatch
import Encryption
import Erasure
import Export
import FoundationEssentials
import JobKit
import Notices
import Postgres
import Program
import Reminder
import Report
import Retention
import Storage
import Tenancy
import WorkerEngine

/// The composition root of a worker: the kinds it runs, each with its collaborators, and the services their contexts offer.
struct WorkerAssembly {
    let registry: JobRegistry
    let resources: JobResources
    let programs: ProgramFolders
    let control: Pool
    private let tenants: TenantRegistry
    private let stores: DestinationCatalog
    private let standard: any ObjectStore
    private let region: String?

    /// Puts a worker together from what is configured. What is missing is said by the job that needs it, and by `doctor`.
    /// Only in the restore role are there identities, and nobody else's programs.
    init(_ invocation: Invocation, settings: ConnectionSettings, role: WorkerRole) throws {
        let control = Pool(
            settings.with(["application_name": "reeve tenancy"]), bound: 4, waitTimeout: .seconds(10), name: "tenancy")
        self.control = control
        let directory = TenantDirectory(control: control, sealer: try invocation.configuration.makeSealer())
        tenants = TenantRegistry(directory: directory)
        var resources = JobResources()
        resources.add(TenantSessions(directory: directory))
        self.resources = resources
        standard = try invocation.configuration.store()
        stores = DestinationCatalog(control: control, standard: standard)
        region = invocation.configuration[.region]
        let identities: any IdentitySource =
            role == .restore
            ? TenantIdentities(control: control, store: try invocation.configuration.requireIdentityStore())
            : NoIdentities()
        let erasures = try invocation.configuration.loadKey().map { try ErasureSecrets(key: $0) }
        programs = role == .restore ? ProgramFolders([]) : try invocation.configuration.programFolders()
        let catalog = ProgramCatalog(control: control, folders: programs)
        registry = invocation.registry.assembling(
            BuiltInKinds.jobs(
                stores: stores, recipients: TenantKeys(control: control), control: control,
                splitAbove: try invocation.configuration.backupSplit(), configuration: invocation.configuration,
                erasures: erasures,
                reminders: try invocation.configuration.reminderSettings())
                + RestoreKinds.jobs(
                    stores: stores, identities: identities, registry: tenants, control: control,
                    erasures: erasures,
                    deletion: role == .restore
                        ? RestoreKinds.Deletion(
                            identities: try invocation.configuration.requireIdentityStore(),
                            signing: try invocation.configuration.signingKeyStore(),
                            hooks: try invocation.configuration.purgeHooks())
                        : nil)
        ).finding { try catalog.job($0) }
    }

    /// Removes what attempts left unfinished in the stores of this region whose worker died: nobody has written to it for a day.
    /// In the background, since a store may be large or away.
    func sweepStorage(_ log: Log) {
        DispatchQueue(label: "reeve.sweep").async {
            sweep(NamedStore(name: SingleStore.name, store: standard), log)
            do {
                guard let region else { return }
                for store in try stores.stores(in: region) { sweep(store, log) }
            } catch {
                log.warning("destinations could not be swept", ["error": .string("\(error)")])
            }
        }
    }

    /// Drops what killed attempts left of scratch databases on the region's servers, now and every ten minutes until `stop` is raised.
    /// In a thread of its own, since a server may be away.
    func sweepScratches(_ log: Log, until stop: StopSignal) {
        DispatchQueue(label: "reeve.scratches").async {
            repeat {
                do { _ = try tenants.sweepScratches(region: region, log: log) } catch {
                    log.warning("scratch databases could not be looked for", ["error": .string("\(error)")])
                }
                stop.wait(.seconds(600))
            } while stop.reason == nil
        }
    }

    private func sweep(_ named: NamedStore, _ log: Log) {
        do {
            let count = try named.store.sweep(olderThan: .seconds(86_400))
            if count > 0 {
                log.info(
                    "unfinished files removed from storage",
                    ["files": .int(Int64(count)), "destination": .string(named.name)])
            }
        } catch {
            log.warning(
                "storage could not be swept", ["error": .string("\(error)"), "destination": .string(named.name)])
        }
    }

    /// What a worker does from time to time besides the queue's own housekeeping.
    func housekeeping(_ configuration: Configuration, _ log: Log) throws -> [HousekeepingTask] {
        [
            NoticeDelivery(try configuration.noticeSettings(), control: control, log: log).task,
            try configuration.anchorTask(control: control, log), statistics,
        ].compactMap { $0 }
    }

    /// Keeps the sums that metrics and the dashboard show. Apart from the queue's own housekeeping, which must not wait for it.
    private var statistics: HousekeepingTask {
        HousekeepingTask(name: "statistics", interval: .seconds(5)) { [control] in
            let count = try control.withConnection { try $0.execute("SELECT reeve.tend_stats()")[0].int(0) }
            return HousekeepingReport(changed: Int(count))
        }
    }

    /// Closes the connections; after the worker has ended.
    func close() { control.close() }
}

extension Configuration {
    /// The storage that is configured; without any, one whose every call says what to configure.
    func store() throws -> any ObjectStore {
        guard let text = self[.storage] else { return NoStore() }
        do { return try StorageLocation(parsing: text).store() } catch {
            throw CommandError(
                .usage, "\(entry(.storage)?.source ?? ""): \(error.message)",
                hint: "for example REEVE_STORAGE=/srv/reeve or REEVE_STORAGE=s3:bucket/reeve")
        }
    }

    /// The folder of the storage, when it is one.
    private var storageFolder: String? {
        // What cannot be parsed is refused where the store is made.
        guard let text = self[.storage], case .folder(let path) = try? StorageLocation(parsing: text) else {
            return nil
        }
        return path
    }

    /// Where programs may be run from; nowhere unless it is configured. Hides from them what the worker alone may read.
    func programFolders() throws -> ProgramFolders {
        let environment = Environment.current
        let home = environment["HOME"] ?? "/nonexistent"
        let variables =
            Setting.all.filter(\.isSecret).map { $0.variable + "_FILE" } + ["PGPASSFILE", "PGSERVICEFILE", "PGSSLKEY"]
            + ["RCLONE_CONFIG", "AWS_SHARED_CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS"]
        let secrets =
            [self[.keyFile], storageFolder, self[.identities], file] + self.hidden + variables.map { environment[$0] }
            + [".pgpass", ".pg_service.conf", ".postgresql", ".config/rclone", ".aws"].map { "\(home)/\($0)" }
        let here = FileManager.default.currentDirectoryPath
        let hidden = secrets.compactMap { $0 }.map { $0.hasPrefix("/") ? $0 : "\(here)/\($0)" }
        do { return try ProgramFolders(list: self[.programs] ?? "", hidden: hidden) } catch let failure as JobFailure {
            throw CommandError(
                .usage, "\(entry(.programs)?.source ?? ""): \(failure.message)",
                hint: "for example REEVE_PROGRAMS=/opt/jobs")
        }
    }
}

/// The kinds that Reeve brings.
enum BuiltInKinds {
    /// With their collaborators: to whom a tenant's objects are encrypted among them.
    static func jobs(
        stores: any StoreCatalog, recipients: any RecipientSource, control: Pool?,
        splitAbove: Int64 = BackupPolicy.standardSplit, configuration: Configuration? = nil,
        erasures: ErasureSecrets? = nil,
        reminders: ReminderSettings? = nil
    ) -> [AnyJob] {
        [
            AnyJob(
                BackupJob(
                    stores: stores, recipients: recipients,
                    policy: BackupPolicy(splitAbove: splitAbove) { tenant in
                        guard let control else {
                            throw JobFailure("not_assembled", "this program does not run jobs", .giveUp)
                        }
                        return try retention(of: tenant, control)
                    })), retentionJob(stores: stores, control: control),
            reportJob(stores: stores, control: control, configuration: configuration),
            exportJob(stores: stores, recipients: recipients, control: control, erasures: erasures),
            reminderJob(settings: reminders, control: control),
        ]
    }

    private static func reminderJob(settings: ReminderSettings?, control: Pool?) -> AnyJob {
        if let settings, let control { return AnyJob(ReminderJob(settings: settings, control: control)) }
        return AnyJob(kind: ReminderJob.kind, policy: ReminderJob.policy, schema: ReminderJob.schema) { _, _ in
            throw JobFailure("not_assembled", "this program does not run jobs", .giveUp)
        }
    }

    private static func reportJob(
        stores: any StoreCatalog, control: Pool?, configuration: Configuration?
    ) -> AnyJob {
        if let control {
            return AnyJob(
                ReportJob(
                    library: DefinitionLibrary(folder: configuration?[.reports]), stores: stores, control: control,
                    printer: configuration?[.pdfProgram].map { PagePrinter(program: $0) }))
        }
        return AnyJob(kind: ReportJob.kind, policy: ReportJob.policy, schema: ReportJob.schema) { _, _ in
            throw JobFailure("not_assembled", "this program does not run jobs", .giveUp)
        }
    }

    private static func retentionJob(stores: any StoreCatalog, control: Pool?) -> AnyJob {
        if let control { return AnyJob(RetentionJob(catalog: stores, control: control)) }
        return AnyJob(kind: RetentionJob.kind, policy: RetentionJob.policy, schema: RetentionJob.schema) { _, _ in
            throw JobFailure("not_assembled", "this program does not run jobs", .giveUp)
        }
    }

    /// For commands that only need to know names, rules and schemas.
    static let unassembled = JobRegistry(
        placeholders: jobs(stores: SingleStore(NoStore()), recipients: NoRecipients(), control: nil)
            + RestoreKinds.unassembled)

    /// ISO-S-003: by tier, unless the tenant's record says otherwise.
    private static func retention(of tenant: Tenant, _ control: Pool) throws -> Duration {
        let days = try control.withConnection { connection in
            try connection.execute(
                """
                SELECT coalesce((t.overrides ->> 'backup_retention_days')::int, r.backup_retention_days)
                FROM reeve.tenant t JOIN reeve.tier r ON r.name = t.tier WHERE t.id = $1::uuid
                """, [tenant.id])[0].int(0)
        }
        return .seconds(days * 86_400)
    }
}
