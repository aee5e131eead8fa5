import CLibpq

extension Connection {
    /// The SCRAM-SHA-256 verifier of a password, made on this side, for `ALTER ROLE … PASSWORD`: the password itself
    /// then never reaches the server or its log.
    public func encryptedPassword(_ password: String, for role: String) throws(PostgresError) -> String {
        let connection = try open("encrypt password")
        guard let verifier = PQencryptPasswordConn(connection, password, role, "scram-sha-256") else {
            throw PostgresError(
                sqlState: nil, message: "the password could not be encrypted", operation: "encrypt password")
        }
        defer { PQfreemem(verifier) }
        return String(cString: verifier)
    }
}
