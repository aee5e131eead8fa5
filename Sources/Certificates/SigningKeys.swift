public import Crypto
import FoundationEssentials
import JobKit
public import Postgres

/// The fleet's signing keys: private halves in a store, public ones published in the control database (`reeve.signing_key`), where they
/// stay for ever, so that what a retired key signed can be verified. One is current. Calls block.
public struct SigningKeys: Sendable {
    /// A key that can sign, and the time that the control database says it is.
    public struct Current: Sendable {
        /// The key's id, derived from its public half.
        public let id: String
        /// The private half.
        public let key: Ed25519.PrivateKey
        /// The control database's clock, RFC 3339 in UTC.
        public let now: String
    }

    private let store: (any SigningKeyStore)?
    private let control: Pool

    /// Keys of the fleet of this control database. Without a store, everything that signs throws what to configure.
    public init(store: (any SigningKeyStore)?, control: Pool) {
        self.store = store
        self.control = control
    }

    /// The key that signs now. Throws `CertificateError` when there is none, or it is not what is published.
    public func current() throws -> Current {
        let store = try requireStore()
        let found = try control.withConnection {
            try $0.execute(
                """
                SELECT id, public_key, to_char(reeve.clock() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
                FROM reeve.signing_key WHERE retired_at IS NULL
                """
            ).first.map { (try $0.text(0), try $0.text(1), try $0.text(2)) }
        }
        guard let (id, published, now) = found else {
            throw CertificateError("the fleet has no signing key; make one with: reeve keys signing create")
        }
        let key = try Ed25519.PrivateKey(pem: store.fetch(id))
        guard key.publicKey.pem == published else {
            throw CertificateError("signing key \(id) in \(store.summary) is not the one that is published")
        }
        return Current(id: id, key: key, now: now)
    }

    /// Makes a key, stores it and publishes its public half; the one before, if any, is retired, which must be so exactly when
    /// `rotates`. Returns the key's id.
    public func make(rotates: Bool, reason: String?, actor: String?) throws -> String {
        let store = try requireStore()
        let key = Ed25519.PrivateKey()
        let id = key.publicKey.id
        // Refused before a key is written that nobody needs, and again when it is published.
        try control.withConnection { connection in
            let exists = try connection.execute(
                "SELECT EXISTS (SELECT FROM reeve.signing_key WHERE retired_at IS NULL)")[0].bool(0)
            guard exists == rotates else {
                throw CertificateError(
                    exists
                        ? "the fleet has a signing key; a new one takes its place with: reeve keys signing rotate"
                        : "the fleet has no signing key; make one with: reeve keys signing create")
            }
        }
        try store.store(key.pem, id: id)
        try control.withConnection { connection in
            try connection.transaction {
                if let actor { try connection.execute("SELECT set_config('reeve.actor', $1::text, true)", [actor]) }
                try connection.execute(
                    "SELECT reeve.publish_signing_key($1::text, $2::text, $3::bool, $4::text)",
                    [id, key.publicKey.pem, rotates, reason])
            }
        }
        return id
    }

    private func requireStore() throws -> any SigningKeyStore {
        guard let store else {
            throw CertificateError(
                "nothing says where the fleet's signing keys are kept; set REEVE_SIGNING_KEYS to a folder that only this user "
                    + "can read, or REEVE_SIGNING_COMMAND to a program")
        }
        return store
    }
}
