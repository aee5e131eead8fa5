/// Why a link gives nothing. Says no more than its holder may know.
public enum LinkRefusal: String, Error, Sendable, CustomStringConvertible {
    /// It was not made by this fleet, or was changed.
    case forged
    /// The control database does not know it.
    case unknown
    /// It was revoked.
    case revoked
    /// Its time is over.
    case expired
    /// The artifact has expired or was deleted.
    case gone
    /// The tenant's status allows no download.
    case status

    /// In words.
    public var description: String {
        switch self {
        case .forged: "this is no link of ours, or it was changed"
        case .unknown: "this link is not known any more"
        case .revoked: "this link was revoked"
        case .expired: "this link has expired"
        case .gone: "what this link led to has expired"
        case .status: "the tenant's status allows no download"
        }
    }
}
