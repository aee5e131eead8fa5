/// Which permits of a pool a claim may use. Pure.
///
/// A quarter of a pool, at least one slot from two up, is reserved for tenants with nothing running (design section 4); a
/// tenant's further jobs hold general permits only. A reserved permit that such a job's tenant left behind by ending its first
/// job is not given away: only what runs now counts.
struct Admission {
    /// The number of slots.
    let size: Int
    /// Permits kept for tenants with nothing running.
    let reserved: Int
    /// Jobs in the pool that are not their tenant's first.
    private(set) var others = 0

    init(size: Int) {
        precondition(size > 0, "a pool has at least one slot")
        self.size = size
        reserved = size < 2 ? 0 : max(1, size / 4)
    }

    /// A job entered the pool.
    mutating func enter(isFirst: Bool) { if !isFirst { others += 1 } }

    /// A job left the pool.
    mutating func leave(isFirst: Bool) { if !isFirst { others -= 1 } }

    /// How many of these permits are general; the rest are reserved.
    func split(_ permits: Int) -> (general: Int, reserved: Int) {
        let general = min(permits, max(0, size - reserved - others))
        return (general, permits - general)
    }
}
