import JobKit
import Postgres
import Testing

@testable import Tenancy

@Suite("Functions that name a schema")
struct SchemaMentionTests {
    @Test(
        "a function whose text or settings name a tenant's schema is found; one that resolves names when it is made is not"
    )
    func found() throws {
        let fleet = try Fleet()
        let tenant = try fleet.tenant("naming", .schema)
        let schema = tenant.store.schemas[0]
        let database = tenant.store.database
        #expect(try fleet.registry.functionsNamingSchemas() == [])
        let admin = try fleet.admin(database)
        defer { admin.close() }
        let name = quoteIdentifier(schema)
        try admin.executeScript(
            """
            CREATE FUNCTION public.by_text() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM \(name).customers';
            CREATE FUNCTION public.by_setting() RETURNS bigint LANGUAGE sql SET search_path = \(name) AS 'SELECT 1::bigint';
            CREATE FUNCTION public.by_reference() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM \(name).customers; END;
            CREATE FUNCTION public.other() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
            """)
        #expect(
            try fleet.registry.functionsNamingSchemas() == ["\(database): by_setting()", "\(database): by_text()"])
    }
}
