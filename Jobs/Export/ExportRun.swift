import Encryption
import FoundationEssentials
import JobKit
import Postgres
import Storage

/// One attempt at an export: a snapshot of every database, then the archive, on this thread.
struct ExportRun {
    let job: ExportJob
    let context: JobContext
    let request: ExportRequest
    let placement: Placement
    let recipients: TenantRecipients?
    let start: ContinuousClock.Instant

    /// An archive that is published, and how to take it back.
    struct Made {
        let key: ObjectKey
        let object: ArchiveObject
        let bytes: Int64
        let sha256: String
        /// What the artifact says of itself.
        let manifest: JSON
    }

    /// Exports all of the tenant's databases.
    func make(_ stores: [ExportStore]) throws -> Made {
        guard !stores.isEmpty else {
            throw JobFailure(
                "export_no_store", "tenant \(context.tenant.code) has no database in the registry; provision it")
        }
        var made: Made?
        try withSnapshots(stores[...], []) { made = try write($0) }
        guard let made else { throw JobFailure("export_failed", "the session ended before the export began") }
        return made
    }

    /// Holds a snapshot of each database while `body` runs.
    private func withSnapshots(
        _ rest: ArraySlice<ExportStore>, _ held: [HeldSnapshot], _ body: ([HeldSnapshot]) throws -> Void
    ) throws {
        guard let store = rest.first else { return try body(held) }
        try context.throwIfStopped()
        var attempt = 1
        while true {
            var isChanged = false
            try job.access.withSession(store, context, stop: context.stop) { session in
                let names = try TableSurvey.names(of: store, tenant: context.tenant, session: session)
                try session.inSnapshot {
                    try TableSurvey.lock(names, session: session)
                    try TableCopy.settle(session)
                    let snapshot = try HeldSnapshot(store, context.tenant, session)
                    // What was made between the lock and the snapshot is in the one and not under the other.
                    isChanged = Set(snapshot.survey.tables.map(\.qualified)) != Set(names)
                    if !isChanged { try withSnapshots(rest.dropFirst(), held + [snapshot], body) }
                }
            }
            guard isChanged else { return }
            attempt += 1
            guard attempt <= 5 else {
                throw JobFailure("export_schema_moves", "tables of \(store.database) are made or dropped all the time")
            }
        }
    }

    private func write(_ snapshots: [HeldSnapshot]) throws -> Made {
        let first = snapshots[0]
        let made = Date(timeIntervalSince1970: first.time)
        let key = try ObjectKey(tenant: context.tenant.id, entity: .exports, at: made, id: UUID())
        let object = try ArchiveObject(key, in: placement, for: recipients, age: job.age, context: context)
        let zip = ZipWriter(made: made) { try object.write($0) }
        var contents = ArchiveContents(request: request, context: context, snapshots: snapshots)
        var progress = ExportProgress(context, estimate: contents.estimate)
        for snapshot in snapshots {
            let tasks = try contents.tasks(of: snapshot, subjects: job.subjects)
            let producers = MemberProducers(
                tasks, of: snapshot.store, snapshot: snapshot.id, access: job.access, tools: job.tools, context: context
            )
            try producers.run(width: job.rules.connections) { task, stop in
                try add(task, to: zip, &contents, stop: stop) { try progress.show(producers.rows, task.name) }
            }
            progress.add(producers.rows)
        }
        try addFiles(to: zip, &contents)
        let encoder = ArchivePages(contents: contents)
        for (name, text) in [
            ("manifest.json", encoder.manifest.text + "\n"), ("dictionary.json", encoder.dictionary.text + "\n"),
            ("index.html", encoder.page),
        ] {
            try add(name, to: zip) { sink in try Array(text.utf8).withUnsafeBytes { try sink($0) } }
        }
        try zip.finish()
        let stored = try object.publish(context.log)
        let seconds = ((ContinuousClock.now - start) / .milliseconds(1)).rounded() / 1000
        let summary = contents.artifactManifest(
            placement: placement, recipients: recipients, plainBytes: object.plainBytes, seconds: seconds)
        return Made(key: key, object: object, bytes: stored.bytes, sha256: stored.sha256, manifest: summary)
    }

