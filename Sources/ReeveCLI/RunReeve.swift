import Benchmarks
import Glibc
public import JobKit
import Processes

/// The version that this program reports.
public let reeveVersion = "0.1.0"

/// Runs `reeve` with the arguments and ends the process with its exit code. A platform's own package calls it with the
/// kinds that it adds; the kinds that Reeve brings are there already, and one of the same name takes its place.
public func runReeve(jobs: [AnyJob] = [], arguments: [String] = CommandLine.arguments) -> Never {
    // A worker's child that supervises processes is this program again.
    Supervisor.runIfAsked(arguments: arguments)
    // So are the worker processes of `reeve bench hot`.
    HotWorker.runIfAsked(arguments: arguments)
    // And the restore worker of `reeve dev`.
    let arguments = DevRestoreWorker.commandLine(arguments)
    let code = CommandLineProgram(registry: BuiltInKinds.unassembled.adding(jobs), commands: Command.table)
        .run(arguments, environment: Environment.current)
    exit(code.rawValue)
}

/// The process's environment.
enum Environment {
    static var current: [String: String] {
        var out: [String: String] = [:]
        var entry = environ
        while let text = entry.pointee {
            let parts = String(cString: text).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 { out[String(parts[0])] = String(parts[1]) }
            entry += 1
        }
        return out
    }
}

/// The program without the process around it.
struct CommandLineProgram {
    let registry: JobRegistry
    let commands: [Command]

    func run(_ arguments: [String], environment: [String: String]) -> ExitCode {
        let words = Array(arguments.dropFirst())
        let output = Output(isJSON: words.prefix { $0 != "--" }.contains("--json"), environment: environment)
        var invocation: Invocation?
        do {
            let line = try Parser(commands: commands).parse(words)
            let help = Help(commands: commands)
            if line.wantsHelp {
                output.raw(line.command.map { help.page(line.path, $0) } ?? help.overview())
                return .done
            }
            if line.options["version"] != nil {
                output.result(["version": .string(reeveVersion)], "reeve \(reeveVersion)")
                return .done
            }
            guard let run = line.command?.run else { return try withoutCommand(output, environment) }
            let made = Invocation(
                line, try Configuration(flags: line.options.compactMapValues(\.last), environment: environment), output,
                registry, program: arguments.first ?? "reeve")
            invocation = made
            return try run(made)
        } catch {
            let report = ErrorReport(error, invocation)
            output.message("reeve: " + report.asked(error, invocation))
            if let hint = report.hint { output.message("  " + hint) }
            return report.code
        }
    }

    private func withoutCommand(_ output: Output, _ environment: [String: String]) throws -> ExitCode {
        let configuration = try Configuration(environment: environment)
        if configuration[.databaseURL] == nil {
            throw CommandError(
                .usage, "nothing is configured",
                hint:
                    "set REEVE_DATABASE_URL to the control database (postgres://user@host/reeve), or try everything out "
                    + "with: reeve dev; more: reeve --help")
        }
        throw CommandError(.usage, "a command is missing", hint: "see: reeve --help")
    }
}
