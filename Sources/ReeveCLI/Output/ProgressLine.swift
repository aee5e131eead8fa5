/// Says how far something is: one line redrawn in place on a terminal, otherwise a line every ten seconds. On standard
/// error. Used by one thread.
public struct ProgressLine {
    private let output: Output
    private var lastShown: ContinuousClock.Instant?
    private var isShown = false

    /// A line that is not shown yet.
    public init(_ output: Output) { self.output = output }

    /// Shows the text, unless it was shown a moment ago.
    public mutating func show(_ text: @autoclosure () -> String) {
        let pause: Duration = output.canRedrawMessages ? .milliseconds(100) : .seconds(10)
        if let lastShown, .now - lastShown < pause { return }
        if lastShown == nil && !output.canRedrawMessages {
            lastShown = .now
            return
        }
        lastShown = .now
        if output.canRedrawMessages {
            Output.write("\r\u{1B}[K" + text().prefix(max(output.width - 1, 20)), to: 2)
            isShown = true
        } else {
            output.message(text())
        }
    }

    /// Removes the line from the terminal.
    public mutating func clear() {
        if isShown { Output.write("\r\u{1B}[K", to: 2) }
        isShown = false
    }
}
