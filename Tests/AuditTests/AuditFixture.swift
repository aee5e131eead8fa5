import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Storage
import Testing

@testable import Audit

/// A control database whose audit has some entries, all sealed and anchored, and the store of its anchors.
final class AuditFixture {
    let settings: ConnectionSettings
    /// As the database's owner: a superuser.
    let owner: Connection
    let acme: AuditChain
    let birch: AuditChain
    let anchors: StoredAnchors
    let folder: String

    /// What every fixture is a copy of.
    private struct Base: Sendable {
        let database: String
        let folder: String
    }

    private static let base: Result<Base, any Error> = Result {
        let folder = try AuditFixture.makeFolder()
        let settings = try TestServer.freshControl()
        let owner = try Connection(settings)
        defer { owner.close() }
        try owner.executeScript(
            """
            INSERT INTO reeve.tenant (code, name, tier, status, isolation, region) VALUES
              ('acme', 'Acme', 'starter', 'active', 'schema', 'eu'), ('birch', 'Birch', 'enterprise', 'active', 'schema', 'eu');
            """)
        let pool = Pool(settings, bound: 1, name: "anchors")
        defer { pool.close() }
        let anchoring = Anchoring(
            control: pool, sinks: [StoredAnchors(FolderStore(root: folder))], every: .seconds(300))
        for count in [2, 6, 4] {
            for _ in 0..<count {
                for tenant in ["acme", "birch", "nobody"] { try AuditFixture.write(owner, tenant) }
            }
            try Anchoring.seal(owner)
            _ = try #require(try anchoring.run(now: true))
        }
        return Base(database: settings["dbname"] ?? "", folder: folder)
    }

    init() throws {
        let base = try AuditFixture.base.get()
        folder = try AuditFixture.makeFolder()
        try FileManager.default.removeItem(atPath: folder)
        try FileManager.default.copyItem(atPath: base.folder, toPath: folder)
        settings = try TestServer.freshDatabase(template: base.database)
        owner = try Connection(settings)
        anchors = StoredAnchors(FolderStore(root: folder))
        let id = { [owner] (code: String) in
            AuditChain(
                try owner.execute("SELECT id FROM reeve.tenant WHERE code = $1::text", [code])[0].uuid(0))
        }
        acme = try id("acme")
        birch = try id("birch")
    }

    deinit {
        owner.close()
        // A folder that stays is swept with /tmp.
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// Texts that a hash made carelessly would mix up or a verifier read in another way.
    private static let odd = [
        "plain", "a \"quoted\" \\ text", "line\nend\ttab", "ü is not u\u{308}", "3:abc,-,", "", "🦊 \u{7f}",
        "{\"a\": 1}",
    ]

    /// Writes an entry with odd contents.
    static func write(_ connection: Connection, _ tenant: String, action: String = "test.entry") throws {
        let pick = { AuditFixture.odd[Int.random(in: 0..<AuditFixture.odd.count)] }
        let detail: JSON = ["text": .string(pick()), "number": 1, "list": [.null, .bool(true), .double(0.1)]]
        _ = try connection.execute(
            """
            SELECT reeve.audit((SELECT id FROM reeve.tenant WHERE code = $1::text), $2::text, $3::text, $4::text, $5::jsonb || '{"big": 1e40}',
              CASE WHEN $6::boolean THEN reeve.clock() - interval '3 seconds' END)
            """, [tenant, action, pick(), Bool.random() ? nil : pick(), detail, Bool.random()])
    }

    /// One value as text.
    @discardableResult
    func value(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> String? {
        try owner.execute(sql, parameters).first?.optionalText(0)
    }

    /// What Reeve's verifier finds, against every anchor.
    func verify(anchored: Bool = true, now: Date = Date()) throws -> AuditReport {
        try AuditVerification(AuditReader(owner), anchors: anchored ? anchors : nil, now: now).run()
    }

    /// What the verifier in Python finds in an export.
    func verifyExport(anchored: Bool = true, now: Date = Date()) throws -> (exit: Processes.ExitStatus, text: String) {
        var text = ""
        try AuditExport(AuditReader(owner), anchors: anchored ? anchors : nil, now: now).write { text += $0 + "\n" }
        return try AuditFixture.python(text)
    }

    /// Runs the verifier in Python over the text of an export.
    static func python(_ text: String) throws -> (exit: Processes.ExitStatus, text: String) {
        let file = "/tmp/reeve-audit-\(getpid())-\(UUID().uuidString).jsonl"
        try text.write(toFile: file, atomically: false, encoding: .utf8)
        defer { unlink(file) }
        let root = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
        var out: [UInt8] = []
        let run = try ChildProcess.run(
            program: "python3", arguments: ["\(root)/deploy/audit/verify.py", file],
            environment: ["PATH": "/usr/bin:/bin", "PYTHONUTF8": "1"], supervisor: BuiltProducts.supervisor
        ) { out += $0 }
        try #require(run.standardError.isEmpty, "\(run.standardError)")
        return (run.exit, String(decoding: out, as: UTF8.self))
    }

    /// Lets this database's clock run ahead: what only a test's own server may do.
    func advanceClock(by interval: String) throws {
        try owner.executeScript(
            "CREATE OR REPLACE FUNCTION reeve.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT clock_timestamp() + interval '\(interval)' $$"
        )
    }

    static func makeFolder() throws -> String {
        return try #require(TemporaryFolder.make("/tmp/reeve-audit-test."))
    }
}
