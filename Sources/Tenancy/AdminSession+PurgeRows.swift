import Glibc
import JobKit
import Postgres

// Deleting a tenant's rows from tables that tenants share: children before parents, in batches that hold no lock for long.
extension AdminSession {
    /// A shared table that holds rows of tenants: it has the tenant column.
    struct OwnedTable {
        let oid: Int64
        let name: String
        let isPartitioned: Bool
    }

    /// The condition that picks this tenant's rows. Written out besides row-level security, which picks the same.
    private var ownRows: String { "\(quoteIdentifier(store.tenantColumn)) = \(quoteLiteral(store.settingValue))" }

    /// The tables of the store's schemas that have the tenant column, without partitions.
    func ownedTables(_ connection: Connection) throws -> [OwnedTable] {
        try connection.execute(
            """
            SELECT c.oid::int8, format('%I.%I', n.nspname, c.relname), c.relkind = 'p'
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = ANY ($1::text[]) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
              AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = $2::text AND NOT a.attisdropped)
            ORDER BY 2
            """, [store.schemas, store.tenantColumn]
        ).map { OwnedTable(oid: try $0.int(0), name: try $0.text(1), isPartitioned: try $0.bool(2)) }
    }

    /// How many rows of the tenant each of these tables has; as the tenant's login where the administrator does not see past
    /// row-level security.
    func countOwned(_ tables: [OwnedTable], _ connection: Connection) throws -> [String: Int64] {
        let seesAll = try seesAllRows(connection)
        var counts: [String: Int64] = [:]
        for table in tables {
            counts[table.name] = try connection.transaction {
                if !seesAll { try becomeLogin(connection) }
                return try connection.execute("SELECT count(*) FROM \(table.name) WHERE \(ownRows)")[0].int(0)
            }
        }
        return counts
    }

    /// Tables of others with rows that refer to the tenant's and would keep them from going: without the tenant column and
    /// with a foreign key that does not cascade.
    func foreignHolders(_ connection: Connection) throws -> [String] {
        try connection.execute(
            """
            SELECT DISTINCT format('%s refers to %s', k.conrelid::regclass, k.confrelid::regclass)
            FROM pg_constraint k JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace n ON n.oid = r.relnamespace
            WHERE k.contype = 'f' AND n.nspname = ANY ($1::text[]) AND k.conparentid = 0 AND k.confdeltype IN ('a', 'r')
              AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attname = $2::text AND NOT a.attisdropped)
              AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attname = $2::text AND NOT a.attisdropped)
            ORDER BY 1
            """, [store.schemas, store.tenantColumn]
        ).map { try $0.text(0) }
    }

    /// Deletes all of the tenant's rows; `pace` is told of each batch and may throw to stop. Triggers may write what was deleted
    /// before, so the tables are passed through until one pass finds nothing. Returns how many rows went.
    func deleteOwnedRows(_ pace: (PurgeBatch) throws -> Void) throws -> Int64 {
        let connection = try database()
        try compressLog(connection)
        let tables = try ownedTables(connection)
        let groups = try deletionOrder(tables, connection)
        var total: Int64 = 0
        for _ in 0..<8 {
            var gone: Int64 = 0
            for group in groups {
                gone +=
                    group.count > 1 || group[0].isCyclic
                    ? try deleteTogether(group.map(\.table), connection, pace)
                    : try deleteInBatches(group[0].table, connection, pace)
            }
            total += gone
            if gone == 0 { return total }
        }
        throw TenancyError(
            .conflict, "triggers in \(store.database) write new rows of tenant \(code) whenever its rows are deleted")
    }

    /// Has the server write less for each page that is changed for the first time after a checkpoint, where the administrator may say so
    /// and the server can: others' commits wait for those bytes too.
    private func compressLog(_ connection: Connection) throws {
        guard connection.serverVersion >= 150_000 else { return }
        let isPossible = try connection.execute(
            """
            SELECT 'lz4' = ANY (s.enumvals) AND has_parameter_privilege('wal_compression', 'SET') FROM pg_settings s
            WHERE s.name = 'wal_compression' AND s.setting = 'off'
            """
        ).first?.bool(0)
        if isPossible == true { try connection.execute("SET wal_compression = lz4") }
    }

    // MARK: Batches

    private func deleteInBatches(_ table: OwnedTable, _ connection: Connection, _ pace: (PurgeBatch) throws -> Void)
        throws -> Int64
    {
        var total: Int64 = 0
        // A row's place is known by its ctid in one file alone, so partitions are worked on one by one.
        let leaves =
            table.isPartitioned
            ? try connection.execute(
                "SELECT relid::int8, relid::regclass::text FROM pg_partition_tree($1::int8::oid::regclass) WHERE isleaf",
                [table.oid]
            ).map { (try $0.int(0), try $0.text(1)) } : [(table.oid, table.name)]
        for (oid, name) in leaves {
            let actor = try deleter(oid, connection)
            let isIndexed = try connection.execute(
                """
                SELECT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                  WHERE i.indrelid = $1::int8::oid AND i.indisvalid AND i.indpred IS NULL AND a.attname = $2::text)
                """, [oid, store.tenantColumn])[0].bool(0)
            total +=
                isIndexed
                ? try deleteByKey(name, actor, connection, pace)
                : try deleteByBlocks(oid, name, actor, connection, pace)
        }
        return total
    }

