extension Command {
    /// Every command, in the order of the overview.
    static let table: [Command] = [
        migrate, enqueue, jobs, queue, tenant, server, tiers, kinds, worker, audit, key, doctor, config, bench, dev,
    ]
}
