import Dispatch
public import JobKit
public import Postgres
import Synchronization

/// How many audit entries of one tenant several sessions commit in a second, one to a transaction: with the sealer at work, with
/// none, into a plain table without chains, and with a chain that each transaction appends to itself.
public struct AuditBenchmark {
    private let settings: ConnectionSettings
    private let clients: Int
    private let length: Duration

    /// Runs every way for this long with this many sessions.
    public init(_ settings: ConnectionSettings, clients: Int, length: Duration) {
        self.settings = settings
        self.clients = clients
        self.length = length
    }

    /// Runs it; throws `BenchFailure` when an entry was lost or not sealed.
    public func run() throws -> JSON {
        let fleet = try BenchFleet(settings, tenants: 1, registry: JobRegistry([]))
        let control = fleet.control
        let tenant = try control.execute("SELECT id::text FROM reeve.tenant")[0].text(0)
        try control.executeScript(Self.others)
        // Each way twice, in turn, so that a slow moment of the machine does not fall on one alone; a trial of a few seconds measures nothing anyhow.
        var rates: [String: [Double]] = [:]
        for _ in 0..<(length < .seconds(3) ? 1 : 2) {
            for way in ["plain", "naive_chain", "without_sealer", "with_sealer"] {
                let function = ["plain": "bench_plain", "naive_chain": "bench_chained"][way] ?? "audit"
                rates[way, default: []].append(
                    try rate(
                        "SELECT reeve.\(function)($1::uuid, 'bench.entry', 'object', 'reason', '{\"n\": 1}')", tenant
                    ) {
                        way == "with_sealer"
                    })
                if way == "without_sealer" { _ = try sealAll(control) }
            }
        }
        let left = try control.execute("SELECT count(*) FROM reeve.audit_pending")[0].int(0)
        let took = try sealAll(control)
        try check(control)
        let best = rates.mapValues { $0.reduce(0, +) / Double($0.count) }
        let ratio = { (one: String, other: String) in
            JSON.double(((best[one] ?? 0) / (best[other] ?? 1) * 100).rounded() / 100)
        }
        var result: [String: JSON] = [
            "clients": .int(Int64(clients)), "seconds": .double(seconds(length)), "left_unsealed": .int(left),
            "left_sealed_in_ms": .double(milliseconds(took)),
            "with_sealer_to_without": ratio("with_sealer", "without_sealer"),
            "with_sealer_to_plain": ratio("with_sealer", "plain"),
            "with_sealer_to_naive_chain": ratio("with_sealer", "naive_chain"),
            "sealed_per_second_alone": .double(try sealingRate(control, tenant).rounded()),
        ]
        for (way, rate) in best { result["\(way)_per_second"] = .double(rate.rounded()) }
        return .object(result)
    }

    /// Commits per second of all sessions together; with a sealer that looks every second, as a worker's does.
    private func rate(_ sql: String, _ tenant: String, sealing: () -> Bool) throws -> Double {
        let total = Mutex(0)
        let errors = Mutex<[String]>([])
        let group = DispatchGroup()
        let start = ContinuousClock.now
        let end = start + length
        for client in 0..<clients {
            DispatchQueue(label: "bench audit \(client)").async(group: group) { [settings] in
                do {
                    let connection = try Connection(settings)
                    defer { connection.close() }
                    var count = 0
                    while .now < end {
                        _ = try connection.execute(sql, [tenant], name: "append")
                        count += 1
                    }
                    total.withLock { $0 += count }
                } catch { errors.withLock { $0.append("\(error)") } }
            }
        }
        if sealing() {
            DispatchQueue(label: "bench audit seal").async(group: group) { [settings] in
                do {
                    let connection = try Connection(settings)
                    defer { connection.close() }
                    while .now < end {
                        let count = try connection.execute("SELECT reeve.seal_audit(5000)", name: "seal")[0].int(0)
                        if count < 2500 { sleep(min(.seconds(1), max(.zero, end - .now))) }
                    }
                } catch { errors.withLock { $0.append("\(error)") } }
            }
        }
        group.wait()
        if let error = errors.withLock({ $0.first }) { throw BenchFailure(error) }
        return Double(total.withLock { $0 }) / seconds(.now - start)
    }

