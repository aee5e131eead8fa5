import JobKit

/// What `REEVE_STORAGE` or a destination names: a folder of this machine, or `remote:path` for rclone.
public enum StorageLocation: Sendable, Hashable, CustomStringConvertible {
    /// A folder, which need not exist.
    case folder(String)
    /// A remote of rclone's configuration and a path in it.
    case remote(name: String, path: String)

    /// Parses a location. A `:` before the first `/` makes it a remote. Throws `StorageError` `misconfigured` for a remote with
    /// options in it (they would show in the process list), a path with `..`, and texts with control characters.
    public init(parsing text: String) throws(StorageError) {
        guard !text.isEmpty, text.utf8.count <= 1000,
            text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F })
        else { throw Self.refusal("it is empty, too long or has control characters") }
        guard let colon = text.firstIndex(of: ":"), !text[..<colon].contains("/") else {
            self = .folder(text)
            return
        }
        let name = String(text[..<colon])
        var path = String(text[text.index(after: colon)...])
        guard (1...100).contains(name.utf8.count), let first = name.utf8.first, Self.isNamePart(first),
            name.utf8.allSatisfy({ Self.isNamePart($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".") })
        else {
            throw Self.refusal(
                "\"\(name.prefix(40))\" is no name of a remote; options of a remote belong in rclone's configuration "
                    + "or in RCLONE_CONFIG_<NAME>_* variables")
        }
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        guard !path.split(separator: "/").contains("..") else { throw Self.refusal("its path has ..") }
        self = .remote(name: name, path: path)
    }

    /// The folder's path, or `remote:path`.
    public var description: String {
        switch self {
        case .folder(let path): path
        case .remote(let name, let path): "\(name):\(path)"
        }
    }

    /// The store at the location.
    public func store(encryption: ServerSideEncryption? = nil, tool: RcloneTool = RcloneTool()) throws(StorageError)
        -> any ObjectStore
    {
        switch self {
        case .remote: return RcloneStore(root: description, encryption: encryption, tool: tool)
        case .folder(let path):
            guard encryption == nil else {
                throw StorageError(
                    .misconfigured,
                    "folder \(path) cannot encrypt by itself; only S3 stores take a server's encryption",
                    .retryAfter(.seconds(300)))
            }
            return FolderStore(root: path)
        }
    }

    private static func isNamePart(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    private static func refusal(_ reason: String) -> StorageError {
        StorageError(
            .misconfigured, "a store is a folder or <remote>:<path> for rclone: \(reason)", .retryAfter(.seconds(300)))
    }
}
