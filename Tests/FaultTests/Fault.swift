import EmbeddedPostgres
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import ReeveTesting

/// What the chaos run does to a fleet under load; each leaves the fleet whole again, with as many workers as before.
enum Fault: String, CaseIterable {
    case killWorker, stopWorkerPastLease, crashServer, cutAtRandom, cutBeforeStatements, cutAfterStatements,
        stallPastLease
    case outage, allConnectionsTaken, holdRows, terminateWorker, declareDead, drain

    /// Does it and waits until it is over. Returns what a promise broken on the way would be called.
    func apply(to fleet: FaultFleet, isLong: Bool, _ caps: CapSampler, using random: inout SeededGenerator) throws
        -> [String]
    {
        let victim = Int.random(in: 0..<fleet.workers.count, using: &random)
        switch self {
        case .killWorker:
            fleet.kill9(victim)
            try fleet.startWorker()
        case .stopWorkerPastLease:
            let pid = fleet.workers[victim]
            kill(pid, SIGSTOP)
            pause(FaultFleet.lease * 2)
            try caps.sample(fleet)
            kill(pid, SIGCONT)
        case .crashServer: try fleet.server.crashAndRestart()
        case .cutAtRandom: cut(fleet, .init(random: 0.02))
        case .cutBeforeStatements: cut(fleet, .init(before: 0.2))
        case .cutAfterStatements: cut(fleet, .init(after: 0.2))
        case .stallPastLease:
            fleet.proxy?.set(.stall)
            pause(FaultFleet.lease * 1.5)
            fleet.proxy?.set(.forward)
        case .outage:
            fleet.server.stop(immediately: true)
            // A minute now and then in a soak run: longer than every backoff and every lease.
            pause(isLong && Int.random(in: 0..<10, using: &random) == 0 ? .seconds(60) : .seconds(1))
            try fleet.server.start()
        case .allConnectionsTaken: try takeAllConnections(fleet)
        case .holdRows: try holdRows(fleet)
        case .terminateWorker:
            let isClean = fleet.terminate(victim)
            try fleet.startWorker()
            return isClean ? [] : ["a worker did not end on SIGTERM"]
        case .declareDead:
            _ = try fleet.number(
                "SELECT coalesce(sum(reeve.rescue(id)), 0) FROM (SELECT id FROM reeve.worker WHERE state = 'alive' ORDER BY id LIMIT 1) w"
            )
        case .drain: return try drain(fleet)
        }
        return []
    }

    private func pause(_ time: Duration) { usleep(UInt32(time / .microseconds(1))) }

    private func cut(_ fleet: FaultFleet, _ cuts: CuttingProxy.Cuts) {
        fleet.proxy?.set(cuts)
        pause(.milliseconds(600))
        fleet.proxy?.set(CuttingProxy.Cuts())
    }

    /// Leaves no connection for anybody, after ending those of the workers.
    private func takeAllConnections(_ fleet: FaultFleet) throws {
        var taken: [Connection] = []
        defer { for connection in taken { connection.close() } }
        let control = try Connection(fleet.settings)
        defer { control.close() }
        let until = ContinuousClock.now + .milliseconds(1000)
        while ContinuousClock.now < until {
            // The error is the point: there is no room left.
            if let connection = try? Connection(fleet.settings) {
                taken.append(connection)
            } else {
                _ = try control.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'reeve %' LIMIT 5) s"
                )
            }
        }
    }

    /// A stranger who leaves a transaction open with locks on counters and jobs.
    private func holdRows(_ fleet: FaultFleet) throws {
        let holder = try Connection(fleet.settings.with(["application_name": "someone's psql"]))
        defer { holder.close() }
        try holder.executeScript("BEGIN")
        // In the lock order of everybody: jobs, then counters.
        _ = try holder.execute(
            "SELECT FROM reeve.job WHERE state = 'running' ORDER BY id LIMIT 5 FOR UPDATE SKIP LOCKED")
        _ = try holder.execute("SELECT FROM reeve.tenant_counter ORDER BY tenant_id LIMIT 3 FOR UPDATE")
        pause(.milliseconds(700))
        try holder.executeScript("COMMIT")
    }

    /// Once a drain says that nothing runs, nothing runs until it is resumed.
    private func drain(_ fleet: FaultFleet) throws -> [String] {
        try fleet.withControl { control in
            let id = try control.execute("SELECT reeve.drain('fault-2.*', 'chaos')")[0].int(0)
            var broken: [String] = []
            if try !eventually(
                .seconds(20),
                {
                    try control.execute("SELECT reeve.drain_status($1::bigint) ->> 'state'", [id])[0].text(0)
                        == "drained"
                })
            {
                broken.append("a drain did not end")
            }
            for _ in 0..<20 {
                let running = try control.execute(
                    "SELECT count(*) FROM reeve.job WHERE state = 'running' AND queue LIKE 'fault-2.%'")[0].int(0)
                if running > 0 { broken.append("\(running) jobs ran after a drain was done") }
                pause(.milliseconds(5))
            }
            _ = try control.execute("SELECT reeve.resume('fault-2.*')")
            return broken
        }
    }
}
