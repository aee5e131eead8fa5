import JobKit
import Postgres
import Testing

@Suite("PostgresError")
struct ErrorTests {
    let connection: Connection
    init() throws { connection = try ScratchServer.shared.connect() }

    private func failure(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) -> PostgresError? {
        do throws(PostgresError) {
            try connection.execute(sql, parameters)
            return nil
        } catch {
            return error
        }
    }

    @Test(
        "no error text holds a parameter's value",
        arguments: [
            ("SELECT $1::text::int", "hunter2-secret"), ("SELECT $1::uuid", "hunter2-secret"),
            ("SELECT $1::date", "hunter2-secret"), ("SELECT $1::date", "2024-13-77"),
            ("SELECT $1::int2", "987654321"), ("SELECT $1::text::int", "98765432109876"),
            ("SELECT $1::jsonb", "{hunter2-secret"), ("SELECT $1::regclass", "hunter2_secret"),
            ("SELECT $1::regrole", "hunter2_secret"), ("SELECT ($1::text[])[1]::regclass", "{hunter2_secret,b}"),
            ("SELECT set_config('TimeZone', $1, true)", "hunter2-secret"),
            ("SELECT $1::text::int", "a\"b\nhunter2-secret"),
            ("SELECT now() AT TIME ZONE $1", "hunter2-secret"), ("SELECT $1::int[]", "{1,hunter2-secret"),
            ("SELECT $1::regclass", "Hunter2_" + String(repeating: "x", count: 80)),
            ("SELECT $1::bytea", "\\xhunter2-secret"), ("SELECT 'a' ~ $1", "(hunter2-secret"),
            ("SELECT encode('a', $1)", "hunter2-secret"),
            ("SELECT $1::text::bool", "x"),
        ])
    func noValues(sql: String, value: String) throws {
        let error = try #require(failure(sql, [value]))
        for text in [error.description, error.message, error.operation, "\(error as any Error)"] {
            #expect(!text.lowercased().contains("hunter2"), "\(text)")
            #expect(!text.contains(value) || value == "x", "\(text)")
            #expect(!text.contains("\"x\""))
        }
        #expect(error.sqlState != nil)
    }

    @Test("constraint violations name the constraint and never the row")
    func constraints() throws {
        try connection.executeScript(
            """
            CREATE TEMPORARY TABLE person (id int PRIMARY KEY, mail text NOT NULL UNIQUE, age int CHECK (age > 0),
                boss int REFERENCES person);
            """)
        try connection.execute("INSERT INTO person VALUES ($1, $2)", [1, "ann@example.org"])
        let twice = try #require(failure("INSERT INTO person VALUES ($1, $2)", [2, "ann@example.org"]))
        #expect(twice.sqlState == "23505")
        #expect(twice.constraint == "person_mail_key")
        #expect(!twice.description.contains("ann@"))
        #expect(twice.detail?.contains("ann@example.org") == true)
        let check = try #require(failure("INSERT INTO person VALUES ($1, $2, $3)", [3, "bob@example.org", -44]))
        #expect(check.sqlState == "23514")
        #expect(!check.description.contains("bob@") && !check.description.contains("44"))
        let missing = try #require(failure("INSERT INTO person VALUES ($1, NULL)", [77]))
        #expect(missing.sqlState == "23502")
        #expect(!missing.description.contains("77"))
        let foreign = try #require(failure("INSERT INTO person VALUES (4, 'd', 1, $1)", [8888]))
        #expect(foreign.sqlState == "23503")
        #expect(!foreign.description.contains("8888"))
    }

    @Test("a raised message loses parameters, except under the application's own SQLSTATE")
    func raised() throws {
        try connection.executeScript(
            """
            CREATE FUNCTION pg_temp.refuse(value text, state text) RETURNS void LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'queue "%" is unknown: %', value, value USING ERRCODE = state; END $$;
            """)
        for state in ["P0001", "22023", "23514"] {
            let error = try #require(failure("SELECT pg_temp.refuse($1, $2)", ["acme.reports", state]))
            #expect(error.sqlState == state)
            #expect(!error.description.contains("acme"))
            #expect(error.message.contains("is unknown"))
        }
        let own = try #require(failure("SELECT pg_temp.refuse($1, $2)", ["acme.reports", "RV001"]))
        #expect(own.message == "queue \"acme.reports\" is unknown: acme.reports")
    }

    @Test("the operation is the statement's name or its first words, and never a literal")
    func operation() throws {
        let literal = try #require(failure("ALTER ROLE nobody_here PASSWORD 'hunter2'"))
        #expect(literal.operation == "ALTER ROLE nobody_here PASSWORD")
        #expect(!literal.description.contains("hunter2"))
        do {
            try connection.execute("SELECT 1/0", name: "divide")
        } catch {
            #expect(error.operation == "divide")
            #expect(error.description == "divide: division by zero (22012)")
        }
    }

    @Test("a message is cut to 2,000 bytes at a whole character")
    func long() {
        let error = PostgresError(sqlState: nil, message: String(repeating: "é", count: 1500), operation: "x")
        #expect(error.message == String(repeating: "é", count: 1000))
    }

    @Test("conflicts, full servers and lost connections are retriable, constraint violations are not")
    func retriable() {
        func error(_ state: String?, lost: Bool = false) -> PostgresError {
            PostgresError(sqlState: state, message: "", operation: "", isConnectionLost: lost)
        }
        for state in ["40001", "40P01", "55P03", "57P01", "57P03", "53300", "08006"] {
            #expect(error(state).isRetriable)
        }
        for state in ["23505", "42P01", "22P02"] { #expect(!error(state).isRetriable) }
        #expect(error(nil, lost: true).isRetriable)
    }
}
