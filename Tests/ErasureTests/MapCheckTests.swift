import FoundationEssentials
import JobKit
import Postgres
import ReeveTesting
import Tenancy
import Testing

@testable import Erasure

@Suite("Checking data maps")
struct MapCheckTests {
    private func check(_ fixture: ErasureFixture, _ tenant: Tenant, _ map: DataMap) throws -> [MapCheck.Finding] {
        let store = try fixture.store(of: tenant)
        return try fixture.admin(tenant) { connection in
            try MapCheck(map, in: store.erasureScope(of: tenant)) { try connection.execute($0, $1) }
                .run { try connection.execute($0, $1) }
        }
    }

    @Test("the map of the test's tables is complete", arguments: [Isolation.schema, .shared])
    func complete(isolation: Isolation) throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", isolation)
        let findings = try check(fixture, acme, fixture.map())
        #expect(findings.filter { $0.level != .slow } == [])
        // The path of holders over cards, and the caseless addresses of tables whose index is not.
        #expect(
            Set(findings.map { String($0.place.split(separator: ".").last ?? "") }) == [
                "email", "old_email", "holders (card_id)",
            ])
    }

    @Test("what an erasure would fail on is a problem, each with its place")
    func problems() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        func level(_ change: (String) -> String, _ place: String) throws -> [String] {
            try check(fixture, acme, fixture.map(change)).filter { $0.level == .problem && $0.place.hasSuffix(place) }
                .map(\.message)
        }
        func replacing(_ old: String, _ new: String) -> (String) -> String { { $0.replacing(old, with: new) } }
        let name = "\"full_name\": {\"action\": \"fixed\", \"value\": \"erased\", \"seek\": true}"
        #expect(
            try level(replacing(name, "\"full_name\": {\"action\": \"null\"}"), ".full_name").first?.contains(
                "cannot be NULL") == true)
        #expect(
            try level(replacing(name, name + ", \"greeting\": {\"action\": \"null\"}"), ".greeting").first?.contains(
                "computed") == true)
        #expect(
            try level(
                replacing(
                    "{\"action\": \"hash\", \"format\": \"erased-{hash}@invalid.example\", \"seek\": true}",
                    "{\"action\": \"fixed\", \"value\": \"x\"}"), ".email"
            ).first?.contains("unique") == true)
        #expect(
            try level(
                replacing(
                    "{\"action\": \"hash\"}", "{\"action\": \"hash\", \"format\": \"a-very-long-prefix-{hash}\"}"),
                ".badge"
            ).first?.contains("40 characters") == true)
        #expect(
            try level(
                replacing(
                    "\"tags\": {\"action\": \"fixed\", \"value\": \"{}\"}",
                    "\"tags\": {\"action\": \"fixed\", \"value\": \"none\"}"), ".tags"
            ).first?.contains("text[]") == true)
        #expect(
            try level(
                replacing(
                    "\"height\": {\"action\": \"generalise\", \"to\": \"step:10\"}",
                    "\"height\": {\"action\": \"generalise\", \"to\": \"year\"}"), ".height"
            ).count == 1)
        #expect(
            try level(
                replacing("\"not_personal\": [\"greeting\"]", "\"not_personal\": [\"greeting\"], \"rows\": \"delete\""),
                "orders (person_id)"
            ).first?.contains("refer to rows") == true)
    }

    @Test(
        "columns that look personal, by name or by value, and tables that refer to mapped ones are named when the map lacks them"
    )
    func unmapped() throws {
        let fixture = try ErasureFixture()
        let acme = try fixture.tenant("acme", .schema)
        try fixture.admin(acme) { connection in
            let owner = try fixture.store(of: acme).owner
            try connection.executeScript(
                """
                SET ROLE \(quoteIdentifier(owner));
                CREATE TABLE extra (id int PRIMARY KEY, who_knows text, "contactName" text, ip_address inet, status_name text, person bigint REFERENCES persons (id));
                INSERT INTO extra SELECT n, 'write to p' || n || '@example.com', 'x', NULL, 'open', 7 FROM generate_series(1, 20) n;
                RESET ROLE
                """)
        }
        let findings = try check(fixture, acme, fixture.map()).filter { $0.level == .unmapped }
        let places = Set(findings.map { $0.place.split(separator: ".").last.map(String.init) ?? "" })
        #expect(places == ["who_knows", "contactName", "ip_address", "person", "extra (person)"])
        #expect(
            findings.first { $0.place.hasSuffix("who_knows") }?.message.contains(
                "100 % of its values are mail addresses") == true)
        #expect(!findings.contains { $0.message.contains("p1@example.com") }, "values are not quoted")
        let known = try fixture.map { $0.replacing("\"colours\":", with: "\"extra\": \"checked\", \"colours\":") }
        #expect(try check(fixture, acme, known).filter { $0.level == .unmapped } == [])
    }

    @Test(
        "a map that cannot be read is refused with the place",
        arguments: [
            ("\"format\": 1", "\"format\": 2", "format"), ("\"version\": 3", "\"version\": 0", "version"),
            ("\"rows\": \"delete\", \"subject\": {\"email\": \"email\"}", "\"rows\": \"drop\"", ".rows is not"),
            ("\"action\": \"null\", \"seek\": true", "\"action\": \"delete\"", "tables.persons.columns.phone"),
            ("\"table\": \"memberships\"", "\"table\": \"nowhere\"", "tables.badges.through"),
            ("\"basis\": \"HGB § 257\", ", "", "tables.invoices.basis"),
            (
                "\"subject\": {\"email\": \"old_email\"}", "\"subject\": {\"mail\": \"old_email\"}",
                "tables.trail.subject"
            ),
            ("\"unmapped\"", "\"unmaped\"", "unmaped"),
            ("\"columns\": [\"order_id\"]", "\"columns\": [\"order_id\", \"line\"]", "through[0]"),
        ])
    func unreadable(old: String, new: String, place: String) throws {
        do {
            _ = try DataMap(parsing: ErasureTables.map.replacing(old, with: new))
            Issue.record("it was read")
        } catch let failure as JobFailure {
            #expect(failure.code == "data_map" && failure.message.contains(place), "\(failure.message)")
        }
    }

    @Test("what is looked for is found in its other cases, quoted and escaped, and nothing else is")
    func mentions() throws {
        let mentions = Mentions(["Zoë O'Lee", "50%_\\x", "abc"])
        #expect(mentions.tooShort == 1)
        let connection = try Connection(TestServer.freshDatabase())
        defer { connection.close() }
        func finds(_ text: String) throws -> Bool {
            let inTable = try connection.execute(
                "SELECT lower($1::text COLLATE \"C\") LIKE ANY ($2::text[])", [text, mentions.patterns])[0].bool(0)
            let replaced = try connection.execute(
                "SELECT regexp_replace($1::text, $2::text, '[erased]', 'gi') <> $1::text", [text, mentions.regex])[0]
                .bool(0)
            var finder = MentionFinder(mentions)
            for piece in Array(text.utf8) { withUnsafeBytes(of: piece) { finder.take($0) } }
            #expect(inTable == replaced && inTable == finder.isFound, "\(text)")
            return inTable
        }
        for text in [
            "Zoë O'Lee", "ZOË O'LEE", "dear zoë o'lee,", "Zo\\u00eb O'Lee", "{\"a\":\"50%_\\\\x\"}", "50%_\\X",
        ] { #expect(try finds(text), "\(text)") }
        for text in ["Zoe O'Lee", "50 xx", "abc", "", "50%%\\x", "50%a\\x"] { #expect(try !finds(text), "\(text)") }
    }
}
