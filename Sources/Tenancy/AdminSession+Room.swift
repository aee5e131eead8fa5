import Glibc
import JobKit
import Postgres

// Room on a database server for what a restore makes there: known before it begins, where it can be known.
extension AdminSession {
    /// Throws when the server has less room than `bytes`: by its disk where that can be seen from here, by the operator's limit for
    /// scratch databases where there is one.
    func requireRoom(for bytes: Int64, _ what: String) throws {
        let connection = try maintenance()
        if let free = try freeBytes(connection), free < bytes {
            throw shortage(what, bytes, "its disk has \(free) free; free space there or enlarge it")
        }
        guard let limit = try scratchLimit() else { return }
        let taken = try connection.execute(
            "SELECT coalesce(sum(pg_database_size(oid)), 0)::bigint FROM pg_database WHERE datname LIKE '\(Self.scratchPrefix.replacing("_", with: "\\_"))%'"
        )[0].int(0)
        guard bytes <= limit - taken else {
            throw shortage(
                what, bytes,
                "its limit for scratch databases is \(limit), of which \(taken) are taken; raise it: reeve server add "
                    + "\(store.server) … --scratch-limit")
        }
    }

    private func shortage(_ what: String, _ bytes: Int64, _ rest: String) -> JobFailure {
        JobFailure(
            "restore_space_short", "\(what) needs about \(bytes) bytes on server \(store.server), and \(rest)",
            .retryAfter(.seconds(300)))
    }

    private func scratchLimit() throws -> Int64? {
        try registry.directory.control.withConnection {
            try $0.execute("SELECT scratch_limit FROM reeve.tenant_server WHERE name = $1::text", [store.server]).first?
                .optionalInt(0)
        }
    }

    /// What the disk under the server's data has free; nil when the server is another machine, or its folder is hidden from
    /// this login or user.
    private func freeBytes(_ connection: Connection) throws -> Int64? {
        let row = try connection.execute(
            """
            SELECT (SELECT setting FROM pg_settings WHERE name = 'data_directory'),
              inet_server_addr() IS NULL OR inet_server_addr() = inet_client_addr()
            """)[0]
        guard try row.bool(1), let folder = try row.optionalText(0), !folder.isEmpty else { return nil }
        var status = statvfs()
        guard statvfs(folder, &status) == 0 else { return nil }
        return Int64(clamping: UInt64(status.f_bavail) &* UInt64(status.f_frsize))
    }
}
