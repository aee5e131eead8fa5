extension Connection {
    /// Runs `body` between BEGIN and COMMIT; ROLLBACK when it throws. `isolation` is `read committed`, `repeatable read`
    /// or `serializable`; with `readOnly` nil the session's default decides. Refuses to nest. When the error of the
    /// COMMIT is `isConnectionLost`, nobody knows whether it happened.
    public func transaction<T>(
        isolation: String? = nil, readOnly: Bool? = nil, _ body: () throws -> T
    ) throws -> T {
        var begin = "BEGIN"
        if let isolation {
            guard ["read committed", "repeatable read", "serializable"].contains(isolation.lowercased()) else {
                throw PostgresError(sqlState: "22023", message: "unknown isolation level", operation: "BEGIN")
            }
            begin += " ISOLATION LEVEL " + isolation
        }
        if let readOnly { begin += readOnly ? " READ ONLY" : " READ WRITE" }
        if inTransaction {
            throw PostgresError(sqlState: "25001", message: "a transaction is already open", operation: "BEGIN")
        }
        try execute(begin)
        let value: T
        do {
            value = try body()
        } catch {
            rollBack()
            throw error
        }
        // COMMIT of a failed transaction is a ROLLBACK that reports success.
        let end = try execute("COMMIT")
        guard end.commandTag == "COMMIT" else {
            throw PostgresError(
                sqlState: "25P02", message: "a statement failed, so the transaction was rolled back",
                operation: "COMMIT")
        }
        return value
    }

    /// Ends an open transaction; a connection on which that fails is closed, so that nothing of it is ever committed.
    func rollBack() {
        guard inTransaction else { return }
        do throws(PostgresError) { try execute("ROLLBACK") } catch { close() }
    }
}
