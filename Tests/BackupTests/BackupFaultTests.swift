import Dispatch
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import ReeveTesting
import Storage
import Synchronization
import Testing

@testable import Backup

@Suite("A backup that fails")
struct BackupFaultTests {
    let fixture: BackupFixture
    let tenant: Tenant

    init() throws {
        fixture = try BackupFixture()
        tenant = try fixture.addTenant("acme", schema: "tenant_acme", marker: "ACME")
    }

    /// A pg_dump of our own, which answers `--version` like the real one and then runs these lines.
    func tools(_ lines: String, version: String = "pg_dump (PostgreSQL) 15.4") -> BackupTools {
        let path = fixture.folder.path + "/pg_dump"
        write(
            "#!/bin/sh\n[ \"$1\" = --version ] && { echo '\(version)'; exit 0; }\nreal=/usr/bin/pg_dump\n\(lines)\n",
            to: path,
            mode: 0o700)
        return BackupTools(dump: path, supervisor: BuiltProducts.supervisor)
    }

    /// Files but the fake program and what it wrote.
    var objects: [String] { fixture.folder.files().filter { $0.hasPrefix("objects/") } }

    func expectFailure(_ code: String, _ tools: BackupTools, naming text: String = "") {
        let error = #expect(throws: JobFailure.self) { try fixture.backUp(tenant, job: fixture.job(tools: tools)) }
        #expect(error?.code == code, "\(String(describing: error))")
        #expect(text.isEmpty || error?.message.contains(text) == true, "\(String(describing: error))")
        #expect(objects.isEmpty)
    }

    @Test("a dump that ends badly, early, empty or with other rows leaves nothing behind")
    func badDump() {
        for (lines, code, text) in [
            ("$real \"$@\" | head -c 3000; echo 'pg_dump: error: no more' >&2; exit 1", "pg_dump_failed", "no more"),
            ("$real \"$@\" | head -c 3000; kill -9 $$", "pg_dump_failed", "signal 9"),
            ("$real \"$@\" | head -c 9000; exit 0", "pg_restore_failed", ""),
            ("$real \"$@\" | head -c -1; exit 0", "pg_restore_failed", ""),
            ("exit 0", "backup_empty", ""),
            ("exec $real \"$@\" '--exclude-table-data=*.orders'", "backup_count_mismatch", "tenant_acme.orders"),
            ("exec $real \"$@\" '--exclude-table=*.shipments'", "backup_count_mismatch", "no such table"),
            ("$real \"$@\"; echo 'strange' >&2", "pg_dump_surprise", ""),
        ] {
            expectFailure(code, tools(lines), naming: text)
        }
    }

    @Test("a pg_dump older than the server is refused, both versions named")
    func old() {
        expectFailure("pg_dump_too_old", tools("exit 0", version: "pg_dump (PostgreSQL) 12.3"), naming: "12.3")
    }

    @Test("a missing pg_dump is named with its package")
    func missing() {
        let tools = BackupTools(dump: "/nowhere/pg_dump", supervisor: BuiltProducts.supervisor)
        expectFailure("pg_dump_missing", tools, naming: "apt-get install postgresql-client")
    }

    @Test("neither arguments nor environment of pg_dump hold the password, nor anything of the worker's environment")
    func secrets() throws {
        setenv("REEVE_TEST_CANARY", "worker-secret", 1)
        let seen = fixture.folder.path + "/seen"
        _ = try fixture.backUp(
            tenant, job: fixture.job(tools: tools("{ env; echo \"$@\"; } >> \(seen); exec $real \"$@\"")))
        let text = String(decoding: FileManager.default.contents(atPath: seen) ?? Data(), as: UTF8.self)
        #expect(text.contains("PGSERVICEFILE=") && text.contains("--schema=\"tenant_acme\""))
        #expect(!text.contains(BackupFixture.password) && !text.contains("worker-secret"))
    }

