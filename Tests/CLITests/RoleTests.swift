import Dispatch
import Foundation
import Glibc
import JobKit
import Postgres
import Processes
import ReeveTesting
import Testing

@testable import ReeveCLI

/// Plain workers and restore workers as the processes that they are.
@Suite struct RoleTests {
    private let control: ControlFixture
    private let connection: Connection
    private let folder: String

    init() throws {
        control = try ControlFixture()
        connection = try Connection(control.settings)
        folder = try #require(TemporaryFolder.make("/tmp/reeve-role-test."))
        try connection.executeScript(
            """
            SELECT reeve.register_kinds('[
              {"name": "prove", "queue": "restores", "time_limit_ms": 60000, "max_attempts": 1, "statuses": ["active"], "schema": {"type": "object"}},
              {"name": "idle", "queue": "reports", "time_limit_ms": 60000, "max_attempts": 1, "statuses": ["active"], "schema": {"type": "object"}}]')
            """)
    }

    /// A worker that runs until the handle goes; `environ` shows what the kernel shows of its processes' environments.
    private final class Running {
        let child: ChildProcess
        init(_ child: ChildProcess) { self.child = child }
        deinit { child.stop() }
    }

    private func start(_ words: [String], _ more: [String: String]) throws -> Running {
        let environment = [
            "REEVE_DATABASE_URL": control.conninfo, "REEVE_REGION": "eu", "PATH": "/usr/bin:/bin", "CANARY": "kept",
        ].merging(more) { $1 }
        return Running(
            try ChildProcess(
                program: BuiltProducts.path("reeve"), arguments: ["worker", "--grace", "1s"] + words,
                environment: environment, supervisor: BuiltProducts.supervisor, grace: .seconds(5)))
    }

    private func value(_ sql: String, _ parameters: [(any PostgresEncodable)?] = []) throws -> String? {
        try connection.execute(sql, parameters).first?.optionalText(0)
    }

    private func eventually(_ condition: () throws -> Bool) throws -> Bool {
        let limit = ContinuousClock.now + .seconds(20)
        while .now < limit {
            if try condition() { return true }
            usleep(10_000)
        }
        return false
    }

    /// The environment of the worker that is registered, as /proc shows it.
    private func environ() throws -> [UInt8] {
        let pid = try #require(try value("SELECT pid FROM reeve.worker WHERE state = 'alive'"))
        return Array(FileManager.default.contents(atPath: "/proc/\(pid)/environ") ?? Data())
    }

    private func contains(_ bytes: [UInt8], _ text: String) -> Bool {
        String(decoding: bytes, as: UTF8.self).contains(text)
    }

    @Test(
        "a plain worker drops what says where identities are, from its environment and memory, and never claims what needs one"
    )
    func plain() throws {
        let identities = "\(folder)/identities-CANARY"
        let made = try ReeveRun(
            ["keys", "create", "acme"], ["REEVE_DATABASE_URL": control.conninfo, "REEVE_IDENTITIES": identities])
        #expect(made.code == 0, "\(made)")
        let needed = try value("SELECT reeve.enqueue('acme.restores', 'prove')")
        let other = try value("SELECT reeve.enqueue('acme.reports', 'idle')")
        let worker = try start(
            [],
            [
                "REEVE_IDENTITIES": identities, "REEVE_IDENTITY_VAULT": "\(folder)/vault-CANARY", "REEVE_POOLS": "",
                "REEVE_SIGNING_KEYS": "\(folder)/signing-CANARY",
            ])
        // A kind that the program does not bring ends the job; that it ended shows that it was claimed.
        #expect(try eventually { try value("SELECT reeve.job($1::bigint) ->> 'state'", [other]) != "available" })
        #expect(
            try value("SELECT w.pools ? 'restore' FROM reeve.worker w WHERE w.state = 'alive'") == "f")
        let shown = try environ()
        #expect(
            contains(shown, "CANARY=kept") && !contains(shown, "identities-CANARY") && !contains(shown, "vault-CANARY"))
        #expect(
            !contains(shown, "REEVE_IDENTIT") && !contains(shown, "REEVE_SIGNING") && !contains(shown, "signing-CANARY")
        )
        // Its memory holds no identity, and no key of age at all.
        let pid = try #require(try value("SELECT pid FROM reeve.worker WHERE state = 'alive'").flatMap { Int($0) })
        #expect(try memory(of: pid, contains: "CANARY=kept"))
        #expect(try memory(of: pid, contains: "AGE-SECRET-KEY-1" + secretTail(identities)) == false)
        #expect(try value("SELECT reeve.job($1::bigint) ->> 'attempt'", [needed]) == "0")
        #expect(try value("SELECT reeve.explain($1::bigint)", [needed])?.contains("--role restore") == true)
        worker.child.stop()
        _ = worker.child.wait(until: .now + .seconds(10))
        #expect(worker.child.standardErrorTail.contains("a plain worker holds no identities"))
    }

    @Test("a restore worker serves the pool restore and nothing else, whatever slots the tiers would get")
    func restore() throws {
        let needed = try value("SELECT reeve.enqueue('acme.restores', 'prove')")
        let other = try value("SELECT reeve.enqueue('acme.reports', 'idle')")
        let worker = try start(
            ["--role", "restore"], ["REEVE_IDENTITIES": "\(folder)/identities", "REEVE_PROGRAMS": "/opt"])
        #expect(try eventually { try value("SELECT reeve.job($1::bigint) ->> 'state'", [needed]) != "available" })
        #expect(try value("SELECT pools FROM reeve.worker WHERE state = 'alive'") == #"{"restore": 2}"#)
        #expect(try value("SELECT reeve.job($1::bigint) ->> 'state'", [other]) == "available")
        withExtendedLifetime(worker) {}
    }

    /// The secret part of the only identity in the folder.
    private func secretTail(_ identities: String) throws -> String {
        let tenant = try #require(try FileManager.default.contentsOfDirectory(atPath: identities).first)
        let file = try #require(try FileManager.default.contentsOfDirectory(atPath: "\(identities)/\(tenant)").first)
        let text = try String(contentsOfFile: "\(identities)/\(tenant)/\(file)", encoding: .utf8)
        return String(try #require(text.split(separator: "AGE-SECRET-KEY-1").last).prefix { !$0.isNewline })
    }

    /// Whether the writable memory of a process holds a text.
    private func memory(of pid: Int, contains text: String) throws -> Bool {
        let maps = try ReeveRun.read("/proc/\(pid)/maps")
        let memory = open("/proc/\(pid)/mem", O_RDONLY | O_CLOEXEC)
        try #require(memory >= 0 && !maps.isEmpty)
        defer { close(memory) }
        let needle = Data(text.utf8)
        var seen = 0
        for line in maps.split(separator: "\n") {
            let fields = line.split(separator: " ", maxSplits: 2)
            let ends = fields[0].split(separator: "-").compactMap { UInt(String($0), radix: 16) }
            guard fields[1].hasPrefix("rw"), ends.count == 2, ends[1] - ends[0] <= 64 << 20 else { continue }
            var bytes = [UInt8](repeating: 0, count: Int(ends[1] - ends[0]))
            let count = pread(memory, &bytes, bytes.count, Int(bitPattern: ends[0]))
            guard count > 0 else { continue }
            seen += count
            if Data(bytes[..<count]).range(of: needle) != nil { return true }
        }
        try #require(seen > 1 << 20)
        return false
    }
}
