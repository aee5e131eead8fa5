import JobKit
import Postgres
import Storage

/// What can be known to fail before a dump begins.
struct Preflight {
    let store: BackupStore
    let session: any BackupSession

    /// Throws when the server has not enough free locks for this many relations: then pg_dump, or somebody else's statement
    /// meanwhile, would fail with "out of shared memory".
    func requireLocks(_ relations: Int) throws {
        let row = try session.query(
            """
            SELECT current_setting('max_locks_per_transaction')::bigint
                * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint),
              (SELECT count(*) FROM pg_catalog.pg_locks WHERE NOT fastpath)
            """, [])[0]
        let (all, used) = (try row.int(0), try row.int(1))
        // pg_dump reads some hundred catalogs and their indexes besides.
        let needed = Int64(relations) + 200
        guard needed <= all - used else {
            throw JobFailure(
                "backup_locks_short",
                "a dump of \(store.database) on \(store.server) takes about \(needed) locks, and \(all - used) of the server's "
                    + "\(all) are free; raise max_locks_per_transaction and restart it", .retryAfter(.seconds(300)))
        }
    }

    /// What a byte of a table becomes in storage at least.
    static let leastDensity = 0.1

    /// Throws when a store that knows its free space has less than the last backup took, and a fifth; before the first one, less
    /// than a tenth of the tables' bytes.
    func requireSpace(in stores: [NamedStore], for last: BackupEstimate?, tables: Int64) throws {
        let needed = last.map { $0.bytes + $0.bytes / 5 } ?? Int64(Double(tables) * Self.leastDensity)
        for named in stores {
            guard let free = try named.store.freeBytes(), free < needed else { continue }
            let reason =
                last.map { "the last backup of \(store.database) took \($0.bytes)" }
                ?? "the tables of \(store.database) have \(tables), so that its first backup needs at least \(needed)"
            throw JobFailure(
                "backup_space_short",
                "\(named.store) has \(free) bytes free and \(reason); free space there or enlarge it",
                .retryAfter(.seconds(300)))
        }
    }
}
