import Storage

extension Configuration {
    /// Where artifacts are; a store that says so to everybody when none is configured.
    func stores() -> any StoreCatalog {
        let storage: any ObjectStore = self[.storage].map { FolderStore(root: $0) } ?? NoStore()
        return SingleStore(storage)
    }
}
