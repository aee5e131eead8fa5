/// The JSON Schema (draft 2020-12) of a kind's arguments, in the subset that the database checks at enqueue:
/// `type`, `properties`, `required`, `additionalProperties`, `enum`, `minimum`, `maximum`, `minLength`, `maxLength`,
/// `pattern`, `format` (`uuid`, `date`, `date-time`), `items`, `maxItems`.
public struct JSONSchema: Sendable, Hashable {
    /// The schema document.
    public let json: JSON

    /// Wraps a schema document; the database refuses a keyword it would not check.
    public init(_ json: JSON) { self.json = json }

    /// An object with these properties; names in `required` must be present and no other name is allowed.
    public static func object(_ properties: [String: JSONSchema], required: [String] = []) -> JSONSchema {
        JSONSchema([
            "type": "object",
            "properties": .object(properties.mapValues(\.json)),
            "required": .array(required.sorted().map(JSON.string)),
            "additionalProperties": false,
        ])
    }

    /// A string, optionally bounded in length (characters), limited to some values or to a pattern or format.
    public static func string(
        minLength: Int? = nil, maxLength: Int? = nil, oneOf values: [String]? = nil, pattern: String? = nil,
        format: String? = nil
    ) -> JSONSchema {
        var members: [String: JSON] = ["type": "string"]
        if let minLength { members["minLength"] = .int(Int64(minLength)) }
        if let maxLength { members["maxLength"] = .int(Int64(maxLength)) }
        if let values { members["enum"] = .array(values.map(JSON.string)) }
        if let pattern { members["pattern"] = .string(pattern) }
        if let format { members["format"] = .string(format) }
        return JSONSchema(.object(members))
    }

    /// A whole number within optional inclusive bounds.
    public static func integer(minimum: Int64? = nil, maximum: Int64? = nil) -> JSONSchema {
        var members: [String: JSON] = ["type": "integer"]
        if let minimum { members["minimum"] = .int(minimum) }
        if let maximum { members["maximum"] = .int(maximum) }
        return JSONSchema(.object(members))
    }

    /// A truth value.
    public static let boolean = JSONSchema(["type": "boolean"])

    /// An array of items that all match one schema.
    public static func array(of items: JSONSchema, maxItems: Int? = nil) -> JSONSchema {
        var members: [String: JSON] = ["type": "array", "items": items.json]
        if let maxItems { members["maxItems"] = .int(Int64(maxItems)) }
        return JSONSchema(.object(members))
    }
}
