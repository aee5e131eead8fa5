import Crypto
public import JobKit

/// The definitions in the operator's folder. `<name>.json` with `<name>.sql` is the system's; the same names below
/// `tenants/<code>/` are a tenant's own and go before it, for tenants whose tier has `custom_reports` (ISO-S-002). Files are read
/// each time, so that a change needs no restart.
public struct DefinitionLibrary: Sendable {
    /// The tier feature that definitions of a tenant's own need.
    public static let feature = "custom_reports"

    let files: ReportFile
    private let isConfigured: Bool

    /// Reads from this folder; nil where none is configured.
    public init(folder: String?) {
        files = ReportFile(root: folder ?? "/nonexistent")
        isConfigured = folder != nil
    }

    /// The definition that a tenant's request means: its own if its tier allows, or else the system's. Throws a `JobFailure`
    /// `report_unknown`, or a definition's problems.
    public func definition(_ name: String, for tenant: Tenant) throws -> ReportDefinition {
        try requireFolder()
        guard ReportDefinition.isName(name) else {
            throw JobFailure("report_unknown", "a report's name is lower-case letters, digits and -", .giveUp)
        }
        if tenant.features.contains(Self.feature), let own = try load(name, ["tenants", tenant.code], isOwn: true) {
            return own
        }
        if let system = try load(name, [], isOwn: false) { return system }
        throw JobFailure(
            "report_unknown",
            "there is no report \(name) for tenant \(tenant.code); see: reeve report list \(tenant.code)",
            .giveUp)
    }

    /// The names that a tenant's requests may use, sorted; the system's with nil.
    public func names(for tenant: Tenant?) throws -> [String] {
        try requireFolder()
        var found = Set(jsonNames([]))
        if let tenant, tenant.features.contains(Self.feature) { found.formUnion(jsonNames(["tenants", tenant.code])) }
        return found.sorted()
    }

    /// The names of definitions that a tenant has and may not use, for want of the feature.
    public func unusableNames(of tenant: Tenant) -> [String] {
        tenant.features.contains(Self.feature) ? [] : jsonNames(["tenants", tenant.code])
    }

    /// The system's definition.
    public func systemDefinition(_ name: String) throws -> ReportDefinition? {
        try requireFolder()
        return ReportDefinition.isName(name) ? try load(name, [], isOwn: false) : nil
    }

    private func requireFolder() throws {
        guard isConfigured else {
            throw JobFailure(
                "report_no_folder", "no folder of report definitions is configured; set REEVE_REPORTS",
                .retryAfter(.seconds(300)))
        }
    }

    private func jsonNames(_ path: [String]) -> [String] {
        files.names(in: path).filter { $0.hasSuffix(".json") }.map { String($0.dropLast(5)) }
            .filter { ReportDefinition.isName($0) }
    }

    private func load(_ name: String, _ path: [String], isOwn: Bool) throws -> ReportDefinition? {
        guard let json = try files.bytes(path + ["\(name).json"], limit: 256 << 10) else { return nil }
        guard let sql = try files.bytes(path + ["\(name).sql"], limit: 256 << 10) else {
            throw DefinitionError(
                name: name, problems: ["\((path + ["\(name).sql"]).joined(separator: "/")) is missing"])
        }
        let hasher = SHA256Hasher()
        hasher.update(json)
        hasher.update([0])
        hasher.update(sql)
        return try DefinitionReader.read(
            name: name, json: String(decoding: json, as: UTF8.self), sql: String(decoding: sql, as: UTF8.self),
            isOwn: isOwn, digest: hasher.finishHex())
    }
}
