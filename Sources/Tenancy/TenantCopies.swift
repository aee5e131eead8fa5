public import JobKit

/// What restores and drills keep of a tenant beside its data: it says so in its comment.
public enum TenantCopies {
    /// A pattern (PostgreSQL's) of the comments of such databases and schemas; with `scratches` of those, too, that a job drops at its end.
    public static func pattern(of tenant: TenantID, scratches: Bool = true) -> String {
        "^reeve (\(scratches ? "scratch of|" : "")restore of|before a restore of) tenant \(tenant)$"
    }
}