    private func sealAll(_ control: Connection) throws -> Duration {
        let start = ContinuousClock.now
        while try control.execute("SELECT reeve.seal_audit(5000)")[0].int(0) > 0 {}
        return .now - start
    }

    /// How fast one sealer works off what waits, when nobody writes.
    private func sealingRate(_ control: Connection, _ tenant: String) throws -> Double {
        let count = 20_000
        _ = try control.execute(
            "SELECT count(reeve.audit($1::uuid, 'bench.entry', 'object')) FROM generate_series(1, $2::int)",
            [tenant, count])
        return Double(count) / seconds(try sealAll(control))
    }

    private func check(_ control: Connection) throws {
        let row = try control.execute(
            """
            SELECT (SELECT count(*) FROM reeve.audit_entry), (SELECT count(*) FROM reeve.audit_seal),
                   (SELECT sum(seq)::bigint FROM reeve.audit_head)
            """)[0]
        let (entries, seals, places) = (try row.int(0), try row.int(1), try row.int(2))
        guard entries == seals, seals == places else {
            throw BenchFailure("of \(entries) entries \(seals) were sealed, in \(places) places")
        }
    }

    /// The two ways that Reeve does not take: an insert and nothing else, and a chain whose head is locked until the commit.
    private static let others = """
        CREATE TABLE reeve.bench_entry (LIKE reeve.audit_entry INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
        ALTER TABLE reeve.bench_entry ALTER expires_on DROP NOT NULL, ADD seq bigint, ADD hash bytea;
        CREATE SEQUENCE reeve.bench_id; ALTER TABLE reeve.bench_entry ALTER id SET DEFAULT nextval('reeve.bench_id'), ADD PRIMARY KEY (id);
        CREATE INDEX ON reeve.bench_entry (tenant_id, id);
        CREATE TABLE reeve.bench_head (chain uuid PRIMARY KEY, seq bigint NOT NULL, hash bytea NOT NULL) WITH (fillfactor = 50);
        INSERT INTO reeve.bench_head SELECT id, 0, '\\x00' FROM reeve.tenant;
        CREATE FUNCTION reeve.bench_plain(p_tenant uuid, p_action text, p_object text, p_reason text, p_detail jsonb) RETURNS bigint
        LANGUAGE plpgsql SET search_path = reeve, pg_temp AS $$
        DECLARE v_id bigint;
        BEGIN
          INSERT INTO reeve.bench_entry (tenant_id, actor, login, action, object, reason, detail)
            VALUES (p_tenant, reeve.actor(), session_user, p_action, p_object, p_reason, p_detail) RETURNING id INTO v_id;
          RETURN v_id;
        END $$;
        CREATE FUNCTION reeve.bench_chained(p_tenant uuid, p_action text, p_object text, p_reason text, p_detail jsonb) RETURNS bigint
        LANGUAGE plpgsql SET search_path = reeve, pg_temp AS $$
        DECLARE v_id bigint; v_seq bigint; v_hash bytea;
        BEGIN
          SELECT h.seq + 1, sha256(h.hash || convert_to(p_action || p_object || p_reason || p_detail::text, 'UTF8')) INTO v_seq, v_hash
            FROM reeve.bench_head h WHERE h.chain = p_tenant FOR UPDATE;
          INSERT INTO reeve.bench_entry (tenant_id, actor, login, action, object, reason, detail, seq, hash)
            VALUES (p_tenant, reeve.actor(), session_user, p_action, p_object, p_reason, p_detail, v_seq, v_hash) RETURNING id INTO v_id;
          UPDATE reeve.bench_head h SET seq = v_seq, hash = v_hash WHERE h.chain = p_tenant;
          RETURN v_id;
        END $$;
        """
}
