import Foundation
import JobKit
import Postgres

@testable import Tenancy

/// A database that a platform made: the demo's three customers, and a schema `crm` of shared tables.
struct Platform {
    static let uuid = "7d0f4a52-93c1-4f0e-9a55-1c6b9e0d4f10"

    let fleet: Fleet
    let admin: Connection
    let database: String

    init() throws {
        fleet = try Fleet()
        database = fleet.sharedDatabase
        try fleet.admin().execute("CREATE DATABASE \(quoteIdentifier(database))")
        admin = try fleet.admin(database)
        try admin.executeScript(String(contentsOfFile: "\(Fleet.template.directory)/platform.sql", encoding: .utf8))
        try admin.executeScript(Self.crm)
    }

    /// Tables of all tenants: `accounts` under the platform's policies, `contacts` without any, `countries` nobody's.
    private static let crm = """
        CREATE SCHEMA crm AUTHORIZATION platform_owner;
        SET ROLE platform_owner;
        CREATE TABLE crm.accounts (org int NOT NULL, id bigserial PRIMARY KEY, name text NOT NULL);
        CREATE TABLE crm.contacts (org int NOT NULL, id bigserial PRIMARY KEY, name text NOT NULL);
        CREATE TABLE crm.countries (code text PRIMARY KEY);
        INSERT INTO crm.accounts (org, name) SELECT n % 3, 'ORG' || n % 3 || '-' || n FROM generate_series(1, 30) n;
        INSERT INTO crm.contacts (org, name) SELECT n % 3, 'ORG' || n % 3 || '-' || n FROM generate_series(1, 60) n;
        INSERT INTO crm.countries VALUES ('DE'), ('NL');
        ALTER TABLE crm.accounts ENABLE ROW LEVEL SECURITY;
        CREATE POLICY org ON crm.accounts TO platform_app USING (org = current_setting('crm.org')::int);
        CREATE VIEW crm.all_accounts AS SELECT * FROM crm.accounts;
        CREATE FUNCTION crm.names() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT name FROM crm.accounts';
        GRANT USAGE ON SCHEMA crm TO platform_app;
        GRANT SELECT ON ALL TABLES IN SCHEMA crm TO platform_app;
        RESET ROLE;
        """

    func request(_ name: String, _ isolation: Isolation, _ schemas: [String]) -> AdoptRequest {
        AdoptRequest(
            details: TenantDetails(
                code: fleet.code(name), name: name, tier: "starter", isolation: isolation, region: "eu"),
            server: "main", schemas: schemas)
    }

    var hooli: AdoptRequest { request("hooli", .schema, ["tenant_hooli_product", "tenant_hooli_pricing"]) }
    var umbrella: AdoptRequest { request("umbrella", .schema, ["org_umbrella"]) }
    var wayne: AdoptRequest {
        var request = request("wayne", .schema, ["tenant_\(Self.uuid)"])
        request.value = Self.uuid
        return request
    }

    /// An organisation of the shared tables.
    func org(_ number: Int) -> AdoptRequest {
        var request = request("org\(number)", .shared, ["crm"])
        request.setting = "crm.org"
        request.value = "\(number)"
        request.column = "org"
        return request
    }

    /// Adopts with what the plan asks to be typed.
    @discardableResult
    func adopt(_ request: AdoptRequest) throws -> ProvisionedTenant {
        let provisioner = fleet.provisioner
        let id = try provisioner.adopt(request, confirmation: provisioner.plan(request).confirmation)
        let details = request.details
        return ProvisionedTenant(
            id: id, store: try fleet.directory.stores(of: id)[0],
            attempt: JobAttempt(
                jobID: 1,
                tenant: Tenant(
                    id: id, code: details.code, tier: details.tier, status: .active, isolation: details.isolation,
                    region: "eu", timezone: "UTC", features: [], version: 1),
                queue: "\(details.code).backups", kind: "backup", number: 1, leaseID: UUID(), traceparent: nil))
    }

    /// The platform's own state: everything that may not change but for what adopting adds, as text.
    func state() throws -> [String] {
        try admin.execute(
            """
            SELECT format('schema %s %s %s', n.nspname,
              ARRAY(SELECT a::text FROM unnest(coalesce(n.nspacl, acldefault('n', n.nspowner))) a ORDER BY 1), obj_description(n.oid, 'pg_namespace')) FROM pg_namespace n
            WHERE n.nspname !~ '^(pg_|information_schema|reeve_fence)'
            UNION ALL SELECT format('relation %s %s %s %s %s', c.oid::regclass,
              ARRAY(SELECT a::text FROM unnest(coalesce(c.relacl, acldefault(CASE WHEN c.relkind = 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) a
                    ORDER BY 1), c.relrowsecurity, c.relforcerowsecurity,
                                    pg_get_userbyid(c.relowner))
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^(pg_|information_schema|reeve_fence)'
            UNION ALL SELECT format('policy %s %s %s %s', tablename, policyname, roles, qual) FROM pg_policies
            UNION ALL SELECT format('default %s', defaclacl) FROM pg_default_acl
            UNION ALL SELECT format('rows %s %s', 'accounts', count(*)) FROM crm.accounts
            UNION ALL SELECT format('rows %s %s', 'invoices', count(*)) FROM org_umbrella.invoices
            UNION ALL SELECT format('rows %s %s', 'products', count(*)) FROM tenant_hooli_product.products
            ORDER BY 1
            """
        ).map { try $0.text(0) }
    }
}
