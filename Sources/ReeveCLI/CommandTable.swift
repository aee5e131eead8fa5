extension Command {
    /// Every command, in the order of the overview.
    static let table: [Command] = [
        migrate, enqueue, jobs, queue, schedule, batch, tenant, keys, backup, report, export, erasure, purge, artifacts,
        destination, server, tiers, kind, worker, intake, kafka, rejected, contract, audit, certificate, notice,
        reminders, key, doctor, config, bench,
        dev,
    ]
}
