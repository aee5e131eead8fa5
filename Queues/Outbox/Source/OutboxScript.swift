internal import COutbox

/// What is made in a service's database.
enum OutboxScript {
    /// The text: any number of statements, for one transaction.
    static let text = String(cString: reeve_outbox_script)
    /// Its number: the higher, the newer.
    static let version = Int64(reeve_outbox_version)
}
