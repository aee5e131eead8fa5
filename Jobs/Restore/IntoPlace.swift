import Dumps
import JobKit
import Postgres
import Tenancy

/// From a scratch database to where the data belongs.
struct IntoPlace {
    let session: RestoreSession
    let record: BackupRecord
    let filled: ScratchRestore.Filled
    let context: JobContext
    let tools: PostgresTools

    /// Into a new schema of the tenant's database, which only the operator can read.
    func schema(_ target: String) throws -> [String: JSON] {
        let schemas = record.content.schemas
        guard schemas.count == 1 else {
            throw JobFailure(
                "restore_several_schemas",
                "the backup holds \(schemas.count) schemas; restore it with --into-database", .giveUp)
        }
        let names = [(live: schemas[0], staged: target)]
        let mentions = try session.mentions(of: schemas, in: filled.database)
        do { try beside(names) } catch {
            // What is left is dropped by the next attempt.
            try? session.dropStaged(target)
            throw error
        }
        return ["into": .string(target), "functions_that_name_the_schema": .array(mentions.map(JSON.string))]
    }

    /// In place of the live schemas, which are kept beside.
    func liveSchemas(_ between: ((String) throws -> Void)?) throws -> [String: JSON] {
        let live = session.store.schemas
        guard Set(live) == Set(record.content.schemas) else {
            throw JobFailure(
                "restore_other_schemas",
                "the backup holds schemas \(record.content.schemas.sorted().joined(separator: ", ")), the tenant has "
                    + live.sorted().joined(separator: ", "), .giveUp)
        }
        let pointers = try session.pointers()
        guard pointers.isEmpty else {
            throw JobFailure(
                "restore_pointers",
                "these would go on pointing at the old tables: \(pointers.prefix(10).joined(separator: ", ")); drop them, "
                    + "or restore with --into-schema", .giveUp)
        }
        let names = live.indices.map { (live: live[$0], staged: session.stagedName($0)) }
        let mentions = try session.mentions(of: live, in: filled.database)
        try beside(names)
        try session.grantStaged(names)
        try between?("staged")
        try context.throwIfStopped()
        let swaps = names.map { (live: $0.live, staged: $0.staged, kept: session.keptName($0.live)) }
        try session.swap(swaps)
        return [
            "kept": .array(swaps.map { .string($0.kept) }),
            "functions_that_name_the_schema": .array(mentions.map(JSON.string)),
        ]
    }

    /// In place of the live database, which is kept beside.
    func liveDatabase() throws -> [String: JSON] {
        try session.finishSuccessor(filled.database)
        try context.throwIfStopped()
        try session.swapDatabase(filled.database)
        return ["kept": .array([.string(session.keptName(session.store.database))])]
    }

    /// Renames in the scratch database, dumps again and restores beside what is live, then compares the rows once more.
    private func beside(_ names: [(live: String, staged: String)]) throws {
        try session.rename(in: filled.database, names)
        var owner = ""
        for name in names { owner = try session.makeStaged(name.staged) }
        // With a schema named, pg_restore makes no schemas: they are there, and marked as the tenant's.
        let flags =
            ["--no-owner", "--no-privileges", "--role=\(owner)"] + names.map { "--schema=\($0.staged)" }
        try session.withChildEnvironment(nil) { target in
            let archive = try ArchiveReader(
                into: target, arguments: flags, tools: tools, stop: context.stop, deadline: context.deadline)
            do {
                try session.withChildEnvironment(filled.database) { source in
                    try tools.dump(
                        dumpArguments(of: names.map(\.staged)), connection: source, stop: context.stop,
                        deadline: context.deadline
                    ) { try archive.write($0) }
                }
            } catch {
                archive.abandon()
                throw error
            }
            try archive.finish()
        }
        for (table, count) in filled.rows.sorted(by: { $0.key < $1.key }) {
            let moved = staged(table, names)
            let found = try session.count(moved)
            guard found == count else {
                throw JobFailure(
                    "restore_count_mismatch", "table \(moved): \(count) rows in the scratch database, \(found) beside")
            }
        }
    }

    /// A table's name under its schema's other name.
    private func staged(_ table: String, _ names: [(live: String, staged: String)]) -> String {
        for name in names {
            for spelling in [name.live, quoteIdentifier(name.live)] where table.hasPrefix("\(spelling).") {
                return "\(quoteIdentifier(name.staged)).\(table.dropFirst(spelling.count + 1))"
            }
        }
        return table
    }
}
