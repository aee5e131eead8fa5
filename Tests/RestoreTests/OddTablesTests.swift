import FoundationEssentials
import Glibc
import JobKit
import Postgres
import ReeveTesting
import Tenancy
import Testing

@testable import Restore

/// Tables that are many or have difficult names and columns.
@Suite("Restoring tables of every kind")
struct OddTablesTests {
    /// How many tables are added; 2,000 in the long form.
    private static var count: Int { getenv("REEVE_SOAK_MINUTES") == nil ? 200 : 2000 }

    /// Tables of these kinds in the tenant's schema, with rows.
    private func add(_ fixture: RestoreFixture, _ tenant: Tenant) throws {
        let store = try fixture.store(of: tenant)
        let (schema, login) = (quoteIdentifier(store.schemas[0]), quoteIdentifier(store.login))
        try fixture.admin(store.database) { connection in
            try connection.executeScript(
                """
                SET ROLE \(quoteIdentifier(store.owner)); SET search_path = \(schema);
                DO $$ BEGIN FOR n IN 1..\(Self.count) LOOP
                  EXECUTE format('CREATE TABLE %I (id int, "select" text)', CASE n % 4 WHEN 0 THEN 't' || n WHEN 1 THEN 'Wide ' || n
                    WHEN 2 THEN 'a"b|*.' || n ELSE 'größe.' || n END);
                END LOOP; END $$;
                CREATE TABLE "Counted|*" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "User" text NOT NULL, "Line ""2" text DEFAULT E'tab\\t',
                  size int GENERATED ALWAYS AS (length("User")) STORED, parent bigint REFERENCES "Counted|*" (id), dropped int);
                ALTER TABLE "Counted|*" DROP COLUMN dropped;
                CREATE INDEX "Index.of "" it" ON "Counted|*" (lower("User"));
                CREATE TABLE parted (id int, at date) PARTITION BY RANGE (at);
                CREATE TABLE "parted 1" PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
                RESET ROLE;
                GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \(schema) TO \(login);
                GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA \(schema) TO \(login);
                """)
        }
        try fixture.write(
            tenant,
            """
            INSERT INTO "größe.3" VALUES (1, E'a\\nb\\\\c'), (2, NULL); INSERT INTO "a""b|*.2" VALUES (3, ''); INSERT INTO "Wide 1" VALUES (4, '\\.');
            INSERT INTO "Counted|*" ("User", parent) SELECT 'u' || g, CASE WHEN g > 1 THEN g - 1 END FROM generate_series(1, 50) g;
            INSERT INTO parted SELECT g, date '2026-03-01' + g FROM generate_series(1, 20) g;
            """)
    }

    @Test(
        "hundreds of tables, with names that need quoting, computed and numbered columns and partitions, are drilled and come back",
        arguments: [Isolation.schema, .database])
    func odd(isolation: Isolation) throws {
        let fixture = try RestoreFixture()
        let acme = try fixture.tenant("acme", isolation)
        try add(fixture, acme)
        let backup = try fixture.backUp(acme)
        let (before, rights) = (try fixture.contents(acme), try fixture.rights(acme))
        #expect(before.count > Self.count)
        try fixture.run("backup-drill", acme, backup: backup)
        try fixture.write(acme, #"DELETE FROM "Counted|*"; UPDATE "größe.3" SET "select" = 'gone'; DELETE FROM parted"#)
        try fixture.runToEnd(fixture.request(acme, backup, "in-place"), acme)
        #expect(try fixture.contents(acme) == before)
        #expect(try fixture.rights(acme) == rights)
        // Numbers go on where they were.
        try fixture.write(acme, #"INSERT INTO "Counted|*" ("User") VALUES ('next')"#)
        let last = try fixture.admin(fixture.store(of: acme).database) {
            try $0.execute(
                "SELECT max(id) FROM \(quoteIdentifier(fixture.store(of: acme).schemas[0])).\"Counted|*\"")[0].int(0)
        }
        #expect(last == 51)
        _ = try fixture.registry.dropKeptData(acme.code)
        #expect(try fixture.scratches() == 0)
    }

    @Test("a tenant of shared tables whose role lost a grant keeps what is live, and the error names the table")
    func lostGrant() throws {
        let fixture = try RestoreFixture()
        let acme = try fixture.tenant("acme", .shared)
        let backup = try fixture.backUp(acme)
        try fixture.write(acme, RestoreJobTests.damage)
        let live = try fixture.contents(acme)
        let login = try quoteIdentifier(fixture.store(of: acme).login)
        try fixture.admin(fixture.sharedDatabase) {
            _ = try $0.execute("REVOKE INSERT ON shared.invoices FROM \(login)")
        }
        let id = try fixture.request(acme, backup, "in-place")
        let error = #expect(throws: PostgresError.self) { try fixture.runToEnd(id, acme) }
        #expect(error?.sqlState == "42501" && error?.message.contains("invoices") == true)
        #expect(try fixture.contents(acme) == live)
        _ = try fixture.connection.execute("SELECT reeve.tend_drains()")
        #expect(try fixture.value("SELECT count(*) FROM reeve.queue_block") == "0")
        try fixture.admin(fixture.sharedDatabase) { _ = try $0.execute("GRANT INSERT ON shared.invoices TO \(login)") }
        try fixture.runToEnd(fixture.request(acme, backup, "in-place"), acme)
        #expect(try fixture.contents(acme) != live)
    }
}
