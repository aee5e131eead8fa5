import JobKit
import Postgres
import ReeveTesting
import Testing

/// Each benchmark is run small, on a database of the test's own: what it counts must be right; how fast it was is not a test's
/// to say.
@Suite struct BenchTests {
    private static func run(_ words: String...) throws -> JSON {
        let settings = try TestServer.freshDatabase()
        let conninfo = settings.conninfo
        let run = try ReeveRun(["bench"] + words + ["--json"], ["REEVE_BENCH_DATABASE_URL": conninfo])
        try #require(run.code == 0, "\(run.all)")
        return try run.json
    }

    private static func number(_ result: JSON, _ name: String) throws -> Double {
        switch result[name] {
        case .int(let value): return Double(value)
        case .double(let value): return value
        default: throw ReeveRun.Failure(what: "\(name) is missing in \(result.text)")
        }
    }

    @Test("fairness tells the quiet tenants' waits alone and beside noisy ones", arguments: ["5", "60000"])
    func fairness(noisy: String) throws {
        let result = try BenchTests.run("fairness", "--quiet-jobs", "12", "--noisy-ms", noisy)
        #expect(result["quiet_jobs"]?.int == 12 && result["noisy_ms"]?.int == Int64(noisy))
        for name in [
            "quiet_p50_ms", "quiet_p50_ms_alone", "quiet_p99_ms", "quiet_p99_ms_alone", "quiet_max_ms", "ratio",
        ] {
            #expect(try BenchTests.number(result, name) >= 0)
        }
        #expect(try BenchTests.number(result, "noisy_backlog") >= 2000)
        // Nothing that takes a minute has ended within seconds.
        if noisy == "60000" { #expect(result["noisy_jobs_ended"]?.int == 0) }
    }

    @Test("backup tells the time and size of a whole backup and of plain pg_dump, and the memory")
    func backup() throws {
        let result = try BenchTests.run("backup", "--size", "2MB", "--isolation", "shared")
        let shared = try #require(result["shared"])
        #expect(result["schema"] == nil && shared["table_mb"]?.int == 2)
        for name in ["backup_seconds", "pg_dump_seconds", "ratio", "ratio_z0", "backup_cpu_seconds"] {
            #expect(try BenchTests.number(shared, name) > 0)
        }
        #expect(try (1..<64).contains(BenchTests.number(result, "peak_rss_mb")))
        let run = try ReeveRun(["bench", "backup", "--size", "much"])
        #expect(run.code == 2 && run.err.contains("1MB"))
    }

    @Test("purge tells rates, locks and the others' waits; what is purged is gone and nothing else")
    func purge() throws {
        let result = try BenchTests.run("purge", "--rows", "4000", "--tables", "60", "--quiet", "1")
        #expect(result["tenant_rows"]?.int == 400 && result["tables"]?.int == 60)
        for (part, unit) in [("schema", "tables"), ("shared", "rows")] {
            let found = try #require(result[part])
            for name in ["\(unit)_per_second", "longest_lock_ms", "p99_ms", "p99_ms_without", "queries"] {
                #expect(try BenchTests.number(found, name) >= 0, "\(part) \(name)")
            }
        }
    }

    @Test("erasure tells both rates, the time of a plan and of the proof scan; both ways erase the same rows")
    func erasure() throws {
        let result = try BenchTests.run("erasure", "--rows", "10000", "--subjects", "5")
        #expect(result["rows"]?.int == 10000 && result["subjects"]?.int == 5)
        for name in ["ratio", "rows_per_second", "by_hand_rows_per_second", "plan_seconds", "scan_ratio"] {
            #expect(try BenchTests.number(result, name) > 0)
        }
    }

    @Test("report tells a report's time beside its query's, and that memory does not grow with the file")
    func report() throws {
        let result = try BenchTests.run("report", "--rows", "150000", "--rounds", "1")
        #expect(result["rows"]?.int == 150_000)
        #expect(try BenchTests.number(result, "bytes") > 15_000_000)
        #expect(try BenchTests.number(result, "added_memory_mb") < 12)
        for name in [
            "psql_seconds", "libpq_seconds", "copy_seconds", "report_seconds", "report_cpu_seconds", "ratio",
            "ratio_libpq",
        ] {
            #expect(try BenchTests.number(result, name) > 0)
        }
    }

    @Test("schedules and batch tell what they cost the others, and that no tick and no tenant was left out")
    func schedules() throws {
        let schedules = try BenchTests.run("schedules", "--schedules", "1000", "--due", "50")
        for name in ["idle_ms", "idle_ratio", "last_ms_after_tick"] {
            #expect(try BenchTests.number(schedules, name) > 0)
        }
        let batch = try BenchTests.run("batch", "--tenants", "300", "--jobs", "20")
        #expect(batch["tenants"]?.int == 300)
        for name in ["start_ms", "jobs_per_second", "p99_ms", "ratio"] {
            #expect(try BenchTests.number(batch, name) > 0)
        }
    }

    @Test("growth tells both rates and their ratio")
    func growth() throws {
        let result = try BenchTests.run("growth", "--tenants", "120", "--backlog", "2000", "--seconds", "1")
        #expect(result["tenants"]?.int == 120 && result["small_tenants"]?.int == 100 && result["backlog"]?.int == 2000)
        for name in ["jobs_per_second", "small_jobs_per_second", "ratio"] {
            #expect(try BenchTests.number(result, name) > 0)
        }
    }

    @Test("growth --capped starts the first job of every free tenant, past those at their cap")
    func capped() throws {
        let result = try BenchTests.run("growth", "--tenants", "400", "--backlog", "2000", "--capped", "0.9")
        #expect(result["capped_tenants"]?.int == 360 && result["starts"]?.int == 100)
        for name in ["first_start_ms", "first_start_p50_ms", "first_start_p99_ms"] {
            #expect(try BenchTests.number(result, name) > 0)
        }
    }

    @Test("growth refuses a share that is none", arguments: ["0", "1", "much"])
    func badShare(share: String) throws {
        let run = try ReeveRun(["bench", "growth", "--capped", share])
        #expect(run.code == 2 && run.err.contains("between 0 and 1"))
    }

    @Test("hot tells the rate of one worker process and of four")
    func hot() throws {
        let result = try BenchTests.run("hot", "--jobs", "4000")
        #expect(result["jobs"]?.int == 4000)
        for name in ["one_jobs_per_second", "four_jobs_per_second", "ratio"] {
            #expect(try BenchTests.number(result, name) > 0)
        }
    }

    @Test("drain --hold-snapshot tells the rates with a snapshot held and leaves no database behind")
    func holdSnapshot() throws {
        let result = try BenchTests.run(
            "drain", "--hold-snapshot", "--jobs", "1000", "--tenants", "20", "--slots", "10", "--seconds", "1")
        #expect(try BenchTests.number(result, "held_seconds") == 1)
        for name in ["jobs_per_second", "tenant_snapshot_ratio", "control_snapshot_ratio"] {
            #expect(try BenchTests.number(result, name) > 0)
        }
        let connection = try Connection(TestServer.freshDatabase())
        defer { connection.close() }
        #expect(
            try connection.execute("SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'reeve_bench_tenant')")[0]
                .bool(0) == false)
    }

