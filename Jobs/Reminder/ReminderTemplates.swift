public import JobKit
import TenantBranding

/// Finds the template for a tenant's language: the tenant's own (`tenants/<code>/trial-reminder.<language>.json`), the platform's
/// (`trial-reminder.<language>.json`), or the built-in one; for `de-CH` also in `de`, and at last in English.
public struct ReminderTemplates: Sendable {
    private let files: ReportFile?

    /// Reads from this folder, each time anew; only the built-in ones without.
    public init(folder: String?) { files = folder.map { ReportFile(root: $0) } }

    /// The template. Throws a `JobFailure` for one that is wrong: nothing is sent until it is mended.
    public func template(for tenant: Tenant, locale: String) throws -> ReminderTemplate {
        let tag = locale.replacing("_", with: "-")
        let language = tag.prefix { $0 != "-" }.lowercased()
        var tags: [String] = []
        for name in [tag, language, "en"] where !tags.contains(name) { tags.append(name) }
        for name in tags {
            for place in [["tenants", tenant.code], []] {
                let path = place + ["trial-reminder.\(name).json"]
                guard Self.isTag(name), let bytes = try files?.bytes(path, limit: 64 << 10) else { continue }
                let source = path.joined(separator: "/")
                // Where it is no JSON says little.
                guard let json = try? JSON(parsing: String(decoding: bytes, as: UTF8.self)) else {
                    throw JobFailure("reminder_template", "\(source): it is no JSON", .retryAfter(.seconds(600)))
                }
                return try ReminderTemplate(json, language: name, source: source)
            }
            if let text = Self.builtIn[name] {
                return try ReminderTemplate(JSON(parsing: text), language: name, source: "built-in \(name)")
            }
        }
        throw JobFailure("reminder_template", "there is no template in English", .giveUp)
    }

    /// The languages that come with Reeve.
    public static var languages: [String] { builtIn.keys.sorted() }

    private static func isTag(_ name: String) -> Bool {
        name.utf8.allSatisfy {
            (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == UInt8(ascii: "-")
        }
    }
}
