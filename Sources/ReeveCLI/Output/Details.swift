import JobKit

/// One object as lines `name  value`, without what is null or empty.
struct Details {
    private let members: [String: JSON]

    init(_ members: [String: JSON]) { self.members = members }

    var text: String {
        let shown = members.filter { $0.value != .null && $0.value != [] && $0.value != .object([:]) }
        let width = shown.keys.map(\.count).max() ?? 0
        return shown.keys.sorted().map { name in
            let space = String(repeating: " ", count: width - name.count)
            let isTime = name.hasSuffix("_at") || name.hasSuffix("_until") || name == "at"
            return "\(name)\(space)  \(Column("", name, isTime ? .time : .text).cell(.object(shown)))\n"
        }.joined()
    }
}
