import Encryption
import Glibc
import JobKit
import Postgres
import ReeveTesting
import Tenancy

/// `reeve worker --role restore` as an operator runs it, which a test kills with SIGKILL at a place of its choice.
///
/// A place is an entry of the audit log, which every step of a restore writes before and after it changes anything: the entry is
/// held back by a lock of the test, so that the worker stands still there until it is killed.
final class RestoreWorker {
    private let fixture: RestoreFixture
    private let holder: Connection
    private let environment: [String: String]
    private var child: pid_t?

    private static let gate = 771_177

    /// Prepares the fixture's control database; `identities` is where the tenants' keys are.
    init(_ fixture: RestoreFixture, identities: String) throws {
        self.fixture = fixture
        let key = "\(fixture.folder).key"
        try writeSecret([UInt8](repeating: 5, count: 32), to: key)
        environment = [
            "PATH": "/usr/local/bin:/usr/bin:/bin", "REEVE_REGION": "eu", "REEVE_STORAGE": fixture.folder,
            "REEVE_KEY_FILE": key, "REEVE_IDENTITIES": identities,
            "REEVE_DATABASE_URL": fixture.controlSettings.conninfo,
        ]
        holder = try Connection(fixture.controlSettings)
        try holder.executeScript(
            """
            CREATE TABLE IF NOT EXISTS public.held_place (action text, outcome text);
            GRANT SELECT ON public.held_place TO PUBLIC;
            CREATE OR REPLACE FUNCTION public.hold_place() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
            BEGIN
              IF EXISTS (SELECT FROM public.held_place h WHERE h.action = NEW.action AND h.outcome = coalesce(NEW.detail ->> 'outcome', 'done')) THEN
                PERFORM pg_advisory_xact_lock(\(Self.gate));
              END IF;
              RETURN NEW;
            END $$;
            CREATE OR REPLACE TRIGGER held BEFORE INSERT ON reeve.audit_entry FOR EACH ROW EXECUTE FUNCTION public.hold_place();
            CREATE OR REPLACE FUNCTION public.hold_end() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
            BEGIN
              IF NEW.queue LIKE '%.restores' AND EXISTS (SELECT FROM public.held_place h WHERE h.action = 'end') THEN
                PERFORM pg_advisory_xact_lock(\(Self.gate));
              END IF;
              RETURN NEW;
            END $$;
            CREATE OR REPLACE TRIGGER held BEFORE INSERT ON reeve.job_history FOR EACH ROW EXECUTE FUNCTION public.hold_end();
            """)
        try holder.execute("SELECT pg_advisory_lock($1::bigint)", [Int64(Self.gate)])
    }

    deinit {
        kill()
        holder.close()
        unlink("\(fixture.folder).key")
    }

