import Dumps
import FoundationEssentials
import JobKit
import Processes
import Storage

/// What became of one archive.
struct ArchiveResult: Sendable {
    let archive: DumpArchive
    let record: SealedRecord
    let warnings: [String]
}

/// Makes archives of one snapshot: pg_dump into storage and, the same bytes, into pg_restore, which counts.
struct ArchiveRun: Sendable {
    let tools: PostgresTools
    let target: BackupTarget
    /// The key of the backup; each archive has a part of it.
    let key: ObjectKey
    /// How pg_dump connects.
    let environment: [String: String]
    let progress: DumpProgress
    /// About how many bytes a byte of a table becomes in storage.
    let density: Double
    let deadline: ContinuousClock.Instant

    /// Makes all archives, at most `width` at once; the first error stops the others and is thrown.
    func make(_ archives: [DumpArchive], width: Int, stop: StopSignal) throws -> [ArchiveResult] {
        try Abreast(width: width, stop: stop).map(archives.sorted { $0.size > $1.size }) { try make($0, stop: $1) }
    }

    private func make(_ archive: DumpArchive, stop: StopSignal) throws -> ArchiveResult {
        let object = try SealedObject(
            key.with(archive.part), target, expecting: archive.size > 0 ? Int64(Double(archive.size) * density) : nil,
            stop: stop, deadline: deadline)
        let reader = try ArchiveCount(tools, hasData: archive.hasData, stop: stop, deadline: deadline)
        var tables = 0
        let output = try ChildProcess.run(
            program: tools.dump, arguments: archive.arguments,
            environment: tools.environment.merging(environment) { _, given in given }, supervisor: tools.supervisor,
            stop: stop, deadline: deadline, isBulk: true
        ) { bytes in
            try object.write(bytes)
            try reader.write(bytes)
            try progress.add(bytes: Int64(bytes.count), tables: reader.tables - tables)
            tables = reader.tables
        }
        let warnings = try judge(output, of: "pg_dump")
        guard object.plainBytes > 0 else { throw JobFailure("backup_empty", "pg_dump wrote nothing") }
        try compare(archive.rows, try reader.finish())
        try progress.add(bytes: 0, tables: reader.tables - tables)
        return ArchiveResult(archive: archive, record: try object.publish(), warnings: warnings)
    }

    private func compare(_ rows: [String: Int64], _ found: [String: Int64]) throws {
        for table in Set(rows.keys).union(found.keys).sorted() where rows[table] != found[table] {
            func words(_ count: Int64?) -> String { count.map { "\($0) rows" } ?? "no such table" }
            throw JobFailure(
                "backup_count_mismatch",
                "table \(table): \(words(rows[table])) in the snapshot, \(words(found[table])) in the dump")
        }
    }
}
