import Postgres
import Testing

@Suite("ConnectionSettings")
struct SettingsTests {
    @Test("URL, keyword string and overrides give the same options")
    func forms() throws {
        let url = try ConnectionSettings("postgres://ann:s%40cret@db.example:6432/shop?sslmode=require")
        #expect(url["host"] == "db.example" && url["port"] == "6432" && url["user"] == "ann")
        #expect(url["password"] == "s@cret" && url["sslmode"] == "require")
        let words = try ConnectionSettings("host=db.example port=6432 user=ann password='s@cret' dbname=shop")
        #expect(words.with(["sslmode": "require"]) == url)
    }

    @Test("printing settings shows no password")
    func printing() throws {
        let settings = try ConnectionSettings("postgres://ann:hunter2@db/shop?sslpassword=hunter2")
        var dumped = ""
        dump(settings, to: &dumped)
        for text in ["\(settings)", settings.redacted, String(reflecting: settings), dumped, "\([settings])"] {
            #expect(!text.contains("hunter2"))
            #expect(text.contains("***"))
        }
    }

    @Test(
        "a connection string that is wrong is refused without quoting it",
        arguments: [
            "postgres://u:hunter2@h@host/db", "postgres://u:hunter2/x@host/db", "postgres://u:12/hunter2@host/db",
            "host=x password=a hunter2", "host=x hunter2=1", "password='hunter2", "postgres://u:hunter2%zz@host/db",
            "postgres://u:hunter2[@[::1/db", "postgres://h/db?hunter2", "postgres://h/db?a=hunter2=b",
            "host=x\0hunter2",
        ])
    func refused(conninfo: String) {
        do {
            let settings = try ConnectionSettings(conninfo)
            Issue.record("accepted as \(settings)")
        } catch {
            #expect(!"\(error)".contains("hunter2"), "\(error)")
            #expect(!error.message.isEmpty)
        }
    }

    @Test("a connection that fails names the server and never the password")
    func failedConnection() throws {
        let server = ScratchServer.shared
        try server.connect().execute("SELECT 1")
        for url in [
            "postgres://admin:hunter2@\(server.address):\(server.port)/postgres",
            "postgres://admin:hunter2@\(server.address):1/postgres",
            "postgres://admin:hunter2@no-such-host.invalid/postgres",
        ] {
            do {
                _ = try Connection(ConnectionSettings(url), timeout: .seconds(3))
                Issue.record("connected to \(url)")
            } catch {
                #expect(!"\(error)".contains("hunter2"))
                #expect(error.sqlState == nil && error.isConnectionLost && error.isRetriable)
                #expect(error.message.contains(server.address) || error.message.contains("no-such-host"))
            }
        }
    }

    @Test("a service from a service file connects")
    func service() throws {
        _ = try ScratchServer.shared.connect()
        let connection = try Connection(ConnectionSettings("service=shop"))
        let row = try connection.execute("SELECT current_database(), current_setting('application_name')")[0]
        #expect(try row.text(0) == "template1")
        #expect(try row.text(1) == "from_file")
    }

    @Test("TLS is used when asked for, and a wrong certificate is refused")
    func tls() throws {
        let server = ScratchServer.shared
        try server.connect().executeScript(
            "DO $$ BEGIN CREATE ROLE tls LOGIN PASSWORD 'hunter2'; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        let url = "postgres://tls:hunter2@\(server.address):\(server.port)/postgres?sslmode="
        #expect(try Connection(ConnectionSettings(url + "require")).usesTLS)
        #expect(try !Connection(ConnectionSettings(url + "disable")).usesTLS)
        #expect(throws: PostgresError.self) {
            try Connection(ConnectionSettings(url + "verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt"))
        }
    }

    @Test("the encoding is UTF-8 whatever the settings say, and the application is called reeve")
    func defaults() throws {
        let settings = ScratchServer.shared.settings.with(["client_encoding": "LATIN1"])
        let connection = try Connection(settings)
        #expect(connection.parameterStatus("client_encoding") == "UTF8")
        #expect(connection.parameterStatus("application_name") == "reeve")
        #expect(connection.serverVersion >= 130000)
    }
}
