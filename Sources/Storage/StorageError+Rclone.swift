import JobKit
import Processes

extension StorageError {
    /// What rclone's exit status and words mean: its status alone tells hardly more than success from failure.
    static func rclone(_ exit: ExitStatus, _ standardError: String, _ action: String, _ place: String) -> StorageError {
        let text = standardError.lowercased()
        let said = lastMessage(of: standardError)
        func says(_ words: [String]) -> Bool { words.contains { text.contains($0) } }
        if says([
            "didn't find section in config", "couldn't find config", "unable to decrypt configuration", "unknown flag",
        ])
            || says(["customcabundle", "didn't find backend called", "nocredentialproviders", "failed to parse"])
        {
            return StorageError(
                .misconfigured,
                "could not \(action): rclone cannot use \(place) (\(said)); look at RCLONE_CONFIG and RCLONE_CONFIG_<NAME>_*",
                .retryAfter(.seconds(300)))
        }
        if says(["nosuchbucket", "directory not found", "object not found", "containernotfound", "nosuchkey"]) {
            return StorageError(
                .notFound, "could not \(action): nothing is there in \(place) (\(said))", .retryAfter(.seconds(300)))
        }
        if says([
            "no space left", "quota", "insufficientstorage", "insufficient storage", "disk full", "file too large",
        ])
            || says(["remaining disk space"])
        {
            return StorageError(
                .full, "could not \(action): \(place) is full (\(said)); free space there or enlarge it",
                .retryAfter(.seconds(300)))
        }
        if says(["read-only file system"]) {
            return StorageError(
                .readOnly, "could not \(action): \(place) is read-only (\(said))", .retryAfter(.seconds(300)))
        }
        if says(["accessdenied", "access denied", "permission denied", "forbidden", "signaturedoesnotmatch"])
            || says([
                "invalidaccesskeyid", "authenticationfailed", "unauthorized", "status code: 401", "status code: 403",
            ])
        {
            return StorageError(
                .denied,
                "could not \(action): \(place) refuses it (\(said)); look at the remote's credentials and rights",
                .retryAfter(.seconds(300)))
        }
        return StorageError(.unavailable, "could not \(action) in \(place): \(said)")
    }

    /// rclone's last line without its time, at most 300 characters.
    private static func lastMessage(of text: String) -> String {
        // Control characters, line ends too, were replaced before: messages begin with a date.
        let marks = ["Failed to ", "ERROR : ", "CRITICAL: "]
        var start = text.startIndex
        for mark in marks {
            if let found = text.ranges(of: mark).last?.lowerBound, found > start { start = found }
        }
        let message = text[start...].prefix(300)
        let words = message.split { $0 == " " || $0 == "\n" || $0 == "\t" }.joined(separator: " ")
        return words.isEmpty ? "no message" : words
    }
}
