import Crypto
import FoundationEssentials
import JobKit

/// How a tenant's reports look (ISO-S-002). `branding/brand.json` of the report folder is the platform's, `tenants/<code>/branding/`
/// the tenant's: what is missing there, wrong, or more than its tier allows is the platform's.
///
/// Every tier has a logo, a name and a primary colour of its own; `brand_palette` adds the chart colours, the footer, the
/// introduction and the layout; `brand_only` leaves the platform's own name out.
struct Branding: Sendable {
    /// How a page is laid out; raw values are the words of `brand.json`.
    enum Layout: String, Sendable { case standard, compact }

    static let paletteFeature = "brand_palette"
    static let onlyFeature = "brand_only"

    /// What stands at the top beside the logo; the tenant's name when nil.
    var name: String?
    var logo: Logo?
    var primary: RGBColor
    var palette: [RGBColor]
    var intro: String?
    var footer: String?
    var layout: Layout
    /// The platform's name at the bottom; nil where it is left out.
    var platform: String?
    /// What of the tenant's own could not be used, and why.
    private(set) var problems: [String] = []
    /// Equal for equal branding.
    private(set) var digest: String

    /// Colours that people with any colour vision tell apart (after Okabe and Ito), each with a contrast of 3 to white.
    private static let standardPalette = [
        "#0067a5", "#c4620a", "#00805e", "#a8497f", "#7a6a00", "#2b8cbe", "#8b4a2b", "#5b5b8f",
    ]
    .compactMap { RGBColor($0) }

    init(library: DefinitionLibrary, tenant: Tenant) throws {
        primary = RGBColor("#1f4e79") ?? .ink
        palette = Self.standardPalette
        layout = .standard
        platform = "Reeve"
        digest = ""
        let hasher = SHA256Hasher()
        let isOwnPalette = tenant.features.contains(Self.paletteFeature)
        apply(try Source(library.files, ["branding"], hasher), isPlatform: true, full: true)
        apply(
            try Source(library.files, ["tenants", tenant.code, "branding"], hasher), isPlatform: false,
            full: isOwnPalette)
        if tenant.features.contains(Self.onlyFeature) { platform = nil }
        hasher.update(Array("\(isOwnPalette) \(platform ?? "")".utf8))
        digest = hasher.finishHex()
    }

    /// The primary colour as it may be used for lines and headings on white.
    var accent: RGBColor { primary.darkened(toContrast: 4.5) }

    /// The colour of a chart's series.
    func color(_ series: Int) -> RGBColor { palette[series % palette.count].darkened(toContrast: 3) }

    /// The files of one brand.
    private struct Source {
        let members: [String: JSON]
        let logo: [UInt8]?
        var problems: [String] = []

        init(_ files: ReportFile, _ path: [String], _ hasher: SHA256Hasher) throws {
            var members: [String: JSON] = [:]
            var logo: [UInt8]?
            do {
                if let bytes = try files.bytes(path + ["brand.json"], limit: 64 << 10) {
                    hasher.update(bytes)
                    members = (try? JSON(parsing: String(decoding: bytes, as: UTF8.self)))?.object ?? [:]
                    if members.isEmpty { problems.append("brand.json is no JSON object") }
                }
                let name = members["logo"]?.string
                if let name {
                    if name.contains("/") || name.hasPrefix(".") || name.utf8.contains(0) {
                        problems.append("logo must be a file beside brand.json")
                    } else {
                        logo = try files.bytes(path + [name], limit: Logo.sizeLimit)
                        if logo == nil { problems.append("the logo \(name) is missing") }
                    }
                }
            } catch let error as JobFailure {
                // A brand that cannot be read costs no tenant its report.
                problems.append(error.message)
            }
            if let logo { hasher.update(logo) }
            self.members = members
            self.logo = logo
        }
    }

    private mutating func apply(_ source: Source, isPlatform: Bool, full: Bool) {
        problems += source.problems
        func text(_ name: String, limit: Int) -> String? {
            guard let text = source.members[name]?.string, !text.isEmpty else { return nil }
            return String(text.prefix(limit))
        }
        let own = text("name", limit: 100)
        if isPlatform { platform = own ?? platform } else { name = own }
        if let logo = source.logo {
            do { self.logo = try Logo(logo) } catch { problems.append("the logo cannot be used: \(error)") }
        }
        if let color = source.members["primary"] {
            if let color = color.string.flatMap({ RGBColor($0) }) {
                primary = color
                if color.contrast(with: .white) < 4.5 {
                    problems.append(
                        "primary \(color) has too little contrast to white for headings; \(accent) is used for them")
                }
            } else {
                problems.append("primary must be a colour such as #1f4e79")
            }
        }
        let extras = ["palette", "intro", "footer", "layout"].filter { source.members[$0] != nil }
        guard full else {
            if !extras.isEmpty { problems.append("the tier allows no own \(extras.joined(separator: ", "))") }
            return
        }
        if let items = source.members["palette"] {
            let colors = items.array?.compactMap { $0.string.flatMap { RGBColor($0) } } ?? []
            if (2...12).contains(colors.count), colors.count == items.array?.count {
                palette = colors
                for color in colors where color.contrast(with: .white) < 3 {
                    problems.append("palette: \(color) has too little contrast to white and is darkened")
                }
            } else {
                problems.append("palette must be 2 to 12 colours such as #1f4e79")
            }
        }
        intro = text("intro", limit: 1000) ?? intro
        footer = text("footer", limit: 500) ?? footer
        if let word = source.members["layout"] {
            if let layout = word.string.flatMap(Layout.init(rawValue:)) {
                self.layout = layout
            } else {
                problems.append("layout must be standard or compact")
            }
        }
    }
}
