import Certificates
import JobKit
import Testing

@Suite("CanonicalJSON")
struct CanonicalJSONTests {
    @Test("RFC 8785's own example (3.2.2, 3.2.3) comes out byte by byte")
    func example() throws {
        let input = """
            {
              "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
              "string": "\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\"\\/",
              "literals": [null, true, false]
            }
            """
        let expected =
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],"
            + "\"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        #expect(try CanonicalJSON.text(JSON(parsing: input)) == expected)
    }

    @Test("names are sorted by UTF-16 code units, as RFC 8785 shows with a surrogate pair before U+FB33")
    func sorting() throws {
        let names = ["\u{20ac}", "\r", "\u{fb33}", "1", "\u{1f600}", "\u{80}", "\u{f6}"]
        let value = JSON.object(Dictionary(uniqueKeysWithValues: names.map { ($0, JSON.int(1)) }))
        let order = ["\\r", "1", "\u{80}", "\u{f6}", "\u{20ac}", "\u{1f600}", "\u{fb33}"]
        #expect(try CanonicalJSON.text(value) == "{" + order.map { "\"\($0)\":1" }.joined(separator: ",") + "}")
    }

    @Test(
        "numbers are written as ECMAScript writes them (RFC 8785, appendix B)",
        arguments: [
            (0x0000_0000_0000_0000, "0"), (0x8000_0000_0000_0000, "0"), (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"), (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"), (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"), (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"), (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"), (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"), (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"), (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"), (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] as [(UInt64, String)])
    func numbers(bits: UInt64, text: String) throws {
        #expect(try CanonicalJSON.text(.double(Double(bitPattern: bits))) == text)
    }

    @Test("a number that readers would round, or that is none, is refused")
    func bounds() throws {
        #expect(try CanonicalJSON.text(.int(-9_007_199_254_740_992)) == "-9007199254740992")
        #expect(throws: CertificateError.self) { try CanonicalJSON.bytes(.int(9_007_199_254_740_993)) }
        #expect(throws: CertificateError.self) { try CanonicalJSON.bytes(["a": [.double(.nan)]]) }
        #expect(throws: CertificateError.self) { try CanonicalJSON.bytes(.double(.infinity)) }
    }

    @Test("the text reads back as the value it was made of")
    func roundTrip() throws {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2000 {
            let value = Double(bitPattern: .random(in: .min ... .max, using: &generator))
            guard value.isFinite else { continue }
            let text = try CanonicalJSON.text(.double(value))
            #expect(Double(text) == value, "\(value.bitPattern)")
        }
    }
}
