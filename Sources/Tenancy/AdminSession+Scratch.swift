import FoundationEssentials
import JobKit
import Postgres

// Scratch databases: made by one attempt to restore a backup into, and dropped by it or, when its worker died, by a later
// attempt of any job. Their comment carries the tenant's uuid; their name the attempt's lease.
extension AdminSession {
    static let scratchPrefix = "reeve_scratch_"

    static func scratchName(_ lease: UUID, _ number: Int) -> String {
        let hex = lease.uuidString.lowercased().replacing("-", with: "")
        return "\(scratchPrefix)\(hex)_\(number)"
    }

    private var scratchComment: String { "reeve scratch of tenant \(tenantID)" }

    /// An empty database of the same encoding and locale as the store's, closed to everybody else; one of the same name that
    /// this tenant's attempt left is replaced.
    func makeScratch(_ name: String) throws {
        try operation("admin.make_scratch", "database \(name)") {
            let connection = try maintenance()
            try dropScratchIfThere(name, connection)
            let row = try connection.execute(
                "SELECT to_jsonb(d), pg_encoding_to_char(d.encoding) FROM pg_database d WHERE d.datname = $1::text",
                [store.database]
            ).first
            var options = ""
            if let row {
                let found = try row.json(0)
                options = " ENCODING \(quoteLiteral(try row.text(1)))"
                for (keyword, column) in [("LC_COLLATE", "datcollate"), ("LC_CTYPE", "datctype")] {
                    if let value = found[column]?.string { options += " \(keyword) \(quoteLiteral(value))" }
                }
                if found["datlocprovider"]?.string == "i",
                    let locale = found["daticulocale"]?.string ?? found["datlocale"]?.string
                {
                    options += " LOCALE_PROVIDER icu ICU_LOCALE \(quoteLiteral(locale))"
                }
            }
            let quoted = quoteIdentifier(name)
            try connection.execute("CREATE DATABASE \(quoted) TEMPLATE template0\(options)")
            try connection.execute("COMMENT ON DATABASE \(quoted) IS \(quoteLiteral(scratchComment))")
            try connection.execute("REVOKE ALL ON DATABASE \(quoted) FROM PUBLIC")
        }
    }

    /// Drops a scratch database of this tenant; does nothing when there is none.
    func dropScratch(_ name: String) throws {
        try operation("admin.drop_scratch", "database \(name)") {
            try dropScratchIfThere(name, maintenance())
        }
    }

    private func dropScratchIfThere(_ name: String, _ connection: Connection) throws {
        guard try isScratch(name, connection) else { return }
        disconnect(name)
        try connection.execute("DROP DATABASE IF EXISTS \(quoteIdentifier(name)) WITH (FORCE)")
    }

    /// Whether the database is there; refuses one that is not this tenant's scratch database.
    private func isScratch(_ name: String, _ connection: Connection) throws -> Bool {
        guard name.hasPrefix(Self.scratchPrefix) else {
            throw TenancyError(.refused, "\(name) is not the name of a scratch database")
        }
        guard let row = try connection.execute(ObjectKind.database.query, [name]).first else { return false }
        guard try row.optionalText(0) == scratchComment else {
            throw TenancyError(
                .conflict, "database \(name) on \(store.server) is not a scratch database of tenant \(code)")
        }
        return true
    }

    /// The connection to a scratch database of this tenant.
    func scratch(_ name: String) throws -> Connection {
        guard try isScratch(name, maintenance()) else {
            throw TenancyError(.notFound, "scratch database \(name) is gone")
        }
        return try connect(name)
    }

    /// Drops scratch databases of this server whose attempt has ended, of any tenant in this registry; returns their names.
    func sweepScratches() throws -> [String] {
        try ScratchSweep(registry: registry, server: store.server).run(on: maintenance()) { disconnect($0) }
    }

    /// Ends sessions of child programs in the store's database whose attempt has ended: the server notices only between two
    /// statements that their program is gone. Returns how many.
    @discardableResult
    func endStaleSessions() throws -> Int {
        guard try databaseExists() else { return 0 }
        let connection = try maintenance()
        var stale: [(pid: Int64, lease: String)] = []
        for row in try connection.execute(
            """
            SELECT pid, substr(application_name, 7) FROM pg_stat_activity
            WHERE datname = $1::text AND application_name ~ '^reeve:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
            """, [store.database])
        {
            stale.append((try row.int(0), try row.text(1)))
        }
        if stale.isEmpty { return 0 }
        let live = try registry.liveLeases(stale.map(\.lease))
        stale.removeAll { live.contains($0.lease) }
        for session in stale {
            try connection.execute("SELECT pg_terminate_backend($1::int, 5000)", [Int(session.pid)])
        }
        return stale.count
    }

    /// Makes what a dump of the tenant's schemas does not bring: extensions, which are in no dump of a schema. `extensions` are
    /// name and schema; those of the live database when nil.
    func prepareScratch(_ name: String, extensions: [(name: String, schema: String)]?, dropping schemas: [String])
        throws
    {
        let connection = try scratch(name)
        var wanted = extensions ?? []
        if extensions == nil, try databaseExists() {
            wanted = try database().execute(
                "SELECT e.extname, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY e.oid"
            ).map { (try $0.text(0), try $0.text(1)) }
        }
        wanted.removeAll { $0.name == "plpgsql" }
        if let bad = wanted.first(where: { schemas.contains($0.schema) }) {
            throw TenancyError(
                .refused,
                "extension \(bad.name) is in the tenant's schema \(bad.schema), where a restore would make it a second time; "
                    + "move it: ALTER EXTENSION … SET SCHEMA")
        }
        // A dump of schema public makes it.
        if schemas.contains("public") { try connection.execute("DROP SCHEMA IF EXISTS public") }
        for item in wanted {
            try connection.execute("CREATE SCHEMA IF NOT EXISTS \(quoteIdentifier(item.schema))")
            try connection.execute(
                "CREATE EXTENSION IF NOT EXISTS \(quoteIdentifier(item.name)) SCHEMA \(quoteIdentifier(item.schema)) CASCADE"
            )
        }
    }
}
