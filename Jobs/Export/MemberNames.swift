/// Gives members of an archive names that every system can hold: letters, digits, `-`, `_` and dots, no two that a file system
/// without upper case would take for one. The dictionary says which table a name stands for.
struct MemberNames {
    private var taken: Set<String> = []

    /// The path of a table's files without their ending: `data/<…>/<table>`.
    mutating func path(_ parts: [String]) -> String {
        let path = (["data"] + parts.map(Self.safe)).joined(separator: "/")
        return unique(path)
    }

    /// The path of one of the tenant's own files, below `files/`.
    mutating func file(_ name: String) -> String {
        let parts = name.split(whereSeparator: { $0 == "/" || $0 == "\\" }).map { Self.safe(String($0)) }
        let path = (["files"] + (parts.isEmpty ? ["_"] : parts)).joined(separator: "/")
        guard let dot = path.lastIndex(of: "."), !path[dot...].contains("/") else { return unique(path) }
        return unique(String(path[..<dot]), ending: String(path[dot...]))
    }

    private mutating func unique(_ path: String, ending: String = "") -> String {
        var number = 1
        var name = path + ending
        while !taken.insert(name.lowercased()).inserted {
            number += 1
            name = "\(path)-\(number)\(ending)"
        }
        return name
    }

    private static func safe(_ text: String) -> String {
        var name = String(
            text.unicodeScalars.prefix(100).map { scalar in
                scalar.isASCII
                    && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar)
                        || "-_.".unicodeScalars.contains(scalar))
                    ? Character(scalar) : "_"
            })
        name = name.replacing("..", with: "__")
        if name.hasPrefix(".") { name = "_" + name.dropFirst() }
        if name.hasSuffix(".") { name = name.dropLast() + "_" }
        // Names that Windows keeps for devices.
        let stem = name.prefix { $0 != "." }.uppercased()
        let isDevice =
            ["CON", "PRN", "AUX", "NUL"].contains(stem)
            || (stem.count == 4 && ["COM", "LPT"].contains(String(stem.prefix(3))))
        return name.isEmpty ? "_" : isDevice ? "_" + name : name
    }
}