    @Test("audit tells the rates of all four ways, and that every entry was sealed")
    func audit() throws {
        let result = try BenchTests.run("audit", "--clients", "2", "--seconds", "1")
        for name in ["plain", "naive_chain", "without_sealer", "with_sealer"] {
            #expect(try BenchTests.number(result, "\(name)_per_second") > 0)
        }
        #expect(try BenchTests.number(result, "with_sealer_to_without") > 0)
    }

    @Test(
        "outbox tells waits and rates beside the control database's, also under a held snapshot, and that every row became one job"
    )
    func outbox() throws {
        let result = try BenchTests.run("outbox", "--jobs", "10", "--rows", "300", "--outboxes", "3")
        #expect(result["jobs"]?.int == 10 && result["rows"]?.int == 300 && result["outboxes"]?.int == 3)
        for name in ["direct_p50_ms", "outbox_p50_ms", "held_p99_ms", "direct_ratio", "held_ratio", "held_per_second"] {
            #expect(try BenchTests.number(result, name) > 0)
        }
        #expect(try BenchTests.number(result, "last_after_seconds") >= 0)
    }

    @Test("a database that holds jobs is refused")
    func notEmpty() throws {
        let control = try ControlFixture()
        let connection = try Connection(control.settings)
        defer { connection.close() }
        _ = try connection.execute("SELECT reeve.enqueue('acme.reports', 'stocktake')")
        let run = try ReeveRun(["bench", "growth"], ["REEVE_BENCH_DATABASE_URL": control.conninfo])
        #expect(run.code == 1 && run.err.contains("holds jobs"))
    }
}
