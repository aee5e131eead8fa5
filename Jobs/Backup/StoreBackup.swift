import Crypto
import FoundationEssentials
import JobKit
import Processes
import Storage

/// The backup of one database of a tenant, in one attempt.
struct StoreBackup {
    let job: BackupJob
    let context: JobContext
    let store: BackupStore
    let reason: String?
    let keptFor: Duration

    /// Dumps, verifies and stores; on any error nothing is left in storage.
    func make() throws -> Artifact {
        var artifact: Artifact?
        try job.access.withSession(store, context) { session in
            let toolVersion = try job.tools.dumpVersion(atLeast: session.serverVersion, stop: context.stop)
            try session.inSnapshot {
                let scope = try DumpScope(of: store, tenant: context.tenant, session: session)
                let key = try ObjectKey(
                    tenant: context.tenant.id, entity: .backups, at: Date(timeIntervalSince1970: scope.time), id: UUID()
                )
                do {
                    artifact = try dump(scope, under: key, toolVersion: toolVersion)
                } catch {
                    discard(key)
                    throw error
                }
            }
        }
        guard let artifact else { throw JobFailure("backup_failed", "the session ended before the dump began") }
        return artifact
    }

    private func dump(_ scope: DumpScope, under key: ObjectKey, toolVersion: String) throws -> Artifact {
        let writer = try job.storage.writer(for: key, attempt: context.attempt.leaseID)
        defer { writer.abandon() }
        let hasher = SHA256Hasher()
        var progressAt = ContinuousClock.now
        var output: ChildProcess.Output?
        try job.access.withChildEnvironment(store, context) { environment in
            output = try ChildProcess.run(
                program: job.tools.dump, arguments: dumpArguments(of: store, tenant: context.tenant, scope: scope),
                environment: job.tools.environment.merging(environment) { _, given in given },
                supervisor: job.tools.supervisor, stop: context.stop, deadline: context.deadline
            ) { bytes in
                hasher.update(bytes)
                try writer.write(bytes)
                if progressAt + .milliseconds(500) < .now {
                    progressAt = .now
                    try context.progress(done: writer.bytes, unit: "bytes", message: "dumping \(store.database)")
                }
            }
        }
        guard let output else { throw JobFailure("backup_failed", "pg_dump was not started") }
        let warnings = try judge(output, of: "pg_dump")
        guard writer.bytes > 0 else { throw JobFailure("backup_empty", "pg_dump wrote nothing") }
        try writer.publish()
        let sha256 = hasher.finishHex()
        try verify(key, bytes: writer.bytes, sha256: sha256, rows: scope.rows)
        let manifest = BackupManifest(
            attempt: context.attempt, store: store, scope: scope, key: "\(key)", toolVersion: toolVersion,
            warnings: warnings, reason: reason, bytes: writer.bytes, sha256: sha256
        ).json
        let note = try job.storage.writer(for: key.with(.manifest), attempt: context.attempt.leaseID)
        try note.write(Array(manifest.text.utf8))
        try note.publish()
        return Artifact(
            id: key.id, entity: "backup", key: "\(key)", bytes: writer.bytes, sha256: sha256, manifest: manifest,
            keptFor: keptFor)
    }

    /// Reads back what storage holds: the same bytes, and every row of the snapshot in them.
    private func verify(_ key: ObjectKey, bytes: Int64, sha256: String, rows: [String: Int64]) throws {
        let hasher = SHA256Hasher()
        var length: Int64 = 0
        try job.storage.read(key) { piece in
            try context.throwIfStopped()
            hasher.update(piece)
            length += Int64(piece.count)
        }
        guard length == bytes, hasher.finishHex() == sha256 else {
            throw JobFailure("backup_corrupt", "storage holds other bytes than pg_dump wrote; check \(job.storage)")
        }
        guard let path = job.storage.localPath(of: key) else {
            throw JobFailure("backup_unverifiable", "pg_restore cannot read from \(job.storage)", .giveUp)
        }
        var counter = CopyRowCounter()
        let output = try ChildProcess.run(
            program: job.tools.restore, arguments: ["--data-only", "--file=-", path],
            environment: job.tools.environment, supervisor: job.tools.supervisor, stop: context.stop,
            deadline: context.deadline
        ) { counter.take($0) }
        _ = try judge(output, of: "pg_restore")
        let found = counter.rows
        for table in Set(rows.keys).union(found.keys).sorted() where rows[table] != found[table] {
            func words(_ count: Int64?) -> String { count.map { "\($0) rows" } ?? "no such table" }
            throw JobFailure(
                "backup_count_mismatch",
                "table \(table): \(words(rows[table])) in the snapshot, \(words(found[table])) in the dump")
        }
        guard !counter.isInsideTable else { throw JobFailure("backup_truncated", "the dump ends inside a table") }
    }

    /// Throws unless the program ended well and said nothing unexpected; returns its warnings.
    private func judge(_ output: ChildProcess.Output, of program: String) throws -> [String] {
        let said = StandardErrorText(output.standardError, program: program)
        guard output.exit == .exited(0) else {
            let first = said.firstError.map { ": \($0)" } ?? ""
            throw JobFailure("\(program)_failed", "\(program) ended with \(output.exit)\(first)")
        }
        guard !said.isSurprising else {
            throw JobFailure("\(program)_surprise", "\(program) reported success but also wrote what was not expected")
        }
        return said.warnings
    }

    private func discard(_ key: ObjectKey) {
        do { try job.remove(key) } catch {
            context.log.warning("a file of a failed backup stays", ["key": .string("\(key)")])
        }
    }
}
