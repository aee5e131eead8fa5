import Artifacts
import Crypto
import Dashboard
import Destinations
import Dispatch
import HTTP
import JobKit
import Postgres
import PostgresQueue
import WorkerEngine

extension Command {
    static let dashboard = Command(
        "dashboard", "serve the dashboard, the fleet's metrics, and the public routes",
        details: """
            The dashboard is one page. Who may come in: tokens (REEVE_DASHBOARD_TOKENS_FILE), or people whom a proxy has checked
            (REEVE_DASHBOARD_PROXIES, REEVE_DASHBOARD_GROUPS). With neither, a token for this run is printed. A viewer sees everything but
            arguments; an operator acts; an admin isolates tenants, too. Encryption is a proxy's work: bind to an address that only it
            reaches, and name the host that people use with --host.

            /metrics has the fleet's families, /metrics/tenants those of every tenant (?code= for one); both need a token unless
            --open-metrics. --public serves links to artifacts and the end of reminders at an address of its own, and nothing else there.
            The login of REEVE_DATABASE_URL needs reeve_operator; with reeve_viewer nobody can act.
            """,
        options: [
            .setting(.listen), .setting(.dashboardHosts), .setting(.publicListen), .setting(.storage),
            .setting(.keyFile),
            .flag("open-metrics", "serve metrics without a token"), .setting(.log), .setting(.logLevel),
        ],
        examples: [
            "reeve dashboard", "reeve dashboard --listen 10.0.0.7:9465 --host ops.platform.example",
            "reeve dashboard --public 0.0.0.0:8080",
        ]
    ) { invocation in
        try DashboardRun.run(invocation)
    }
}

enum DashboardRun {
    /// Where it is without a word: this machine alone reaches it.
    static let standardAddress = "127.0.0.1:9465"

    static func run(_ invocation: Invocation) throws -> ExitCode {
        let configuration = invocation.configuration
        let connection = try invocation.connect()
        try Migrator(connection).requireCurrent()
        connection.close()
        let log = configuration.makeLog()
        let address = try configuration.listenAddress(.listen) ?? ListenAddress(parsing: standardAddress)
        guard let address else { throw CommandError(.usage, "there is no address to listen on") }
        var tokens = try configuration.dashboardTokens()
        let proxy = try configuration.dashboardProxy()
        var link = ""
        if tokens.isEmpty, proxy == nil {
            guard address.isLoopback else {
                throw CommandError(
                    .usage, "nobody could come in: REEVE_DASHBOARD_TOKENS is not set",
                    hint: "set REEVE_DASHBOARD_TOKENS_FILE, or REEVE_DASHBOARD_PROXIES and REEVE_DASHBOARD_GROUPS")
            }
            let token = hex(randomBytes(24))
            tokens = [DashboardAccess.Token(name: invocation.actor, role: .admin, token: token)]
            link = "/#token=\(token)"
        }
        let server = DashboardServer(
            try configuration.database(), access: DashboardAccess(tokens: tokens, proxy: proxy),
            hosts: configuration.dashboardHosts(), address: address, isMetricsOpen: invocation.flag("open-metrics"),
            version: reeveVersion, log: log)
        defer { server.close() }
        let listener = try listen(address, log, server)
        defer { listener.stop() }
        let open = try publicRoutes(invocation, log)
        defer { open?.stop() }
        invocation.output.message("the dashboard is at http://\(listener.address)\(link)")
        if let open { invocation.output.message("public routes are at http://\(open.address)") }
        let signals = StopSignals()
        let stopped = DispatchSemaphore(value: 0)
        signals.stop.whileStopping({ _ in stopped.signal() }) { stopped.wait() }
        return .done
    }

    private static func listen(_ address: ListenAddress, _ log: Log, _ responder: any HTTPResponder) throws
        -> HTTPListener
    {
        do { return try HTTPListener(address, log: log, responder: responder) } catch let error as ListenError {
            throw CommandError(.failed, error.description, hint: "choose another with --listen ADDRESS:PORT")
        }
    }

    private static func publicRoutes(_ invocation: Invocation, _ log: Log) throws -> HTTPListener? {
        let configuration = invocation.configuration
        guard let address = try configuration.listenAddress(.publicListen) else { return nil }
        let pool = Pool(
            try invocation.databaseSettings().with(["application_name": "reeve public"]), bound: 4,
            waitTimeout: .seconds(5), name: "public")
        let links = try configuration.loadKey().map { ArtifactLinks(key: $0) }
        if links == nil { log.warning("REEVE_KEY_FILE is not set: links to artifacts do not work") }
        let stores = DestinationCatalog(control: pool, standard: try configuration.store())
        return try listen(address, log, PublicServer(pool: pool, links: links, stores: stores, log: log))
    }
}
