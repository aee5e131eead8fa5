import Glibc
public import JobKit

/// Where a command's data and messages go: data to standard output, messages to standard error.
public struct Output: Sendable {
    /// Whether `--json` was given.
    public let isJSON: Bool
    /// Whether standard output is a terminal that can redraw.
    public let isTerminal: Bool
    /// Whether colours may be used: a terminal, `TERM` not `dumb`, `NO_COLOR` not set.
    public let usesColor: Bool
    /// Whether messages may redraw a line of standard error.
    let canRedrawMessages: Bool
    /// The width of the terminal in columns.
    let width: Int

    init(isJSON: Bool, environment: [String: String]) {
        let isDumb = environment["TERM"].map { $0.isEmpty || $0 == "dumb" } ?? true
        self.isJSON = isJSON
        isTerminal = isatty(1) == 1 && !isDumb
        usesColor = isTerminal && (environment["NO_COLOR"] ?? "").isEmpty && !isJSON
        canRedrawMessages = isatty(2) == 1 && !isDumb
        var size = winsize()
        width = ioctl(1, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 80
    }

    /// Writes one line of data.
    public func line(_ text: String) { Output.write(text + "\n", to: 1) }

    /// Writes text as it is.
    public func raw(_ text: String) { Output.write(text, to: 1) }

    /// Writes a message for people: not part of the data.
    public func message(_ text: String) { Output.write(text + "\n", to: 2) }

    /// With `--json` the document, else the text.
    public func result(_ document: JSON, _ text: @autoclosure () -> String) {
        line(isJSON ? document.text : text())
    }

    /// A list: with `--json` one array of the objects as they are, else a table, else `empty` as a message.
    public func list(_ items: [JSON], _ columns: [Column], empty: String) {
        if isJSON { return line(JSON.array(items).text) }
        if items.isEmpty { return message(empty) }
        raw(Table(columns, items).text(color: usesColor))
    }

    /// The text in a colour, where colours are used.
    public func paint(_ text: String, _ color: Color) -> String {
        usesColor ? "\u{1B}[\(color.rawValue)m\(text)\u{1B}[0m" : text
    }

    /// The colours that mean something.
    public enum Color: String, Sendable {
        case red = "31"
        case green = "32"
        case yellow = "33"
        case dim = "2"
        case bold = "1"
    }

    /// Writes all of the text. A reader that went away ends the program by SIGPIPE, as usual.
    static func write(_ text: String, to descriptor: Int32) {
        var text = text
        text.withUTF8 { bytes in
            var sent = 0
            while sent < bytes.count {
                let count = Glibc.write(descriptor, bytes.baseAddress.map { $0 + sent }, bytes.count - sent)
                if count < 0 && errno == EINTR { continue }
                guard count > 0 else { return }
                sent += count
            }
        }
    }
}
