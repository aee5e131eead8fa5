import FoundationEssentials
public import JobKit
public import Kafka

/// A message that asks for a job: a CloudEvent (1.0) in structured or binary mode. Whether the job can be made is the database's to say.
public struct JobEvent: Sendable, Equatable {
    /// Why a message is not one.
    public struct Refusal: Error, Sendable, Equatable {
        /// A word for machines: `not_json`.
        public let reason: String
        /// What is wrong; it quotes nothing of the message's data.
        public let detail: String

        init(_ reason: String, _ detail: String) {
            self.reason = reason
            self.detail = detail
        }
    }

    /// `reeve.job.<kind>`.
    public let type: String
    /// Together with `id` the event's identity.
    public let source: String
    /// Unique within its source.
    public let id: String
    /// The tenant's id or code.
    public let tenant: String
    /// The W3C trace context, when it is one.
    public let traceparent: String?
    /// When the job may run, RFC 3339.
    public let runAt: String?
    /// The job's priority, lower first.
    public let priority: Int?
    /// JSON text: the data, or the whole event when `isWhole`.
    public let body: String?
    /// Whether `body` is the whole event.
    public let isWhole: Bool

    /// The longest `source` or `id`.
    static let attributeLimit = 2000

    /// Reads a message. `data` replaces what the message has as data.
    public init(_ message: KafkaMessage, data: JSON? = nil) throws(Refusal) {
        try self.init(value: message.value, headers: message.headers, data: data)
    }

    /// Reads a message's value and headers.
    public init(value: [UInt8]?, headers: [KafkaHeader], data: JSON? = nil) throws(Refusal) {
        let named = Dictionary(headers.map { ($0.name.lowercased(), $0.value) }, uniquingKeysWith: { _, last in last })
        let contentType = named["content-type"].flatMap { $0 }.map { String(decoding: $0, as: UTF8.self).lowercased() }
        if named["ce_specversion"] != nil, contentType?.hasPrefix("application/cloudevents") != true {
            try self.init(binary: value, named, contentType, data)
        } else {
            guard contentType?.hasPrefix("application/cloudevents-batch") != true else {
                throw Refusal("not_cloudevent", "a batch of events: send one event per message")
            }
            try self.init(structured: value, data)
        }
    }

    private init(structured value: [UInt8]?, _ data: JSON?) throws(Refusal) {
        guard let value, !value.isEmpty else { throw Refusal("empty", "the message has no value") }
        let text = try Self.text(value)
        guard let members = try Self.json(text, value).object else {
            throw Refusal("not_cloudevent", "the value is JSON, but no object")
        }
        if members["data_base64"] != nil { throw Refusal("not_cloudevent", "data_base64: the data must be JSON") }
        var attributes: [String: String] = [:]
        for (name, value) in members where name != "data" {
            switch value {
            case .string(let text): attributes[name] = text
            case .int(let number): attributes[name] = String(number)
            case .null: break
            default: if Self.known.contains(name) { throw Refusal("not_cloudevent", "\(name) must be a string") }
            }
        }
        try self.init(attributes, body: data?.text ?? text, isWhole: data == nil)
    }

    private init(
        binary value: [UInt8]?, _ headers: [String: [UInt8]?], _ contentType: String?, _ data: JSON?
    ) throws(Refusal) {
        var attributes: [String: String] = [:]
        for (name, value) in headers {
            guard let value, name.hasPrefix("ce_") || name == "traceparent" else { continue }
            let attribute = name.hasPrefix("ce_") ? String(name.dropFirst(3)) : name
            guard let text = String(validating: value, as: UTF8.self) else {
                throw Refusal("not_cloudevent", "header \(name.prefix(40)) is not UTF-8")
            }
            if attributes[attribute] == nil || name.hasPrefix("ce_") { attributes[attribute] = text }
        }
        attributes["datacontenttype"] = contentType
        var body = data?.text
        if body == nil, let value, !value.isEmpty {
            let text = try Self.text(value)
            _ = try Self.json(text, value)
            body = text
        }
        try self.init(attributes, body: body, isWhole: false)
    }