    /// Rows that are looked up at once, and then deleted in many batches.
    private static let found = 200_000

    /// Finds the rows by an index. What was found stays with the server in a cursor: to look again for every batch would pass over all
    /// that is deleted already, which stays in the way for as long as anybody holds a snapshot.
    private func deleteByKey(
        _ name: String, _ actor: Deleter, _ connection: Connection, _ pace: (PurgeBatch) throws -> Void
    ) throws -> Int64 {
        var size = BatchSize(first: 200, least: 100, most: 20_000)
        var total: Int64 = 0
        while true {
            _ = try deleting(actor, connection) {
                try connection.execute(
                    """
                    DECLARE reeve_purge NO SCROLL CURSOR WITH HOLD FOR
                    SELECT ctid FROM ONLY \(name) WHERE \(ownRows) LIMIT \(Self.found)
                    """)
                return 0
            }
            var found = 0
            while true {
                let places = try connection.execute("FETCH \(size.value) FROM reeve_purge").map { try $0.text(0) }
                if places.isEmpty { break }
                found += places.count
                let batch = try timed(name) {
                    try deleting(actor, connection) {
                        try connection.execute(
                            "DELETE FROM ONLY \(name) WHERE \(ownRows) AND ctid = ANY ($1::tid[])", [places]
                        ).affected
                    }
                }
                total += batch.rows
                try pace(batch)
                size.adapt(to: batch.seconds)
                batch.rest()
            }
            try connection.execute("CLOSE reeve_purge")
            if found < Self.found { return total }
        }
    }

    /// Without an index on the tenant column: the table is read once, some blocks at a time.
    private func deleteByBlocks(
        _ oid: Int64, _ name: String, _ actor: Deleter, _ connection: Connection, _ pace: (PurgeBatch) throws -> Void
    ) throws -> Int64 {
        let blocks = try connection.execute(
            "SELECT pg_relation_size($1::int8::oid::regclass) / current_setting('block_size')::int8", [oid])[0].int(0)
        var size = BatchSize(first: 20, least: 4, most: 20_000)
        var (total, block): (Int64, Int64) = (0, 0)
        while block < blocks {
            let batch = try timed(name) {
                try deleting(actor, connection) {
                    try connection.execute(
                        """
                        DELETE FROM ONLY \(name) WHERE \(ownRows)
                          AND ctid >= '(\(block),0)'::tid AND ctid < '(\(block + size.value),0)'::tid
                        """
                    ).affected
                }
            }
            total += batch.rows
            block += size.value
            try pace(batch)
            size.adapt(to: batch.seconds)
            batch.rest()
        }
        return total
    }

    /// Tables whose foreign keys form a cycle, or refer to themselves: their keys are checked at the end of one statement, which
    /// therefore deletes from all of them. It locks rows of this tenant alone.
    private func deleteTogether(
        _ tables: [OwnedTable], _ connection: Connection, _ pace: (PurgeBatch) throws -> Void
    ) throws -> Int64 {
        let actors = try tables.map { try deleter($0.oid, connection) }
        let actor: Deleter =
            actors.contains(where: { $0 != .login }) ? (actors.first { $0 != .login } ?? .login) : .login
        let parts = tables.enumerated().map { index, table in
            "d\(index) AS (DELETE FROM \(table.name) WHERE \(ownRows) RETURNING 1)"
        }
        let sum = tables.indices.map { "(SELECT count(*) FROM d\($0))" }.joined(separator: " + ")
        let batch = try timed(tables.map(\.name).joined(separator: ", ")) {
            try deleting(actor, connection) {
                try connection.execute("SET CONSTRAINTS ALL DEFERRED")
                return Int(
                    try connection.execute("WITH \(parts.joined(separator: ", ")) SELECT \(sum)")[0].int(0))
            }
        }
        try pace(batch)
        return batch.rows
    }

    private func timed(_ name: String, _ body: () throws -> Int) throws -> PurgeBatch {
        let start = ContinuousClock.now
        let rows = try body()
        return PurgeBatch(
            object: name, rows: Int64(rows), seconds: (ContinuousClock.now - start) / .seconds(1))
    }

    // MARK: Who deletes

    enum Deleter: Equatable {
        /// The tenant's login, which sees no other tenant's rows.
        case login
        /// The administrator, who sees all: of a table that the login may not delete from.
        case administrator
        /// The table's owner, for an administrator who is no superuser.
        case role(String)
    }

    private func deleter(_ table: Int64, _ connection: Connection) throws -> Deleter {
        let row = try connection.execute(
            """
            SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $2::text) AND
              has_table_privilege($2::text, $1::int8::oid, 'SELECT') AND has_table_privilege($2::text, $1::int8::oid, 'DELETE'),
              pg_get_userbyid(relowner) FROM pg_class WHERE oid = $1::int8::oid
            """, [table, store.login])[0]
        if try row.bool(0) { return .login }
        return try seesAllRows(connection) ? .administrator : .role(row.text(1))
    }

