import FoundationEssentials
import JobKit
import ReeveTesting
import Testing

@Suite("Tenant: ids and records")
struct TenantTests {
    @Test("an id is read in either case and written as PostgreSQL writes it, in lower case")
    func parses() throws {
        let lower = "0193e5a0-1c2b-7def-8abc-0123456789ab"
        let id = try #require(TenantID(lower))
        #expect(id.description == lower)
        #expect(TenantID(lower.uppercased()) == id)
    }

    @Test(
        "what is no uuid is no id",
        arguments: [
            "", "acme", "0193e5a01c2b7def8abc0123456789ab", "0193e5a0-1c2b-7def-8abc-0123456789a",
            "0193e5a0-1c2b-7def-8abc-0123456789abc", "{0193e5a0-1c2b-7def-8abc-0123456789ab}",
            " 0193e5a0-1c2b-7def-8abc-0123456789ab", "0193e5a0-1c2b-7def-8abc-0123456789ab\n",
            "0193e5a0-1c2b-7def-8abc-0123456789ag", "0193e5a0-1c2b-7def-8abc-0123456789ab'; drop",
            "0193e5a0-1c2b-7def-8abc-０123456789ab", "0193e5a0-1c2b-7def-8abc-0123456789ab\u{0}",
        ])
    func refuses(_ text: String) {
        #expect(TenantID(text) == nil)
    }

    @Test("a tenant comes back from its JSON")
    func roundTrip() throws {
        let tenant = Tenant(
            id: TenantID(rawValue: UUID()), code: "acme", tier: "pro", status: .suspended, isolation: .database,
            region: "eu", timezone: "Europe/Zurich", features: ["export", "backup"], version: 7)
        #expect(try JSON(encoding: tenant).decode(Tenant.self) == tenant)
    }

    @Test("a status or an isolation that nobody knows is refused, not guessed")
    func unknown() throws {
        let known = try JSON(encoding: JobHarness.tenant())
        for (name, value) in [("status", "deleted"), ("status", "Active"), ("isolation", ""), ("id", "acme")] {
            var members = try #require(known.object)
            members[name] = .string(value)
            #expect(throws: DecodingError.self, "\(name)") { try JSON.object(members).decode(Tenant.self) }
        }
    }
}
