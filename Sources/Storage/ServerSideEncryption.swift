/// How an S3 store is to encrypt what it keeps, with keys that it manages.
public struct ServerSideEncryption: Sendable, Hashable {
    /// Whose keys.
    public enum Algorithm: String, Sendable, CaseIterable {
        /// The store's own.
        case aes256 = "AES256"
        /// A key of the key service.
        case kms = "aws:kms"
    }

    /// Whose keys.
    public let algorithm: Algorithm
    /// The id or ARN of the key; nil for the bucket's.
    public let keyID: String?

    /// Names the encryption; nil when a key is named for an algorithm that takes none, or is no key's name.
    public init?(_ algorithm: Algorithm, keyID: String? = nil) {
        if let keyID {
            guard algorithm == .kms, (1...2048).contains(keyID.utf8.count), keyID.first != "-",
                keyID.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
            else { return nil }
        }
        self.algorithm = algorithm
        self.keyID = keyID
    }

    /// As rclone is told.
    var arguments: [String] {
        ["--s3-server-side-encryption=\(algorithm.rawValue)"] + (keyID.map { ["--s3-sse-kms-key-id=\($0)"] } ?? [])
    }
}