    /// One batch: a transaction that waits a second for locks at most, and again when it got none or was the victim of a
    /// deadlock, for a minute.
    private func deleting(_ actor: Deleter, _ connection: Connection, _ body: () throws -> Int) throws -> Int {
        let limit = ContinuousClock.now + .seconds(60)
        while true {
            do {
                return try connection.transaction {
                    try connection.execute("SET LOCAL lock_timeout = '1s'")
                    switch actor {
                    case .login: try becomeLogin(connection)
                    case .administrator: break
                    case .role(let role):
                        try join(role, connection)
                        try connection.execute("SET LOCAL ROLE \(quoteIdentifier(role))")
                    }
                    return try body()
                }
            } catch let error as PostgresError where ["55P03", "40P01"].contains(error.sqlState) && limit > .now {
                usleep(useconds_t.random(in: 20_000...200_000))
            } catch let error as PostgresError where error.sqlState == "23503" {
                throw TenancyError(
                    .conflict,
                    "rows of tenant \(code) in \(store.database) are referred to by rows that are not its own: \(error.message)"
                )
            }
        }
    }

    /// For the transaction: the tenant's login and what its policies and the platform's read.
    private func becomeLogin(_ connection: Connection) throws {
        try join(store.login, connection)
        try connection.execute("SET LOCAL ROLE \(quoteIdentifier(store.login))")
        try connection.execute(
            "SELECT set_config($1::text, $2::text, true)", [store.settingName, store.settingValue])
    }

    private func seesAllRows(_ connection: Connection) throws -> Bool {
        try connection.execute("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")[0].bool(0)
    }

    // MARK: Order

    struct Ordered {
        let table: OwnedTable
        /// Whether it is part of a cycle of foreign keys, its own included.
        let isCyclic: Bool
    }

    /// The tables in groups: what refers to others first, and together what refers to each other.
    private func deletionOrder(_ tables: [OwnedTable], _ connection: Connection) throws -> [[Ordered]] {
        let known = Dictionary(uniqueKeysWithValues: tables.enumerated().map { ($1.oid, $0) })
        var parents = Array(repeating: Set<Int>(), count: tables.count)
        var selfReferring: Set<Int> = []
        for row in try connection.execute(
            """
            SELECT DISTINCT k.conrelid::int8, k.confrelid::int8, k.confdeltype IN ('a', 'r') FROM pg_constraint k
            WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY ($1::int8[]::oid[]) AND k.confrelid = ANY ($1::int8[]::oid[])
            """, [tables.map(\.oid)])
        {
            guard let child = known[try row.int(0)], let parent = known[try row.int(1)] else { continue }
            if child != parent {
                parents[child].insert(parent)
            } else if try row.bool(2) {
                selfReferring.insert(child)
            }
        }
        return StrongComponents(parents).groups.map { group in
            group.map { Ordered(table: tables[$0], isCyclic: group.count > 1 || selfReferring.contains($0)) }
        }
    }
}

/// The strongly connected parts of a graph, those first that lead to others (Tarjan's algorithm, reversed).
struct StrongComponents {
    private(set) var groups: [[Int]] = []
    private let edges: [Set<Int>]
    private var index: [Int?]
    private var low: [Int]
    private var stack: [Int] = []
    private var isOnStack: [Bool]
    private var count = 0

    /// `edges[n]` are the nodes that node n leads to.
    init(_ edges: [Set<Int>]) {
        self.edges = edges
        index = Array(repeating: nil, count: edges.count)
        low = Array(repeating: 0, count: edges.count)
        isOnStack = Array(repeating: false, count: edges.count)
        for node in edges.indices where index[node] == nil { visit(node) }
        groups.reverse()
    }

    /// Depth first without recursion: schemas may have thousands of tables.
    private mutating func visit(_ root: Int) {
        var path: [(node: Int, rest: [Int])] = []
        enter(root, &path)
        while let top = path.indices.last {
            if let next = path[top].rest.popLast() {
                if index[next] == nil {
                    enter(next, &path)
                } else if isOnStack[next] {
                    low[path[top].node] = min(low[path[top].node], index[next] ?? 0)
                }
                continue
            }
            let node = path.removeLast().node
            if let parent = path.last?.node { low[parent] = min(low[parent], low[node]) }
            guard low[node] == index[node] else { continue }
            var group: [Int] = []
            while let member = stack.popLast() {
                isOnStack[member] = false
                group.append(member)
                if member == node { break }
            }
            groups.append(group)
        }
    }

    private mutating func enter(_ node: Int, _ path: inout [(node: Int, rest: [Int])]) {
        index[node] = count
        low[node] = count
        count += 1
        stack.append(node)
        isOnStack[node] = true
        path.append((node, edges[node].sorted()))
    }
}
