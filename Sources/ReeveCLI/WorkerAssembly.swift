import JobKit
import Postgres

/// The composition root of a worker: the kinds it runs, each with its collaborators, and the services their contexts offer.
struct WorkerAssembly {
    let registry: JobRegistry
    let resources: JobResources

    init(_ invocation: Invocation, settings: ConnectionSettings) throws {
        registry = invocation.registry
        resources = JobResources()
    }
}
