import EmbeddedPostgres
import Glibc
import JobKit
import Postgres
import ReeveTesting

/// One run of the built `reeve`, as a user's shell would start it.
struct ReeveRun {
    let code: Int32
    /// Standard output.
    let out: String
    /// Standard error.
    let err: String

    /// Runs it with these words; the environment holds only what is given, and PATH. `input` is standard input.
    init(
        program: String = BuiltProducts.path("reeve"), _ words: [String], _ environment: [String: String] = [:],
        input: String = "",
        directory: String = "/"
    ) throws {
        guard let folder = TemporaryFolder.make("/tmp/reeve-cli-test.") else { throw Failure(what: "mkdtemp") }
        defer { for name in ["in", "out", "err", ""] { remove("\(folder)/\(name)") } }
        try ReeveRun.write(input, to: "\(folder)/in")
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "\(folder)/in", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, "\(folder)/out", O_WRONLY | O_CREAT, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, "\(folder)/err", O_WRONLY | O_CREAT, 0o600)
        let path = "/usr/bin/env"
        let all = environment.merging(["PATH": "/usr/bin:/bin"]) { given, _ in given }
        let argv = (["env", "-C", directory, program] + words).map { strdup($0) } + [nil]
        let envp = all.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in argv + envp { free(pointer) } }
        var child: pid_t = 0
        guard posix_spawn(&child, path, &actions, nil, argv, envp) == 0 else { throw Failure(what: "spawn") }
        // A test must end even when the program does not.
        let limit = ContinuousClock.now + .seconds(180)
        var status: Int32 = 0
        while waitpid(child, &status, WNOHANG) == 0 {
            if .now > limit { kill(child, SIGKILL) }
            usleep(2000)
        }
        code = status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
        out = try ReeveRun.read("\(folder)/out")
        err = try ReeveRun.read("\(folder)/err")
    }

    /// Both outputs, for searching.
    var all: String { out + err }

    /// The document on standard output.
    var json: JSON { get throws { try JSON(parsing: out) } }

    struct Failure: Error { let what: String }

    static func write(_ text: String, to path: String) throws {
        guard let file = fopen(path, "w") else { throw Failure(what: path) }
        defer { fclose(file) }
        let bytes = Array(text.utf8)
        guard fwrite(bytes, 1, bytes.count, file) == bytes.count else { throw Failure(what: path) }
    }

    static func read(_ path: String) throws -> String {
        guard let file = fopen(path, "r") else { throw Failure(what: path) }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while case let count = fread(&buffer, 1, buffer.count, file), count > 0 { bytes += buffer[..<count] }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// A control database of its own with one tenant and one kind.
struct ControlFixture {
    let conninfo: String
    let settings: ConnectionSettings

    init(_ server: EmbeddedPostgres = TestServer.shared) throws {
        settings = try TestServer.freshControl(server)
        conninfo = settings.conninfo
        let connection = try Connection(settings)
        defer { connection.close() }
        try connection.executeScript(
            """
            INSERT INTO reeve.tenant (code, name, tier, status, isolation, region)
            VALUES ('acme', 'Acme Steel', 'starter', 'active', 'schema', 'eu'), ('birch', 'Birch', 'starter', 'active', 'schema', 'eu');
            SELECT reeve.register_kinds('[{"name": "stocktake", "queue": "reports", "time_limit_ms": 60000, "max_attempts": 3,
              "statuses": ["trial", "active"],
              "schema": {"type": "object", "properties": {"yard": {"type": "string"}}, "additionalProperties": false}}]');
            """)
    }

    func run(_ words: String..., options: [String: String] = [:], input: String = "") throws -> ReeveRun {
        try ReeveRun(words, ["REEVE_DATABASE_URL": conninfo].merging(options) { _, new in new }, input: input)
    }
}
