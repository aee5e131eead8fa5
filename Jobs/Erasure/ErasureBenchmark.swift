import Crypto
import FoundationEssentials
public import JobKit
public import Postgres

/// What erasing costs over hand-written SQL that does the same updates, one transaction for each subject in turn; how long the
/// plan for one subject takes; and what the proof scan costs over reading the tables once.
public struct ErasureBenchmark {
    private let settings: ConnectionSettings
    private let rows: Int
    private let subjects: Int

    /// Generates so many rows in the database, a hundred for each person, in a schema that is dropped again, and erases so many
    /// people in either way.
    public init(_ settings: ConnectionSettings, rows: Int, subjects: Int) {
        self.settings = settings
        self.rows = rows
        self.subjects = min(subjects, max(rows / 400, 1))
    }

    private static let schema = "reeve_bench_erasure"
    private static let map = """
        {"format": 1, "application": "bench", "version": 1, "identifiers": {"email": {}},
         "tables": {
          "people": {"subject": {"email": "email"}, "columns": {
            "email": {"action": "hash", "format": "erased-{hash}@invalid.example", "seek": true},
            "name": {"action": "fixed", "value": "erased", "seek": true}, "phone": {"action": "null"}}},
          "orders": {"through": [{"columns": ["person_id"], "table": "people", "references": ["id"]}],
            "columns": {"ship_to": {"action": "null"}, "note": {"action": "fixed", "value": ""}}},
          "visits": {"rows": "delete", "through": [{"columns": ["person_id"], "table": "people", "references": ["id"]}]}}}
        """

    /// Runs it.
    public func run() throws -> JSON {
        let connection = try Connection(settings)
        defer { connection.close() }
        let ask: Ask = { try connection.execute($0, $1) }
        let loading = ContinuousClock.now
        try load(connection)
        // A schema that stays does no harm; the next run replaces it.
        defer { _ = try? connection.execute("DROP SCHEMA \(Self.schema) CASCADE") }
        let loaded = Self.seconds(since: loading)
        let map = try DataMap(parsing: Self.map)
        let scope = CatalogScope(schemas: [Self.schema])
        let located = LocatedMap(map, in: try Catalog(scope, ask))
        let key = SecretKey.random()
        let (tenant, hash) = (TenantID(rawValue: UUID()), try ErasureHash.column(key))
        var (ours, theirs) = (0.0, 0.0)
        var (ourRows, theirRows): (Int64, Int64) = (0, 0)
        var plan = 0.0
        for number in 0..<subjects {
            let subject = try Subject(["email": .string(Self.email(number * 2 + 1))], map: map, ask: ask)
            if number == 0 {
                let start = ContinuousClock.now
                let found = try ErasurePlan(map, subject, in: scope, ask).run(ask)
                plan = Self.seconds(since: start)
                guard found.count == 3 else { throw JobFailure("bench", "the plan lacks a table", .giveUp) }
            }
            var start = ContinuousClock.now
            let eraser = SubjectEraser(
                rows: SubjectRows(located: located, subject: subject), mentions: Mentions([]), columnHash: hash,
                tenant: tenant)
            ourRows += try connection.transaction { try eraser.pass(FoundRows(), ask) }.total
            ours += Self.seconds(since: start)
            start = ContinuousClock.now
            theirRows += try byHand(Self.email(number * 2 + 2), connection)
            theirs += Self.seconds(since: start)
        }
        guard ourRows == theirRows, ourRows == Int64(subjects) * 101 else {
            throw JobFailure("bench", "\(ourRows) rows were erased, by hand \(theirRows)", .giveUp)
        }
        let (scan, read, count) = try scans(located, connection, ask)
        func rounded(_ value: Double) -> JSON { .double((value * 1000).rounded() / 1000) }
        return [
            "rows": .int(Int64(rows)), "subjects": .int(Int64(subjects)), "loading_seconds": rounded(loaded),
            "rows_per_second": .int(Int64(Double(ourRows) / ours)),
            "by_hand_rows_per_second": .int(Int64(Double(theirRows) / theirs)), "ratio": rounded(theirs / ours),
            "plan_seconds": rounded(plan), "scan_seconds": rounded(scan), "read_seconds": rounded(read),
            "scan_ratio": rounded(scan / read), "count_seconds": rounded(count),
        ]
    }

