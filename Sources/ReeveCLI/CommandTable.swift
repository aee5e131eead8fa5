extension Command {
    /// Every command, in the order of the overview.
    static let table: [Command] = [
        migrate, enqueue, jobs, queue, tenant, tiers, kinds, worker, audit, doctor, config, bench,
    ]
}
