import Postgres

@testable import PostgresQueue

/// Applies the migrations and stops on the way.
enum MigratorSteps {
    /// Applies what comes before a migration, calls `body`, and applies the rest.
    static func up(_ connection: Connection, before name: String, _ body: () throws -> Void) throws {
        try connection.executeScript(
            """
            CREATE SCHEMA reeve;
            CREATE TABLE reeve.schema_migration (
              number int PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp());
            """)
        for migration in Migration.all {
            if migration.name == name { try body() }
            try connection.transaction {
                _ = try connection.execute(
                    "INSERT INTO reeve.schema_migration (number, name) VALUES ($1::int, $2::text)",
                    [migration.number, migration.name])
                if migration.number > 1 { try connection.executeScript("SET LOCAL ROLE reeve_owner") }
                try connection.executeScript(migration.sql)
            }
        }
    }
}
