public import JobKit
public import Postgres
public import Processes

/// The kinds in any language that the control database names. Each attempt reads its kind again: one that an operator
/// adds, changes or removes is so for the next attempt, without a restart.
public struct ProgramCatalog: Sendable {
    private let control: Pool
    private let folders: ProgramFolders
    private let access: any ProgramAccess
    private let supervisor: Supervisor

    /// Reads with connections of `control`. Removes what killed workers left behind.
    public init(
        control: Pool, folders: ProgramFolders, access: any ProgramAccess = TenancyAccess(),
        supervisor: Supervisor = .current()
    ) {
        self.control = control
        self.folders = folders
        self.access = access
        self.supervisor = supervisor
        WorkFolder.removeLeftovers()
    }

    /// The job of this kind, or nil when no program is. Throws when the database cannot be asked; blocks.
    public func job(_ kind: JobKind) throws -> AnyJob? {
        let facts = try control.withConnection { connection in
            try connection.execute("SELECT reeve.exec_kind_facts($1::text)", [kind.rawValue], name: "exec_kind_facts")[
                0
            ]
            .optionalJSON(0)
        }
        guard let facts else { return nil }
        return ProgramJob(
            try ProgramKind(facts: facts), folders: folders, access: access, supervisor: supervisor
        ).erased
    }
}
