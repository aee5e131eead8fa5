import FoundationEssentials
import JobKit
import Postgres

/// What a session must show before a handler gets it (design section 6.5): that the database takes it for this
/// tenant's own login, in the right database, with the registry's `search_path`, and that the login is nobody else on
/// the side.
enum SessionProof {
    /// Compares what the database answers with what the registry says. A mismatch is audited and ends the job.
    static func prove(
        _ connection: Connection, _ store: TenantStore, _ attempt: JobAttempt, _ control: Pool, stop: StopSignal?
    ) throws {
        let wrong = try differences(connection, store, stop: stop)
        if !wrong.isEmpty { try refuse(wrong, store, attempt, control) }
    }

    /// The names of what differs, none of a session that is what it has to be.
    static func differences(_ connection: Connection, _ store: TenantStore, stop: StopSignal? = nil) throws -> [String]
    {
        let row = try connection.execute(
            """
            SELECT session_user, current_user, coalesce(current_setting($1::text, true), ''),
                   current_setting('search_path'), current_database(), r.rolsuper, r.rolbypassrls,
                   r.rolcreaterole OR r.rolcreatedb OR r.rolreplication,
                   EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.member = r.oid),
                   current_setting('default_transaction_read_only') = 'off'
            FROM pg_catalog.pg_roles r WHERE r.rolname = session_user
            """, [store.settingName], stop: stop)
        guard let row = row.first else { return ["login"] }
        let expected: [(String, Int, String)] = [
            ("session_user", 0, store.login), ("current_user", 1, store.login),
            (store.settingName, 2, store.settingValue), ("search_path", 3, store.searchPath),
            ("database", 4, store.database),
        ]
        var wrong: [String] = []
        for (name, column, value) in expected where try row.text(column) != value { wrong.append(name) }
        for (name, column) in [
            ("superuser", 5), ("bypassrls", 6), ("administrative rights", 7), ("member of another role", 8),
            ("default_transaction_read_only", 9),
        ]
        where try row.bool(column) { wrong.append(name) }
        return wrong
    }

    private static func refuse(_ wrong: [String], _ store: TenantStore, _ attempt: JobAttempt, _ control: Pool) throws {
        // The names of what differs, never the values: they may be another tenant's.
        let detail: JSON = [
            "wrong": .array(wrong.map(JSON.string)), "job": .int(attempt.jobID), "kind": .string(attempt.kind.rawValue),
            "lease": .string(attempt.leaseID.uuidString.lowercased()),
        ]
        try control.withConnection { connection in
            _ = try connection.execute(
                "SELECT reeve.audit($1::uuid, 'session.refused', $2::text, 'session_proof', $3::jsonb)",
                [attempt.tenant.id, "login \(store.login) on \(store.server)/\(store.database)", detail])
        }
        throw JobFailure(
            "session_proof",
            "the session of \(store.login) is not what the registry says: \(wrong.joined(separator: ", ")); "
                + "the login or the registry was changed, see: reeve tenant show \(attempt.tenant.code)", .giveUp)
    }
}
