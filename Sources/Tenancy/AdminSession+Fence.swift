import JobKit
import Postgres

// The fence of design section 5. May run again after it was killed anywhere.
extension AdminSession {
    /// Schema `reeve_fence` of the store's database, when it is not there yet, and the login's use of it.
    func makeFence() throws {
        try operation("admin.make_fence", "schema \(FenceSchema.name)") {
            let connection = try database()
            let login = quoteIdentifier(store.login)
            try exclusively(connection) {
                try makeGroupRole(FenceSchema.owner, connection)
                if try !hasFence(connection) {
                    try join(FenceSchema.owner, connection)
                    // Who may make schemas in a tenant's own database is its owner.
                    let row = try connection.execute(
                        """
                        SELECT has_database_privilege(d.oid, 'CREATE'), pg_get_userbyid(d.datdba)
                        FROM pg_database d WHERE d.datname = current_database()
                        """)[0]
                    if try !row.bool(0) { try join(row.text(1), connection) }
                    try connection.execute("CREATE SCHEMA \(FenceSchema.name) AUTHORIZATION \(FenceSchema.owner)")
                    try connection.execute(
                        "COMMENT ON SCHEMA \(FenceSchema.name) IS \(quoteLiteral(FenceSchema.comment))")
                    try asRole(FenceSchema.owner, connection) { try connection.executeScript(FenceSchema.script) }
                }
                try asRole(FenceSchema.owner, connection) {
                    try connection.execute("GRANT USAGE ON SCHEMA \(FenceSchema.name) TO \(login)")
                    for function in FenceSchema.functions {
                        try connection.execute(
                            "GRANT EXECUTE ON FUNCTION \(FenceSchema.name).\(function) TO \(login)")
                    }
                }
            }
        }
    }

    /// Whether the fence is there; refuses a schema of its name that is something else.
    func hasFence(_ connection: Connection) throws -> Bool {
        guard let row = try connection.execute(ObjectKind.schema.query, [FenceSchema.name]).first else { return false }
        guard try row.optionalText(0) == FenceSchema.comment else {
            throw TenancyError(
                .conflict, "schema \(FenceSchema.name) in \(store.database) is not the fence that this reeve makes")
        }
        return true
    }

    /// A role that tenants' objects have in common and that cannot log in.
    func makeGroupRole(_ role: String, _ connection: Connection) throws {
        // A role belongs to the cluster, so another database's provisioning may make it at the same moment.
        try connection.executeScript(
            """
            DO $$ BEGIN CREATE ROLE \(role) NOLOGIN NOINHERIT;
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$
            """)
    }
}
