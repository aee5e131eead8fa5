import Backup
import Glibc
import JobKit
import Postgres
import PostgresQueue
import Processes

/// Checks what Reeve needs; every check says what it found and, when it is not well, what to do.
final class Doctor {
    enum Verdict: String { case ok, warn, fail }

    struct Check {
        let name: String
        let verdict: Verdict
        let finding: String
        let remedy: String?
    }

    let invocation: Invocation
    private var checks: [Check] = []

    init(_ invocation: Invocation) { self.invocation = invocation }

    func run() throws -> ExitCode {
        _ = try invocation.configuration.database()
        do {
            let connection = try invocation.connect()
            report("control database", .ok, invocation.configuration.masked(.databaseURL) ?? "")
            for check in DatabaseChecks.all {
                do {
                    try check.run(self, connection)
                } catch {
                    report(check.name, .fail, ErrorReport(error, invocation).message, "see the server's log")
                }
            }
        } catch {
            let found = ErrorReport(error, invocation)
            report("control database", .fail, found.message, membershipRemedy(error) ?? found.hint)
        }
        checkPgDump()
        checkReports()
        checkMail()
        checkKafka()
        checkStorage()
        checkDestinations()
        checkKey()
        checkIdentities()
        checkRegion()
        checkSurroundings()
        let output = invocation.output
        output.list(
            checks.map { check in
                [
                    "check": .string(check.name), "verdict": .string(check.verdict.rawValue),
                    "finding": .string(check.finding), "remedy": check.remedy.map(JSON.string) ?? .null,
                ]
            },
            [
                Column("", "verdict", .state), Column("CHECK", "check"), Column("FINDING", "finding"),
                Column("REMEDY", "remedy"),
            ],
            empty: "")
        return checks.contains { $0.verdict == .fail } ? .failed : .done
    }

    /// What lets a login in that the database refuses.
    private func membershipRemedy(_ error: any Error) -> String? {
        guard (error as? PostgresError)?.isRefusedByDatabase == true,
            // The settings were read before; they name the login, or it is libpq's default.
            let user = try? invocation.configuration.database()["user"]
        else { return nil }
        return "run: GRANT reeve_operator TO \(quoteIdentifier(user))"
    }

    /// The server's version, for comparison: 150004.
    var serverVersion = 0

    func report(_ name: String, _ verdict: Verdict, _ finding: String, _ remedy: String? = nil) {
        checks.append(Check(name: name, verdict: verdict, finding: finding, remedy: verdict == .ok ? nil : remedy))
    }

    private func checkPgDump() {
        do {
            // As a backup looks for it.
            let version = try BackupTools().dumpVersion(atLeast: serverVersion, stop: StopSignal())
            report("pg_dump", .ok, "version \(version)")
        } catch {
            report("pg_dump", .fail, ErrorReport(error, invocation).message, "backups need it")
        }
    }

    /// What reports need beside the database: nothing unless it is configured.
    private func checkReports() {
        if let folder = invocation.configuration[.reports] {
            let isThere = access(folder, R_OK | X_OK) == 0
            report(
                "reports", isThere ? .ok : .fail,
                isThere ? folder : "\(folder) cannot be read: \(String(cString: strerror(errno)))",
                "set REEVE_REPORTS to a folder of definitions; see deploy/templates/steel/reports")
        }
        if let program = invocation.configuration[.pdfProgram] {
            let isThere = access(program, X_OK) == 0
            report(
                "PDF", isThere ? .ok : .fail, isThere ? program : "\(program) is not there or no program",
                "apt-get install chromium, then set REEVE_PDF_PROGRAM to /usr/bin/chromium")
        }
    }

    private func checkKey() {
        do {
            if try invocation.configuration.loadKey() != nil {
                report("key", .ok, invocation.configuration[.keyFile] ?? "from REEVE_KEY_COMMAND")
            } else {
                report(
                    "key", .warn, "none is configured", "run: reeve key generate FILE; then set REEVE_KEY_FILE to it")
            }
        } catch {
            let found = ErrorReport(error, invocation)
            report("key", .fail, found.message, found.hint ?? "restore it from where it is kept")
        }
    }

    private func checkRegion() {
        if let region = invocation.configuration[.region] {
            report("region", .ok, region)
        } else {
            report(
                "region", .warn, "not set",
                "set REEVE_REGION to where this process runs; tenants' data stays in their region")
        }
    }
}
