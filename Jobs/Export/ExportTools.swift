public import Processes

/// The programs that make an archive.
public struct ExportTools: Sendable {
    /// What compresses, in gzip's format: `gzip`, or a program that takes the same options, such as `pigz`.
    public let compressor: String
    /// What ends children with this process.
    public let supervisor: Supervisor

    /// Names the programs.
    public init(compressor: String = "gzip", supervisor: Supervisor = .current()) {
        self.compressor = compressor
        self.supervisor = supervisor
    }
}
