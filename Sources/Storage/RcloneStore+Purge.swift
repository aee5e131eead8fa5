import FoundationEssentials
public import JobKit

extension RcloneStore {
    /// Every file below the tenant's prefix, older versions included where the store shows them, and unfinished uploads of S3.
    public func contents(of tenant: TenantID) throws -> TenantContents {
        try retrying {
            var found = TenantContents()
            try listing(of: "\(tenant)", ["--recursive", "--s3-versions", "--b2-versions"]) { entry in
                let name = entry.path.split(separator: "/").last.map(String.init) ?? ""
                if FolderWriter.isTemporary(name) {
                    found.unfinished += 1
                } else {
                    found.objects += 1
                    found.bytes += entry.bytes ?? 0
                }
            }
            found.unfinished += try uploads(of: tenant)
            return found
        }
    }

    /// Removes every version of every file below the tenant's prefix, then its unfinished uploads.
    public func removeAll(of tenant: TenantID) throws {
        let backend = try backend()
        let versions = ["--s3-versions", "--b2-versions", "--b2-hard-delete"]
        try retrying {
            do {
                try run(["delete", path("\(tenant)")] + versions, "delete what \(tenant) has", deadline: nil)
            } catch let error as StorageError {
                if error.code == .notFound && !backend.isBucketBased { return }
                if error.code == .denied { throw locked(tenant, error) }
                throw error
            }
        }
        if backend.isS3 {
            // The markers of what was deleted before, which are no versions.
            try retrying { try run(["backend", "cleanup-hidden", path("\(tenant)")], "remove delete markers") }
        }
        if backend.isS3, try uploads(of: tenant) > 0 {
            try retrying {
                try run(["backend", "cleanup", "-o", "max-age=0s", path("\(tenant)")], "remove unfinished uploads")
            }
        }
        if !backend.isBucketBased {
            // Empty folders; a store that has none says so.
            do { try run(["rmdirs", path("\(tenant)")], "remove empty folders") } catch let error as StorageError
                where error.code == .notFound
            {}
        }
        let left = try contents(of: tenant)
        guard left.objects == 0 else { throw locked(tenant, nil, left.objects) }
    }

    /// The store at a path below this one.
    public func within(_ folders: [String]) throws -> any ObjectStore {
        let folder = try ObjectFolders.check(folders).joined(separator: "/")
        return RcloneStore(root: path(folder), encryption: encryption, tool: tool, limits: limits, known: known)
    }

    private func uploads(of tenant: TenantID) throws -> Int {
        guard try backend().isS3 else { return 0 }
        return try unfinishedUploads(
            in: output(["backend", "list-multipart-uploads", path("\(tenant)")], "list uploads")
        ).count
    }

    private func locked(_ tenant: TenantID, _ error: StorageError?, _ count: Int? = nil) -> StorageError {
        let until = try? lockDate(of: tenant)  // what cannot be asked is left out of the message
        return StorageError(
            .locked,
            "\(description) keeps \(count.map { "\($0) " } ?? "")objects of \(tenant): an object lock or a legal hold does"
                + (until.flatMap { $0 }.map { " (until \($0))" } ?? "")
                + ", or the key may not delete versions (s3:DeleteObjectVersion, s3:ListBucketVersions)"
                + (error.map { "; \($0.message)" } ?? ""),
            .retryAfter(.seconds(3600)))
    }

    /// Until when an object of the tenant is locked, where rclone's metadata says so.
    private func lockDate(of tenant: TenantID) throws -> String? {
        var latest: String?
        let text = try output(
            ["lsjson", "--recursive", "--metadata", "--files-only", path("\(tenant)")], "look for locks")
        for entry in (try JSON(parsing: text)).array ?? [] {
            let date = entry["Metadata"]?["object-lock-retain-until-date"]?.string
            if let date, date > latest ?? "" { latest = date }
        }
        return latest
    }
}
