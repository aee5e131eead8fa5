import JobKit
import Postgres
import Tenancy

extension Command {
    static let tenantRepair = Command(
        "repair", "make what the tenant's databases lack since an earlier version: the fence",
        details: """
            Schema reeve_fence keeps attempts that lost their lease from writing. Tenants get it when they are created or
            adopted; for those of an earlier version this makes it. Changes nothing that is there.
            """,
        arguments: [CommandArgument("CODE", "the tenant's code; all tenants without", optional: true)],
        options: [.setting(.keyFile)], examples: ["reeve tenant repair acme", "reeve tenant repair"]
    ) { invocation in
        try invocation.withTenancy { registry, _ in
            let given = invocation.optionalArgument("CODE")
            let codes = try given.map { [try registry.show($0).code] } ?? registry.list().filter(\.isReady).map(\.code)
            for code in codes { try TenantProvisioner(registry: registry).repair(code) }
            invocation.output.result(
                ["repaired": .array(codes.map(JSON.string))],
                codes.isEmpty ? "no tenant has a database" : "repaired: \(codes.joined(separator: ", "))")
            return .done
        }
    }
}

extension Invocation {
    /// The registry, audited as this user, and its control database.
    func withTenancy<T>(_ body: (TenantRegistry, Pool) throws -> T) throws -> T {
        let pool = Pool(try databaseSettings(), bound: 4, waitTimeout: .seconds(30), name: "tenant")
        defer { pool.close() }
        // The first contact fails with the words for a database that is down.
        _ = try pool.withConnection { try $0.execute("SELECT count(*) FROM reeve.tier") }
        let directory = TenantDirectory(control: pool, sealer: try configuration.requireSealer())
        return try body(TenantRegistry(directory: directory, actor: actor), pool)
    }
}
