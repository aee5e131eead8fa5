import JobKit
public import Processes

/// What pg_dump or pg_restore wrote to standard error, message by message; its line breaks may be gone.
public struct StandardErrorText {
    /// The first error's own message. What the server adds in DETAIL and CONTEXT may quote rows and is left out.
    public private(set) var firstError: String?
    /// The warnings.
    public private(set) var warnings: [String] = []
    /// Whether there is anything but warnings and what explains them.
    public private(set) var isSurprising = false

    /// Takes the text apart at the program's name, which begins every message.
    public init(_ text: String, program: String) {
        var messages: [[Substring]] = [[]]
        for word in text.split(whereSeparator: \.isWhitespace) {
            if word == "\(program):" { messages.append([]) } else { messages[messages.count - 1].append(word) }
        }
        isSurprising = !messages[0].isEmpty
        for message in messages.dropFirst() {
            let shown = message.dropFirst().prefix { !["DETAIL:", "CONTEXT:", "HINT:", "STATEMENT:"].contains($0) }
            let body = String(shown.joined(separator: " ").prefix(300))
            switch message.first {
            case "warning:": warnings.append(body)
            case "detail:", "hint:": break
            case "error:":
                isSurprising = true
                firstError = firstError ?? body
            default: isSurprising = true
            }
        }
    }
}

/// Throws unless the program ended well and said nothing unexpected; returns its warnings. Never repeats what may quote rows.
@discardableResult
public func judge(_ output: ChildProcess.Output, of program: String) throws -> [String] {
    let said = StandardErrorText(output.standardError, program: program)
    guard output.exit == .exited(0) else {
        let first = said.firstError.map { ": \($0)" } ?? ""
        throw JobFailure("\(program)_failed", "\(program) ended with \(output.exit)\(first)")
    }
    guard !said.isSurprising else {
        throw JobFailure("\(program)_surprise", "\(program) reported success but also wrote what was not expected")
    }
    return said.warnings
}
