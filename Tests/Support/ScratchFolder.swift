import Glibc
import JobKit

/// A temporary folder, removed at the end of a test.
public final class ScratchFolder: Sendable {
    /// The folder.
    public let path: String

    /// Makes it.
    public init() {
        guard let path = TemporaryFolder.make("/tmp/rvstore.") else { fatalError("no temporary directory") }
        self.path = path
    }

    deinit {
        func empty(_ folder: String) {
            for name in Self.entries(of: folder) {
                if unlink("\(folder)/\(name)") != 0 { empty("\(folder)/\(name)") }
            }
            rmdir(folder)
        }
        empty(path)
    }

    /// Every file and link below the folder, as paths from it, sorted.
    public func files() -> [String] {
        func list(_ relative: String) -> [String] {
            Self.entries(of: "\(path)/\(relative)").flatMap { name in
                let child = relative.isEmpty ? name : "\(relative)/\(name)"
                var status = stat()
                guard lstat("\(path)/\(child)", &status) == 0 else { return [String]() }
                return status.st_mode & S_IFMT == S_IFDIR ? list(child) : [child]
            }
        }
        return list("").sorted()
    }

    private static func entries(of folder: String) -> [String] {
        guard let stream = opendir(folder) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }

    /// The permissions of what is there; 0 when nothing is.
    public func mode(of relative: String) -> UInt32 {
        var status = stat()
        return lstat("\(path)/\(relative)", &status) == 0 ? status.st_mode & 0o777 : 0
    }
}
