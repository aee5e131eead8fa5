import FoundationEssentials
import JobKit
import Postgres
import Tenancy

/// Relays one outbox while this process holds its lease:
/// 1. looks whether its rows and ids are those that the control database knows;
/// 2. keeps two blocks of ids ahead there, and its copies of tenants and kinds fresh;
/// 3. reads new rows, has the control database take them in one transaction, and says there how far it is;
/// 4. has done rows dropped, and reports what waits or what is wrong.
/// Used by one thread at a time.
final class OutboxRelay {
    /// Why an outbox is stopped until an operator says how to go on.
    private struct Stop: Error { let reason: String }

    let lease: OutboxLease
    private let process: UUID
    private let control: Pool
    private let facts: OutboxFacts
    private let password: String
    private let log: Log
    private var service: ServiceDatabase?
    private var cursor: RowCursor
    private var refreshed: String?
    private var renewsIDs: Bool
    private var isListening = false
    private var tendAt = ContinuousClock.now
    private var noteAt = ContinuousClock.now
    private var problem: String?

    init(_ lease: OutboxLease, process: UUID, control: Pool, facts: OutboxFacts, sealer: Sealer, log: Log) throws {
        self.lease = lease
        self.process = process
        self.control = control
        self.facts = facts
        self.log = log.with(["outbox": .string(lease.name)])
        password = try sealer.open(lease.secret, tenant: nil, purpose: OutboxSecret.purpose(lease.name))
        cursor = RowCursor(from: lease.nextRow)
        renewsIDs = lease.renewsIDs
    }

    /// Relays all that is there; returns how many rows that were. Throws what keeps it from going on: the next call connects again.
    func relay() throws -> Int {
        do {
            let service = try connected()
            var count = 0
            // Bounded, so that a service that never pauses does not keep the rest from being done.
            for _ in 0..<50 {
                let taken = try step(service)
                count += taken
                if taken == 0 { break }
            }
            try tend(service)
            try note(service)
            return count
        } catch let stop as Stop {
            close()
            report(stop.reason, stops: true)
            throw stop
        } catch {
            close()
            if !isLeaseOver(error) { report("\(error)", stops: false) }
            throw error
        }
    }

    /// Waits until a row may have come, at most this long, by a notification.
    func wait(_ time: Duration, stop: StopSignal) throws {
        let service = try connected()
        if !isListening {
            try service.setListening(true)
            isListening = true
            // What came before the flag was seen is not notified.
            if try step(service) > 0 { return }
        }
        try service.wait(time, stop: stop)
    }

    /// No longer to be notified: rows come faster than one at a time.
    func stopListening() throws {
        guard isListening, let service else { return }
        try service.setListening(false)
        isListening = false
    }

    /// Closes the connection; the next call makes another.
    func close() {
        // An outbox whose relay is gone notifies nobody, which costs little.
        service?.close()
        service = nil
        isListening = false
    }

    private func connected() throws -> ServiceDatabase {
        if let service, service.isUsable { return service }
        service = nil
        isListening = false
        let made = try ServiceDatabase(lease, password: password)
        do { try check(made) } catch {
            made.close()
            throw error
        }
        service = made
        return made
    }

    /// A database that was restored to an earlier time, or failed over to a server that was behind, numbers rows and ids again that
    /// the control database knows; a control database that was restored does not know ids that are handed out.
    private func check(_ service: ServiceDatabase) throws {
        let known = try control.withConnection {
            try $0.execute(
                "SELECT o.last_row, o.last_mark FROM reeve.outbox_place($1::int, $2::uuid) o", [lease.id, process])[0]
        }
        let (lastRow, lastMark) = (try known.optionalInt(0), try known.optionalUUID(1))
        let found = try service.identity(row: lastRow)
        guard found.name == lease.name, found.tenant == lease.tenant else {
            throw Stop(reason: "that database holds the outbox \(found.name)")
        }
        guard found.version <= OutboxScript.version else {
            throw Stop(reason: "its functions are newer than this program; use a newer reeve")
        }
        guard renewsIDs || found.mark == lastMark else {
            throw Stop(
                reason:
                    "its last row is not the one that was relayed: the database was restored or lost commits; see what "
                    + "was lost, then: reeve outbox resume \(lease.name)")
        }
        let knowsIDs = try control.withConnection {
            try $0.execute(
                "SELECT reeve.knows_ids($1::int, $2::bigint[], $3::bigint[])", [lease.id, found.firsts, found.lasts])[0]
                .bool(0)
        }
        guard renewsIDs || knowsIDs else {
            throw Stop(
                reason: "it holds job ids that the control database does not know of, which was restored; then: "
                    + "reeve outbox resume \(lease.name)")
        }
        if renewsIDs, let last = found.lasts.max() {
            _ = try control.withConnection {
                try $0.execute("SELECT reeve.pass_ids($1::int, $2::uuid, $3::bigint)", [lease.id, process, last])
            }
        }
        refreshed = found.factsDigest
    }

