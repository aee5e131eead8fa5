import JobKit
import Postgres

/// A message on its way out, and what it stands for.
struct OutgoingMessage: Sendable {
    /// Whose order it keeps: a tenant's id, or a chain's.
    let stream: String
    let topic: String
    let value: String
    /// What is settled when the cluster has it: an event's id, or a place in a chain.
    let mark: Int64

    /// A CloudEvent in structured mode.
    private init(
        stream: String, topic: String, mark: Int64, id: String, source: String, type: String, time: String,
        _ more: [String: JSON], data: JSON
    ) {
        self.stream = stream
        self.topic = topic
        self.mark = mark
        let members: [String: JSON] = [
            "specversion": "1.0", "id": .string(id), "source": .string(source), "type": .string(type),
            "time": .string(time), "datacontenttype": "application/json", "data": data,
        ]
        value = JSON.object(members.merging(more) { $1 }).text
    }

    /// A row of `reeve.read_events`.
    static func event(_ row: Row, source: String, topic: (String) -> String) throws -> OutgoingMessage {
        let (id, tenant, code) = (try row.int(0), try row.text(1), try row.text(2))
        var data: [String: JSON] = ["tenant": .string(code)]
        var more: [String: JSON] = ["tenantid": .string(tenant), "subject": .string("tenants/\(code)")]
        if let job = try row.optionalInt(5) {
            data["job"] = .int(job)
            data["queue"] = try row.optionalText(6).map(JSON.string)
            data["kind"] = try row.optionalText(7).map(JSON.string)
            data["attempt"] = try row.optionalInt(8).map(JSON.int)
            more["subject"] = .string("jobs/\(job)")
            more["traceparent"] = try row.optionalText(9).map(JSON.string)
        }
        data.merge(try row.optionalJSON(10)?.object ?? [:]) { $1 }
        // Numbers start again with a database that was restored; with the time they do not.
        return OutgoingMessage(
            stream: tenant, topic: topic(code), mark: id, id: "\(id)-\(try row.text(11))", source: source,
            type: "reeve.event.\(try row.text(3))", time: try row.text(4), more, data: .object(data))
    }

    /// A row of `reeve.read_audit`: the data is a line of `reeve audit export`, from which the chain verifies.
    static func audit(_ row: Row, source: String, topic: (String?) -> String) throws -> OutgoingMessage {
        let (chain, code, place) = (try row.text(0), try row.optionalText(1), try row.int(2))
        let more: [String: JSON] = [
            "subject": .string("chains/\(chain)"), "tenantid": .string(chain), "sequence": .string("\(place)"),
        ]
        return OutgoingMessage(
            stream: chain, topic: topic(code), mark: place, id: "\(chain)-\(place)", source: source,
            type: "reeve.audit", time: try row.text(3), more, data: try row.json(4))
    }
}

/// What became of messages, stream by stream: of each stream what was sent before the first that was not. What came after it is
/// sent again, so that a reader sees a stream in its order.
struct SendingReport: Sendable {
    /// The messages that are settled, by index.
    private(set) var sent: [Int] = []
    /// Streams that were not taken, and why.
    private(set) var failures: [String: KafkaFault] = [:]

    /// Why a stream was not taken.
    struct KafkaFault: Sendable {
        let index: Int
        let fault: String
        let text: String
    }

    /// Puts together what happened to each message; nil is sent.
    init(_ messages: [OutgoingMessage], _ faults: [Int: KafkaFault]) {
        for (index, message) in messages.enumerated() where failures[message.stream] == nil {
            if let fault = faults[index] { failures[message.stream] = fault } else { sent.append(index) }
        }
    }
}
