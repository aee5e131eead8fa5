import FoundationEssentials
import Glibc
import Testing

/// All fault tests, one after the other: each has a server and workers of its own, and two cores.
@Suite("Faults", .serialized)
enum Faults {}

/// Polls until the claim holds; false when it does not within the limit.
func eventually(_ limit: Duration = .seconds(10), _ claim: () throws -> Bool) rethrows -> Bool {
    let until = ContinuousClock.now + limit
    while try !claim() {
        if ContinuousClock.now > until { return false }
        usleep(20_000)
    }
    return true
}

/// How many child processes of handlers there are, with their supervisors.
func children() -> Int {
    ((try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []).count { entry in
        guard Int(entry) != nil, let data = FileManager.default.contents(atPath: "/proc/\(entry)/environ") else {
            return false
        }
        return String(decoding: data, as: UTF8.self).contains("REEVE_FAULT=\(getpid())\0")
    }
}

/// What holds once every job has ended, whatever happened.
func expectPromises(_ fleet: FaultFleet, _ caps: CapSampler, sourceLocation: SourceLocation = #_sourceLocation) throws {
    #expect(try Checkers.ends(fleet) == [], sourceLocation: sourceLocation)
    #expect(try Checkers.effects(fleet) == [], sourceLocation: sourceLocation)
    #expect(try Checkers.counters(fleet) == [], sourceLocation: sourceLocation)
    #expect(caps.violations == [], sourceLocation: sourceLocation)
    #expect(caps.samples > 0, sourceLocation: sourceLocation)
}

/// Ends the fleet and checks everything.
func finishAndExpectPromises(
    _ fleet: FaultFleet, _ caps: CapSampler = CapSampler(), within limit: Duration = .seconds(60),
    sourceLocation: SourceLocation = #_sourceLocation, beforeChecks: () throws -> Void = {}
) throws {
    try caps.sample(fleet)
    try fleet.finish(within: limit, sampling: caps)
    #expect(fleet.terminateAll(), "a worker did not stop cleanly", sourceLocation: sourceLocation)
    try beforeChecks()
    try expectPromises(fleet, caps, sourceLocation: sourceLocation)
    #expect(
        try eventually { try Checkers.backends(fleet).isEmpty }, "a backend outlived its worker",
        sourceLocation: sourceLocation)
    #expect(eventually { children() == 0 }, "a child process outlived its worker", sourceLocation: sourceLocation)
}
