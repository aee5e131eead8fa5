public import FoundationEssentials
public import Processes

/// The program rclone, and how its commands are run: as children under a supervisor, with an environment of allow-listed
/// variables and with bounds on what one command may take.
public struct RcloneTool: Sendable {
    /// How long rclone waits for a silent store, and how often it and a store of this process try again.
    public struct Patience: Sendable {
        /// How long a connection may be silent.
        public var silence: Duration = .seconds(60)
        /// How long connecting may take.
        public var connecting: Duration = .seconds(15)
        /// How long a command that moves no object may take.
        public var command: Duration = .seconds(120)
        /// How often rclone sends one request, or one part of an upload.
        public var requests = 5
        /// How often a command that failed for a reason that passes is run, reads from where they broke off.
        public var attempts = 4
        /// The longest pause before the second run; it doubles with each, up to 8 s, and is drawn by chance below that.
        public var pause: Duration = .milliseconds(500)

        /// The standard.
        public init() {}
    }

    /// A path, or a name to look up in PATH.
    public let program: String
    /// What children get; see `allowed`.
    public let environment: [String: String]
    /// The supervisor of the children.
    public let supervisor: Supervisor
    /// What one command may take.
    public let patience: Patience

    /// Names the program; of `environment` only the variables that rclone needs reach it.
    public init(
        program: String = "rclone", environment: [String: String] = ProcessInfo.processInfo.environment,
        supervisor: Supervisor = .current(), patience: Patience = Patience()
    ) {
        self.program = program
        self.environment = Self.allowed(of: environment)
        self.supervisor = supervisor
        self.patience = patience
    }

    /// Of a process's variables those that rclone gets: its configuration and remotes, the credentials of cloud providers,
    /// proxies and certificates. Never `AWS_CA_BUNDLE`, with which Debian's rclone refuses every call to S3, nor
    /// other `RCLONE_*` variables, which would change what its commands mean.
    public static func allowed(of environment: [String: String]) -> [String: String] {
        var allowed = environment.filter { name, _ in
            if refused.contains(name) { return false }
            return names.contains(name) || prefixes.contains { name.hasPrefix($0) }
        }
        allowed["PATH"] = allowed["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"
        allowed["LC_ALL"] = "C"
        return allowed
    }

    private static let refused: Set = ["AWS_CA_BUNDLE"]
    private static let names: Set = [
        "PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
        "http_proxy", "https_proxy", "no_proxy", "GOOGLE_APPLICATION_CREDENTIALS", "SSH_AUTH_SOCK", "RCLONE_CA_CERT",
    ]
    // RCLONE_CONFIG itself, RCLONE_CONFIG_PASS and RCLONE_CONFIG_<REMOTE>_<OPTION>.
    private static let prefixes = ["RCLONE_CONFIG", "AWS_", "AZURE_"]

    /// What every command is told.
    var commonArguments: [String] {
        [
            "--retries=1", "--low-level-retries=\(patience.requests)", "--timeout=\(milliseconds(patience.silence))",
            "--contimeout=\(milliseconds(patience.connecting))", "--buffer-size=0", "--use-mmap",
            // A bucket that is missing was misspelt: it is not to be made.
            "--s3-no-check-bucket", "--log-level=ERROR", "--ask-password=false",
        ]
    }

    /// A text of rclone's without the secrets that reached it through the environment.
    func withoutSecrets(_ text: String) -> String {
        var text = text
        for (name, value) in environment where value.count >= 4 && Self.isSecret(name) {
            text = text.split(separator: value, omittingEmptySubsequences: false).joined(separator: "***")
        }
        return text
    }

    private static func isSecret(_ name: String) -> Bool {
        let name = name.uppercased()
        return ["PASS", "SECRET", "KEY", "TOKEN", "SAS"].contains { name.contains($0) }
    }

    private func milliseconds(_ duration: Duration) -> String { "\(Int(duration / .milliseconds(1)))ms" }
}
