import Postgres
import PostgresQueue
import ReeveTesting

/// Databases that are not the suite's usual control database.
enum TestServerDatabase {
    /// A database that an application used before Reeve came.
    static func withTable() throws -> ConnectionSettings {
        let settings = try TestServer.freshDatabase(Attacker.server)
        let connection = try Connection(settings)
        defer { connection.close() }
        try connection.execute("CREATE TABLE public.application (x int)")
        _ = try Migrator(connection).up()
        return settings
    }
}