    @Test(
        "a job that is stopped while it dumps leaves neither file nor process nor backend",
        arguments: [
            StopReason.cancelled, .shutdown, .leaseLost,
        ])
    func stopped(reason: StopReason) throws {
        let started = fixture.folder.path + "/started"
        let stop = StopSignal()
        let fake = tools("$real \"$@\"; echo $$ > \(started).new; mv \(started).new \(started); exec sleep 1000")
        let queue = DispatchQueue(label: "stopper")
        queue.async {
            for _ in 0..<1000 where stop.reason == nil {
                if access(started, F_OK) == 0 { stop.stop(reason) } else { usleep(10_000) }
            }
        }
        let error = #expect(throws: Stopped.self) {
            try JobHarness.run(fixture.job(tools: fake), .init(), tenant: tenant, stop: stop)
        }
        #expect(error?.reason == reason)
        #expect(objects.isEmpty)
        let pid = String(decoding: FileManager.default.contents(atPath: started) ?? Data(), as: UTF8.self)
        let number = try #require(pid_t(pid.filter(\.isNumber)))
        #expect(kill(number, 0) != 0)
        let left = try fixture.admin { connection in
            for _ in 0..<500 {
                let count = try connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = $1::text AND pid <> pg_backend_pid()",
                    [fixture.databaseName])[0].int(0)
                if count == 0 { return Int64(0) }
                usleep(10_000)
            }
            return 1
        }
        #expect(left == 0)
    }

    @Test("a full or read-only store fails the attempt with the remedy and leaves nothing")
    func storage() throws {
        let place = fixture.folder.path + "/small"
        mkdir(place, 0o700)
        guard mount("none", place, "tmpfs", 0, "size=8k") == 0 else { return }  // Refused in some containers.
        defer { umount(place) }
        let job = fixture.job(storage: FolderStore(root: place))
        // The last one was much smaller: it is not known before that this one will not fit.
        fixture.last.withLock { $0 = BackupEstimate(bytes: 1, plainBytes: 1) }
        let full = #expect(throws: StorageError.self) { try fixture.backUp(tenant, job: job) }
        #expect(full?.code == .full)
        #expect(!fixture.folder.files().contains { $0.hasPrefix("small/") })
        // Another test's child, just forked, may hold a file open for a moment.
        var isReadOnly = false
        for _ in 0..<1000 where !isReadOnly {
            isReadOnly = mount("none", place, "tmpfs", UInt(MS_REMOUNT | MS_RDONLY), nil) == 0
            if !isReadOnly { usleep(10_000) }
        }
        #expect(isReadOnly)
        let readOnly = #expect(throws: StorageError.self) { try fixture.backUp(tenant, job: job) }
        #expect(readOnly?.code == .readOnly)
    }

    @Test("when the server's dumps are all taken the job goes back to its queue, and a stop ends the wait")
    func slots() throws {
        fixture.dumps.withLock { $0.others = 2 }
        guard case .snoozed = try JobHarness.run(fixture.job(), .init(), tenant: tenant) else {
            Issue.record("the third dump ran")
            return
        }
        let stop = StopSignal()
        let error = #expect(throws: Stopped.self) {
            try DumpSlots().withSlot(
                on: "main", within: .seconds(60), stop: stop,
                take: {
                    stop.stop(.cancelled)
                    return false
                }, giveBack: {}
            ) { Issue.record("it ran") }
        }
        #expect(error?.reason == .cancelled)
        fixture.dumps.withLock { $0.others = 0 }
        _ = try fixture.backUp(tenant)
        #expect(fixture.dumps.withLock { $0.own } == 0)
    }

    @Test("when one of a tenant's databases fails, the others' files go too")
    func allOrNothing() throws {
        fixture.addBrokenStore(to: tenant)
        #expect(throws: (any Error).self) { try JobHarness.run(fixture.job(), .init(), tenant: tenant) }
        #expect(objects.isEmpty)
    }
}
