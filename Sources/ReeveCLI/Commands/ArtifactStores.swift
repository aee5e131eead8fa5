import Destinations
import Postgres
import Storage

extension Invocation {
    /// Lends the stores that artifacts are in: the one that is configured, and the destinations of the control database.
    func withStores<T>(_ body: (any StoreCatalog) throws -> T) throws -> T {
        let control = Pool(
            try databaseSettings().with(["application_name": "reeve cli"]), bound: 1, waitTimeout: .seconds(10),
            name: "stores")
        defer { control.close() }
        return try body(DestinationCatalog(control: control, standard: try configuration.store()))
    }
}
