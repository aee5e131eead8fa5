import JobKit
import Testing

@Suite("JSON: what is written is what is read")
struct JSONTests {
    @Test(
        "a value comes back from its text as it was",
        arguments: [
            .null, true, false, 0, -1, .int(.max), .int(.min), .double(0.1), .double(-2.5e-300),
            .double(.leastNonzeroMagnitude),
            .double(.greatestFiniteMagnitude), "", "plain", "\"quoted\" and \\back\\slashed/", "line\r\n\ttab",
            "\u{0}\u{1}\u{1f}\u{7f}\u{9b}\u{2028}\u{2029}", "Zürich 東京 👩‍👩‍👧 \u{10ffff}", [], [[], [[]]],
            [1, "two", .null, [false]], ["": "", "a": ["b": ["c": .null]], "\"\n": 1],
        ] as [JSON])
    func roundTrip(_ value: JSON) throws {
        #expect(try JSON(parsing: value.text) == value)
    }

    @Test("equal objects have equal texts, whatever order their names came in")
    func sorted() throws {
        let text = try JSON(parsing: #"{"b": [1, 2], "c": null, "a": {"z": 1, "y": 2}}"#).text
        #expect(text == #"{"a":{"y":2,"z":1},"b":[1,2],"c":null}"#)
        #expect(try JSON(parsing: #"{"a":{"y":2,"z":1},"c":null,"b":[1,2]}"#).text == text)
    }

    @Test("no text holds a raw control character, so a document stays on one line and drives no terminal")
    func controls() throws {
        let controls = (Array(0...0x1f) + Array(0x7f...0x9f) + [0x2028, 0x2029]).compactMap {
            UnicodeScalar($0 as UInt32)
        }
        let value = String(String.UnicodeScalarView(controls))
        for text in [JSON.string(value).text, JSON.object([value: .null]).text] {
            #expect(!text.unicodeScalars.contains { controls.contains($0) })
        }
        #expect(JSON.string("\u{1b}[31m\u{9b}2J").text == #""\u001b[31m\u009b2J""#)
    }

    @Test("a surrogate pair is one character, and half of one is refused")
    func surrogates() throws {
        #expect(try JSON(parsing: #""\ud83d\ude00""#) == "😀")
        #expect(try JSON(parsing: #""\uD83D\uDE00""#) == "😀")
        for text in [#""\ud83d""#, #""\ude00""#, #""\ud83d\ud83d""#, #""\ude00\ud83d""#, #""\ud83dx""#, #""\ud8""#] {
            #expect(throws: DecodingError.self, "\(text)") { try JSON(parsing: text) }
        }
    }

    @Test("every escape of RFC 8259 is read, and no other")
    func escapes() throws {
        #expect(try JSON(parsing: #""\"\\\/\b\f\n\r\t\u0041""#) == "\"\\/\u{8}\u{c}\n\r\tA")
        for text in [#""\x41""#, #""\'""#, #""\u00g0""#, #""\u{41}""#, #""\""#] {
            #expect(throws: DecodingError.self, "\(text)") { try JSON(parsing: text) }
        }
    }

    @Test(
        "a whole number that fits is an int, and any other number a double",
        arguments: [
            ("0", 0), ("-0", 0), ("9223372036854775807", .int(.max)), ("-9223372036854775808", .int(.min)),
            ("9223372036854775808", .double(9_223_372_036_854_775_808)), ("1.5", .double(1.5)), ("1e2", 100),
            ("1.0", 1), ("1e300", .double(1e300)), ("-2.5E-3", .double(-0.0025)),
        ] as [(String, JSON)])
    func numbers(text: String, value: JSON) throws {
        #expect(try JSON(parsing: text) == value)
    }

    @Test("a number that JSON has no form for is written as null")
    func notFinite() {
        #expect(JSON.array([.double(.nan), .double(.infinity), .double(-.infinity)]).text == "[null,null,null]")
    }

    @Test("true and 1 are different values")
    func booleans() throws {
        #expect(try JSON(parsing: "[true,1,false,0]") == [true, 1, false, 0])
        #expect(JSON.bool(true) != 1)
        #expect(JSON.bool(true).int == nil)
    }

    @Test(
        "what is not one JSON document is refused",
        arguments: [
            "", " ", "nul", "True", "undefined", "NaN", "Infinity", "-Infinity", "+1", "01", "-", ".5", "1.", "1e",
            "0x10", "1e400", "'a'", "\"open", "\"line\nbreak\"", "\"nul \u{0}\"", "[", "]", "[1,]", "[,1]", "[1 2]",
            "[1]]",
            "{", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{1:1}", "{\"a\":1}{", "1 2", "// no\n1", "1 /* no */",
            "[1]\u{0}", "\u{feff}{}", "\u{a0}1",
        ])
    func hostile(_ text: String) {
        #expect(throws: DecodingError.self) { try JSON(parsing: text) }
    }

    @Test("of equal names in a text the last one wins, as in the database")
    func duplicates() throws {
        #expect(try JSON(parsing: #"{"a":1,"b":2,"a":3}"#) == ["a": 3, "b": 2])
    }

    @Test("of equal names in a literal the last one wins")
    func duplicatesInLiteral() {
        #expect((["a": 1, "a": 2] as JSON) == ["a": 2])
    }

    @Test("a member, a string, a number, an array and an object are only found where they are")
    func accessors() {
        let value: JSON = ["text": "x", "count": 3, "list": [1], "none": .null]
        #expect(value["text"]?.string == "x")
        #expect(value["count"]?.int == 3)
        #expect(value["list"]?.array == [1])
        #expect(value.object?.count == 4)
        #expect(value["none"] == .null)
        #expect(value["missing"] == nil)
        #expect(JSON.string("x")["text"] == nil)
        #expect(value["text"]?.int == nil && value["count"]?.string == nil && value["list"]?.object == nil)
        #expect(JSON.double(1.5).int == nil && value["text"]?.array == nil)
    }

    @Test("an encodable value comes back from its JSON")
    func values() throws {
        struct Sample: Codable, Equatable {
            var name: String
            var count: Int
            var ratio: Double
            var tags: [String]
            var note: String?
        }
        let sample = Sample(name: "a\u{1b}\n\"", count: -3, ratio: 0.1, tags: ["x", ""], note: nil)
        let json = try JSON(encoding: sample)
        #expect(try json.decode(Sample.self) == sample)
        #expect(json["note"] == nil)
        #expect(throws: DecodingError.self) { try JSON.object(["name": 1]).decode(Sample.self) }
    }
}
