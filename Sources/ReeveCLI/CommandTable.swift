extension Command {
    /// Every command, in the order of the overview.
    static let table: [Command] = [
        migrate, enqueue, jobs, queue, tenant, keys, backup, report, export, artifacts, destination, server, tiers,
        kind, worker, audit, key, doctor, config, bench, dev,
    ]
}
