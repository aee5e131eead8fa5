public import JobKit
import Tenancy

/// What a program can reach of its tenant's data.
public struct ProgramConnections: Sendable {
    /// One of the tenant's databases.
    public struct Store: Sendable {
        /// The name of its service in the service file.
        public let service: String
        /// The database.
        public let database: String
        /// The tenant's schemas in it, as in `search_path`.
        public let schemas: [String]

        /// Describes a database.
        public init(service: String, database: String, schemas: [String]) {
            self.service = service
            self.database = database
            self.schemas = schemas
        }
    }

    /// The variables by which libpq finds the service file and the password.
    public let environment: [String: String]
    /// The databases, in the order of the registry.
    public let stores: [Store]

    /// Describes the connections.
    public init(environment: [String: String], stores: [Store]) {
        self.environment = environment
        self.stores = stores
    }
}

/// How a program gets at its tenant's databases; tests have ways of their own.
public protocol ProgramAccess: Sendable {
    /// Lends the tenant's connections to `body`.
    func withConnections<T>(_ context: JobContext, _ body: (ProgramConnections) throws -> T) throws -> T
}

/// By the tenant's own login, proven on every database before the program starts (design section 6.5).
public struct TenancyAccess: ProgramAccess {
    /// Uses the sessions of the attempt's context.
    public init() {}

    /// Lends the tenant's connections to `body`.
    public func withConnections<T>(_ context: JobContext, _ body: (ProgramConnections) throws -> T) throws -> T {
        let stores = try context.stores()
        return try context.withChildConnection(stores) { child in
            let named = zip(child.services, stores).map {
                ProgramConnections.Store(service: $0, database: $1.database, schemas: $1.schemas)
            }
            return try body(ProgramConnections(environment: child.environment, stores: named))
        }
    }
}
