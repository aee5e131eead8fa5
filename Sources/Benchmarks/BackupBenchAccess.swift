import Backup
import Encryption
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import Storage

/// The tenant of the backup benchmark: its login, its key, and a control database that agrees to everything.
final class BackupBenchAccess: BackupAccess, RecipientSource, AttemptStore {
    private let tenant: Tenant
    /// What plain pg_dump is asked for.
    let dumpOptions: [String]
    /// How a child program connects as the tenant.
    let environment: [String: String]
    private let store: BackupStore
    private let login: ConnectionSettings
    private let recipient: String
    private let keyID = UUID()

    init(_ data: BackupBenchData, settings: ConnectionSettings, folder: String) throws {
        tenant = data.tenant
        dumpOptions = data.dumpOptions
        let database = try data.admin.execute("SELECT current_database()")[0].text(0)
        store = BackupStore(
            server: "bench", database: database, schemas: [BackupBenchData.schema], referenceSchemas: [],
            login: BackupBenchData.login, dumpLimit: 1)
        login = settings.with([
            "user": BackupBenchData.login, "password": BackupBenchData.password, "passfile": "/dev/null",
            "options": "-c app.current_tenant=\(data.tenant.id)",
        ])
        let lines = login.options.filter { $0.key != "password" && $0.key != "passfile" }.map {
            "\($0.key)=\($0.value)\n"
        }
        try Self.write("[bench]\n" + lines.joined(), to: "\(folder)/service")
        try Self.write("*:*:*:*:\(BackupBenchData.password)\n", to: "\(folder)/pass")
        environment = [
            "PGSERVICEFILE": "\(folder)/service", "PGSERVICE": "bench", "PGPASSFILE": "\(folder)/pass", "LC_ALL": "C",
            "PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin",
        ]
        var text: [UInt8] = []
        let output = try ChildProcess.run(program: "age-keygen", arguments: [], environment: environment) { text += $0 }
        let line = String(decoding: text, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("# public key: ") }
        guard output.exit == .exited(0), let line else { throw BenchFailure("age-keygen made no key") }
        recipient = String(line.dropFirst(14))
    }

    /// The job as a worker runs it.
    func job(objects: String) throws -> BackupJob {
        BackupJob(
            stores: SingleStore(FolderStore(root: objects)), recipients: self, access: self,
            policy: BackupPolicy { _ in .seconds(86_400) })
    }

    /// Runs it; returns the bytes that it stored.
    func run(_ job: BackupJob) throws -> Int64 {
        let attempt = JobAttempt(
            jobID: 1, tenant: tenant, queue: "bench.backups", kind: BackupJob.kind, number: 1, leaseID: UUID(),
            traceparent: nil)
        let context = JobContext(
            attempt: attempt, deadline: .now + .seconds(86_400), stop: StopSignal(),
            log: Log(format: .text, minimum: .warning), resources: JobResources(), store: self)
        guard case .finished(let result) = try job.run(.init(reason: "benchmark"), in: context) else {
            throw BenchFailure("the backup did not finish")
        }
        return result.artifacts.reduce(0) { $0 + $1.bytes }
    }

    private static func write(_ text: String, to path: String) throws {
        unlink(path)
        let file = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0o600)
        defer { close(file) }
        var text = text
        guard file >= 0, text.withUTF8({ Glibc.write(file, $0.baseAddress, $0.count) }) == text.utf8.count else {
            throw BenchFailure("\(path) could not be written")
        }
    }

    // MARK: What a control database says

    func recipients(of tenant: Tenant) -> TenantRecipients { TenantRecipients(keyID: keyID, recipients: [recipient]) }
    func stores(_ context: JobContext) -> [BackupStore] { [store] }
    func lastBackup(_ store: BackupStore, _ context: JobContext) -> BackupEstimate? { nil }
    func takeDumps(_ wanted: Int, of store: BackupStore, _ context: JobContext) -> Int { 1 }
    func returnDumps(of store: BackupStore, _ context: JobContext) {}
    func recordProgress(_ progress: JSON, of attempt: JobAttempt) {}
    func stepResult(_ name: String, of attempt: JobAttempt) -> JSON? { nil }
    func recordStep(_ name: String, result: JSON, of attempt: JobAttempt) {}

    func withSession(_ store: BackupStore, _ context: JobContext, _ body: (any BackupSession) throws -> Void) throws {
        let connection = try Connection(login)
        defer { connection.close() }
        try body(Session(connection: connection))
    }

    func withChildEnvironment(
        _ store: BackupStore, _ context: JobContext, _ body: ([String: String]) throws -> Void
    ) throws { try body(environment) }

    private struct Session: BackupSession {
        let connection: Connection
        var serverVersion: Int { connection.serverVersion }
        func query(_ sql: String, _ parameters: [(any PostgresEncodable)?]) throws -> Rows {
            try connection.execute(sql, parameters)
        }
        func inSnapshot(_ body: () throws -> Void) throws {
            try connection.transaction(isolation: "repeatable read", readOnly: true, body)
        }
    }
}
