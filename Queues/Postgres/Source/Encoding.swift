import FoundationEssentials
import Glibc
import JobKit
public import Postgres
public import WorkerEngine

/// An array parameter from an optional list.
struct TextArray: PostgresEncodable {
    let values: [String]
    init(_ values: [String]) { self.values = values }
    var postgresText: String? { values.postgresText }
}

extension Settlement {
    /// The item that `reeve.settle` takes.
    var item: JSON {
        var members: [String: JSON] = ["id": .int(jobID), "lease": .string(leaseID.uuidString)]
        switch outcome {
        case .succeeded(let result):
            members["outcome"] = "finish"
            members["result"] = result.summary
            members["artifacts"] = .array(
                result.artifacts.map { artifact in
                    var item: [String: JSON] = [
                        "id": .string(artifact.id.uuidString), "entity": .string(artifact.entity),
                        "key": .string(artifact.key), "bytes": .int(artifact.bytes), "sha256": .string(artifact.sha256),
                        "manifest": artifact.manifest,
                    ]
                    if let kept = artifact.keptFor { item["kept_ms"] = .int(milliseconds(kept)) }
                    return .object(item)
                })
        case .retry(let delay, let error):
            members["outcome"] = "retry"
            members["delay_ms"] = .int(milliseconds(delay))
            members["error"] = .string(error)
        case .snooze(let delay):
            members["outcome"] = "snooze"
            members["delay_ms"] = .int(milliseconds(delay))
        case .wait(let delay):
            members["outcome"] = "wait"
            members["delay_ms"] = .int(milliseconds(delay))
        case .hold(let reason, let atMost, let refused):
            members["outcome"] = "hold"
            members["reason"] = .string(reason)
            members["delay_ms"] = atMost.map { .int(milliseconds($0)) }
            members["refused"] = .bool(refused)
        case .release: members["outcome"] = "release"
        case .cancel(let reason, let refused):
            members["outcome"] = "cancel"
            members["reason"] = .string(reason)
            members["refused"] = .bool(refused)
        case .dead(let reason, let error, let refused):
            members["outcome"] = "dead"
            members["reason"] = .string(reason)
            members["error"] = error.map(JSON.string)
            members["refused"] = .bool(refused)
        }
        return .object(members)
    }
}

extension AnyJob {
    /// The item that `reeve.register_kinds` takes.
    var registration: JSON {
        var members: [String: JSON] = [
            "name": .string(kind.rawValue), "queue": .string(policy.queue), "schema": schema.json,
            "time_limit_ms": .int(milliseconds(policy.timeLimit)), "max_attempts": .int(Int64(policy.attemptLimit)),
            "statuses": .array(policy.statuses.map(\.rawValue).sorted().map(JSON.string)),
        ]
        members["feature"] = policy.feature.map(JSON.string)
        return .object(members)
    }
}

extension Tenant {
    /// A row of `reeve.tenant_facts`.
    init(facts row: Row) throws {
        guard let status = TenantStatus(rawValue: try row.text(3)), let isolation = Isolation(rawValue: try row.text(4))
        else {
            throw SchemaError(description: "the database knows a tenant status or isolation that this binary does not")
        }
        self.init(
            id: TenantID(rawValue: try row.uuid(0)), code: try row.text(1), tier: try row.text(2), status: status,
            isolation: isolation, region: try row.text(5), timezone: try row.text(6),
            features: Set(try row.text(7).dropFirst().dropLast().split(separator: ",").map(String.init)),
            version: try row.int(8))
    }
}

extension PostgresError: PermanentSourceError {
    /// The data is refused (classes 22 and 23), whatever the time. A row on its way to a partition when its day got one of its
    /// own is refused too, as a check violation that names no constraint: sent again it finds the new one.
    public var isPermanent: Bool {
        guard let sqlState, !(sqlState == "23514" && constraint == nil) else { return false }
        return sqlState.hasPrefix("22") || sqlState.hasPrefix("23")
    }
}

/// A duration as whole milliseconds.
func milliseconds(_ duration: Duration) -> Int64 { Int64(duration / .milliseconds(1)) }

/// The pools as `{"starter": 4}`.
func poolsJSON(_ pools: [String: Int]) -> JSON { .object(pools.mapValues { .int(Int64($0)) }) }

/// The numbers of a `bigint[]` in text form.
func ids(_ array: String) -> [Int64] { array.dropFirst().dropLast().split(separator: ",").compactMap { Int64($0) } }

/// This process's id.
func processID() -> Int32 { getpid() }
