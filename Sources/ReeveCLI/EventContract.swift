import JobKit

/// What others can rely on when they read what Reeve sends: lifecycle events, and the audit's entries in the order of their chains.
enum EventContract {
    /// What there is to send, as `reeve.event_types()` has it.
    static let types = [
        "job.enqueued", "job.started", "job.retrying", "job.held", "job.succeeded", "job.cancelled", "job.dead",
        "tenant.created", "tenant.status", "tenant.tier",
    ]

    /// The schemas by file.
    static let files: [String: JSON] = ["event.json": event, "audit.json": audit]

    static let channels: [String: JSON] = [
        "events": channel(
            "{tenant}.events", "A tenant's events",
            "In the order of their changes, each at least once; its id stays the same. Sent where `reeve events set` asks for them.",
            "event"),
        "audit": channel(
            "{tenant}.audit", "A tenant's audit",
            "The chain's entries in their order, with the hashes by which it verifies without Reeve; the fleet's own chain is on _fleet.audit.",
            "audit"),
    ]

    static let operations: [String: JSON] = [
        "sendEvents": [
            "action": "send", "channel": ["$ref": "#/channels/events"],
            "summary": "Tells what became of jobs and tenants.",
        ],
        "sendAudit": [
            "action": "send", "channel": ["$ref": "#/channels/audit"], "summary": "Hands the audit to a SIEM.",
        ],
    ]

    static let messages: [String: JSON] = [
        "reeve-event": message("event", "A lifecycle event"), "reeve-audit": message("audit", "An audit entry"),
    ]

    private static func channel(_ address: String, _ title: String, _ text: String, _ message: String) -> JSON {
        [
            "address": .string(address), "title": .string(title), "description": .string(text),
            "parameters": ["tenant": ["description": "The tenant's code."]],
            "messages": .object([message: ["$ref": .string("#/components/messages/reeve-\(message)")]]),
        ]
    }

    private static func message(_ name: String, _ title: String) -> JSON {
        [
            "name": .string("reeve.\(name)"), "title": .string(title),
            "summary": "A CloudEvent 1.0 in structured mode.",
            "contentType": "application/cloudevents+json",
            "payload": [
                "schemaFormat": "application/schema+json;version=draft-2020-12",
                "schema": ["$ref": .string("./\(name).json")],
            ],
        ]
    }

    private static let event = schema(
        "A lifecycle event: it names jobs and tenants, and holds neither arguments nor results nor errors.",
        [
            "type": ["enum": .array(types.map { .string("reeve.event.\($0)") })],
            "id": ["type": "string", "pattern": "^[0-9]+-.+$"],
            "subject": ["type": "string", "pattern": "^(jobs/[0-9]+|tenants/[a-z0-9-]+)$"],
            "traceparent": ["type": "string"],
            "data": [
                "type": "object", "required": ["tenant"],
                "properties": [
                    "tenant": ["type": "string", "description": "The tenant's code."], "job": ["type": "integer"],
                    "queue": ["type": "string"], "kind": ["type": "string"], "attempt": ["type": "integer"],
                ],
            ],
        ], [])

    private static let audit = schema(
        "An entry of an audit chain: the data is a line of `reeve audit export`.",
        [
            "type": ["const": "reeve.audit"], "id": ["type": "string", "pattern": "^[0-9a-f-]{36}-[0-9]+$"],
            "subject": ["type": "string", "pattern": "^chains/[0-9a-f-]{36}$"],
            "sequence": ["type": "string", "pattern": "^[0-9]+$", "description": "The entry's place in its chain."],
            "data": ["type": "object"],
        ], ["sequence"])

    private static func schema(_ text: String, _ properties: [String: JSON], _ required: [String]) -> JSON {
        let common: [String: JSON] = [
            "specversion": ["const": "1.0"], "source": ["const": "/reeve"],
            "tenantid": ["type": "string", "format": "uuid", "description": "The tenant's id."],
            "time": ["type": "string", "format": "date-time"], "datacontenttype": ["const": "application/json"],
        ]
        let names = ["specversion", "id", "source", "type", "subject", "tenantid", "time", "datacontenttype", "data"]
        return [
            "$schema": "https://json-schema.org/draft/2020-12/schema", "description": .string(text), "type": "object",
            "required": .array((names + required).map(JSON.string)),
            "properties": .object(common.merging(properties) { $1 }),
        ]
    }
}
