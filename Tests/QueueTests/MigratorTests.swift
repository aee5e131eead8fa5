import Dispatch
import Postgres
import PostgresQueue
import ReeveTesting
import Synchronization
import Testing

@Suite("Migrations")
struct MigratorTests {
    @Test("several migrators that start at once apply each migration once")
    func concurrent() throws {
        let settings = try TestServer.freshDatabase()
        let group = DispatchGroup()
        let applied = Mutex<[Int]>([])
        let errors = Mutex<[String]>([])
        for number in 0..<4 {
            DispatchQueue(label: "migrator \(number)").async(group: group) {
                do {
                    let numbers = try Migrator(try Connection(settings)).up()
                    applied.withLock { $0 += numbers }
                } catch { errors.withLock { $0.append("\(error)") } }
            }
        }
        group.wait()
        #expect(errors.withLock { $0 } == [])
        #expect(applied.withLock { $0.sorted() } == Migration.all.map(\.number))
        #expect(try Migrator(try Connection(settings)).status().isCurrent)
    }

    @Test("a schema newer than the binary is refused")
    func newer() throws {
        let connection = try Connection(TestServer.freshControl())
        _ = try connection.execute("INSERT INTO reeve.schema_migration (number, name) VALUES (9999, 'from the future')")
        #expect(throws: SchemaError.self) { try Migrator(connection).up() }
        #expect(throws: SchemaError.self) { try Migrator(connection).requireCurrent() }
    }

    @Test("only reeve.clock() reads the time")
    func clock() throws {
        let connection = try Connection(TestServer.freshControl())
        let bodies = try connection.execute(
            """
            SELECT p.proname || ': ' || p.prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'reeve' AND p.proname <> 'clock'
            UNION ALL
            SELECT c.relname || '.' || a.attname || ': ' || pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid
              JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname = 'reeve' AND c.relname <> 'schema_migration'
            UNION ALL
            SELECT p.proname || ' defaults: ' || coalesce(pg_get_function_arguments(p.oid), '') FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'reeve'
            """)
        for row in bodies {
            let text = try row.text(0).lowercased()
            for clock in [
                "now()", "clock_timestamp", "current_timestamp", "statement_timestamp", "transaction_timestamp",
                "localtime", "current_date", "current_time",
            ] {
                #expect(!text.contains(clock), "\(text.prefix(80)) uses \(clock)")
            }
        }
        #expect(bodies.count > 50)
    }
}
