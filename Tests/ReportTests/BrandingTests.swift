import FoundationEssentials
import JobKit
import ReeveTesting
import Testing

@testable import Report

@Suite("Branding")
struct BrandingTests {
    private static func png(_ width: UInt32, _ height: UInt32, padding: Int = 0) -> [UInt8] {
        func number(_ value: UInt32) -> [UInt8] { [24, 16, 8, 0].map { UInt8(value >> $0 & 255) } }
        func chunk(_ name: String, _ body: [UInt8]) -> [UInt8] {
            number(UInt32(body.count)) + Array(name.utf8) + body + [0, 0, 0, 0]
        }
        return [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
            + chunk("IHDR", number(width) + number(height) + [8, 2, 0, 0, 0])
            + chunk("IDAT", [UInt8](repeating: 0, count: padding)) + chunk("IEND", [])
    }

    private static let svg =
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 400 100\"><rect width=\"400\" height=\"100\" fill=\"#123456\"/>%@</svg>"

    @Test("a logo is taken for what its bytes are, of the right size and plain")
    func logos() throws {
        #expect(try Logo(Self.png(200, 50)).mediaType == "image/png")
        #expect(try Logo(Array(Self.svg.replacing("%@", with: "<title>x</title>").utf8)).mediaType == "image/svg+xml")
        let jpeg: [UInt8] = [
            0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 0, 0, 0xFF, 0xC0, 0, 11, 8, 0, 100, 1, 44, 1, 1, 17, 0, 0xFF, 0xDA, 0, 2, 1,
            2, 0xFF, 0xD9,
        ]
        #expect(try Logo(jpeg).mediaType == "image/jpeg")
        let bad: [[UInt8]] = [
            Self.png(1, 1), Self.png(2001, 100), Self.png(200, 501), Self.png(400, 100, padding: 3 << 20),
            Self.png(400, 100) + [0], Array(Self.png(400, 100).dropLast(3)),
            Array(jpeg.dropLast(2)), [], Array("not an image".utf8), Array("GIF89a".utf8), [0xFF, 0xFE],
            Array("<html><body/></html>".utf8), Array("<svg".utf8),
        ]
        for bytes in bad { #expect(throws: LogoError.self) { _ = try Logo(bytes) } }
    }

    @Test(
        "an SVG that could do anything but draw is refused",
        arguments: [
            "<script>alert(1)</script>", "<SCRIPT/>", "<g onload=\"alert(1)\"/>", "<g ONCLICK='x'/>",
            "<a href=\"#x\"/>", "<foreignObject/>",
            "<image href=\"http://x/y.png\"/>", "<use href=\"http://x#y\"/>", "<use xlink:href=\"//x#y\"/>",
            "<rect style=\"fill:url(http://x)\"/>",
            "<rect fill=\"url(&#104;ttp://x)\"/>", "<style>@import url(x)</style>", "<rect fill=\"java\nscript:x\"/>",
            "<!DOCTYPE svg>", "<!ENTITY x \"y\">", "<![CDATA[x]]>",
            "<?xml-stylesheet href=\"x\"?>", "<animate attributeName=\"href\"/>", "<set to=\"javascript:x\"/>", "<g",
            "</g>", "<rect fill=\"\\75rl(x)\"/>",
            "<svg:script/>", "<iframe/>", "<use href=\"data:x\"/>",
        ])
    func svgs(part: String) {
        #expect(throws: LogoError.self) { _ = try Logo(Array(Self.svg.replacing("%@", with: part).utf8)) }
    }

    @Test("what a tier does not allow, is missing or wrong, is the platform's")
    func tiers() throws {
        let bench = try ReportBench()
        let files = bench.definitions.path
        func write(_ folder: String, _ brand: JSON, logo: [UInt8]? = nil) throws {
            try FileManager.default.createDirectory(atPath: "\(files)/\(folder)", withIntermediateDirectories: true)
            try brand.text.write(toFile: "\(files)/\(folder)/brand.json", atomically: true, encoding: .utf8)
            if let logo { try Data(logo).write(to: URL(filePath: "\(files)/\(folder)/logo.png")) }
        }
        try write("branding", ["name": "Platform", "primary": "#004488", "footer": "Platform's footer"], logo: nil)
        let tenant = try bench.fixture.tenant("rpt-schema-a")
        try write(
            "tenants/\(tenant.code)/branding",
            [
                "name": "<Acme>", "primary": "#ffee00", "palette": ["#112233", "#ffffee"], "footer": "Own <footer>",
                "layout": "compact", "logo": "logo.png",
            ],
            logo: Self.png(300, 80))
        func with(_ features: Set<String>) -> Tenant {
            Tenant(
                id: tenant.id, code: tenant.code, tier: "x", status: .active, isolation: tenant.isolation, region: "eu",
                timezone: "UTC",
                features: features.union(["reports"]), version: tenant.version)
        }
        let starter = try Branding(library: bench.library, tenant: with([]))
        #expect(
            starter.primary == RGBColor("#ffee00") && starter.footer == "Platform's footer"
                && starter.platform == "Platform" && starter.logo != nil)
        #expect(starter.accent.contrast(with: .white) >= 4.5 && starter.primary.textOnTop == .ink)
        #expect(
            starter.problems.contains { $0.contains("the tier allows no own palette, footer, layout") }
                && starter.problems.contains { $0.contains("contrast") })
        let professional = try Branding(library: bench.library, tenant: with(["brand_palette"]))
        #expect(
            professional.footer == "Own <footer>" && professional.platform == "Platform"
                && professional.color(1).contrast(with: .white) >= 3)
        #expect(try Branding(library: bench.library, tenant: with(["brand_palette", "brand_only"])).platform == nil)
        #expect(Set([starter.digest, professional.digest]).count == 2)
        try write(
            "tenants/\(tenant.code)/branding", ["primary": "red;}body{display:none", "logo": "../../../etc/passwd"])
        let wrong = try Branding(library: bench.library, tenant: with([]))
        #expect(wrong.primary == RGBColor("#004488") && wrong.logo == nil && wrong.problems.count == 2)
        try bench.define("page", "SELECT 1 AS a")
        try write(
            "tenants/\(tenant.code)/branding", ["name": "<Acme>", "footer": "Own <footer>", "logo": "logo.png"],
            logo: Self.png(300, 80))
        let html = try bench.texts(.init(report: "page"), tenant)[.html] ?? ""
        #expect(
            html.contains("data:image/png;base64,") && html.contains("&lt;Acme&gt;")
                && html.contains("Own &lt;footer&gt;") && !html.contains("<Acme>"))
    }

    @Test(
        "numbers and dates are told as the locale has them",
        arguments: [
            ("en-US", "-1234567.885", "−1,234,567.89", "Mar 5, 2026"), ("de-DE", "1234.5", "1.234,50", "05.03.2026"),
            ("de-CH", "1234567", "1’234’567.00", "05.03.2026"),
            ("fr-FR", "1234.5", "1\u{202F}234,50", "05/03/2026"), ("es-ES", "1234.5", "1234,50", "05/03/2026"),
            ("sv-SE", "0.005", "0,01", "2026-03-05"),
            ("nl", "999.995", "1.000,00", "05-03-2026"), ("xx", "NaN", "NaN", "2026-03-05"),
            ("en-GB", "Infinity", "∞", "5 Mar 2026"), ("en", "-0.001", "0.00", "Mar 5, 2026"),
            ("ja", "1e+20", "1e+20", "2026/03/05"),
        ])
    func locales(tag: String, number: String, told: String, date: String) {
        let text = ValueText(locale: LocaleRules(tag: tag), currency: "EUR")
        #expect(text.number(number, digits: 2) == told)
        #expect(text.date("2026-03-05") == date)
    }

    @Test("named parameters are numbered where they are code, and nowhere else")
    func queries() {
        func query(_ sql: String) -> ReportQuery { ReportQuery(sql, parameters: [("a", "date"), ("b", "text")]) }
        let sql =
            "SELECT :a::text, x[1:2], ':a', \":b\", $q$:a$q$, E'\\':b' /* :a /* :b */ */ -- :a\nFROM t WHERE y = :b;"
        #expect(
            query(sql).sql
                == "SELECT $1::date::text, x[1:2], ':a', \":b\", $q$:a$q$, E'\\':b' /* :a /* :b */ */ -- :a\nFROM t WHERE y = $2::text"
        )
        #expect(query(sql).problems.isEmpty)
        for bad in [
            "", "-- nothing", "DELETE FROM t", "SELECT :a, :b, :c", "SELECT :a", "SELECT :a, :b; SELECT 1",
            "SELECT :a, :b, 'open", "SELECT :a, :b /* open", "SELECT :a, :b, $x$",
            "SELECT :a, :b, $1", "SELECT :a, :b, pg_catalog.\"set_config\"('a', 'b', true)",
            "SELECT :a, :b, SET_CONFIG('a', 'b', true)",
        ] { #expect(!query(bad).problems.isEmpty, "\(bad)") }
    }
}
