import FoundationEssentials
public import JobKit
public import Postgres
import Tenancy

/// What purging one tenant costs the others: of a schema with many tables, and of shared tables that hold a tenth of their rows
/// for it. Other tenants query all the while; their 99th percentile while the purge works is set against that before it, and
/// between its spells of work, whichever is less.
public struct PurgeBenchmark {
    private let settings: ConnectionSettings
    private let rows: Int
    private let tables: Int
    private let quiet: Duration

    /// Generates so many rows for ten tenants that share tables, and so many tables in a schema; before each purge others query
    /// alone for `quiet`.
    public init(_ settings: ConnectionSettings, rows: Int, tables: Int, quiet: Duration = .seconds(10)) {
        self.settings = settings
        self.rows = rows
        self.tables = tables
        self.quiet = quiet
    }

    /// Runs it; throws `BenchFailure` when a row of the purged tenant is left, or one of another's is gone.
    public func run() throws -> JSON {
        let ground = try PurgeBenchGround(settings)
        defer { ground.removeAll() }
        let start = ContinuousClock.now
        let schemas = try ground.makeSchemas(tables: tables)
        let shared = try ground.makeShared(rows: rows)
        let loading = seconds(.now - start)
        return [
            "rows": .int(Int64(rows)), "tenant_rows": .int(shared.rows), "tables": .int(Int64(tables)),
            "loading_seconds": Self.rounded(loading), "schema": try purge(schemas, ground, counting: "tables"),
            "shared": try purge(shared, ground, counting: "rows"),
            "seconds": Self.rounded(seconds(.now - start)),
        ]
    }

    private func purge(_ scene: PurgeBenchScene, _ ground: PurgeBenchGround, counting unit: String) throws -> JSON {
        let before = try ground.others(scene)
        let spells = WorkSpells(work: .milliseconds(1500), rest: .milliseconds(1500))
        let roles = WorkSpells(work: .seconds(3600), rest: .zero)
        let load = BystanderLoad(scene, ground.database)
        let watch = LockWatch(ground.database, of: "reeve admin \(scene.doomed.code)")
        var (batches, longest, gone) = (0, 0.0, Int64(0))
        load.start()
        watch.start()
        do {
            sleep(quiet)
            try ground.registry.eachStore(of: scene.doomed.id, code: scene.doomed.code) { session in
                spells.begin()
                gone += try session.deleteData { batch in
                    batches += 1
                    longest = max(longest, batch.seconds)
                    // As the job does between two batches.
                    try ground.checkHolds(scene.doomed.id)
                    spells.rest()
                }
                spells.end()
                // What the others' tables lose with the tenant's roles belongs to it, and is no row.
                roles.begin()
                try session.endLogin()
                try session.dropRoles()
                roles.end()
            }
        } catch {
            load.stop()
            watch.stop()
            throw error
        }
        load.stop()
        watch.stop()
        try ground.check(scene, before)
        guard gone == scene.rows else { throw BenchFailure("\(gone) \(unit) were deleted of \(scene.rows)") }
        let samples = try load.samples()
        let busy = seconds(spells.worked)
        var result: [String: JSON] = [
            "\(unit)_per_second": .int(Int64(Double(gone) / busy)), "busy_seconds": Self.rounded(busy),
            "transactions": .int(Int64(batches)), "longest_transaction_ms": .int(Int64(longest * 1000)),
            "longest_lock_ms": .double(milliseconds(try watch.longest())), "queries": .int(Int64(samples.count)),
        ]
        for (name, isIncluded) in [("", { _ in true }), ("_reads", { !$0 }), ("_writes", { $0 })]
            as [(String, (Bool) -> Bool)]
        {
            let some = samples.filter { isIncluded($0.isWrite) }
            let (rows, rest) = spells.split(some)
            let (policies, others) = roles.split(rest)
            let during = rows + policies
            let (ahead, between) = (
                others.filter { $0.start < spells.began }, others.filter { $0.start >= spells.began }
            )
            let with = percentile(during.map(\.took).sorted(), 0.99)
            let quieter = [ahead, between].filter { $0.count > 50 }.map { percentile($0.map(\.took).sorted(), 0.99) }
            let without = quieter.min() ?? .zero
            result["p99\(name)_ms"] = .double(milliseconds(with))
            result["p99\(name)_ms_without"] = .double(milliseconds(without))
            result["ratio\(name)"] = Self.rounded(without == .zero ? 0 : with / without)
        }
        return .object(result)
    }

    private static func rounded(_ value: Double) -> JSON { .double((value * 1000).rounded() / 1000) }
}

/// What is purged, and who queries meanwhile.
struct PurgeBenchScene {
    struct Tenant {
        let id: TenantID
        let code: String
        let login: String
        let owner: String
        let settingName: String
        let settingValue: String
        let schema: String
    }

    let doomed: Tenant
    let others: [Tenant]
    /// How many rows, or tables, go.
    let rows: Int64
    /// What the others do: by a key ($1) of 1 up to `keys`.
    let read: (Tenant) -> String
    let write: (Tenant) -> String
    let keys: Int
}
