import JobKit

/// What rclone says of a remote's backend.
struct RcloneBackend: Sendable {
    /// Whether it is S3, of whatever provider.
    let isS3: Bool
    /// Whether its objects have keys and appear whole: not so in stores of files.
    let isBucketBased: Bool
    /// Whether it renames what is stored.
    let canMove: Bool

    /// Whether objects get their name when they are whole, by renaming.
    var renames: Bool { !isBucketBased && canMove }

    /// Reads the answer of `rclone backend features`.
    init(parsing text: String) throws {
        guard let json = try? JSON(parsing: text), let features = json["Features"] else {
            throw StorageError(.failed, "rclone did not say what the remote can do; it needs rclone 1.60 or newer")
        }
        isS3 = json["String"]?.string?.hasPrefix("S3 ") == true
        isBucketBased = features["BucketBased"] == .bool(true)
        canMove = features["Move"] == .bool(true) || features["Copy"] == .bool(true)
    }
}
