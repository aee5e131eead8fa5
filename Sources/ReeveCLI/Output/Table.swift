import JobKit

/// A column of a table: a member of the rows' objects.
public struct Column: Sendable {
    /// How a value is shown.
    public enum Style: Sendable {
        /// As it is.
        case text
        /// To the right.
        case number
        /// A moment in local time.
        case time
        /// How long ago a moment is.
        case age
        /// A size in bytes.
        case bytes
        /// A state in its colour.
        case state
    }

    let title: String
    let key: String
    let style: Style

    /// A column titled `title` of the member `key`.
    public init(_ title: String, _ key: String, _ style: Style = .text) {
        self.title = title
        self.key = key
        self.style = style
    }

    func cell(_ item: JSON) -> String {
        let value = item[key] ?? .null
        let text: String
        switch (style, value) {
        case (_, .null): text = "-"
        case (.time, .string(let moment)): text = Times.local(moment)
        case (.age, .string(let moment)): text = Times.age(moment)
        case (.bytes, .int(let count)): text = Durations.bytes(count)
        case (_, .string(let string)): text = string
        case (_, .array(let values)) where values.allSatisfy({ $0.string != nil }):
            text = values.isEmpty ? "-" : values.compactMap(\.string).joined(separator: ", ")
        case (_, .object(let members)):
            text = members.keys.sorted().map { "\($0)=\(members[$0]?.string ?? members[$0]?.text ?? "")" }.joined(
                separator: " ")
        case (_, .bool(let truth)): text = truth ? "yes" : "no"
        default: text = value.text
        }
        return Log.printable(text)
    }
}

/// Rows under titles, aligned.
struct Table {
    private let columns: [Column]
    private let items: [JSON]

    init(_ columns: [Column], _ items: [JSON]) {
        self.columns = columns
        self.items = items
    }

    func text(color: Bool) -> String {
        let cells = [columns.map(\.title)] + items.map { item in columns.map { $0.cell(item) } }
        let widths = columns.indices.map { column in cells.map { $0[column].count }.max() ?? 0 }
        var out = ""
        for (number, row) in cells.enumerated() {
            var line = ""
            for (index, column) in columns.enumerated() {
                let space = String(repeating: " ", count: widths[index] - row[index].count)
                let isRight =
                    if case .number = column.style { true } else if case .bytes = column.style { true } else { false }
                let paint = color ? (number == 0 ? "1" : column.paint(row[index])) : nil
                let word = paint.map { "\u{1B}[\($0)m\(row[index])\u{1B}[0m" } ?? row[index]
                line +=
                    (index > 0 ? "  " : "") + (isRight ? space + word : word + (index + 1 < columns.count ? space : ""))
            }
            out += line + "\n"
        }
        return out
    }
}

extension Column {
    fileprivate func paint(_ text: String) -> String? {
        guard case .state = style else { return nil }
        switch text {
        case "succeeded", "active", "alive", "ok": return "32"
        case "dead", "suspended", "churned", "archived", "fail": return "31"
        case "running", "trial", "stopping", "warn": return "33"
        default: return nil
        }
    }
}
