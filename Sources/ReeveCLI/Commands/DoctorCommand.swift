extension Command {
    static let doctor = Command(
        "doctor", "check what Reeve needs, and say how to mend what is missing",
        details: "One line for each check: ok, warn or fail. Exit code 1 when one fails.",
        options: [.setting(.storage), .setting(.keyFile), .setting(.region), .setting(.programs)],
        examples: ["reeve doctor", "reeve doctor --json"]
    ) { invocation in
        try Doctor(invocation).run()
    }
}
