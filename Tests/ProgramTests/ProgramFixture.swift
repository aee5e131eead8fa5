import FoundationEssentials
import Glibc
import JobKit
import Program
import ReeveTesting

/// A folder that programs may be run from, and a way to run one as a job.
final class ProgramFixture {
    let folder: String
    let store = MemoryAttemptStore()
    let stop = StopSignal()
    /// What the program gets as its tenant's connection.
    var access: any ProgramAccess = NoDatabase()
    /// What it may not open.
    var hidden: [String] = []

    init() throws {
        guard let made = TemporaryFolder.make("/tmp/reeve-programs.") else { throw JobFailure("mkdtemp", "\(errno)") }
        folder = made
    }

    deinit {
        // What cannot be removed is in /tmp.
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// Writes a program and returns its path.
    @discardableResult
    func install(_ text: String, as name: String = "program", mode: mode_t = 0o755) throws -> String {
        let path = "\(folder)/\(name)"
        try writeProgram(text, to: path, mode: mode)
        return path
    }

    /// Installs a shell script.
    @discardableResult
    func shell(_ text: String) throws -> String { try install("#!/bin/sh\n\(text)\n") }

    /// Installs a Python program.
    @discardableResult
    func python(_ text: String) throws -> String { try install("#!/usr/bin/python3\n\(text)\n") }

    /// Installs one of the examples of `deploy/examples`.
    @discardableResult
    func example(_ name: String) throws -> String {
        let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let data = try Data(contentsOf: URL(filePath: "\(root)/deploy/examples/\(name)"))
        return try install(String(decoding: data, as: UTF8.self), as: name)
    }

    /// Runs the program once.
    func run(
        _ program: String? = nil, args: String = "{}", folders: [String]? = nil, sha256: String? = nil,
        memory: Int64 = 512 << 20, output: Int64 = 16 << 20, environment: [String] = [],
        timeLimit: Duration = .seconds(60), number: Int = 1
    ) throws -> JobOutcome {
        let kind = ProgramKind(
            kind: "exec", policy: JobPolicy(queue: "work", timeLimit: timeLimit),
            program: program ?? "\(folder)/program",
            sha256: sha256, memoryLimit: memory, outputLimit: output, environment: environment)
        let job = ProgramJob(
            kind, folders: ProgramFolders(folders ?? [folder], hidden: hidden), access: access,
            supervisor: BuiltProducts.supervisor)
        let tenant = JobHarness.tenant()
        let attempt = JobAttempt(
            jobID: 7, tenant: tenant, queue: "acme.work", kind: "exec", number: number, leaseID: UUID(),
            traceparent: nil)
        let context = JobContext(
            attempt: attempt, deadline: .now + timeLimit, stop: stop, log: .quiet, resources: JobResources(),
            store: store)
        return try job.erased.run(args: args, in: context)
    }

    /// Runs the program, which must succeed, and returns its result.
    func result(args: String = "{}", environment: [String] = []) throws -> JSON? {
        guard case .finished(let result) = try run(args: args, environment: environment) else {
            throw JobFailure("not_finished", "the program did not finish")
        }
        return result.summary
    }

    /// The failure that a run ends with.
    func failure(_ body: () throws -> JobOutcome) -> JobFailure? {
        do { _ = try body() } catch let failure as JobFailure { return failure } catch {}
        return nil
    }

    /// Lines that a program wrote into a file of the fixture's folder.
    func lines(_ name: String) -> [String] {
        // Not there yet: no lines.
        let text = (try? String(contentsOf: URL(filePath: "\(folder)/\(name)"), encoding: .utf8)) ?? ""
        return text.split(separator: "\n").map(String.init)
    }
}

/// A tenant without a database.
struct NoDatabase: ProgramAccess {
    func withConnections<T>(_ context: JobContext, _ body: (ProgramConnections) throws -> T) throws -> T {
        try body(ProgramConnections(environment: [:], stores: []))
    }
}

/// Polls until the condition holds, for at most half a minute.
func eventually(_ condition: () throws -> Bool) rethrows -> Bool {
    let limit = ContinuousClock.now + .seconds(30)
    while ContinuousClock.now < limit {
        if try condition() { return true }
        usleep(20_000)
    }
    return try condition()
}

/// Whether a process is there and not a zombie.
func isAlive(_ pid: pid_t) -> Bool {
    // A process that is gone has no file.
    guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/stat"),
        let tail = String(decoding: data, as: UTF8.self).split(separator: ")").last
    else { return false }
    return tail.split(separator: " ").first != "Z"
}