    /// One read and what it found; returns how many rows.
    private func step(_ service: ServiceDatabase) throws -> Int {
        let facts = try facts.current()
        if facts.digest != refreshed {
            try service.refresh(digest: facts.digest, facts: facts.text)
            refreshed = facts.digest
        }
        let reading = try service.read(cursor)
        if renewsIDs || reading.idsLeft < 2 * lease.blockSize { try addIDs(service, left: reading.idsLeft) }
        var ahead = cursor
        ahead.note(reading.numbers, oldest: reading.oldest)
        if ahead.needsBound { ahead.bound(by: try service.drawTransaction()) }
        if !reading.rows.isEmpty { try take(reading.rows, next: ahead.floor) }
        let isFurther = ahead.floor > cursor.floor
        cursor = ahead
        if isFurther { try service.setRelayed(cursor.floor) }
        return reading.rows.count
    }

    private func take(_ rows: [String], next: Int64) throws {
        let row = try control.withConnection {
            try $0.execute(
                """
                SELECT taken, aliased, refused
                FROM reeve.take_outbox_rows($1::int, $2::uuid, $3::jsonb, $4::bigint)
                """, [lease.id, process, "[" + rows.joined(separator: ",") + "]", next], name: "take outbox rows",
                stop: nil, deadline: .now + .seconds(60))[0]
        }
        let refused = try row.int(2)
        if refused > 0 { log.warning("rows of the outbox were refused", ["rows": .int(refused)]) }
    }

    /// Fills up to two blocks.
    private func addIDs(_ service: ServiceDatabase, left: Int64) throws {
        var (firsts, lasts): ([Int64], [Int64]) = ([], [])
        let count = renewsIDs ? 2 : (2 * lease.blockSize - left + lease.blockSize - 1) / lease.blockSize
        for _ in 0..<count {
            let runs = try control.withConnection {
                try $0.execute(
                    "SELECT first, last FROM reeve.reserve_ids($1::int, $2::uuid, $3::int)",
                    [lease.id, process, lease.blockSize], stop: nil, deadline: .now + .seconds(60))
            }
            for run in runs {
                firsts.append(try run.int(0))
                lasts.append(try run.int(1))
            }
        }
        try service.addIDs(firsts, lasts, anew: renewsIDs)
        renewsIDs = false
    }

    private func tend(_ service: ServiceDatabase) throws {
        guard tendAt <= .now else { return }
        // A backlog of done rows goes in pieces, between which rows are relayed.
        tendAt = .now + (try service.tend() >= 5000 ? .milliseconds(200) : .seconds(60))
    }

    private func note(_ service: ServiceDatabase) throws {
        guard noteAt <= .now || problem != nil else { return }
        noteAt = .now + .seconds(15)
        let waiting = try service.waiting()
        try tell(waiting.count, waiting.oldest, waiting.idsLeft, nil, stops: false)
        if problem != nil { log.info("the outbox is relayed again") }
        problem = nil
    }

    /// Says what is wrong, once for each thing.
    private func report(_ text: String, stops: Bool) {
        let isNew = text != problem
        problem = text
        guard isNew || stops else { return }
        log.warning(
            stops ? "the outbox is stopped" : "the outbox cannot be relayed now", ["error": .string(text)])
        // The control database may be what is away: then this is only in the log.
        try? tell(nil, nil, nil, text, stops: stops)
    }

    private func tell(_ waiting: Int64?, _ oldest: String?, _ left: Int64?, _ problem: String?, stops: Bool) throws {
        _ = try control.withConnection {
            try $0.execute(
                """
                SELECT reeve.note_outbox($1::int, $2::uuid, $3::bigint, $4::timestamptz, $5::bigint, $6::text, $7::boolean)
                """, [lease.id, process, waiting, oldest, left, problem, stops])
        }
    }
}

/// Whether the lease that something needed is over: another process has it, or the outbox was removed.
func isLeaseOver(_ error: any Error) -> Bool { (error as? PostgresError)?.sqlState == "RV031" }
