import Dumps
import Encryption
import JobKit
import Postgres
import Tenancy

/// One backup of one database, restored into a scratch database and compared: nothing of it may be used before `fill` has
/// returned (the decryption hands out bytes before it knows that they are whole).
struct ScratchRestore {
    let reader: BackupReader
    let session: RestoreSession
    let record: BackupRecord
    let copies: BackupCopies
    let context: JobContext
    let hooks: [any RestoreHook]
    /// How often the data will be on the server besides what is live: in the scratch database, and beside the live tables.
    var times = 1

    private var content: BackupContent { record.content }

    /// What was found.
    struct Filled {
        let database: String
        /// Rows by table, after the hooks.
        let rows: [String: Int64]
        let isFingerprintCompared: Bool
        let hooks: [String]
    }

    /// Makes the database, restores, compares rows and definitions with the manifest, and calls the hooks. When a store holds an
    /// object damaged, all of it is done again with the next store's.
    func fill() throws -> Filled {
        if content.encryption?.isTenantsOwn == true {
            throw JobFailure(
                "tenants_own_key",
                "backup \(record.jobID) is encrypted to a key that the tenant alone has; only its integrity can be checked",
                .giveUp)
        }
        try reader.checkManifest(of: record, tenant: context.tenant, from: copies, context)
        // A tenth for what is written besides; the scratch database's own catalogs take 8 MB.
        let bytes = record.content.restoredBytes / 10 * 11 + 8 << 20
        try session.requireRoom(for: bytes * Int64(times), "a restore of backup \(record.jobID)")
        return try copies.reading {
            let scratch = try session.makeScratch()
            do { return try fill(scratch) } catch {
                // Its room is needed by the next one; what cannot be dropped now is swept later.
                try? session.discard(scratch)
                throw error
            }
        }
    }

    private func fill(_ scratch: String) throws -> Filled {
        let isOwnDatabase = content.isolation == .database
        if !isOwnDatabase {
            try session.prepare(
                scratch, extensions: content.extensions?.map { ($0.name, $0.schema) }, schemas: content.schemas)
        }
        try restoreReference(into: scratch)
        if content.objects.count == 1 {
            try restore(content.objects[0], into: scratch, [])
        } else {
            for section in ["pre-data", "data", "post-data"] {
                for object in content.objects where object.sections.contains(section) {
                    try restore(object, into: scratch, ["--section=\(section)"])
                }
            }
        }
        var rows = try count(in: scratch)
        try compareRows(record, rows, "restored")
        let isCompared = try compareDefinitions(in: scratch)
        for hook in hooks {
            for (table, change) in try hook.apply(context, query: { try session.query(scratch, $0, $1) }) {
                rows[table, default: 0] += change
            }
        }
        if !hooks.isEmpty {
            guard try count(in: scratch) == rows else {
                throw JobFailure("restore_hook", "a hook changed other rows than it said", .giveUp)
            }
        }
        return Filled(
            database: scratch, rows: rows, isFingerprintCompared: isCompared, hooks: hooks.map(\.name))
    }

    private static let flags = ["--no-owner", "--no-privileges"]

    private func restore(_ object: DumpObject, into scratch: String, _ more: [String]) throws {
        try session.withChildEnvironment(scratch) { environment in
            let archive = try ArchiveReader(
                into: environment, arguments: Self.flags + more, tools: reader.tools, stop: context.stop,
                deadline: context.deadline)
            try feed(object, of: record, to: archive, reader, from: copies, context)
        }
    }

    /// The common data that the tables refer to: what the backup brought, or what is live for one that brought none.
    private func restoreReference(into scratch: String) throws {
        if let object = content.reference { return try restore(object, into: scratch, []) }
        let schemas = try session.liveReferences()
        if schemas.isEmpty { return }
        try session.withChildEnvironment(scratch) { target in
            let archive = try ArchiveReader(
                into: target, arguments: Self.flags, tools: reader.tools, stop: context.stop, deadline: context.deadline
            )
            do {
                try session.withChildEnvironment(nil) { source in
                    try reader.tools.dump(
                        dumpArguments(of: schemas), connection: source, stop: context.stop, deadline: context.deadline
                    ) { try archive.write($0) }
                }
            } catch {
                archive.abandon()
                throw error
            }
            try archive.finish()
        }
    }

    private func count(in scratch: String) throws -> [String: Int64] {
        let tables = try session.query(
            scratch,
            """
            SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
              AND (n.nspname = ANY ($1::text[]) OR $2::boolean AND n.nspname <> ALL ($3::text[]))
              AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
            ORDER BY 1
            """, [content.schemas, content.isolation == .database, session.store.referenceSchemas]
        ).map { try $0.text(0) }
        var rows: [String: Int64] = [:]
        for table in tables {
            try context.throwIfStopped()
            rows[table] = try session.query(scratch, "SELECT count(*) FROM ONLY \(table)")[0].int(0)
        }
        return rows
    }

    /// False when the manifest has no fingerprint to compare with.
    private func compareDefinitions(in scratch: String) throws -> Bool {
        guard let expected = content.fingerprint else { return false }
        let found = try session.transaction(scratch) {
            try SchemaFingerprint.take(of: expected.keys.sorted(), postData: content.isolation != .shared) {
                try session.query(scratch, $0, $1)
            }
        }
        for table in expected.keys.sorted() where expected[table] != found[table] {
            throw BackupFault(
                "backup_schema_mismatch",
                "table \(table) has other columns, constraints or indexes after the restore than when it was backed up")
        }
        return true
    }
}

/// The arguments of pg_dump for whole schemas; where to connect comes through the environment.
func dumpArguments(of schemas: [String]) -> [String] {
    [
        "--format=custom", "--lock-wait-timeout=30s", "--no-password", "--no-owner", "--no-privileges", "--no-blobs",
        "--no-subscriptions", "--no-publications", "--strict-names", "--compress=0",
    ] + schemas.map { "--schema=" + quoteIdentifier($0) }
}

/// Lets pg_restore read an object to its end. When it fails over damaged bytes, the damage is what is reported: the object is
/// read to its end all the same.
func feed(
    _ object: DumpObject, of record: BackupRecord, to archive: ArchiveReader, _ reader: BackupReader,
    from copies: BackupCopies, _ context: JobContext
) throws {
    var failure: JobFailure?
    do {
        try reader.read(object, of: record, tenant: context.tenant, from: copies, context) { bytes in
            guard failure == nil else { return }
            do { try archive.write(bytes) } catch let error as JobFailure { failure = error }
        }
    } catch {
        archive.abandon()
        throw error
    }
    if let failure { throw failure }
    try archive.finish()
}
