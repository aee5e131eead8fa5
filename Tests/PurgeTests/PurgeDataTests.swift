import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Storage
import Testing

@testable import Purge
@testable import Tenancy

@Suite("Rows of a purged tenant among others'")
struct PurgeDataTests {
    /// Tables that are hard to delete from, beside those of the template, with rows of two tenants.
    private static let tables = """
        SET ROLE reeve_shared_owner; SET search_path = shared;
        CREATE TABLE trees (tenant_id uuid NOT NULL, id int, parent int, twice int GENERATED ALWAYS AS (id * 2) STORED,
          PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id, parent) REFERENCES trees);
        CREATE TABLE hens (tenant_id uuid NOT NULL, id int, egg int, PRIMARY KEY (tenant_id, id));
        CREATE TABLE eggs (tenant_id uuid NOT NULL, id int, hen int, PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id, hen) REFERENCES hens);
        ALTER TABLE hens ADD FOREIGN KEY (tenant_id, egg) REFERENCES eggs;
        CREATE TABLE readings (id int, at date NOT NULL, tenant_id uuid NOT NULL) PARTITION BY RANGE (at);
        CREATE TABLE readings_old PARTITION OF readings FOR VALUES FROM ('2020-01-01') TO ('2025-01-01');
        CREATE TABLE readings_new PARTITION OF readings FOR VALUES FROM ('2025-01-01') TO ('2030-01-01');
        CREATE TABLE a_history (tenant_id uuid NOT NULL, what text);
        CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO shared.a_history VALUES (OLD.tenant_id, TG_TABLE_NAME); RETURN NULL; END $$;
        CREATE TRIGGER remember AFTER DELETE ON trees FOR EACH ROW EXECUTE FUNCTION remember();
        """

    @Test(
        "self references, cycles, partitions, generated columns and triggers that write elsewhere: all rows of one, none of the other"
    )
    func hardTables() throws {
        let fixture = try PurgeFixture()
        let acme = try fixture.tenant("acme", .shared, isBackedUp: false)
        let other = try fixture.tenant("other", .shared, marker: "THEIRS", isBackedUp: false)
        let theirs = try fixture.contents(other)
        let database = try fixture.store(of: acme).database
        let names = ["trees", "hens", "eggs", "readings", "a_history"]
        func counts(_ tenant: Tenant) throws -> [Int64] {
            try fixture.admin(database) { connection in
                try names.map {
                    try connection.execute("SELECT count(*) FROM shared.\($0) WHERE tenant_id = $1::uuid", [tenant.id])[
                        0
                    ].int(0)
                }
            }
        }
        try fixture.admin(database) { connection in
            try connection.executeScript(Self.tables)
            try connection.executeScript("RESET ROLE")
            for tenant in [acme, other] {
                try connection.executeScript(
                    """
                    SET search_path = shared;
                    INSERT INTO trees SELECT '\(tenant.id)', i, nullif(i / 2, 0) FROM generate_series(1, 100) i;
                    INSERT INTO hens SELECT '\(tenant.id)', i FROM generate_series(1, 50) i;
                    INSERT INTO eggs SELECT '\(tenant.id)', i, i FROM generate_series(1, 50) i;
                    UPDATE hens SET egg = id WHERE tenant_id = '\(tenant.id)';
                    INSERT INTO readings SELECT i, date '2024-06-01' + i, '\(tenant.id)' FROM generate_series(1, 400) i;
                    INSERT INTO a_history VALUES ('\(tenant.id)', 'made')
                    """)
            }
        }
        let expected: [Int64] = [100, 50, 50, 400, 1]
        #expect(try counts(acme) == expected)
        let before = try counts(other)
        try fixture.request(acme, backupDays: 0)
        try fixture.approve(acme)
        try fixture.purge(acme)
        #expect(try counts(acme) == [0, 0, 0, 0, 0])
        #expect(try counts(other) == before)
        #expect(try fixture.contents(other) == theirs)
    }

    @Test("rows of nobody that refer to the tenant's block the purge before anything is deleted, and the plan says so")
    func blocked() throws {
        let fixture = try PurgeFixture()
        let acme = try fixture.tenant("acme", .shared, isBackedUp: false)
        let before = try fixture.contents(acme)
        let database = try fixture.store(of: acme).database
        try fixture.admin(database) { connection in
            try connection.executeScript(
                """
                CREATE TABLE shared.notes (id int, tenant uuid, customer uuid, FOREIGN KEY (tenant, customer) REFERENCES shared.customers (tenant_id, id));
                INSERT INTO shared.notes SELECT 1, tenant_id, id FROM shared.customers LIMIT 1
                """)
        }
        let plan = try PurgePlan(
            registry: fixture.registry, control: fixture.control, stores: SingleStore(fixture.storage), hooks: []
        ).make(acme.code)
        let blockers = plan["blockers"]?.array?.compactMap(\.string) ?? []
        #expect(blockers.contains { $0.contains("notes refers to") })
        try fixture.request(acme, backupDays: 0)
        try fixture.approve(acme)
        let error = #expect(throws: JobFailure.self) { for _ in 0..<5 { try fixture.runOnce() } }
        #expect(error?.code == "purge_blocked")
        #expect(try fixture.contents(acme) == before)
        #expect(try fixture.state(acme) == "frozen")
    }

    @Test("what refers to others comes first, and what refers to each other comes together")
    func order() {
        // 0 → 1 → 2, 3 ↔ 4 → 2.
        let groups = StrongComponents([[1], [2], [], [4], [3, 2]]).groups
        let place = Dictionary(
            uniqueKeysWithValues: groups.enumerated().flatMap { index, group in group.map { ($0, index) } })
        #expect(groups.contains { Set($0) == [3, 4] })
        #expect(groups.count == 4)
        for (from, to) in [(0, 1), (1, 2), (4, 2)] { #expect((place[from] ?? 9) < (place[to] ?? -1)) }
    }
}