    private static func email(_ number: Int) -> String { "person-\(number)@example.com" }

    private static func seconds(since start: ContinuousClock.Instant) -> Double {
        (ContinuousClock.now - start) / .microseconds(1) / 1_000_000
    }

    private func load(_ connection: Connection) throws {
        let people = rows / 100
        try connection.executeScript(
            """
            DROP SCHEMA IF EXISTS \(Self.schema) CASCADE; CREATE SCHEMA \(Self.schema); SET search_path = \(Self.schema);
            CREATE TABLE people (id bigint PRIMARY KEY, email text NOT NULL, name text NOT NULL, phone text);
            CREATE TABLE orders (id bigint PRIMARY KEY, person_id bigint NOT NULL, ship_to text, note text NOT NULL, total numeric(12, 2) NOT NULL,
              made_at timestamptz NOT NULL);
            CREATE TABLE visits (id bigint PRIMARY KEY, person_id bigint NOT NULL, page text NOT NULL, address text, at timestamptz NOT NULL);
            INSERT INTO people SELECT n, 'person-' || n || '@example.com', 'Person Number ' || n, '+44 20 ' || n FROM generate_series(1, \(people)) n;
            INSERT INTO orders SELECT n, n % \(people) + 1, 'Person ' || n % \(people) || ', 1 High Street, London', 'please ring twice at door ' || n, n % 1000,
              now() - n * interval '1 s' FROM generate_series(1, \(people * 60)) n;
            INSERT INTO visits SELECT n, n % \(people) + 1, '/catalogue/items/' || n, '10.0.' || n % 250 || '.7', now() - n * interval '1 s'
              FROM generate_series(1, \(people * 40)) n;
            CREATE UNIQUE INDEX ON people (email); CREATE INDEX ON orders (person_id); CREATE INDEX ON visits (person_id);
            ALTER TABLE orders ADD FOREIGN KEY (person_id) REFERENCES people; ALTER TABLE visits ADD FOREIGN KEY (person_id) REFERENCES people
            """)
        // Not within a script, which is one transaction.
        _ = try connection.execute("VACUUM ANALYZE people, orders, visits")
    }

    private func byHand(_ email: String, _ connection: Connection) throws -> Int64 {
        try connection.transaction {
            let id = try connection.execute(
                "SELECT id FROM \(Self.schema).people WHERE email = $1::text FOR UPDATE", [email])[0].int(0)
            var count = 0
            for sql in [
                "UPDATE \(Self.schema).orders SET ship_to = NULL, note = '' WHERE person_id = $1::bigint",
                "DELETE FROM \(Self.schema).visits WHERE person_id = $1::bigint",
                "UPDATE \(Self.schema).people SET email = 'erased-' || md5(email) || '@invalid.example', name = 'erased', phone = NULL WHERE id = $1::bigint",
            ] { count += try connection.execute(sql, [id]).affected }
            return Int64(count)
        }
    }

    /// The proof scan, a copy of the same tables to this process, and a count of their rows.
    private func scans(
        _ located: LocatedMap, _ connection: Connection, _ ask: Ask
    ) throws -> (scan: Double, read: Double, count: Double) {
        _ = try connection.execute("VACUUM \(Self.schema).people, \(Self.schema).orders, \(Self.schema).visits")
        var best = (Double.infinity, Double.infinity, Double.infinity)
        let mentions = Mentions(["somebody.else@example.com", "Somebody Else", "+49 30 555 0100"])
        for _ in 0..<2 {
            var start = ContinuousClock.now
            let left = try ProofScan(located: located, mentions: mentions).run(ask) {}
            guard left.isEmpty else { throw JobFailure("bench", "the scan found what is not there", .giveUp) }
            best.0 = min(best.0, Self.seconds(since: start))
            start = ContinuousClock.now
            for table in located.catalog.tables {
                try connection.copyOut("COPY \(table.qualified) TO STDOUT") { _ in }
            }
            best.1 = min(best.1, Self.seconds(since: start))
            start = ContinuousClock.now
            for table in located.catalog.tables { _ = try ask("SELECT count(*) FROM \(table.qualified)", []) }
            best.2 = min(best.2, Self.seconds(since: start))
        }
        return best
    }
}
