import JobKit

/// What other services can rely on when they ask for jobs by messages, or read events: an AsyncAPI 3 document, and a JSON Schema of each
/// kind's message.
/// Made from the kinds that this program brings, so that it says what enqueueing checks.
struct Contract {
    private let jobs: [AnyJob]

    init(_ registry: JobRegistry) { jobs = registry.jobs.values.sorted { $0.kind.rawValue < $1.kind.rawValue } }

    /// The files by name, from the contract's folder.
    var files: [String: JSON] {
        var files = EventContract.files.merging(["asyncapi.json": document]) { $1 }
        for job in jobs { files["schemas/\(job.kind.rawValue).json"] = schema(job) }
        return files
    }

    /// The AsyncAPI document.
    var document: JSON {
        let messages = Dictionary(uniqueKeysWithValues: jobs.map { ($0.kind.rawValue, message($0)) })
        let references = Dictionary(
            uniqueKeysWithValues: jobs.map {
                ($0.kind.rawValue, ["$ref": .string("#/components/messages/\($0.kind.rawValue)")] as JSON)
            })
        let tenant: JSON = ["description": "The tenant's code."]
        let channels: [String: JSON] = [
            "queue": [
                "address": "{tenant}.{queue}", "title": "A tenant's queue",
                "description":
                    "Topic acme.reports is queue acme.reports. A cluster's topics may share a prefix before the code.",
                "parameters": [
                    "tenant": tenant,
                    "queue": ["description": "The queue's name: a-z, 0-9 and -. events, audit and jobs are taken."],
                ], "messages": .object(references),
            ],
            "jobs": [
                "address": "{tenant}.jobs", "title": "All kinds of a tenant",
                "description": "The kind decides the queue.", "parameters": ["tenant": tenant],
                "messages": .object(references),
            ],
        ]
        let operations: [String: JSON] = [
            "takeFromQueue": [
                "action": "receive", "channel": ["$ref": "#/channels/queue"],
                "summary": "Makes a job of each message.",
            ],
            "takeFromJobs": [
                "action": "receive", "channel": ["$ref": "#/channels/jobs"],
                "summary": "Makes a job of each message.",
            ],
        ]
        return [
            "asyncapi": "3.0.0",
            "info": [
                "title": "Reeve", "version": "1.0.0",
                "description":
                    "Jobs of tenants, asked for by messages. Each message becomes one job; source and id are what it is known by. What cannot become a job is kept with its reason.",
            ],
            "defaultContentType": "application/cloudevents+json",
            "channels": .object(channels.merging(EventContract.channels) { $1 }),
            "operations": .object(operations.merging(EventContract.operations) { $1 }),
            "components": ["messages": .object(messages.merging(EventContract.messages) { $1 })],
        ]
    }

    private func message(_ job: AnyJob) -> JSON {
        let kind = job.kind.rawValue
        return [
            "name": .string("reeve.job.\(kind)"), "title": .string("Run \(kind)"),
            "summary": .string(
                "A CloudEvent 1.0, structured or binary, whose data are the arguments of a job of kind \(kind)."),
            "contentType": "application/cloudevents+json",
            "payload": [
                "schemaFormat": "application/schema+json;version=draft-2020-12",
                "schema": ["$ref": .string("./schemas/\(kind).json")],
            ], "x-queue": .string(job.policy.queue),
        ]
    }

    /// The schema of a kind's message in structured mode.
    private func schema(_ job: AnyJob) -> JSON {
        let kind = job.kind.rawValue
        let word: JSON = ["type": "string", "minLength": 1, "maxLength": 2000]
        let hasRequired = job.schema.json["required"]?.array?.isEmpty == false
        let required = ["specversion", "type", "source", "id", "tenantid"] + (hasRequired ? ["data"] : [])
        return [
            "$schema": "https://json-schema.org/draft/2020-12/schema", "title": .string("reeve.job.\(kind)"),
            "description": .string("A CloudEvent that asks for a job of kind \(kind)."), "type": "object",
            "required": .array(required.map(JSON.string)),
            "properties": [
                "specversion": ["const": "1.0"], "type": ["const": .string("reeve.job.\(kind)")],
                "source": described(word, "With id what the event is known by: a repetition makes no second job."),
                "id": described(word, "Unique within its source."),
                "tenantid": described(word, "The tenant's id or code; it must be the topic's."),
                "time": ["type": "string", "format": "date-time"],
                "traceparent": ["type": "string", "description": "W3C Trace Context."],
                "datacontenttype": ["type": "string", "pattern": "^application/([a-z.]+[+])?json"],
                "runat": ["type": "string", "format": "date-time", "description": "Not before."],
                "priority": [
                    "type": ["integer", "string"], "description": "Lower first, from -1000000 to 1000000; 0 is usual.",
                ], "data": job.schema.json,
            ],
        ]
    }

    private func described(_ schema: JSON, _ text: String) -> JSON {
        .object((schema.object ?? [:]).merging(["description": .string(text)]) { $1 })
    }
}

extension JSON {
    /// The text on many lines, names sorted, for files that people read and compare.
    var indented: String {
        var out = ""
        write(self, 0, &out)
        return out + "\n"
    }

    private func write(_ value: JSON, _ depth: Int, _ out: inout String) {
        let margin = String(repeating: "  ", count: depth)
        switch value {
        case .object(let members) where !members.isEmpty:
            out += "{\n"
            for (index, name) in members.keys.sorted().enumerated() {
                out += margin + "  "
                JSON.quote(name, to: &out)
                out += ": "
                write(members[name] ?? .null, depth + 1, &out)
                out += index < members.count - 1 ? ",\n" : "\n"
            }
            out += margin + "}"
        case .array(let values) where values.contains { $0.object != nil || $0.array != nil }:
            out += "[\n"
            for (index, value) in values.enumerated() {
                out += margin + "  "
                write(value, depth + 1, &out)
                out += index < values.count - 1 ? ",\n" : "\n"
            }
            out += margin + "]"
        default: out += value.text
        }
    }
}
