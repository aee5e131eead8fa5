import JobKit
import Testing

@Suite("JSONSchema: the document of a kind's arguments")
struct JSONSchemaTests {
    @Test("an object names its properties and allows no other")
    func object() {
        let schema = JSONSchema.object(["b": .boolean, "a": .integer()], required: ["b", "a"])
        #expect(
            schema.json == [
                "type": "object", "properties": ["a": ["type": "integer"], "b": ["type": "boolean"]],
                "required": ["a", "b"], "additionalProperties": false,
            ])
    }

    @Test("the same rules in another order are the same schema with the same text")
    func order() {
        let one = JSONSchema.object(["a": .boolean, "b": .boolean], required: ["a", "b"])
        let other = JSONSchema.object(["b": .boolean, "a": .boolean], required: ["b", "a"])
        #expect(one == other)
        #expect(one.json.text == other.json.text)
    }

    @Test("a keyword that was not asked for is not in the document")
    func bare() {
        #expect(JSONSchema.string().json == ["type": "string"])
        #expect(JSONSchema.integer().json == ["type": "integer"])
        #expect(JSONSchema.array(of: .boolean).json == ["type": "array", "items": ["type": "boolean"]])
        #expect(JSONSchema.object([:]).json["required"] == [])
    }

    @Test("every bound that was asked for is in the document, zero and empty ones too")
    func bounds() {
        #expect(
            JSONSchema.string(minLength: 0, maxLength: 9, oneOf: [], pattern: "^a$", format: "date").json == [
                "type": "string", "minLength": 0, "maxLength": 9, "enum": [], "pattern": "^a$", "format": "date",
            ])
        #expect(
            JSONSchema.integer(minimum: .min, maximum: 0).json == [
                "type": "integer", "minimum": .int(.min), "maximum": 0,
            ])
        #expect(JSONSchema.array(of: .string(), maxItems: 0).json["maxItems"] == 0)
    }

    @Test("the values of an enum keep their order")
    func values() {
        #expect(JSONSchema.string(oneOf: ["z", "a", "m"]).json["enum"] == ["z", "a", "m"])
    }
}
