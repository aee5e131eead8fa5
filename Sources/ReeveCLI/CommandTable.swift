extension Command {
    /// Every command, in the order of the overview.
    static let table: [Command] = [
        migrate, enqueue, jobs, dead, queue, schedule, batch, outbox, events, tenant, keys, backup, report, export,
        erasure, purge, artifacts, destination, server, tiers, kind, worker, intake, relay, kafka, rejected, contract,
        dashboard, health, recover, audit, certificate, notice, reminders, key, doctor, config, completion, man, bench,
        dev,
    ]
}
