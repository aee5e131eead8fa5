public import Processes

/// The programs that make an archive.
public struct ExportTools: Sendable {
    /// What compresses, in gzip's format: a program that takes the options `-1 -n -c`.
    public let compressor: String
    /// What ends children with this process.
    public let supervisor: Supervisor

    /// Names the programs; unless another is named, `igzip` (Intel ISA-L), which takes half the time, or else `gzip`.
    public init(compressor: String? = nil, supervisor: Supervisor = .current()) {
        self.compressor = compressor ?? (ChildProcess.find("igzip") == nil ? "gzip" : "igzip")
        self.supervisor = supervisor
    }
}
