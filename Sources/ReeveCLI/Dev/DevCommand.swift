import EmbeddedPostgres
import FoundationEssentials
import Glibc
import JobKit
import Tenancy
import WorkerEngine

extension Command {
    static let dev = Command(
        "dev", "run everything on this machine: an embedded PostgreSQL, demo tenants and a worker",
        details: """
            Makes an embedded server with initdb in .reeve/ (private socket, every login with a password), the control database,
            three demo tenants with real data (acme: schema, globex: shared tables, initech: a database of its own), three more
            adopted from a platform's database (hooli: two schemas, umbrella: one, wayne: row-level security inside), and runs a
            worker and a restore worker until Ctrl-C. Started again it goes on with what is there. Other terminals: . .reeve/env
            """,
        options: [
            CommandOption("directory", "DIR", "where everything lives (.reeve)"),
            CommandOption(
                "customers", "N", "customers of each demo tenant (400, about 21,000 rows)", .integer(1...100_000)),
            .flag("no-tenants", "no demo tenants"), .flag("no-worker", "no worker"), .setting(.template),
            .setting(.log), .setting(.logLevel),
        ], examples: ["reeve dev", "reeve dev --no-tenants --directory /tmp/reeve"]
    ) { invocation in
        let here = FileManager.default.currentDirectoryPath
        let named = invocation.string("directory") ?? ".reeve"
        let directory = named.hasPrefix("/") ? named : "\(here)/\(named)"
        let template = try devTemplate(invocation)
        let script = FileManager.default.contents(atPath: "\(template)/demo-data.sql").map {
            String(decoding: $0, as: UTF8.self)
        }
        let registry = invocation.registry.adding(script.map { [AnyJob(DemoSeedJob(script: $0))] } ?? [])
        // Before the server: a signal while it starts must stop it, not orphan it.
        let signals = StopSignals()
        let fleet = try DevFleet(directory: directory, template: template, registry: registry, actor: invocation.actor)
        defer { fleet.server.stop() }
        invocation.output.message("PostgreSQL runs in \(fleet.server.directory)")
        if !invocation.flag("no-tenants"), signals.stop.reason == nil {
            let codes = try fleet.makeTenants(template: template, actor: invocation.actor) { code, step in
                invocation.output.message("tenant \(code): \(step.rawValue)")
            }
            if script != nil { try fleet.seed(customers: invocation.int("customers") ?? 400) }
            invocation.output.message("tenants: \(codes.joined(separator: ", "))")
        }
        try fleet.writeEnvironment()
        invocation.output.result(
            .object(Dictionary(uniqueKeysWithValues: fleet.environment.map { ($0.0.lowercased(), JSON.string($0.1)) })),
            "ready; in another terminal: . \(directory)/env")
        guard !invocation.flag("no-worker") else {
            waitForStop(signals)
            return .done
        }
        let restoring = DevRestoreWorker(fleet.environment, stop: signals.stop)
        defer { restoring.join() }
        let serving = try invocation.with(fleet.environment, registry: registry).withoutIdentities()
        try WorkerRun.serve(fleet.settings, WorkerOptions(region: "local", grace: .seconds(10)), serving, signals)
        return .done
    }

    private static func waitForStop(_ signals: StopSignals) {
        while signals.stop.reason == nil { usleep(50_000) }
    }

    /// The folder that is configured, or the one that Reeve ships, beside the working directory or the program.
    private static func devTemplate(_ invocation: Invocation) throws -> String {
        if let named = invocation.configuration[.template] { return named }
        var directory = FileManager.default.currentDirectoryPath
        var candidates = ["\(directory)/deploy/templates/steel"]
        // Without /proc it is not found.
        directory = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "/"
        while let slash = directory.lastIndex(of: "/"), slash > directory.startIndex {
            directory = String(directory[..<slash])
            candidates.append("\(directory)/deploy/templates/steel")
        }
        if let found = candidates.first(where: { access($0 + "/tenant.sql", R_OK) == 0 }) { return found }
        throw CommandError(
            .usage, "the demo's template is not found", hint: "name a folder: --template deploy/templates/steel")
    }
}
