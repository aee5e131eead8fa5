/// Which permits of a pool a claim may use. Pure.
///
/// A quarter of a pool, at least one slot from two up, is reserved for tenants with nothing running (design section 4). The
/// last free permits are the reserved ones, whoever holds the others: were a tenant's first job to count as holding a reserved
/// one while general ones are free, as many noisy tenants as there are reserved permits would fill the pool (tried: with four
/// tenants and jobs of 60 s, a quiet tenant's job waited for all of them).
struct Admission {
    /// The number of slots.
    let size: Int
    /// Permits kept for tenants with nothing running.
    let reserved: Int

    init(size: Int) {
        precondition(size > 0, "a pool has at least one slot")
        self.size = size
        reserved = size < 2 ? 0 : max(1, size / 4)
    }

    /// How many of the permits that are free are general; the rest are reserved.
    func split(_ permits: Int) -> (general: Int, reserved: Int) {
        let general = max(0, permits - reserved)
        return (general, permits - general)
    }
}
