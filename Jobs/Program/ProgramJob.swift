import FoundationEssentials
public import JobKit
public import Processes
import Tenancy

/// Runs a program as a job (design section 7, `exec`): the job as JSON on standard input, progress and result as JSON
/// lines on standard output, exit status 0 done, 75 try again, any other one failed; both count as an attempt and come
/// back after the kind's backoff. The program has no arguments: nothing that an enqueuer says reaches a command line.
public struct ProgramJob: Sendable {
    /// The exit status that asks for another attempt (EX_TEMPFAIL in sysexits.h).
    public static let tryAgain: Int32 = 75
    private static let grace = Duration.seconds(2)
    private static let longGrace = Duration.seconds(5)

    private let kind: ProgramKind
    private let folders: ProgramFolders
    private let access: any ProgramAccess
    private let supervisor: Supervisor

    /// A kind's program, looked for in these folders each time.
    public init(
        _ kind: ProgramKind, folders: ProgramFolders, access: any ProgramAccess = TenancyAccess(),
        supervisor: Supervisor = .current()
    ) {
        self.kind = kind
        self.folders = folders
        self.access = access
        self.supervisor = supervisor
    }

    /// The job as the engine runs it.
    public var erased: AnyJob {
        AnyJob(kind: kind.kind, policy: kind.policy, schema: kind.schema) { args, context in
            try run(args: args, in: context)
        }
    }

    /// Runs the program once with these arguments (JSON text). Blocks until it and its descendants have ended.
    public func run(args: String, in context: JobContext) throws -> JobOutcome {
        let program = try folders.check(kind.program, sha256: kind.sha256)
        return try access.withConnections(context) { connections in
            let folder = try WorkFolder()
            defer { folder.remove(context.log) }
            let input = ProgramInput(
                kind: kind, args: args, context: context, connections: connections, folder: folder.path)
            var output = ProgramOutput(limit: kind.outputLimit, context: context)
            let ended = try ChildProcess.run(
                program: program, arguments: [],
                environment: input.environment(own: ProcessInfo.processInfo.environment), supervisor: supervisor,
                stop: context.stop, deadline: context.deadline, grace: Self.grace, longGrace: Self.longGrace,
                directory: folder.path, input: input.document,
                limits: ResourceLimits(memory: kind.memoryLimit, confinement: confinement(folder, connections))
            ) { try output.take($0) }
            try output.finish()
            return try outcome(of: ended, result: output.result, context)
        }
    }

    /// Hides what is the worker's, and what is lent to other children: they are other tenants'.
    private func confinement(_ folder: WorkFolder, _ connections: ProgramConnections) -> Confinement {
        let service = connections.environment["PGSERVICEFILE"].map {
            $0.prefix(upTo: $0.lastIndex(of: "/") ?? $0.endIndex)
        }
        return Confinement(
            hidden: folders.hidden + [WorkFolder.pattern, ChildConnection.pattern],
            kept: [folder.path] + (service.map { [String($0)] } ?? []))
    }

    private func outcome(of ended: ChildProcess.Output, result: JSON?, _ context: JobContext) throws -> JobOutcome {
        if !ended.standardError.isEmpty {
            context.log.info(
                "standard error", ["text": .string(ended.standardError), "exit": .string(ended.exit.description)])
        }
        if ended.exit == .exited(0) { return .finished(JobResult(summary: result)) }
        // The end of the text says most; the row keeps 2,000 bytes in all.
        let tail = String(decoding: Array(ended.standardError.utf8.suffix(1500)), as: UTF8.self)
        let said = tail.isEmpty ? "" : ": \(tail)"
        if ended.exit == .exited(Self.tryAgain) {
            throw JobFailure("try_again", "the program asks to be tried again\(said)")
        }
        throw JobFailure("program_failed", "the program ended with \(ended.exit)\(said)")
    }
}