    /// Empties a table's pipe into the archive.
    private func add(
        _ task: ExportTask, to zip: ZipWriter, _ contents: inout ArchiveContents, stop: StopSignal,
        progress: () throws -> Void
    ) throws {
        var isBegun = false
        while true {
            try progress()
            switch try task.pipe.next(stop: stop) {
            case nil: continue
            case .piece(let piece)?:
                if !isBegun { try zip.begin(task.name) }
                isBegun = true
                try zip.write(piece)
            case .end(let member, let rows)?:
                try Self.end(member, task.name, in: zip, isBegun: isBegun)
                return try contents.add(task, member, rows: rows)
            }
        }
    }

    private func addFiles(to zip: ZipWriter, _ contents: inout ArchiveContents) throws {
        guard request.subject == nil else { return }
        var names = contents.names
        var added: [JSON] = []
        try job.files.files(of: context) { name, body in
            try context.throwIfStopped()
            let member = names.file(name)
            let encoded = try add(member, to: zip, body)
            added.append([
                "file": .string(member), "name": .string(Log.printable(String(name.prefix(1000)))),
                "bytes": .int(encoded.plainBytes), "sha256": .string(encoded.sha256),
            ])
        }
        contents.files = added
    }

    /// Adds a member whose bytes `body` gives to a sink.
    @discardableResult
    private func add(
        _ name: String, to zip: ZipWriter,
        _ body: (_ sink: (UnsafeRawBufferPointer) throws -> Void) throws -> Void
    ) throws -> EncodedMember {
        var isBegun = false
        let encoder = MemberEncoder(tools: job.tools, stop: context.stop, deadline: context.deadline) { piece in
            if !isBegun { try zip.begin(name) }
            isBegun = true
            try zip.write(piece)
        }
        try body { try encoder.write($0) }
        let member = try encoder.finish()
        try Self.end(member, name, in: zip, isBegun: isBegun)
        return member
    }

    private static func end(_ member: EncodedMember, _ name: String, in zip: ZipWriter, isBegun: Bool) throws {
        if let stored = member.stored { return try zip.add(name, stored: stored, crc: member.crc) }
        // A short member may come out of the compressor with its end alone.
        if !isBegun { try zip.begin(name) }
        try zip.end(member)
    }
}

/// A snapshot that a session holds, and what it shows.
struct HeldSnapshot: Sendable {
    let store: ExportStore
    let id: String
    /// By the server's clock, in seconds since 1970.
    let time: Double
    let serverVersion: String
    let survey: TableSurvey

    init(_ store: ExportStore, _ tenant: Tenant, _ session: any ExportSession) throws {
        self.store = store
        survey = try TableSurvey(of: store, tenant: tenant, session: session)
        let row = try session.query(
            """
            SELECT pg_catalog.pg_export_snapshot(), extract(epoch FROM transaction_timestamp())::float8,
              current_setting('server_version')
            """)[0]
        id = try row.text(0)
        time = try row.double(1)
        serverVersion = try row.text(2)
    }
}

/// Says how far an export is, at most twice a second.
struct ExportProgress {
    private let context: JobContext
    private let estimate: Int64
    private var before: Int64 = 0
    private var next = ContinuousClock.now

    init(_ context: JobContext, estimate: Int64) {
        self.context = context
        self.estimate = estimate
    }

    mutating func add(_ rows: Int64) { before += rows }

    mutating func show(_ rows: Int64, _ member: String) throws {
        guard next <= .now else { return }
        next = .now + .milliseconds(500)
        // Statistics may be old: what is done is never more than all.
        try context.progress(done: before + rows, of: max(estimate, before + rows), unit: "rows", message: member)
    }
}