    private init(_ attributes: [String: String], body: String?, isWhole: Bool) throws(Refusal) {
        for name in Self.known {
            guard let text = attributes[name] else { continue }
            guard text.utf8.count <= Self.attributeLimit else { throw Refusal("field", "\(name) is too long") }
            guard !text.unicodeScalars.contains(where: { $0.value < 0x20 || (0x7f...0x9f).contains($0.value) }) else {
                throw Refusal("not_cloudevent", "\(name) holds a control character")
            }
        }
        func required(_ name: String) throws(Refusal) -> String {
            guard let text = attributes[name], !text.isEmpty else {
                throw Refusal("not_cloudevent", "\(name) is missing")
            }
            return text
        }
        guard try required("specversion") == "1.0" else { throw Refusal("not_cloudevent", "specversion is not 1.0") }
        type = try required("type")
        source = try required("source")
        id = try required("id")
        guard let tenant = attributes["tenantid"], !tenant.isEmpty else {
            throw Refusal("tenant_missing", "tenantid is missing: the tenant's id or code (ISO-C-001)")
        }
        self.tenant = tenant.lowercased()
        let media = (attributes["datacontenttype"] ?? "application/json").lowercased().prefix { $0 != ";" }
        guard media.trimmedSuffix.hasSuffix("/json") || media.trimmedSuffix.hasSuffix("+json") else {
            throw Refusal("not_cloudevent", "datacontenttype is not JSON")
        }
        // A trace that is wrong loses the trace, not the job.
        traceparent = attributes["traceparent"].flatMap { $0.wholeMatch(of: Self.trace) == nil ? nil : $0 }
        if let text = attributes["runat"] {
            guard let time = Self.time(text) else { throw Refusal("field", "runat is not a time (RFC 3339)") }
            runAt = time
        } else {
            runAt = nil
        }
        if let text = attributes["priority"] {
            guard let number = Int(text), (-1_000_000...1_000_000).contains(number) else {
                throw Refusal("field", "priority is not a whole number from -1000000 to 1000000")
            }
            priority = number
        } else {
            priority = nil
        }
        self.body = body
        self.isWhole = isWhole
    }

    private static let known = [
        "specversion", "type", "source", "id", "tenantid", "traceparent", "runat", "priority", "datacontenttype",
    ]

    nonisolated(unsafe) private static let trace = /[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}/

    private static func text(_ value: [UInt8]) throws(Refusal) -> String {
        guard let text = String(validating: value, as: UTF8.self) else {
            throw Refusal("not_json", "the value is not UTF-8")
        }
        return text
    }

    private static func json(_ text: String, _ value: [UInt8]) throws(Refusal) -> JSON {
        do { return try JSON(parsing: text) } catch {
            if depth(value) > 64 { throw Refusal("too_deep", "the value is nested deeper than 64 levels") }
            throw Refusal("not_json", "the value is not JSON")
        }
    }

    /// How deep brackets are nested, those in strings left out.
    private static func depth(_ value: [UInt8]) -> Int {
        var depth = 0
        var most = 0
        var isString = false
        var isEscaped = false
        for byte in value {
            if isEscaped {
                isEscaped = false
            } else if isString {
                if byte == UInt8(ascii: "\\") { isEscaped = true }
                if byte == UInt8(ascii: "\"") { isString = false }
            } else if byte == UInt8(ascii: "\"") {
                isString = true
            } else if byte == UInt8(ascii: "{") || byte == UInt8(ascii: "[") {
                depth += 1
                most = max(most, depth)
            } else if byte == UInt8(ascii: "}") || byte == UInt8(ascii: "]") {
                depth -= 1
            }
        }
        return most
    }

    /// The moment in a form that PostgreSQL takes; nil when it is none.
    private static func time(_ text: String) -> String? {
        let styles = [true, false].map { Date.ISO8601FormatStyle(includingFractionalSeconds: $0) }
        guard text.utf8.count <= 40, let date = styles.lazy.compactMap({ try? $0.parse(text) }).first,
            abs(date.timeIntervalSince1970) < 2e11
        else { return nil }
        return styles[0].format(date)
    }
}

extension Substring {
    /// Without spaces at its end.
    fileprivate var trimmedSuffix: Substring {
        var text = self
        while text.last == " " { text.removeLast() }
        return text
    }
}
