public import Crypto
public import FoundationEssentials
public import JobKit
public import Postgres

/// A signed statement of what was done: canonical JSON (RFC 8785) and an Ed25519 signature over exactly these bytes.
public struct SignedCertificate: Sendable {
    /// The certificate's id, which its body has too.
    public let id: UUID
    /// What is certified, with `certificate_id`, `format`, `issued_at` and `key_id`.
    public let body: JSON
    /// The signed text.
    public let canonical: String
    /// The signature, base64.
    public let signature: String
    /// Which key signed.
    public let keyID: String

    /// Puts one together from its parts, as the control database keeps them.
    public init(id: UUID, body: JSON, canonical: String, signature: String, keyID: String) {
        self.id = id
        self.body = body
        self.canonical = canonical
        self.signature = signature
        self.keyID = keyID
    }

    /// Whether the signature is the key's over the text, and the body says what the text says.
    public func isGenuine(under key: Ed25519.PublicKey) -> Bool {
        guard let signature = Data(base64Encoded: signature), key.id == keyID,
            let read = try? JSON(parsing: canonical), read == body  // a text that is no JSON is no certificate
        else { return false }
        return key.verifies(Array(signature), of: Array(canonical.utf8))
    }
}

/// Certificates of purges and erasures.
public enum Certificate {
    /// What `format` says in every body.
    public static let format = "reeve-certificate/1"

    /// Signs a body, which must be an object, with the current key. `certificate_id` (a new one unless given), `format`, `issued_at` and
    /// `key_id` are added. A body must hold no personal data: it is kept for ever. Throws `CertificateError`.
    public static func sign(_ body: JSON, id: UUID = UUID(), with keys: SigningKeys) throws -> SignedCertificate {
        try sign(body, id: id, with: try keys.current())
    }

    /// Signs with this key, at this time.
    public static func sign(_ body: JSON, id: UUID, with current: SigningKeys.Current) throws -> SignedCertificate {
        guard case .object(var members) = body else { throw CertificateError("a certificate's body must be an object") }
        members["certificate_id"] = .string(id.uuidString.lowercased())
        members["format"] = .string(format)
        members["issued_at"] = .string(current.now)
        members["key_id"] = .string(current.id)
        let canonical = try CanonicalJSON.text(.object(members))
        let signature = try current.key.sign(Array(canonical.utf8))
        return SignedCertificate(
            id: id, body: .object(members), canonical: canonical, signature: Data(signature).base64EncodedString(),
            keyID: current.id)
    }

    /// Records a certificate as the attempt's: kind `purge`, `purge_backup` or `erasure`, once for each request and kind. When an earlier
    /// attempt recorded one, that one's id comes back and this one is dropped. On the caller's connection, so that it may be in the transaction of
    /// what it certifies; throws PostgresError RV014 when the lease is lost.
    public static func record(
        _ certificate: SignedCertificate, kind: String, request: UUID, attempt: JobAttempt, on connection: Connection
    ) throws -> UUID {
        try connection.execute(
            """
            SELECT reeve.record_certificate($1::bigint, $2::uuid, $3::uuid, $4::text, $5::uuid, $6::text, $7::text, $8::text)
            """,
            [
                attempt.jobID, attempt.leaseID, certificate.id, kind, request, certificate.canonical,
                certificate.signature, certificate.keyID,
            ])[0].uuid(0)
    }
}
