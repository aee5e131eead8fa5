import Encryption
import JobKit
import Postgres
import Processes

/// What the doctor asks about tenants' keys and those who use them.
extension DatabaseChecks {
    static let keyChecks = [
        DatabaseChecks(name: "keys", run: keys), DatabaseChecks(name: "restore workers", run: restoreWorkers),
    ]

    /// How old a current key may be before the doctor says so.
    private static let oldKey = 400

    private static func keys(_ doctor: Doctor, _ connection: Connection) throws {
        guard try connection.execute("SELECT to_regclass('reeve.key_list') IS NOT NULL")[0].bool(0) else { return }
        let row = try connection.execute(
            """
            SELECT (SELECT count(*) FROM reeve.key_list WHERE state = 'current'),
                   coalesce((SELECT max(extract(day FROM reeve.clock() - created_at)::int)
                             FROM reeve.key_list WHERE state = 'current' AND NOT is_own), 0),
                   ARRAY_TO_STRING(ARRAY(SELECT t.code FROM reeve.tenant t WHERE t.status <> 'archived'
                     AND NOT EXISTS (SELECT FROM reeve.key_list k WHERE k.tenant_code = t.code AND k.state = 'current')
                     ORDER BY t.code LIMIT 5), ', '),
                   (SELECT count(*) FROM reeve.tenant t WHERE t.status <> 'archived'
                     AND NOT EXISTS (SELECT FROM reeve.key_list k WHERE k.tenant_code = t.code AND k.state = 'current')),
                   (SELECT count(*) FROM reeve.key_list WHERE state = 'retired' AND destroying_at IS NOT NULL
                      OR state = 'pending' AND created_at < reeve.clock() - interval '1 hour')
            """)[0]
        let (current, age, missing) = (try row.int(0), try row.int(1), try row.int(3))
        if missing > 0 {
            let names = try row.text(2) + (missing > 5 ? " and \(missing - 5) more" : "")
            doctor.report(
                "keys", .warn, "no key: \(names); their backups fail", "run: reeve keys create CODE, for each of them")
        }
        let unfinished = try row.int(4)
        if unfinished > 0 {
            doctor.report(
                "keys", .warn, "\(unfinished) keys were begun to be made or destroyed and are not",
                "run: reeve keys list; then reeve keys destroy CODE --key-id ID")
        }
        if age > oldKey {
            doctor.report("keys", .warn, "the oldest in use is \(age) days old", "run: reeve keys rotate CODE")
        } else if missing == 0, unfinished == 0 {
            doctor.report("keys", .ok, "\(current) in use, the oldest \(age) days old")
        }
    }

    private static func restoreWorkers(_ doctor: Doctor, _ connection: Connection) throws {
        guard try connection.execute("SELECT to_regclass('reeve.key_list') IS NOT NULL")[0].bool(0) else { return }
        let row = try connection.execute(
            """
            SELECT (SELECT count(*) FROM reeve.worker_list w
                    WHERE w.state = 'alive' AND w.lease_until > reeve.clock() AND w.pools ? 'restore'),
                   (SELECT a.ready FROM reeve.autoscale a WHERE a.tier = 'restore'), EXISTS (SELECT FROM reeve.key_list)
            """)[0]
        let (workers, ready) = (try row.int(0), try row.int(1))
        if workers > 0 {
            doctor.report("restore workers", .ok, "\(workers)")
        } else if try ready > 0 || row.bool(2) {
            doctor.report(
                "restore workers", .warn, "none runs: nothing is verified, drilled or restored (\(ready) jobs wait)",
                "start one with: reeve worker --role restore")
        } else {
            doctor.report("restore workers", .ok, "none, and no tenant has a key")
        }
    }
}

extension Doctor {
    /// Whether age is here, and whether the identities that are configured can be used and are nobody else's.
    func checkIdentities() {
        let absent = ["age", "age-keygen"].filter { ChildProcess.find($0) == nil }
        if absent.isEmpty {
            report("age", .ok, ChildProcess.find("age") ?? "")
        } else {
            report(
                "age", .fail, "\(absent.joined(separator: " and ")) is missing; backups need it",
                "run: apt-get install age")
        }
        do {
            guard let store = try invocation.configuration.identityStore() else {
                return report(
                    "identities", .ok, "none are held here, as it should be unless this is a restore worker's host")
            }
            try store.check()
            report("identities", .ok, store.summary)
        } catch {
            let found = ErrorReport(error, invocation)
            report("identities", .fail, found.message, found.hint ?? "keys can be neither made nor used until then")
        }
    }
}
