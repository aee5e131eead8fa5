extension Configuration {
    /// How long dead letters are kept. Throws a usage error for a value that is no time or less than a day.
    var deadLettersKept: Duration {
        get throws {
            let text = self[.deadLettersKept] ?? "90d"
            guard let time = Durations.parse(text), time >= .seconds(86_400) else {
                throw CommandError(
                    .usage, "REEVE_DEAD_LETTERS_KEPT is '\(text)', which is no time of a day or more",
                    hint: "for example 90d")
            }
            return time
        }
    }
}
