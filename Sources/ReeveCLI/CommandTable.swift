extension Command {
    /// Every command, in the order of the overview.
    static let table: [Command] = [
        migrate, enqueue, jobs, dead, queue, schedule, batch, tenant, keys, backup, report, export, erasure, purge,
        artifacts,
        destination, server, tiers, kind, worker, dashboard, health, audit, certificate, notice, reminders, key, doctor,
        config,
        completion, man, bench,
        dev,
    ]
}