    /// Starts the worker; what it prints goes to a file beside the fixture's folder.
    func start() throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for descriptor in [Int32(1), 2] {
            posix_spawn_file_actions_addopen(
                &actions, descriptor, "\(fixture.folder).log", O_WRONLY | O_CREAT | O_APPEND, 0o600)
        }
        let program = BuiltProducts.path("reeve")
        let words = [program, "worker", "--role", "restore", "--lease", "60s"]
        let argv = words.map { strdup($0) } + [nil]
        let envp = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in argv + envp { free(pointer) } }
        var pid: pid_t = 0
        guard posix_spawn(&pid, program, &actions, nil, argv, envp) == 0 else {
            throw JobFailure("spawn", "reeve does not start")
        }
        child = pid
    }

    /// Ends the process with SIGKILL, and the sessions that it held back; gives its jobs back as housekeeping would once its lease is
    /// over. A job that kills three workers in a row is dead: only where the test says that these are crashes.
    func die(isCrash: Bool = false) throws {
        guard let pid = child else { return }
        kill()
        _ = try fixture.connection.execute(
            """
            SELECT pg_terminate_backend(l.pid, 5000) FROM pg_locks l WHERE l.locktype = 'advisory' AND NOT l.granted
              AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.objid = $1::bigint::oid
            """, [Int64(Self.gate)])
        _ = try fixture.connection.execute("DELETE FROM public.held_place")
        if isCrash {
            let limit = ContinuousClock.now + .seconds(30)
            while try fixture.connection.execute(
                "SELECT FROM reeve.worker w JOIN pg_stat_activity a ON a.pid = w.backend_pid WHERE w.pid = $1::int",
                [Int(pid)]
            ).count > 0 {
                guard .now < limit else { throw JobFailure("waited", "a session outlives its process") }
                usleep(2000)
            }
        }
        _ = try fixture.connection.execute(
            "SELECT reeve.rescue(id, 'dead') FROM reeve.worker WHERE pid = $1::int AND state <> 'dead'", [Int(pid)])
        if isCrash { return }
        _ = try fixture.connection.execute("UPDATE reeve.job SET strikes = 0, suspect_of = NULL, struck_by = NULL")
    }

    private func kill() {
        guard let pid = child else { return }
        child = nil
        Glibc.kill(pid, SIGKILL)
        var status: Int32 = 0
        waitpid(pid, &status, 0)
    }

    /// Holds the worker back where it is about to record this.
    func hold(at place: Place) throws {
        switch place {
        case .audited(let action, let outcome):
            _ = try fixture.connection.execute(
                "INSERT INTO public.held_place VALUES ($1::text, $2::text)", [action, outcome])
        case .ending: _ = try fixture.connection.execute("INSERT INTO public.held_place VALUES ('end', 'done')")
        case .filling, .inside: break
        }
    }

    /// Whether the worker stands at the place.
    func isAt(_ place: Place, _ watch: Connection) throws -> Bool {
        switch place {
        case .audited, .ending:
            try watch.execute(
                """
                SELECT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND NOT l.granted AND l.objid = $1::bigint::oid
                  AND l.database = (SELECT oid FROM pg_database WHERE datname = $2::text))
                """, [Int64(Self.gate), fixture.controlSettings["dbname"]])[0].bool(0)
        case .filling(let tenant):
            // Of the attempt that runs: an earlier one's session may still sleep.
            try fixture.connection.execute(
                "SELECT 'reeve:' || lease_id FROM reeve.job WHERE state = 'running' AND queue = $1::text",
                ["\(tenant.code).restores"]
            ).contains { row in
                try watch.execute(
                    """
                    SELECT EXISTS (SELECT FROM pg_stat_activity
                      WHERE application_name = $1::text AND datname LIKE 'reeve\\_scratch\\_%' AND wait_event = 'PgSleep')
                    """, [try row.text(0)])[0].bool(0)
            }
        case .inside(let database):
            try watch.execute(
                """
                SELECT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND NOT l.granted AND l.objid = 778
                  AND l.database = (SELECT oid FROM pg_database WHERE datname = $1::text))
                """, [database])[0].bool(0)
        }
    }

    /// Where a worker is killed.
    enum Place: CustomStringConvertible {
        /// About to record that an action has this outcome.
        case audited(String, String)
        /// About to record that its job has ended, all being done.
        case ending
        /// While pg_restore fills the scratch database.
        case filling(Tenant)
        /// While rows are written into the live database.
        case inside(String)

        var description: String {
            switch self {
            case .audited(let action, let outcome): "\(action) \(outcome)"
            case .ending: "the end of the job"
            case .filling: "filling the scratch database"
            case .inside: "writing into the live database"
            }
        }
    }
}

private func writeSecret(_ bytes: [UInt8], to path: String) throws {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    guard descriptor >= 0 else { throw JobFailure("no_file", path) }
    defer { close(descriptor) }
    guard write(descriptor, bytes, bytes.count) == bytes.count else { throw JobFailure("no_file", path) }
}
